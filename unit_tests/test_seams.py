"""Seams: whatever the API's bounds and resolution are, nothing is lost or emitted twice where windows meet."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any

import orjson
import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType
from freezegun.api import FrozenDateTimeFactory

from integration_tests.sandbox import Api, Workspace
from integration_tests.sandbox.messages import Answer, Call, iso, iso_stored
from integration_tests.sandbox.traits import Traits
from source_commonroom.activities.seams import Edges, Seams
from unit_tests.conftest import NOW, Read
from unit_tests.output import Output

START = "2026-06-01T00:00:00Z"
FROM = datetime.fromisoformat(START)
SECOND = timedelta(seconds=1)


def activity(number: int, time: str) -> dict[str, Any]:
    return {"id": f"a_{number}", "type": "tweet", "activityTime": time}


def ids(output: Output) -> list[str]:
    return [record["id"] for record in output.records("activities")]


def rows_of(times: Iterable[datetime], write: Callable[[datetime], str] = iso) -> list[dict[str, Any]]:
    return [activity(number, write(time)) for number, time in enumerate(times)]


def seams(api: Api) -> set[datetime]:
    """List the moments at which windows meet."""
    ends = {datetime.fromisoformat(request.params["endDate"]) for request in api.log.pages("/v2/activities")}
    return ends - {max(ends)}


TRAITS = {
    "as documented": Traits(),
    "stored finer": Traits(stored_finer=True),
    "exclusive end": Traits(exclusive_end=True),
    "exclusive start": Traits(exclusive_start=True),
    "exclusive": Traits(exclusive_start=True, exclusive_end=True),
    "finer and exclusive": Traits(stored_finer=True, exclusive_start=True, exclusive_end=True),
    "seconds": Traits(date_resolution=SECOND),
    "finer and seconds": Traits(stored_finer=True, date_resolution=SECOND),
    "seconds, exclusive end": Traits(date_resolution=SECOND, exclusive_end=True),
    "seconds, exclusive": Traits(date_resolution=SECOND, exclusive_start=True, exclusive_end=True),
    "whole seconds": Traits(date_resolution=SECOND, coarse_times=True),
    "whole seconds, exclusive": Traits(
        date_resolution=SECOND, coarse_times=True, exclusive_start=True, exclusive_end=True
    ),
}


@pytest.mark.parametrize("style", TRAITS)
@pytest.mark.parametrize("within", [timedelta(seconds=5), timedelta(days=20)], ids=["in five seconds", "in 20 days"])
def test_given_bounds_and_a_resolution_of_any_kind_when_read_then_each_activity_comes_once(
    style: str, within: timedelta, read: Read
) -> None:
    rng = Random(f"{style} {within}")
    traits = TRAITS[style]
    times = [FROM + timedelta(days=3) + within * rng.random() for _ in range(5_000)]
    rows = rows_of(times, iso_stored if traits.stored_finer else iso)
    api = Api(Workspace.of(activities=rows), traits=traits)

    output = read(api, "activities", start_date=START)

    assert len(seams(api)) >= 2
    assert Counter(ids(output)) == Counter(row["id"] for row in rows)
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    # Windows of less than a second can't meet so that nothing lies between: the sum shows it.
    shown = style.endswith("seconds, exclusive") and within < timedelta(minutes=1)
    assert all("searched for" in text and shown for text in output.warnings())


@pytest.mark.parametrize("style", TRAITS)
def test_given_activities_around_every_seam_when_read_then_each_comes_once(style: str, read: Read) -> None:
    traits = TRAITS[style]
    write = iso_stored if traits.stored_finer else iso
    times = [FROM + number * timedelta(minutes=4, milliseconds=37) for number in range(7_000)]
    first = Api(Workspace.of(activities=rows_of(times, write)), traits=traits)
    read(first, "activities", start_date=START)
    shifts = [timedelta(microseconds=shift) for shift in (-2000, -1000, -500, -1, 0, 1, 500, 999, 1000, 1001, 2000)]
    some = [seam + shift for seam in sorted(seams(first)) for shift in (shifts if traits.stored_finer else shifts[::2])]
    rows = rows_of([*times, *some], write)
    api = Api(Workspace.of(activities=rows), traits=traits)

    output = read(api, "activities", start_date=START)

    assert Counter(ids(output)) == Counter(row["id"] for row in rows)
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE


@pytest.mark.parametrize("counted", [True, False])
def test_given_activities_at_whole_seconds_and_bounds_that_exclude_theirs_when_read_then_each_comes_once(
    read: Read, *, counted: bool
) -> None:
    times = [FROM + number * SECOND for number in range(6_000)]
    traits = replace(TRAITS["seconds, exclusive"], uncounted=() if counted else ["/v2/activities"])
    api = Api(Workspace.of(activities=rows_of(times)), traits=traits)

    output = read(api, "activities", start_date=START)

    assert len(seams(api)) >= 2
    assert Counter(ids(output)) == Counter(row["id"] for row in api.workspace.records("activities"))
    assert not any("searched for" in text for text in output.warnings())


def test_given_bounds_that_exclude_their_second_when_read_again_then_nothing_lies_between_two_syncs(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    clock.move_to("2026-06-30T23:59:30.700Z")
    at = datetime.fromisoformat("2026-06-30T23:59:30Z")
    api = Api(Workspace.of(activities=rows_of([at - SECOND, at, at + SECOND / 2])), traits=TRAITS["seconds, exclusive"])
    first = read(api, "activities", start_date=START, lookback_window_days=0)
    clock.move_to("2026-06-30T23:59:40.300Z")

    second = read(api, "activities", start_date=START, lookback_window_days=0, state=first.states("activities")[-1:])

    assert {*ids(first), *ids(second)} == {"a_0", "a_1", "a_2"}


@pytest.mark.parametrize("style", TRAITS)
@pytest.mark.parametrize("within", [0, 300, 700])
def test_given_a_start_and_an_end_date_of_any_kind_when_read_then_all_between_them_comes_and_nothing_else(
    style: str, within: int, read: Read
) -> None:
    first, last = (datetime.fromisoformat(f"2026-06-{day}T00:00:00Z") + SECOND * within / 1000 for day in (10, 20))
    shifts = [SECOND * shift / 1000 for shift in (-2000, -1000, -700, -1, 0, 1, 299, 700, 1000, 1700)]
    rows = rows_of(moment + shift for moment in (first, last) for shift in shifts)
    api = Api(Workspace.of(activities=rows), traits=TRAITS[style])

    output = read(api, "activities", start_date=iso(first), end_date=iso(last))
    rest = read(api, "activities", lookback_window_days=0, state=output.states("activities")[-1:])

    # Each once; in any order, because windows are read side by side.
    between = Counter(row["id"] for row in rows if iso(first) <= row["activityTime"] <= iso(last))
    assert Counter(ids(output)) == between
    assert {*ids(output), *ids(rest)} == {row["id"] for row in rows}


def test_given_a_burst_in_one_millisecond_when_read_then_it_is_asked_for_once(read: Read) -> None:
    burst = datetime.fromisoformat("2026-06-11T12:00:00.000Z")
    times = [FROM + number * timedelta(minutes=5) for number in range(6_000)] + [burst] * 5_000
    api = Api(Workspace.of(activities=rows_of(times)))

    output = read(api, "activities", start_date=START)

    assert Counter(ids(output)) == Counter(row["id"] for row in api.workspace.records("activities"))
    assert len(api.log.of("/v2/activities")) <= 11_000 / 200 * 1.5 + 20


class LosesAtSeams(Api):
    """Leaves out, of each window, what lies close to where it begins; and counts it only in a longer span."""

    def __init__(self, workspace: Workspace, *, lost: int, whole: bool = True) -> None:
        super().__init__(workspace)
        self.lost: set[str] = set()
        self.most = lost
        self._whole = whole
        self.before: Callable[[Call], None] = lambda _: None

    def answer(self, call: Call) -> Answer:
        self.before(call)
        answer = super().answer(call)
        low, high = (datetime.fromisoformat(call.params[name]) for name in ("startDate", "endDate"))
        inside = [row for row in self.workspace.records("activities") if row["id"] in self.lost]
        page = orjson.loads(answer.body)
        if len(self.lost) < self.most and "cursor" not in call.params and low > FROM and len(page["data"]) == 200:
            # The window that begins here loses them from now on.
            self.lost |= {row["id"] for row in page["data"][: self.most] if len(self.lost) < self.most}
            inside = [row for row in page["data"] if row["id"] in self.lost]
        hidden = {
            row["id"]
            for row in inside
            if low <= (at := datetime.fromisoformat(row["activityTime"])) <= high
            and (min(at - low, high - at) < timedelta(hours=12) or not self._whole)
        }
        page["data"] = [row for row in page["data"] if row["id"] not in hidden]
        near = {
            row["id"]
            for row in inside
            if low <= (at := datetime.fromisoformat(row["activityTime"])) <= high
            and min(at - low, high - at) < timedelta(hours=12)
        }
        if "recordCount" in page["meta"]:
            page["meta"]["recordCount"] -= len(near)
        return replace(answer, body=orjson.dumps(page))


def spread(count: int = 9_000) -> Workspace:
    return Workspace.of(activities=apart(timedelta(minutes=4), count))


@cache
def apart(gap: timedelta, count: int) -> list[dict[str, Any]]:
    """Make activities, the same ones for the same gap and count; don't change them."""
    return rows_of(FROM + number * gap for number in range(count))


