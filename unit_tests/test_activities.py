"""Activities: slices that meet exactly, and the state between two runs."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from airbyte_cdk.models import (
    AirbyteStateBlob,
    AirbyteStateMessage,
    AirbyteStateType,
    AirbyteStreamState,
    StreamDescriptor,
)
from freezegun.api import FrozenDateTimeFactory

from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.messages import Answer, Call
from unit_tests.conftest import NOW, Read
from unit_tests.output import Output
from unit_tests.streams import BY_NAME, complete

ACTIVITIES = BY_NAME["activities"]
MILLISECOND = timedelta(milliseconds=1)
START = "2025-06-30T00:00:00Z"


def activity(number: int, time: str) -> dict[str, Any]:
    return {"id": f"a_{number}", "type": "tweet", "activityTime": time}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"


def windows(api: Api) -> list[tuple[datetime, datetime]]:
    """List the windows of time that were read, in their order: of all that begin at a moment, the last one asked for.

    Those before it were guesses that turned out too large.
    """
    asked = {
        moment(request.params["startDate"]): moment(request.params["endDate"])
        for request in api.log.of("/v2/activities")
        if "cursor" not in request.params and request.params["limit"] == "200"
    }
    return sorted(asked.items())


def ids(output: Output) -> list[str]:
    return sorted(record["id"] for record in output.records("activities"))


def done(output: Output) -> list[tuple[str, str]]:
    """List the windows that the last state calls done."""
    return [(window["start"], window["end"]) for window in output.last_state("activities")[1]["slices"]]


def state_of(time: str) -> AirbyteStateMessage:
    return AirbyteStateMessage(
        type=AirbyteStateType.STREAM,
        stream=AirbyteStreamState(
            stream_descriptor=StreamDescriptor(name="activities"),
            stream_state=AirbyteStateBlob({"activityTime": time}),
        ),
    )


@pytest.mark.parametrize("start_date", [None, START])
def test_when_read_then_each_window_begins_before_the_one_before_it_ends(read: Read, start_date: str | None) -> None:
    since = moment(START)
    api = Api(Workspace.of(activities=[activity(n, text(since + n * timedelta(hours=1))) for n in range(8_700)]))

    read(api, "activities", **({"start_date": start_date} if start_date else {}))

    asked = windows(api)
    assert asked[0][0] == (moment(start_date) - MILLISECOND if start_date else moment("1970-01-01T00:00:00Z"))
    assert timedelta(0) <= asked[-1][1] - moment(NOW) < timedelta(seconds=1)
    assert len(asked) >= 4
    assert all(earlier[1] - later[0] == MILLISECOND for earlier, later in pairwise(asked))


def test_given_activities_at_every_edge_of_the_windows_when_read_then_each_comes_once(read: Read) -> None:
    start = moment("2020-01-01T00:00:00Z")
    hourly = [activity(number, text(start + number * timedelta(hours=7))) for number in range(8_000)]
    first = Api(Workspace.of(activities=hourly))
    read(first, "activities", start_date="2020-01-01T00:00:00Z")
    edges = {
        edge + shift
        for window in windows(first)
        for edge in window
        for shift in (-MILLISECOND, timedelta(0), MILLISECOND)
    }
    inside = [edge for edge in edges if start <= edge <= moment(NOW)]
    api = Api(
        Workspace.of(activities=hourly + [activity(number, text(edge)) for number, edge in enumerate(inside, 10_000)])
    )

    output = read(api, "activities", start_date="2020-01-01T00:00:00Z")

    assert len(windows(first)) >= 4
    assert ids(output) == sorted(row["id"] for row in api.workspace.records("activities"))


def test_given_450_activities_of_one_moment_when_read_then_none_is_lost_and_none_comes_twice(read: Read) -> None:
    moment_of_all = "2025-12-31T23:59:59.999Z"
    api = Api(Workspace.of(activities=[activity(number, moment_of_all) for number in range(450)]))

    output = read(api, "activities", start_date=START)

    assert ids(output) == sorted(f"a_{number}" for number in range(450))


def test_given_the_state_of_a_first_run_when_read_again_then_only_the_lookback_is_read(api: Api, read: Read) -> None:
    span: dict[str, Any] = {"start_date": START, "lookback_window_days": 2}
    first = read(api, "activities", **span)
    api.log.clear()

    second = read(api, "activities", state=[first.last_state("activities")[0]], **span)

    # A minute more, because the API's clock may be behind.
    since = moment(NOW) - timedelta(days=2, minutes=1)
    assert windows(api)[0][0] == since - MILLISECOND
    assert ids(second) == sorted(
        row["id"] for row in api.workspace.records("activities") if moment(row["activityTime"]) >= since
    )
    assert [window[0] for window in done(second)] == [START.replace("Z", ".000Z")]
    assert done(second)[0][1] >= done(first)[0][1]


def test_given_a_late_arrival_within_the_lookback_when_read_again_then_it_comes(read: Read) -> None:
    api = Api(Workspace.of(activities=[activity(1, "2026-06-29T00:00:00.000Z")]))
    first = read(api, "activities", start_date=START)
    api.workspace.insert("activities", activity(2, "2026-06-28T12:00:00.000Z"))

    second = read(api, "activities", start_date=START, state=[first.last_state("activities")[0]])

    assert ids(second) == ["a_1", "a_2"]


def test_given_start_and_end_date_when_read_then_only_what_lies_between_comes(api: Api, read: Read) -> None:
    output = read(api, "activities", start_date="2025-08-01T00:00:00Z", end_date="2025-10-01T00:00:00.500Z")

    assert windows(api)[-1][1] == moment("2025-10-01T00:00:01.000Z")
    assert ids(output) == sorted(
        row["id"]
        for row in api.workspace.records("activities")
        if "2025-08-01T00:00:00.000Z" <= row["activityTime"] <= "2025-10-01T00:00:00.500Z"
    )


def test_given_an_end_date_ahead_when_read_then_nothing_after_now_is_asked_for(read: Read) -> None:
    ahead = [activity(1, "2026-06-30T00:00:00.000Z"), activity(2, "2027-01-01T00:00:00.000Z")]
    api = Api(Workspace.of(activities=ahead))

    output = read(api, "activities", start_date=START, end_date="2030-01-01T00:00:00Z")

    assert timedelta(0) <= windows(api)[-1][1] - moment(NOW) < timedelta(seconds=1)
    assert ids(output) == ["a_1"]
    assert done(output) == [(START.replace("Z", ".000Z"), text(windows(api)[-1][1]))]


def test_given_shards_that_share_no_moment_when_read_then_together_they_have_everything(api: Api, read: Read) -> None:
    early = read(api, "activities", end_date="2025-09-30T23:59:59.999Z", start_date="2020-01-01T00:00:00Z")
    late = read(api, "activities", start_date="2025-10-01T00:00:00Z")

    both = ids(early) + ids(late)
    assert sorted(both) == sorted(row["id"] for row in complete(ACTIVITIES, api.workspace))


def test_given_a_state_of_today_when_read_then_the_last_window_still_ends_now(read: Read) -> None:
    api = Api(Workspace.of(activities=[activity(1, "2026-06-30T23:59:59.999Z")]))

    output = read(api, "activities", state=[state_of("2026-06-30T23:59:59.999Z")], lookback_window_days=0)

    assert ids(output) == ["a_1"]
    assert len(windows(api)) == 1
    assert windows(api)[0][0] == moment("2026-06-30T23:59:59.998Z")


def test_given_a_window_that_fails_when_read_again_then_only_that_one_is_read(read: Read) -> None:
    span = {"start_date": "2020-01-01T00:00:00Z", "end_date": "2026-06-30T00:00:00Z"}
    start = moment(span["start_date"])
    api = Api(Workspace.of(activities=[activity(n, text(start + n * timedelta(hours=6))) for n in range(9_000)]))
    read(api, "activities", **span)
    broken = windows(api)[1]

    def is_within(params: Mapping[str, str]) -> bool:
        return broken[0] <= moment(params["startDate"]) and moment(params["endDate"]) <= broken[1]

    api.faults.add(Fault("ok_html", when=is_within))
    first = read(api, "activities", **span)
    api.faults.clear()
    api.log.clear()

    second = read(api, "activities", state=[first.last_state("activities")[0]], lookback_window_days=0, **span)

    assert first.exit_code == 1
    assert len(done(first)) == 2
    assert windows(api)[0] == broken
    assert len(second.records("activities")) < 4_000
    assert set(ids(first) + ids(second)) == {row["id"] for row in api.workspace.records("activities")}
    assert done(second) == [(text(start), text(moment(span["end_date"])))]


def test_given_a_window_of_the_lookback_that_fails_when_read_again_then_it_is_read_again(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    span = {"start_date": "2026-01-01T00:00:00Z", "lookback_window_days": 30}
    start = moment("2026-01-01T00:00:00Z")
    api = Api(Workspace.of(activities=[activity(n, text(start + n * timedelta(minutes=30))) for n in range(8_600)]))
    first = read(api, "activities", **span)
    # It arrives late, and lies within the lookback window; but only till the next sync.
    late = moment(NOW) - timedelta(days=29)
    api.workspace.insert("activities", activity(100_000, text(late)))
    clock.tick(timedelta(days=2))
    for number in range(8_600, 12_000):
        api.workspace.insert(
            "activities", activity(number, text(moment(NOW) + (number - 8_600) * timedelta(seconds=30)))
        )

    def is_its_window(params: Mapping[str, str]) -> bool:
        low, high = moment(params["startDate"]), moment(params["endDate"])
        return low <= late <= high < moment(NOW) + timedelta(days=1)

    api.faults.add(Fault("ok_html", when=is_its_window))
    second = read(api, "activities", state=[first.last_state("activities")[0]], **span)
    api.faults.clear()

    third = read(api, "activities", state=[second.last_state("activities")[0]], **span)

    assert second.exit_code == 1
    assert second.records("activities")  # others succeeded
    assert "a_100000" in ids(third)
    assert len(done(third)) == 1
    assert set(ids(first) + ids(second) + ids(third)) == {row["id"] for row in api.workspace.records("activities")}


def test_given_a_first_window_that_fails_when_read_again_then_its_first_moment_is_read(read: Read) -> None:
    """A day that an import wrote without a time is its first moment, which may be the start date."""
    start, span = (
        moment("2020-01-01T00:00:00Z"),
        {"start_date": "2020-01-01T00:00:00Z", "end_date": "2026-06-30T00:00:00Z"},
    )
    rows = [activity(number, text(start + max(number - 3, 0) * timedelta(hours=6))) for number in range(9_000)]
    api = Api(Workspace.of(activities=rows))
    api.faults.add(
        Fault(
            "ok_html",
            when=lambda params: params["startDate"] == text(start - MILLISECOND) and params["endDate"] < "2026-06-30",
        )
    )
    first = read(api, "activities", **span)
    api.faults.clear()

    second = read(api, "activities", state=[first.states("activities")[-1]], **span)

    assert first.exit_code == 1
    assert done(first)
    assert second.exit_code == 0
    assert {*ids(first), *ids(second)} == {row["id"] for row in rows}


def test_given_a_start_date_ahead_when_read_then_nothing_is_called_done_and_it_is_said(read: Read) -> None:
    output = read(Api(Workspace.of(activities=[])), "activities", start_date="2027-01-01T00:00:00Z")

    assert output.exit_code == 0
    assert done(output) == []
    assert output.warnings() == ["activities: the start date lies in the future. Nothing is read until then."]


def test_given_syncs_that_fail_when_read_again_then_the_lookback_does_not_grow(read: Read) -> None:
    api = Api(Workspace.of(activities=[activity(1, "2026-06-30T00:00:00.000Z")]))
    state = read(api, "activities", start_date=START, lookback_window_days=3).last_state("activities")[0]
    api.faults.add(Fault("ok_html"))
    for _ in range(3):
        failed = read(api, "activities", start_date=START, state=[state], lookback_window_days=3)
        state = failed.last_state("activities")[0]
    api.faults.clear()
    api.log.clear()

    read(api, "activities", start_date=START, state=[state], lookback_window_days=3)

    assert windows(api)[0][0] == moment(NOW) - timedelta(days=3, minutes=1) - MILLISECOND


def test_given_an_api_that_does_not_count_when_read_then_windows_are_cut_by_what_pages_show(read: Read) -> None:
    rows = [activity(n, text(moment("2023-01-01T00:00:00Z") + n * timedelta(hours=2))) for n in range(9_000)]
    api = Api(Workspace.of(activities=rows))
    api.faults.add(Fault("bad_request_400", when=lambda params: "recordCount" in params["cols"]))

    output = read(api, "activities", start_date="2020-01-01T00:00:00Z")

    walked = {request.params["endDate"] for request in api.log.of("/v2/activities") if "cursor" in request.params}
    assert len(walked) >= 4
    assert len(api.log.of("/v2/activities")) <= 9_000 / 200 * 2
    assert ids(output) == sorted(row["id"] for row in rows)
    assert any("doesn't count" in warning for warning in output.warnings())
    assert output.exit_code == 0


@pytest.mark.parametrize("after", [2, 3, 4, 5])
def test_given_an_api_that_stops_counting_when_read_then_the_rest_is_read_without_counts(
    after: int, read: Read
) -> None:
    start = moment("2024-01-01T00:00:00Z")
    rows = [activity(number, text(start + number * timedelta(hours=2))) for number in range(10_900)]
    api = Api(Workspace.of(activities=rows))
    counting = lambda params: "recordCount" in params["cols"] and "cursor" not in params  # noqa: E731
    api.faults.add(Fault("bad_request_400", after=after, times=1, when=counting))

    output = read(api, "activities", num_workers=4, start_date=text(start), end_date="2026-06-30T00:00:00Z")

    assert ids(output) == sorted(row["id"] for row in rows)
    assert output.exit_code == 0
    assert len(done(output)) == 1


def test_given_an_empty_past_when_read_then_it_costs_two_requests(read: Read) -> None:
    api = Api(Workspace.of(activities=[]))

    output = read(api, "activities")

    # One up to the lookback of the next sync, and one from there on.
    assert len(api.log.of("/v2/activities")) == 2
    assert output.exit_code == 0


class Restless(Api):
    """Inserts and deletes activities before every answer."""

    def __init__(self, workspace: Workspace, seed: int) -> None:
        super().__init__(workspace)
        self._rng = Random(seed)
        self._number = 1_000_000
        self.touched: set[str] = set()

    def answer(self, call: Call) -> Answer:
        with self.workspace.lock:
            for row in self._rng.sample(self.workspace.records("activities"), 12):
                self.workspace.delete("activities", row["id"])
                self.touched.add(row["id"])
            for _ in range(15):
                self._number += 1
                time = moment(START) + timedelta(milliseconds=self._rng.randrange(365 * 24 * 3600 * 1000))
                self.workspace.insert("activities", activity(self._number, text(time)))
                self.touched.add(f"a_{self._number}")
            return super().answer(call)


@pytest.mark.parametrize("seed", range(6))
def test_given_inserts_and_deletes_meanwhile_when_read_then_every_other_activity_comes_once(
    seed: int, read: Read
) -> None:
    rng = Random(seed)
    times = [moment(START) + timedelta(milliseconds=rng.randrange(365 * 24 * 3600 * 1000)) for _ in range(6_000)]
    api = Restless(Workspace.of(activities=[activity(n, text(time)) for n, time in enumerate(times)]), seed)
    before = {row["id"] for row in api.workspace.records("activities")}

    output = read(api, "activities", start_date=START)

    found = ids(output)
    assert len(found) == len(set(found))
    assert before - api.touched <= set(found)
    # So much coming and going in one window may look like a loss, and then the window is read again next time.
    assert all("the API counted" in error.message for error in output.errors("activities"))
