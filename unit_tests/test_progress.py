"""Progress: a sync that is killed again and again gets there, and what arrives late meanwhile is read by the next."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStateMessage, AirbyteStreamStatus
from freezegun.api import FrozenDateTimeFactory

from integration_tests.chaos.warehouse import records_until_state
from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.messages import Answer, Call, iso
from integration_tests.sandbox.traits import Traits
from source_commonroom.api.rate_limit import forget_budgets
from unit_tests.conftest import NOW, Read
from unit_tests.output import Output

NOW_AT = datetime.fromisoformat(NOW)
START = "2026-01-01T00:00:00Z"
HOUR = timedelta(hours=1)


def activity(number: int, time: datetime) -> dict[str, Any]:
    return {"id": f"a_{number}", "type": "tweet", "activityTime": iso(time)}


def recent(count: int, days: float) -> Workspace:
    apart = timedelta(days=days) / count
    return Workspace.of(activities=[activity(number, NOW_AT - number * apart) for number in range(count)])


def ids(output: Output) -> list[str]:
    return [record["id"] for record in output.records("activities")]


def content(output: Output) -> dict[str, Any]:
    return output.last_state("activities")[1]


def stopped(api: Api, requests: int) -> None:
    """Let the API fail after so many requests: for the state as much as a kill."""
    api.faults.clear()
    api.faults.add(Fault("status", status=500, after=requests))


def killed(read: Read, api: Api, requests: int, state: list[AirbyteStateMessage], **more: Any) -> Output:
    stopped(api, requests)
    output = read(api, "activities", state=state, **more)
    api.faults.clear()
    return output


class Paced(Api):
    """Answers 20 requests in a second of the clock that stands still."""

    def __init__(self, workspace: Workspace, clock: FrozenDateTimeFactory) -> None:
        super().__init__(workspace)
        self._clock = clock

    def answer(self, call: Call) -> Answer:
        self._clock.tick(0.05)
        return super().answer(call)


def test_given_a_sync_within_the_lookback_that_is_stopped_each_time_when_read_again_then_it_gets_there(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    # A fifth of what integration_tests/test_kill.py kills.
    api, state, kept = Paced(recent(12_000, days=2.5), clock), list[AirbyteStateMessage](), set[str]()
    rows = runs = 0
    span = {"start_date": START, "num_workers": 2}
    while runs < 12:
        runs += 1
        output = killed(read, api, 22, state, **span)
        rows += len(ids(output))
        kept |= {row["id"] for row in records_until_state(output, "activities")}
        state = output.states("activities")[-1:]
        if output.status("activities") == AirbyteStreamStatus.COMPLETE:
            break

    assert runs <= 5
    assert rows <= 1.6 * 12_000
    assert kept == {row["id"] for row in api.workspace.records("activities")}


def test_given_a_sync_that_was_stopped_when_another_goes_on_then_the_one_after_it_reads_what_arrived_late(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Paced(recent(6_000, days=2), clock)
    span = {"start_date": START, "num_workers": 2, "lookback_window_days": 3}
    first = killed(read, api, 20, [], **span)
    done = [(moment["start"], moment["end"]) for moment in content(first)["slices"]]
    low, high = (datetime.fromisoformat(edge) for edge in done[-1])
    late = max(low, NOW_AT - 48 * HOUR) + (high - max(low, NOW_AT - 48 * HOUR)) / 2
    api.workspace.insert("activities", activity(99_000, late))
    clock.tick(2 * timedelta(days=1))

    second = read(api, "activities", state=first.states("activities")[-1:], **span)
    third = read(api, "activities", state=second.states("activities")[-1:], **span)
    fourth = read(api, "activities", state=third.states("activities")[-1:], **span)

    assert content(first)["in_progress"]
    assert content(first)["lookback_from"] == iso(NOW_AT)
    # What is done isn't read again, but for the moments between it and what isn't.
    assert not covered(done, api) & set(ids(second))
    assert "in_progress" not in content(second)
    assert content(second)["lookback_from"] == iso(NOW_AT)
    assert "a_99000" in ids(third)
    assert "lookback_from" not in content(third)
    assert len(ids(fourth)) < len(ids(third))


def covered(done: list[tuple[str, str]], api: Api) -> set[str]:
    """List the activities that lie within what is done, but for its last two milliseconds."""
    spans = [(low, iso(datetime.fromisoformat(high) - timedelta(milliseconds=2))) for low, high in done]
    return {
        row["id"]
        for row in api.workspace.records("activities")
        if row["id"] != "a_99000" and any(low <= row["activityTime"] <= high for low, high in spans)
    }


def set_back(clock: FrozenDateTimeFactory, time: datetime) -> None:
    """Set the clock, and begin with a process that doesn't know what it showed before."""
    clock.move_to(time)
    forget_budgets()


