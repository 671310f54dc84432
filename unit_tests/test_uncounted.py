"""Windows whose count is refused, fails, or comes of another answer than their first page."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from airbyte_cdk.models import AirbyteStreamStatus
from freezegun.api import FrozenDateTimeFactory

from integration_tests.sandbox import Fault
from integration_tests.sandbox.faults import counts, counts_longer_than
from integration_tests.sandbox.messages import Answer, Call, iso
from source_commonroom.api.rate_limit import forget_budgets
from unit_tests.conftest import Read
from unit_tests.test_meanwhile import Eventful, arriving, deleting
from unit_tests.test_nothing_pays import PATH, SPAN, late
from unit_tests.test_seams import FROM, ids, spread
from unit_tests.test_whole_lists import there

COMPLETE, INCOMPLETE = AirbyteStreamStatus.COMPLETE, AirbyteStreamStatus.INCOMPLETE


class Uncounting(Eventful):
    """Leaves the count out of some answers."""

    left_out = 0
    of: Callable[[Mapping[str, str]], bool] = staticmethod(lambda _params: False)
    happens: Callable[[Call], None] = staticmethod(lambda _call: None)

    def answer(self, call: Call) -> Answer:
        self.happens(call)
        answer = super().answer(call)
        if (
            answer.status == 200
            and self.left_out
            and call.path == PATH
            and self.of(call.params)
            and counts(call.params)
        ):
            self.left_out -= 1
            page = orjson.loads(answer.body)
            del page["meta"]["recordCount"]
            return replace(answer, body=orjson.dumps(page))
        return answer


def of_several_windows(clock: FrozenDateTimeFactory, **more: Any) -> tuple[Uncounting, list[str]]:
    """Serve 5,000 activities; return their moments, too."""
    api = Uncounting(clock, {}, **more)
    for row in spread(5_000).records("activities")[1_500:]:
        api.workspace.insert("activities", row)
    return api, sorted(row["activityTime"] for row in api.workspace.records("activities"))


def counts_the_last(moments: list[str]) -> Callable[[Mapping[str, str]], bool]:
    return lambda params: counts(params) and params["startDate"] >= moments[100] and params["endDate"] > moments[-1]


def assert_that_the_next_sync_brings_what_is_missing(api: Eventful, read: Read) -> None:
    """Read, let the API serve all that it has, and read again."""
    first = read(api, "activities", **SPAN)
    api.hidden, api.unservable = frozenset(), set()
    forget_budgets()
    second = read(api, "activities", **SPAN, state=first.states("activities")[-1:])

    assert {*ids(first), *ids(second)} == there(api, "activities")
    assert (first.status("activities"), second.status("activities")) == (INCOMPLETE, COMPLETE)


@pytest.mark.parametrize("why", ["fails", "is refused", "is left out"])
def test_given_a_window_whose_count_fails_for_a_while_and_a_row_of_it_withheld_then_it_is_incomplete(
    why: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api, moments = of_several_windows(clock)
    api.hidden = frozenset({"a_4990"})

    is_last = counts_the_last(moments)
    api.of = is_last
    api.left_out = int(why == "is left out")
    if why == "fails":
        api.faults.add(Fault("status", status=504, path=PATH, when=is_last, times=12))
    if why == "is refused":
        api.faults.add(Fault("bad_request_400", path=PATH, when=is_last, times=1))

    output = read(api, "activities", **SPAN)

    assert len(set(ids(output))) == 4_999
    assert output.status("activities") == INCOMPLETE


@pytest.mark.parametrize("page", range(1, 8))
def test_given_a_deletion_in_a_window_whose_count_is_refused_then_what_was_skipped_comes(
    page: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api, moments = of_several_windows(clock, cursor_style="offset")

    def is_last(params: Mapping[str, str]) -> bool:
        return params.get("startDate", "") > moments[3_000] and params["endDate"] > moments[-1]

    api.faults.add(
        Fault("bad_request_400", path=PATH, when=lambda p: counts(p) and is_last(p) and "cursor" not in p, times=1)
    )
    pages = 0

    def delete_once(call: Call) -> None:
        nonlocal pages
        if call.path == PATH and is_last(call.params) and "cursor" in call.params and call.params["limit"] != "1":
            pages += 1
            if pages == page:
                api.workspace.delete("activities", "a_3700")

    api.happens = delete_once

    output = read(api, "activities", **{**SPAN, "num_workers": 2})

    assert there(api, "activities") <= set(ids(output))
    assert output.status("activities") == COMPLETE


@pytest.mark.parametrize("at", range(12, 17))
def test_given_a_single_page_that_is_counted_apart_a_row_withheld_and_an_arrival_then_it_is_incomplete(
    at: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Eventful(clock, {at: arriving(50.5)})
    api.hidden = frozenset({"a_30"})
    api.faults.add(Fault("status", status=500, path=PATH, when=lambda p: counts(p) and p["limit"] != "1"))

    output = read(api, "activities", **SPAN, end_date=iso(FROM + timedelta(minutes=4) * 100))

    assert output.status("activities") == INCOMPLETE


@pytest.mark.parametrize("at", range(13, 19))
def test_given_a_window_that_is_counted_apart_a_row_withheld_and_an_arrival_then_no_state_covers_the_row(
    at: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Eventful(clock, {at: arriving(1_400.5)})
    api.tick = 2.0
    api.hidden = frozenset({"a_100"})
    api.faults.add(Fault("status", status=500, path=PATH, when=lambda p: counts(p) and p["limit"] != "1", times=8))
    span = {**SPAN, "end_date": "2026-06-06T00:00:00Z"}

    first = read(api, "activities", **span)
    api.hidden = frozenset()
    forget_budgets()
    second = read(api, "activities", **span, state=first.states("activities")[-1:])

    assert "a_100" in {*ids(first), *ids(second)}
    assert second.status("activities") == COMPLETE


@pytest.mark.parametrize("times", [3, 4, 5])
def test_given_an_outage_of_a_few_requests_and_a_row_withheld_then_it_is_counted_and_incomplete(
    times: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Eventful(clock, {})
    api.hidden = frozenset({"a_30"})
    api.faults.add(Fault("status", status=500, path=PATH, times=times))

    output = read(api, "activities", **SPAN, end_date=iso(FROM + timedelta(minutes=4) * 300))

    assert output.status("activities") == INCOMPLETE


@pytest.mark.parametrize("end", ["2026-06-03T00:00:20Z", "2026-06-05T00:00:00Z"])
def test_given_a_gap_of_milliseconds_that_cannot_be_counted_then_the_next_one_is_planned_as_ever(
    end: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Eventful(clock, {})
    state = read(api, "activities", **{**SPAN, "end_date": "2026-06-03T00:00:00Z"}).states("activities")[-1:]
    assert state[0].stream
    content = vars(state[0].stream.stream_state)
    content["slices"] = [
        {"start": "2026-06-01T00:00:00.000Z", "end": "2026-06-02T00:00:00.000Z"},
        {"start": "2026-06-02T00:00:00.002Z", "end": "2026-06-03T00:00:00.000Z"},
    ]
    content["in_progress"], content["lookback_from"] = True, "2026-06-03T00:00:00.000Z"
    forget_budgets()
    before = len(api.log.of(PATH))
    api.faults.add(Fault("status", status=500, path=PATH, when=counts, times=3))

    output = read(api, "activities", **{**SPAN, "end_date": end}, state=state)

    assert output.status("activities") == COMPLETE
    assert len(api.log.of(PATH)) - before <= 30


@pytest.mark.parametrize("hidden", ["a_3900", "a_4500", "a_4850"])
@pytest.mark.parametrize("failures", [3, 12])
def test_given_a_row_withheld_in_a_window_that_is_not_counted_and_is_cut_then_no_state_covers_the_row(
    failures: int, hidden: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api, moments = of_several_windows(clock)
    api.hidden, api.unservable = frozenset({hidden}), {"a_4700"}
    api.faults.add(Fault("status", status=504, path=PATH, when=counts_the_last(moments), times=failures))

    assert_that_the_next_sync_brings_what_is_missing(api, read)


@pytest.mark.parametrize("hidden", ["a_3900", "a_4500", "a_4850"])
def test_given_a_row_withheld_in_a_window_that_is_not_counted_and_takes_minutes_then_no_state_covers_the_row(
    hidden: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api, moments = of_several_windows(clock)
    api.hidden, api.tick = frozenset({hidden}), 5.0
    api.faults.add(Fault("bad_request_400", path=PATH, when=counts_the_last(moments), times=1))

    assert_that_the_next_sync_brings_what_is_missing(api, read)


def test_given_a_window_that_is_cut_and_no_part_can_be_counted_then_a_warning_names_each_part(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    api, moments = of_several_windows(clock)
    api.unservable = {"a_4700"}
    api.faults.add(
        Fault("status", status=504, path=PATH, when=lambda p: counts(p) and p["startDate"] >= moments[3_000])
    )

    output = read(api, "activities", **SPAN)

    assert set(ids(output)) == there(api, "activities") - {"a_4700"}
    warned = [line for line in output.warnings() if "compared with a count this time" in line]
    assert any("endDate 2026-07-01T00:00:00.000Z" in line for line in warned)
    assert any("startDate 2026-06-13" in line for line in warned)


@pytest.mark.parametrize("times", [4, 5, 6, 8])
def test_given_a_count_of_the_whole_that_fails_for_a_while_and_the_first_rows_withheld_then_it_is_incomplete(
    times: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Eventful(clock, {})
    api.hidden = frozenset({"a_0", "a_1"})
    api.faults.add(Fault("status", status=504, path=PATH, when=counts, times=times))

    assert_that_the_next_sync_brings_what_is_missing(api, read)


def test_given_counts_of_long_spans_that_fail_and_the_first_rows_withheld_then_a_warning_names_the_span(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Eventful(clock, {})
    api.hidden = frozenset({"a_0", "a_1500"})
    late(1_500, -1_000_000)(api.workspace)
    api.faults.add(Fault("status", status=504, path=PATH, when=counts_longer_than(5)))

    output = read(api, "activities", **{**SPAN, "start_date": "2019-01-01T00:00:00Z"})

    assert any("startDate 2018-12-31T23:59:59.999Z" in line for line in output.warnings())


class CountedApart(Eventful):
    """Serves no page together with a count; one row arrives after the count, and one is deleted after the page."""

    alone = 0
    """How many counts were answered: one to the planner, one to the reader."""
    is_paged = False
    """Whether the page was answered that follows them."""

    def answer(self, call: Call) -> Answer:
        alone = call.params["limit"] == "1"
        is_count = counts(call.params) and alone
        if self.alone == 2 and not self.is_paged and not alone:
            self.is_paged = True
            arriving(50.5)(self)
        elif self.is_paged and is_count and self.alone == 2:
            deleting("a_10")(self)
        answer = super().answer(call)
        self.alone += is_count and answer.status == 200
        return answer


@pytest.mark.parametrize("rows", [100, 190, 450, 900])
@pytest.mark.parametrize("style", ["keyset", "offset"])
def test_given_a_window_that_is_counted_apart_a_row_withheld_an_arrival_and_a_deletion_then_it_is_incomplete(
    style: str, rows: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = CountedApart(clock, {}, cursor_style=style)
    api.hidden = frozenset({"a_30"})
    api.faults.add(Fault("status", status=500, path=PATH, when=lambda p: counts(p) and p["limit"] != "1"))

    output = read(api, "activities", **SPAN, end_date=iso(FROM + timedelta(minutes=4) * rows))

    assert api.is_paged
    assert output.status("activities") == INCOMPLETE
