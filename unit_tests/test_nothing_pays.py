"""What changed meanwhile pays for nothing: neither an arrival nor a deletion stands for a record that is missing."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson
import pytest
from airbyte_cdk.models import AirbyteStreamStatus
from freezegun.api import FrozenDateTimeFactory

from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.messages import Answer, Call, iso
from integration_tests.sandbox.traits import Traits
from unit_tests.conftest import Read
from unit_tests.test_seams import FROM, START, TRAITS, LosesAtSeams, activity, apart, ids, rows_of, seams, spread
from unit_tests.test_whole_lists import PATHS, Eventful, creating, row, there

PATH = "/v2/activities"
SPAN: dict[str, Any] = {"start_date": START, "lookback_window_days": 0, "num_workers": 2}
MINUTES = timedelta(minutes=4)
COMPLETE, INCOMPLETE = AirbyteStreamStatus.COMPLETE, AirbyteStreamStatus.INCOMPLETE


def late(number: int, after: float) -> Callable[[Workspace], None]:
    return lambda workspace: workspace.insert("activities", activity(number, iso(FROM + MINUTES * after)))


class Hiding(Eventful):
    """Counts some rows, and never serves them."""

    hidden: frozenset[str] = frozenset()

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if answer.status != 200 or not self.hidden:
            return answer
        page = orjson.loads(answer.body)
        page["data"] = [row for row in page["data"] if row["id"] not in self.hidden]
        return replace(answer, body=orjson.dumps(page))


class Losing(LosesAtSeams):
    """The same between windows, a row besides, and answers of another kind."""

    hidden: frozenset[str] = frozenset()
    instead: Callable[[Mapping[str, str], Answer], Answer | None] = staticmethod(lambda *_: None)

    def answer(self, call: Call) -> Answer:
        if "endDate" not in call.params:
            return Api.answer(self, call)
        answer = super().answer(call)
        page = orjson.loads(answer.body)
        page["data"] = [row for row in page["data"] if row["id"] not in self.hidden]
        return self.instead(call.params, answer) or replace(answer, body=orjson.dumps(page))


class At(Api):
    """Changes the workspace once so many requests were answered, and fails at counts with a page of one."""

    def __init__(self, workspace: Workspace, events: Mapping[int, Callable[[Workspace], Any]], status: int = 0) -> None:
        super().__init__(workspace)
        self._events, self._status = dict(events), status

    def answer(self, call: Call) -> Answer:
        for number in [number for number in self._events if len(self.log.requests) >= number]:
            self._events.pop(number)(self.workspace)
        answer = super().answer(call)
        return Answer(self._status, body=b"{}") if self._status and call.params.get("limit") == "1" else answer


def test_given_a_row_withheld_and_one_that_arrives_late_in_one_window_then_it_is_incomplete(read: Read) -> None:
    api = Hiding(spread(1_500), PATH, {3: late(9_999, 1_400.5)})
    api.hidden = frozenset({"a_100"})
    assert read(api, "activities", **SPAN).status("activities") == INCOMPLETE


def test_given_the_same_in_a_window_that_is_kept_in_parts_then_no_state_covers_it(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    class Slow(Hiding):
        def answer(self, call: Call) -> Answer:
            clock.tick(2.0)
            return super().answer(call)

    api = Slow(spread(1_500), PATH, {1: late(9_999, 1_400.5)})
    api.hidden = frozenset({"a_100"})
    api.faults.add(Fault("status", status=500, after=6, path=PATH))
    first = read(api, "activities", **SPAN)
    api.faults.clear()
    api.hidden = frozenset()
    second = read(api, "activities", **SPAN, state=first.states("activities")[-1:])
    assert there(api, "activities") <= {*ids(first), *ids(second)}


@pytest.mark.parametrize("how", ["another window fails", "a window is cut"])
def test_given_rows_lost_between_windows_and_a_window_that_is_not_whole_then_they_come_all_the_same(
    how: str, read: Read
) -> None:
    api = Losing(spread(), lost=3)
    if how == "another window fails":
        api.hidden = frozenset({"a_8000"})
    else:
        api.instead = lambda _, answer: Answer(500, body=b"{}") if b'"a_3000"' in answer.body else None
    first = read(api, "activities", **SPAN)
    state = first.states("activities")[-1:]
    api.hidden, api.instead, api.most = frozenset(), lambda *_: None, 0

    second = read(api, "activities", **SPAN, state=state)

    assert first.status("activities") == INCOMPLETE
    assert second.status("activities") == COMPLETE
    assert there(api, "activities") <= {*ids(first), *ids(second)}


def test_given_a_token_that_is_refused_at_the_last_count_then_no_state_covers_where_windows_meet(read: Read) -> None:
    api = Losing(spread(), lost=0)
    api.instead = lambda params, _: Answer(403, body=b"{}") if params["limit"] == "1" else None

    output = read(api, "activities", **SPAN)

    assert output.status("activities") == INCOMPLETE
    spans = output.last_state("activities")[1]["slices"]
    holes = [(before["end"], after["start"]) for before, after in pairwise(spans)]
    assert len(holes) == len(seams(api))
    # As far from there as the API's resolution may reach, and no further.
    widths = [datetime.fromisoformat(after) - datetime.fromisoformat(before) for before, after in holes]
    assert all(timedelta(seconds=2) < width < timedelta(seconds=3) for width in widths)


@pytest.mark.parametrize("stream", ["website_visits", "topics"])
def test_given_a_row_withheld_and_one_created_in_a_list_not_sorted_by_id_then_it_is_incomplete(
    stream: str, read: Read
) -> None:
    rows = [row(stream, number) for number in range(1, 1_400) if number != 1_300]
    api = Hiding(Workspace.of(**{stream: rows}), PATHS[stream], {2: creating(stream, 1_300)})
    api.hidden = frozenset({row(stream, 300)["id"]})
    assert read(api, stream).status(stream) == INCOMPLETE


def test_given_late_arrivals_while_two_windows_are_read_as_one_then_they_do_not_stand_for_what_is_missing(
    read: Read,
) -> None:
    api = LosesAtSeams(spread(), lost=3, whole=False)
    done: list[int] = []

    def arrive(call: Call) -> None:
        params = call.params
        is_again = any(request.params.get("limit") == "1" for request in api.log.requests) and "cursor" in params
        if is_again and params["startDate"] < "2026-06-01" and params["endDate"] > "2026-06-10" and not done:
            done.append(1)
            for number in range(3):
                late(20_000 + number, 2_880.3 + number / 60)(api.workspace)

    api.before = arrive
    output = read(api, "activities", **SPAN)
    assert done
    assert output.status("activities") == INCOMPLETE


def test_given_one_deletion_and_ten_late_arrivals_then_what_came_does_not_come_again(read: Read) -> None:
    api = At(
        Workspace.of(activities=apart(timedelta(seconds=80), 30_000)),
        {
            20: lambda workspace: workspace.delete("activities", "a_29900"),
            130: lambda workspace: [late(100_000 + k, 300.01 + 450 * k)(workspace) for k in range(10)],
        },
    )
    output = read(api, "activities", start_date=START)
    assert sum(count > 1 for count in Counter(ids(output)).values()) <= 200


@pytest.mark.parametrize("status", [504, 400])
def test_given_one_deletion_and_a_count_that_fails_at_the_end_then_what_was_read_is_kept(
    status: int, read: Read
) -> None:
    rows = apart(timedelta(seconds=80), 30_000)
    api = At(Workspace.of(activities=rows), {5: lambda workspace: workspace.delete("activities", "a_29000")}, status)
    output = read(api, "activities", **SPAN)
    assert output.last_state("activities")[1]["slices"]


def test_given_one_deletion_then_the_sum_costs_little(read: Read) -> None:
    rows = apart(timedelta(seconds=80), 30_000)
    api = At(Workspace.of(activities=rows), {100: lambda workspace: workspace.delete("activities", "a_10")})
    read(api, "activities", start_date=START)
    counts = sum(request.params.get("limit") == "1" for request in api.log.requests)
    assert counts <= 25, counts


def test_given_cursors_by_key_and_a_deletion_behind_the_walk_then_no_window_is_read_twice(read: Read) -> None:
    api = Eventful(spread(1_500), PATH, {2: lambda workspace: workspace.delete("activities", "a_3")})
    read(api, "activities", start_date=START)
    assert len(api.log.requests) <= 11, len(api.log.requests)


def test_given_a_refused_cursor_and_an_arrival_behind_it_then_it_does_not_stand_for_a_row_withheld(read: Read) -> None:
    class Refusing(Hiding):
        asked = 0

        def answer(self, call: Call) -> Answer:
            self.asked += 1
            if self.asked == 4:
                self.expire_cursors()
            if self.asked == 6:
                late(9_999, 1_400.5)(self.workspace)
            return super().answer(call)

    api = Refusing(spread(1_500), PATH, {})
    api.hidden = frozenset({"a_100"})
    assert read(api, "activities", **SPAN).status("activities") == INCOMPLETE


def test_given_cursors_by_offset_and_changes_around_a_refused_one_then_none_is_skipped(read: Read) -> None:
    class Refusing(Api):
        asked = 0

        def answer(self, call: Call) -> Answer:
            self.asked += 1
            if self.asked == 3:
                self.expire_cursors()
            if self.asked == 6:
                self.workspace.delete("activities", "a_450")
            if self.asked == 8:
                late(9_999, 1_400.5)(self.workspace)
            return super().answer(call)

    api = Refusing(spread(1_500), cursor_style="offset")
    output = read(api, "activities", **SPAN)
    assert there(api, "activities") <= set(ids(output))


def test_given_a_deletion_where_two_windows_meet_then_neither_is_read_again(read: Read) -> None:
    rows = apart(timedelta(seconds=80), 30_000)
    first = Api(Workspace.of(activities=rows))
    read(first, "activities", start_date=START, lookback_window_days=0)
    meet = {iso(seam) for seam in seams(first)}
    (gone, *_) = [row["id"] for row in rows if row["activityTime"] in meet]
    api = At(Workspace.of(activities=rows), {150: lambda workspace: workspace.delete("activities", gone)})

    output = read(api, "activities", start_date=START, lookback_window_days=0)

    assert max(Counter(ids(output)).values()) == 1
    assert not any("searched for" in text for text in output.warnings())


@pytest.mark.parametrize("gap", [137, 300, 500])
@pytest.mark.parametrize("traits", ["seconds", "seconds, exclusive", "whole seconds", "whole seconds, exclusive"])
def test_given_seconds_and_a_row_withheld_in_a_window_kept_in_parts_then_no_state_covers_it(
    traits: str, gap: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    class Slow(Hiding):
        def answer(self, call: Call) -> Answer:
            clock.tick(2.0)
            return super().answer(call)

    rows = apart(timedelta(milliseconds=gap), 1_500)
    api = Slow(Workspace.of(activities=rows), PATH, {}, traits=TRAITS[traits])
    # The last one that comes before a checkpoint, and another one.
    api.hidden = frozenset({"a_100", "a_401"})
    api.faults.add(Fault("status", status=500, after=6, path=PATH))
    first = read(api, "activities", **SPAN)
    api.faults.clear()
    api.hidden = frozenset()
    second = read(api, "activities", **SPAN, state=first.states("activities")[-1:])
    assert second.status("activities") == COMPLETE
    assert there(api, "activities") <= {*ids(first), *ids(second)}


@pytest.mark.parametrize(("gap", "at_once"), [(137, 1), (1_000, 1), (1_000, 3), (240_000, 1), (3_600_000, 30)])
@pytest.mark.parametrize(
    "traits", ["as documented", "seconds", "seconds, exclusive end", "whole seconds", "whole seconds, exclusive"]
)
@pytest.mark.parametrize("counted", [True, False])
def test_given_windows_kept_in_parts_then_each_row_comes_once_and_before_the_state_that_covers_it(
    traits: str, gap: int, at_once: int, read: Read, clock: FrozenDateTimeFactory, *, counted: bool
) -> None:
    class Slow(Eventful):
        def answer(self, call: Call) -> Answer:
            clock.tick(2.0)
            return super().answer(call)

    rows = rows_of(FROM + k // at_once * timedelta(milliseconds=gap) for k in range(1_500))
    uncounted = replace(TRAITS[traits], uncounted=[] if counted else [PATH])
    api = Slow(Workspace.of(activities=rows), PATH, {}, traits=uncounted)
    output = read(api, "activities", **SPAN)
    assert output.status("activities") == COMPLETE
    assert Counter(ids(output)) == Counter(there(api, "activities"))
    # In parts, indeed.
    assert len(output.states("activities")) > 3
    came = set[str]()
    for message in output.messages:
        if message.record:
            came.add(message.record.data["id"])
        if message.state and message.state.stream:
            state = vars(message.state.stream.stream_state)
            for span in state["slices"]:
                covered = {row["id"] for row in rows if span["start"] <= row["activityTime"] <= span["end"]}
                assert covered <= came


def test_given_no_count_a_deletion_and_then_a_refused_cursor_then_what_was_skipped_comes(read: Read) -> None:
    class Refusing(Api):
        pages = 0

        def answer(self, call: Call) -> Answer:
            if "cursor" in call.params:
                self.pages += 1
                if self.pages == 2:
                    self.workspace.delete("activities", "a_3")
                if self.pages == 4:
                    self.expire_cursors()
            return super().answer(call)

    api = Refusing(spread(1_300), cursor_style="offset", traits=Traits(uncounted=[PATH]))
    output = read(api, "activities", **SPAN)
    assert output.status("activities") == COMPLETE
    assert there(api, "activities") <= set(ids(output))


@pytest.mark.parametrize("counted", [True, False])
def test_given_seconds_exclusive_bounds_and_a_refused_cursor_then_the_rest_of_the_second_comes(
    read: Read, *, counted: bool
) -> None:
    class Refusing(Api):
        pages = 0

        def answer(self, call: Call) -> Answer:
            if "cursor" in call.params:
                self.pages += 1
                if self.pages in {4, 7}:
                    self.expire_cursors()
            return super().answer(call)

    rows = apart(timedelta(milliseconds=137), 1_500)
    traits = replace(TRAITS["whole seconds, exclusive"], uncounted=[] if counted else [PATH])
    api = Refusing(Workspace.of(activities=rows), traits=traits)
    output = read(api, "activities", **SPAN)
    assert output.status("activities") == COMPLETE
    assert Counter(ids(output)) == Counter(there(api, "activities"))