def test_given_rows_lost_between_windows_when_read_then_the_sum_shows_it_and_they_are_read(read: Read) -> None:
    api = LosesAtSeams(spread(), lost=3)

    output = read(api, "activities", start_date=START)

    assert api.lost
    assert Counter(ids(output)) == Counter(row["id"] for row in api.workspace.records("activities"))
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE


def test_given_rows_lost_and_as_many_deleted_when_read_then_the_sum_shows_it_all_the_same(read: Read) -> None:
    api = LosesAtSeams(spread(), lost=3)
    gone: set[str] = set()

    def delete(_: Call) -> None:
        # After they were read: those of the first window.
        if len(api.log.requests) > 40 and not gone:
            gone.update({"a_1", "a_2", "a_3"})
            for row in gone:
                api.workspace.delete("activities", row)

    api.before = delete

    output = read(api, "activities", start_date=START, num_workers=2)

    assert gone
    assert {row["id"] for row in api.workspace.records("activities")} <= set(ids(output))
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE


def test_given_rows_that_are_counted_and_never_come_between_windows_when_read_then_that_span_is_no_state(
    read: Read,
) -> None:
    api = LosesAtSeams(spread(), lost=3, whole=False)

    output = read(api, "activities", start_date=START)

    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    (error,) = output.errors("activities")
    assert error.failure_type == FailureType.transient_error
    assert "9000" in error.message
    state = output.last_state("activities")[1]
    lost = [row["activityTime"] for row in api.workspace.records("activities") if row["id"] in api.lost]
    assert not any(span["start"] < time < span["end"] for span in state["slices"] for time in lost)
    # All else is, but for the two windows between which they lie.
    covered = [
        row
        for row in api.workspace.records("activities")
        if any(span["start"] <= row["activityTime"] <= span["end"] for span in state["slices"])
    ]
    assert len(covered) > 3_000
    assert state["in_progress"]


