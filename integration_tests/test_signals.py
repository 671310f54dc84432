"""SIGTERM, by which a platform cancels a sync: it ends at once, and what was emitted stays true.

Two of these syncs are interpreters that were started, and not forked: the one that is stopped in the middle, so that
this end is the real one, and the one that a shell starts.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import pytest
from airbyte_cdk.models import Level

from integration_tests.conftest import Serve
from integration_tests.connector import MAIN, Running, run, start, write_files
from integration_tests.fork_server import Forked
from integration_tests.sandbox import Api, Fault, Sandbox, Workspace
from unit_tests.output import Output
from unit_tests.streams import catalog

# What a shell calls 143.
STOPPED = -signal.SIGTERM
START = datetime(2025, 1, 1, tzinfo=UTC)
STREAM = "activities"
AT_ONCE = 4
"""Seconds. Where somebody holds the lock of stdout, the end comes after five; a busy machine takes one or two."""


@pytest.fixture(scope="module")
def busy() -> Workspace:
    """A workspace of 12,000 activities; don't change it."""
    return Workspace.of(
        activities=[
            {
                "id": f"a_{number}",
                "type": "tweet",
                "activityTime": (START + number * timedelta(hours=1)).isoformat(timespec="milliseconds")[:23] + "Z",
                "content": "x" * 500,
            }
            for number in range(12_000)
        ]
    )


def wait_until(condition: Callable[[], bool]) -> None:
    over = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < over, "it didn't come to that"
        time.sleep(0.02)


def states_in(running: Running) -> int:
    return sum('"type":"STATE"' in line for line in running.lines())


def stop(running: Running) -> tuple[Output, float]:
    """Send SIGTERM; return what was written, and the seconds that the end took."""
    asked = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(30)
    seconds = time.monotonic() - asked
    return running.wait(), seconds


def config_of(sandbox: Sandbox) -> dict[str, object]:
    return {
        "api_token": sandbox.token,
        "api_url": sandbox.api_url,
        "num_workers": 4,
        "requests_per_second": 1000,
        "start_date": "2025-01-01T00:00:00Z",
        "lookback_window_days": 0,
    }


@contextmanager
def reading(arguments: list[str]) -> Iterator[tuple[Forked, IO[bytes]]]:
    """Run a read, and give what its stdout is read from."""
    source, sink = os.pipe()
    with os.fdopen(source, "rb") as stdout:
        process = Forked([str(MAIN), "read", *arguments], sink, stderr=2)
        os.close(sink)
        yield process, stdout


def assert_it_says_so(result: Output) -> None:
    last = result.messages[-1].log
    assert last
    assert last.level == Level.WARN
    assert "asked to stop (SIGTERM)" in last.message


def test_given_sigterm_in_the_middle_when_read_again_then_nothing_is_lost(
    serve: Serve, busy: Workspace, tmp_path: Path
) -> None:
    # Late windows hang after their first page, so that it is in the middle however slow this test is.
    late = (START + timedelta(hours=6_000)).isoformat()
    hang = Fault("hang", when=lambda params: "cursor" in params and params["startDate"] > late, seconds=50)
    sandbox = serve(Api(busy, faults=[hang]))
    running = start(tmp_path, "read", config_of(sandbox), catalog(STREAM), afresh=True)
    wait_until(lambda: states_in(running) >= 2 and any(one.fault == "hang" for one in sandbox.api.log.requests))
    time.sleep(0.5)

    first, seconds = stop(running)
    sandbox.api.faults.clear()

    # That every line is a whole message, `Running.wait` has asserted.
    assert first.exit_code == STOPPED
    assert seconds < AT_ONCE
    assert_it_says_so(first)
    whole = {row["id"] for row in busy.records(STREAM)}
    emitted: set[str] = set()
    for message in first.messages:
        if message.record:
            emitted.add(message.record.data["id"])
        if message.state and message.state.stream:
            covered = {
                row["id"]
                for row in busy.records(STREAM)
                for span in vars(message.state.stream.stream_state)["slices"]
                if span["start"] <= row["activityTime"] <= span["end"]
            }
            assert covered <= emitted
    assert 0 < len(covered) < len(emitted) < len(whole)

    second = run(tmp_path, "read", config_of(sandbox), catalog(STREAM), [first.last_state(STREAM)[0]])

    again = {row["id"] for row in second.records(STREAM)}
    assert second.exit_code == 0
    assert emitted | again == whole
    # What the state covers isn't read again, but for its last moment.
    assert len(again & covered) <= 1


