"""What happens in the middle of a window: refused cursors, parts that are kept, and changes before and after them."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus
from freezegun.api import FrozenDateTimeFactory

from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.faults import counts
from integration_tests.sandbox.messages import Answer, Call, iso
from integration_tests.sandbox.traits import Traits
from source_commonroom.api.rate_limit import forget_budgets
from unit_tests.conftest import Read
from unit_tests.output import Output
from unit_tests.test_nothing_pays import PATH, SPAN, Hiding, late
from unit_tests.test_seams import FROM, TRAITS, ids, rows_of, spread
from unit_tests.test_whole_lists import there

COMPLETE, INCOMPLETE = AirbyteStreamStatus.COMPLETE, AirbyteStreamStatus.INCOMPLETE
MS = timedelta(milliseconds=1)
Event = Callable[["Eventful"], Any]


class Eventful(Hiding):
    """Something happens just before the answer to a request of a number; the clock may tick with each of them."""

    tick = 0.0
    asked = 0

    def __init__(self, clock: FrozenDateTimeFactory, events: Mapping[int, Event], **more: Any) -> None:
        super().__init__(spread(1_500), PATH, {}, **more)
        self._clock, self._by_number = clock, events

    def answer(self, call: Call) -> Answer:
        self._clock.tick(self.tick)
        self.asked += 1
        event = self._by_number.get(self.asked)
        if event:
            event(self)
        return super().answer(call)


def deleting(record: str) -> Event:
    return lambda api: api.workspace.delete("activities", record)


def arriving(after: float) -> Event:
    return lambda api: late(9_999, after)(api.workspace)


def refusing(api: Eventful) -> None:
    api.expire_cursors()


def assert_that_it_is_whole_or_says_so(api: Api, output: Output) -> None:
    is_whole = there(api, "activities") <= set(ids(output))
    assert output.status("activities") == (COMPLETE if is_whole else INCOMPLETE)


@pytest.mark.parametrize("hidden", ["a_500", "a_1100", "a_1300", "a_1499"])
@pytest.mark.parametrize("at", [2, 3])
def test_given_a_row_withheld_in_a_later_part_and_one_that_arrived_in_an_earlier_one_then_it_is_incomplete(
    at: int, hidden: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Eventful(clock, {at: arriving(1_500 * at / 8)})
    api.tick, api.hidden = 2.0, frozenset({hidden})
    assert_that_it_is_whole_or_says_so(api, read(api, "activities", **SPAN))


@pytest.mark.parametrize("deletion", [5, 7, 8, 9])
@pytest.mark.parametrize("record", ["a_620", "a_1010", "a_1250"])
def test_given_an_arrival_in_an_earlier_part_and_a_deletion_in_a_later_one_then_what_was_skipped_comes(
    record: str, deletion: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Eventful(clock, {2: arriving(300.5), deletion: deleting(record)}, cursor_style="offset")
    api.tick = 2.0
    assert_that_it_is_whole_or_says_so(api, read(api, "activities", **SPAN))


@pytest.mark.parametrize("at", [(3, 4, 5), (3, 4, 6), (3, 5, 6), (4, 3, 6), (2, 3, 4)])
def test_given_a_deletion_an_arrival_and_a_refused_cursor_then_what_was_skipped_comes(
    at: tuple[int, int, int], read: Read, clock: FrozenDateTimeFactory
) -> None:
    events = dict(zip(at, (deleting("a_3"), arriving(1_400.5), refusing), strict=True))
    api = Eventful(clock, events, cursor_style="offset")
    assert_that_it_is_whole_or_says_so(api, read(api, "activities", **SPAN))


@pytest.mark.parametrize("at", [(3, 4, 5), (5, 6, 3), (6, 7, 3), (3, 6, 5)])
def test_given_the_same_and_a_row_withheld_then_it_is_incomplete(
    at: tuple[int, int, int], read: Read, clock: FrozenDateTimeFactory
) -> None:
    events = dict(zip(at, (deleting("a_3"), arriving(1_400.5), refusing), strict=True))
    api = Eventful(clock, events)
    api.hidden = frozenset({"a_1300"})
    assert_that_it_is_whole_or_says_so(api, read(api, "activities", **SPAN))


def test_given_a_row_withheld_and_a_deletion_and_an_arrival_in_the_second_reading_then_it_is_incomplete(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Eventful(clock, {13: deleting("a_3"), 14: arriving(1_400.5)})
    api.hidden = frozenset({"a_1300"})
    assert_that_it_is_whole_or_says_so(api, read(api, "activities", **SPAN))


@pytest.mark.parametrize("requests", [3, 4, 6])
@pytest.mark.parametrize("counted", [True, False])
def test_given_cursors_of_short_life_when_read_again_then_it_gets_there(
    requests: int, read: Read, clock: FrozenDateTimeFactory, *, counted: bool
) -> None:
    events = dict.fromkeys(range(0, 2000, requests), refusing)
    api = Eventful(clock, events, traits=Traits(uncounted=[] if counted else [PATH]))
    seen, state = set[str](), list[Any]()
    for _ in range(3):
        forget_budgets()
        output = read(api, "activities", **{**SPAN, "end_date": "2026-06-30T00:00:00Z"}, state=state)
        state, seen = output.states("activities")[-1:], seen | set(ids(output))
        if output.status("activities") == COMPLETE:
            break
    assert output.status("activities") == COMPLETE
    assert there(api, "activities") <= seen


@pytest.mark.parametrize("style", TRAITS)
def test_given_counts_that_fail_when_read_then_the_first_second_comes(style: str, read: Read) -> None:
    rows = rows_of(FROM + timedelta(days=3, milliseconds=350) + k * 100 * MS for k in range(300))
    api = Api(Workspace.of(activities=rows), traits=TRAITS[style])
    api.faults.add(Fault("status", status=504, path=PATH, when=counts))
    output = read(api, "activities", **SPAN)
    assert output.status("activities") == COMPLETE
    assert sorted(ids(output)) == sorted(row["id"] for row in rows)


@pytest.mark.parametrize("hidden", [None, "a_0", "a_700", "a_1499"])
@pytest.mark.parametrize("failing", [504, 500])
def test_given_pages_that_fail_with_a_count_and_are_served_without_when_read_then_they_are_counted_all_the_same(
    failing: int, hidden: str | None, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Eventful(clock, {})
    api.hidden = frozenset(filter(None, [hidden]))
    api.faults.add(Fault("status", status=failing, path=PATH, when=lambda call: counts(call) and call["limit"] != "1"))

    output = read(api, "activities", **SPAN)

    assert output.status("activities") == (INCOMPLETE if hidden else COMPLETE)
    assert_that_it_is_whole_or_says_so(api, output)
    assert not any("can't be compared" in text for text in output.warnings())


@pytest.mark.parametrize("style", TRAITS)
@pytest.mark.parametrize("step", [300, 900, 1_700])
def test_given_an_end_date_that_moves_on_by_little_when_read_again_then_nothing_lies_in_between(
    step: int, style: str, read: Read
) -> None:
    api = Api(Workspace.of(activities=rows_of(FROM + k * 100 * MS for k in range(150))), traits=TRAITS[style])
    seen, state = set[str](), list[Any]()
    for number in range(3):
        forget_budgets()
        end = iso(FROM + 2_500 * MS + number * step * MS)
        output = read(api, "activities", **SPAN, end_date=end, state=state)
        state, seen = output.states("activities")[-1:], seen | set(ids(output))
        assert output.status("activities") == COMPLETE
    assert {row["id"] for row in api.workspace.records("activities") if row["activityTime"] <= end} <= seen


@pytest.mark.parametrize("status", [500, 403])
@pytest.mark.parametrize("traits", [Traits(), Traits(exclusive_start=True, exclusive_end=True)], ids=str)
def test_given_an_outage_while_a_window_is_cut_then_no_state_covers_what_could_not_be_served(
    traits: Traits, status: int, read: Read
) -> None:
    class Down(Api):
        narrow = 0
        is_down = False

        def answer(self, call: Call) -> Answer:
            answer = super().answer(call)
            if answer.status == 500 and {"startDate", "endDate"} <= call.params.keys() and not self.is_down:
                low, high = (datetime.fromisoformat(call.params[name]) for name in ("startDate", "endDate"))
                self.narrow += high - low <= 2 * MS
            elif answer.status == 200 and self.narrow >= 2 and not self.is_down:
                self.is_down = True
                self.faults.add(Fault("status", status=status))
            return answer

    api = Down(spread(1_500), traits=traits)
    api.unservable = {"a_700", "a_701"}
    first = read(api, "activities", **SPAN)
    assert api.is_down
    api.faults.clear()
    api.unservable = set()
    second = read(api, "activities", **SPAN, state=first.states("activities")[-1:])
    assert second.status("activities") == COMPLETE
    assert there(api, "activities") <= {*ids(first), *ids(second)}


@pytest.mark.parametrize("after", [1_400.5, 1_499.5])
@pytest.mark.parametrize("leaves", ["checkpoint", "refused cursor"])
def test_given_a_skipped_row_and_an_arrival_where_a_walk_is_left_then_what_was_skipped_comes(
    leaves: str, after: float, read: Read, clock: FrozenDateTimeFactory
) -> None:
    arrives: Event = arriving(after)

    def refuses_and_arrives(api: Eventful) -> None:
        refusing(api)
        # With the request that follows the one that is refused.
        events[api.asked + 1] = arrives

    events: dict[int, Event] = {2: deleting("a_3"), 3: arrives if leaves == "checkpoint" else refuses_and_arrives}
    api = Eventful(clock, events, cursor_style="offset")
    api.tick = 2.0 if leaves == "checkpoint" else 0.0

    output = read(api, "activities", **SPAN)

    assert output.status("activities") == COMPLETE
    assert there(api, "activities") <= set(ids(output))


@pytest.mark.parametrize("arrives", [9, 10, 11, 13])
@pytest.mark.parametrize("deleted", range(10, 20))
def test_given_a_row_withheld_and_a_deletion_and_an_arrival_beside_the_pages_of_a_reading_then_it_is_incomplete(
    arrives: int, deleted: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    # Both at once leave each count as it was.
    when = deleted + 1 if deleted == arrives else deleted
    api = Eventful(clock, {when: deleting("a_3"), arrives: arriving(1_400.5)})
    api.hidden = frozenset({"a_1300"})

    output = read(api, "activities", **SPAN)

    assert_that_it_is_whole_or_says_so(api, output)