def test_given_nothing_missing_when_read_then_the_sum_costs_one_request(read: Read) -> None:
    api = Api(spread())

    read(api, "activities", start_date=START)

    requests = api.log.of("/v2/activities")
    assert [request.params["limit"] for request in requests if request.params["limit"] != "200"] == ["1"]
    assert len(requests) <= 9_000 / 200 + len(seams(api)) * 2 + 3


@pytest.mark.parametrize("late", [3, 5])
def test_given_rows_lost_and_others_that_arrive_late_when_read_then_these_do_not_stand_for_them(
    late: int, read: Read
) -> None:
    api = LosesAtSeams(spread(), lost=3)
    came: list[dict[str, Any]] = []

    def arrive(_: Call) -> None:
        # In the last window, which is read after them.
        if api.lost and not came:
            last = FROM + 8_990 * timedelta(minutes=4, milliseconds=1)
            came.extend(activity(20_000 + number, iso(last + number * SECOND)) for number in range(late))
            for row in came:
                api.workspace.insert("activities", row)

    api.before = arrive

    output = read(api, "activities", start_date=START, num_workers=2)

    assert len(came) == late
    assert {row["id"] for row in api.workspace.records("activities")} <= set(ids(output))
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE


def test_given_activities_that_arrive_late_where_all_has_been_read_when_read_then_nothing_is_read_again(
    read: Read,
) -> None:
    class Arriving(LosesAtSeams):
        """With each page, an activity arrives in a window whose last page has been answered."""

        done: datetime | None = None

        def answer(self, call: Call) -> Answer:
            if self.done and "cursor" in call.params:
                number = len(self.log.requests)
                moment = iso(self.done + timedelta(days=1, milliseconds=number))
                self.workspace.insert("activities", activity(20_000 + number, moment))
            answer = super().answer(call)
            if "cursor" in call.params and orjson.loads(answer.body)["meta"]["nextCursor"] is None:
                self.done = self.done or datetime.fromisoformat(call.params["startDate"])
            return answer

    api = Arriving(spread(), lost=0)

    output = read(api, "activities", start_date=START, num_workers=2)

    assert len(api.workspace.records("activities")) > 9_010
    assert max(Counter(ids(output)).values()) == 1
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    assert output.warnings() == []
    assert len(api.log.of("/v2/activities")) <= 9_000 / 200 + len(seams(api)) * 6