def test_given_sigterm_while_the_rate_limit_holds_for_minutes_when_read_then_it_ends_at_once(
    serve: Serve, busy: Workspace, tmp_path: Path
) -> None:
    api = Api(busy, faults=[Fault("rate_limited", after=25, seconds=120)])
    sandbox = serve(api)
    running = start(tmp_path, "read", config_of(sandbox), catalog(STREAM))
    wait_until(lambda: api.log.rate_limited > 0)
    time.sleep(0.5)

    result, seconds = stop(running)

    assert result.exit_code == STOPPED
    assert seconds < AT_ONCE
    assert_it_says_so(result)


def test_given_sigterm_that_does_not_end_a_process_by_itself_when_read_then_it_ends_with_143(
    serve: Serve, busy: Workspace, tmp_path: Path
) -> None:
    sandbox = serve(Api(busy, faults=[Fault("hang", after=2, seconds=50)]))
    # It doesn't end the first process of a container either.
    ignoring = ("sh", "-c", 'trap "" TERM; exec "$@"', "sh", sys.executable, str(MAIN))
    running = start(tmp_path, "read", config_of(sandbox), catalog(STREAM), program=ignoring)
    wait_until(lambda: len(sandbox.api.log.requests) > 2)

    result, seconds = stop(running)

    assert result.exit_code == 143
    assert seconds < AT_ONCE
    assert_it_says_so(result)


def test_given_sigterm_while_an_answer_hangs_when_read_then_it_ends_at_once(
    serve: Serve, busy: Workspace, tmp_path: Path
) -> None:
    api = Api(busy, faults=[Fault("hang", after=2, seconds=50)])
    running = start(tmp_path, "read", config_of(serve(api)), catalog(STREAM))
    wait_until(lambda: len(api.log.requests) > 2)

    result, seconds = stop(running)

    assert result.exit_code == STOPPED
    assert seconds < AT_ONCE
    assert_it_says_so(result)


def test_given_sigterm_and_nobody_who_reads_stdout_when_read_then_it_ends_all_the_same(
    serve: Serve, busy: Workspace, tmp_path: Path
) -> None:
    sandbox = serve(Api(busy))
    with reading(write_files(tmp_path, config_of(sandbox), catalog(STREAM))) as (process, _):
        wait_until(lambda: len(sandbox.api.log.requests) > 5)
        # Until a page doesn't fit into the pipe any more.
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(20) == STOPPED
        finally:
            process.kill()


def test_given_a_reader_that_goes_away_when_lists_are_walked_from_both_ends_then_the_process_ends(
    serve: Serve, tmp_path: Path
) -> None:
    objects = [{"id": f"co_{n}", "name": "x" * 500, "objectTypeId": f"cot_{n % 4 + 1}"} for n in range(1, 4_001)]
    types = [{"id": f"cot_{number}", "name": f"T{number}"} for number in range(1, 5)]
    sandbox = serve(Api(Workspace.of(objects=objects, object_types=types)), latency=0.2)
    config = {"api_token": sandbox.token, "api_url": sandbox.api_url}
    with reading(write_files(tmp_path, config, catalog("objects"))) as (process, stdout):
        next(line for line in stdout if b'"RECORD"' in line)
        stdout.close()

        try:
            assert process.wait(30) == 1
        finally:
            process.kill()