def test_given_a_complete_sync_when_read_then_its_state_is_of_three_keys(read: Read) -> None:
    output = read(Api(recent(100, days=20)), "activities", start_date=START)

    assert set(content(output)) == {"state_type", "slices", "ledger"}


def test_given_a_window_that_fails_in_the_lookback_when_read_again_then_the_rest_of_it_is_not(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    api, span = Api(recent(6_000, days=2)), {"start_date": START, "num_workers": 2, "lookback_window_days": 3}
    first = read(api, "activities", **span)
    clock.tick(HOUR)
    second = killed(read, api, 16, first.states("activities")[-1:], **span)

    third = read(api, "activities", state=second.states("activities")[-1:], **span)

    assert content(second)["in_progress"]
    assert third.status("activities") == AirbyteStreamStatus.COMPLETE
    assert len(ids(second)) + len(ids(third)) <= 6_000 * 1.6
    assert {*ids(second), *ids(third)} == {row["id"] for row in api.workspace.records("activities")}


def hourly() -> list[dict[str, Any]]:
    return [activity(number, NOW_AT - 27 * 24 * HOUR + number * HOUR) for number in range(649)]


def test_given_a_clock_that_is_ahead_when_read_then_the_state_ends_with_the_clock_of_the_api(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    rows = hourly()
    api_time = NOW_AT
    api = Api(
        Workspace.of(activities=[row for row in rows if row["activityTime"] <= iso(NOW_AT)]),
        traits=Traits(dates=True),
        clock=lambda: api_time.timestamp(),  # noqa: PLW0108  # it changes
    )
    clock.move_to(NOW_AT + timedelta(days=5))
    ahead = read(api, "activities", start_date=START, lookback_window_days=3)
    # Two days later the clock is right again.
    api_time += timedelta(days=2)
    set_back(clock, api_time)
    for number in range(49):
        if number:
            api.workspace.insert("activities", activity(10_000 + number, NOW_AT + number * HOUR))

    second = read(api, "activities", state=ahead.states("activities")[-1:], start_date=START, lookback_window_days=3)

    assert [span["end"] for span in content(ahead)["slices"]] == [iso(NOW_AT)]
    assert "in_progress" not in content(ahead)
    assert {*ids(ahead), *ids(second)} == {row["id"] for row in api.workspace.records("activities")}
    (said,) = [text for text in ahead.warnings() if "clock" in text]
    assert iso(NOW_AT) in said
    assert iso(NOW_AT + timedelta(days=5)) in said
    assert not [text for text in second.warnings() if "clock" in text]


def test_given_no_lookback_and_a_clock_that_was_ahead_when_read_then_every_hourly_activity_comes(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Api(Workspace.of(activities=hourly()[:400]), traits=Traits(dates=True))
    shown = datetime.fromisoformat(hourly()[399]["activityTime"])
    api.clock = lambda: shown.timestamp()  # noqa: PLW0108  # it changes
    clock.move_to(shown + timedelta(days=5))
    state: list[AirbyteStateMessage] = []
    found: Counter[str] = Counter()
    for number in range(399, 649, 25):
        for later in range(number, min(number + 25, 649)):
            if later >= 400:
                api.workspace.insert("activities", hourly()[later])
                shown += HOUR
        set_back(clock, shown + (timedelta(days=5) if number < 500 else timedelta(0)))
        output = read(api, "activities", state=state, start_date=START, lookback_window_days=0)
        assert output.exit_code == 0
        found.update(ids(output))
        state = output.states("activities")[-1:]

    assert found.keys() == {row["id"] for row in api.workspace.records("activities")}


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 99 Jul 2026 00:00:00 GMT"])
def test_given_a_date_that_is_none_when_read_then_the_machines_clock_counts(
    date: str, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integration_tests.sandbox.api.format_datetime", lambda *_, **__: date)
    api = Api(recent(100, days=20), traits=Traits(dates=True))

    output = read(api, "activities", start_date=START)

    assert content(output)["slices"][0]["end"] == iso(NOW_AT)
    assert output.warnings() == []


def test_given_an_api_whose_clock_is_ahead_when_read_then_the_machines_counts_and_it_is_said(read: Read) -> None:
    api = Api(recent(100, days=20), traits=Traits(dates=True), clock=lambda: NOW_AT.timestamp() + 3_600)

    output = read(api, "activities", start_date=START)

    assert content(output)["slices"][0]["end"] == iso(NOW_AT)
    assert len(output.warnings()) == 1