def test_given_a_whole_that_is_not_counted_at_the_end_when_read_then_it_is_said(read: Read) -> None:
    class Fails(Api):
        def answer(self, call: Call) -> Answer:
            answer = super().answer(call)
            is_count = "recordCount" in call.params["cols"] and "cursor" not in call.params
            # Not before it has been planned.
            is_whole = (
                call.params["startDate"] < START and call.params["endDate"] >= NOW[:-1] and len(self.log.requests) > 9
            )
            return Answer(504) if is_count and is_whole else answer

    api = Fails(spread())

    output = read(api, "activities", start_date=START, lookback_window_days=0)

    assert Counter(ids(output)) == Counter(row["id"] for row in api.workspace.records("activities"))
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    (warning,) = output.warnings()
    assert "can't be compared with a count this time" in warning


def test_given_records_of_seams_that_are_read_when_others_come_then_they_are_forgotten() -> None:
    kept = Seams()
    kept.expect(10_000, 2)
    kept.expect(20_000, 1)
    row, time = {"id": "a_1"}, "1970-01-01T00:00:10.000Z"

    assert kept.read_before((1, 0, 10_000), [row], [time], Edges(0, 10_000)) == {}
    assert kept.read_before((2, 10_000, 20_000), [row], [time], Edges(10_000, 20_000)) == {0: (1, 0, 10_000)}
    kept.window_done(0, 10_000)
    assert kept.read_before((3, 10_000, 20_000), [row], [time], Edges(10_000, 20_000)) == {0: (1, 0, 10_000)}
    kept.window_done(10_000, 20_000)
    assert kept.read_before((4, 10_000, 20_000), [row], [time], Edges(10_000, 20_000)) == {}


def test_given_the_end_of_a_sync_when_read_again_then_its_last_moment_is_asked_for_again(read: Read) -> None:
    """An end that turns out exclusive, or a time that is stored finer, leaves something there for the next sync."""
    api = Api(Workspace.of(activities=[activity(1, "2026-06-30T23:59:59.000Z")]), traits=Traits(exclusive_end=True))
    first = read(api, "activities", start_date=START, lookback_window_days=0)
    api.workspace.insert("activities", activity(2, NOW.replace("Z", ".000Z")))

    second = read(
        api,
        "activities",
        start_date=START,
        lookback_window_days=0,
        end_date="2026-07-01T00:00:00Z",
        state=first.states("activities")[-1:],
    )

    assert ids(first) == ["a_1"]
    # Its own end is exclusive, too: the sync after it begins there again.
    assert [window["end"] for window in second.last_state("activities")[1]["slices"]] == ["2026-07-01T00:00:00.000Z"]


def test_given_many_records_without_a_moment_when_read_then_their_memory_is_bounded() -> None:
    kept = Seams()
    kept.expect(10_000, 2)
    rows = [{"id": f"a_{number}"} for number in range(70_000)]

    assert kept.read_before((1, 0, 10_000), rows, [""] * len(rows), Edges(0, 10_000)) == {}
    assert len(kept.read_before((2, 10_000, 20_000), rows, [""] * len(rows), Edges(10_000, 20_000))) == 2**16
