"""SIGKILL at any moment: what two syncs bring together is everything, and little of it twice."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from airbyte_cdk.models import AirbyteStreamStatus

from integration_tests.chaos.warehouse import records_until_state
from integration_tests.connector import start
from integration_tests.sandbox import Api, Sandbox, Workspace
from integration_tests.sandbox.messages import iso
from unit_tests.streams import catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airbyte_cdk.models import AirbyteStateMessage

    from integration_tests.connector import Running
    from unit_tests.output import Output

    Windows = set[tuple[str, str]]

ACTIVITIES = 40_000
PAGES = ACTIVITIES // 200
# `make chaos` kills many.
KILLS = int(os.environ.get("CHAOS_KILLS", "3"))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Serve activities of five years, which come closer and closer."""
    rng = Random(40_000)
    end = datetime.now(UTC) - timedelta(hours=1)
    rows = [
        {
            "id": f"a_{number}",
            "type": "tweet",
            "activityTime": iso(end - timedelta(days=1_800) * rng.random() ** 3),
            "contactId": f"c_{rng.randint(1, 900)}",
            "content": "x" * rng.randint(0, 300),
        }
        for number in range(ACTIVITIES)
    ]
    with Sandbox(Api(Workspace.of(activities=rows)), latency=0.02, jitter=0.5) as served:
        yield served


@pytest.mark.parametrize("kill", range(KILLS))
def test_given_a_sync_that_is_killed_when_run_again_from_its_last_state_then_nothing_is_lost_and_little_read_again(
    kill: int, sandbox: Sandbox, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng = Random(f"kill {kill}")
    workers = rng.choice((2, 3, 5, 10))
    config = {
        "api_token": sandbox.token,
        "api_url": sandbox.api_url,
        "num_workers": workers,
        "requests_per_second": 1000,
        "lookback_window_days": 0,
    }
    sandbox.api.log.clear()

    # The first one is an interpreter that was started, and not forked, so that this end is the real one.
    running = start(tmp_path, "read", config, catalog("activities"), afresh=kill == 0)
    kill_after(running, sandbox.api, rng.randint(0, PAGES - 5), rng.random() * 0.1)
    first = running.wait()
    walked = windows_walked(sandbox.api)
    states = first.states("activities")
    second = start(tmp_path, "read", config, catalog("activities"), state=states[-1:]).wait()

    assert first.exit_code == -signal.SIGKILL
    assert second.exit_code == 0
    assert second.status("activities") == AirbyteStreamStatus.COMPLETE
    everything = {row["id"]: row["activityTime"] for row in sandbox.api.workspace.records("activities")}
    # What comes behind the last state, a platform may drop.
    kept = {row["id"] for row in records_until_state(first, "activities")}
    brought = {row["id"] for row in second.records("activities")}
    assert kept | brought == everything.keys()
    again = {row["id"] for row in first.records("activities")} & brought
    covered = windows_covered(first)
    # The moments between what is covered and what isn't are read again: more of them may have come.
    needless = {row for row in again if within(everything[row], covered)}
    assert all(near_an_end(everything[row], covered) for row in needless)
    # A thread for each worker, and the one that planned.
    open_windows = {window for row in again - needless for window in walked if within(everything[row], {window})}
    assert len(open_windows) <= workers + 1
    record_property(
        "figures",
        {
            "syncs killed and resumed": 1,
            "records before a kill": len(first.records("activities")),
            "records read again": len(again),
        },
    )


def test_given_a_sync_within_the_lookback_that_is_killed_each_time_when_run_again_then_it_gets_there(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Killed after as many requests as 6 s are good for, and in `make test` at a fifth of the size."""
    rng, end = Random(6), datetime.now(UTC) - timedelta(minutes=1)
    full = KILLS > 3
    count = 60_000 if full else 12_000
    rows = [
        {"id": f"a_{number}", "type": "tweet", "activityTime": iso(end - timedelta(days=2.5) * rng.random())}
        for number in range(count)
    ]
    read = runs = 0
    kept: set[str] = set()
    states: list[AirbyteStateMessage] = []
    with Sandbox(Api(Workspace.of(activities=rows)), latency=0.2 if full else 0.05, jitter=0.3) as sandbox:
        config = {
            "api_token": sandbox.token,
            "api_url": sandbox.api_url,
            "num_workers": 10 if full else 3,
            "requests_per_second": 20,
            "lookback_window_days": 3,
        }
        for _ in range(12):
            runs += 1
            sandbox.api.log.clear()
            running = start(tmp_path, "read", config, catalog("activities"), state=states or None)
            kill_after(running, sandbox.api, 107 if full else 24, 0)
            output = running.wait()
            read += len(output.records("activities"))
            kept |= {row["id"] for row in records_until_state(output, "activities")}
            states = output.states("activities")[-1:] or states
            if output.exit_code == 0:
                break

    record_property("figures", {"runs of a sync that is killed": runs, "of its records, read in all": read})
    assert output.exit_code == 0
    assert runs <= 6
    assert read <= 1.6 * count
    assert kept == {row["id"] for row in rows}


def kill_after(running: Running, api: Api, requests: int, delay: float) -> None:
    """Kill a sync so many seconds after so many requests."""
    over = time.monotonic() + 120
    while len(api.log.requests) < requests:
        if running.process.poll() is not None:
            return
        assert time.monotonic() < over, "it didn't come to that"
        time.sleep(0.002)
    time.sleep(delay)
    running.process.kill()


def windows_walked(api: Api) -> Windows:
    """List the windows that were read beyond their first page, so that they are more than a guess of the plan.

    Where the state was kept, the rest of a window was asked for as another one with the same end.
    """
    begins: dict[str, str] = {}
    for request in api.log.of("/v2/activities"):
        begin, end = request.params["startDate"], request.params["endDate"]
        if "cursor" in request.params or end in begins:
            begins[end] = min(begins.get(end, begin), begin)
    return {(begin, end) for end, begin in begins.items()}


def windows_covered(output: Output) -> Windows:
    """List what the last state tells to be done."""
    if not output.states("activities"):
        return set()
    return {(window["start"], window["end"]) for window in output.last_state("activities")[1]["slices"]}


def near_an_end(moment: str, windows: Windows) -> bool:
    """Tell whether a moment is the first or the last one of a window, or the one before the last."""
    before = timedelta(milliseconds=1)
    return any(moment in {first, last, iso(datetime.fromisoformat(last) - before)} for first, last in windows)


def within(moment: str, windows: Windows) -> bool:
    return any(first <= moment <= last for first, last in windows)
