"""The audit: the next sync reads what arrived late, at any age, and says what is gone."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf, nan
from random import Random
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStateMessage, AirbyteStreamStatus
from freezegun.api import FrozenDateTimeFactory

from integration_tests.chaos.warehouse import records_until_state
from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.faults import counts, counts_longer_than
from integration_tests.sandbox.messages import Answer, Call, iso, iso_stored
from integration_tests.sandbox.traits import Traits
from source_commonroom.activities import audit, slices
from source_commonroom.activities.ledger import entries_of
from source_commonroom.api.rate_limit import forget_budgets
from unit_tests.conftest import NOW, Read
from unit_tests.output import Output
from unit_tests.test_seams import TRAITS, activity, ids
from unit_tests.test_state import state_of

PATH = "/v2/activities"
COMPLETE, INCOMPLETE = AirbyteStreamStatus.COMPLETE, AirbyteStreamStatus.INCOMPLETE
NOW_AT = datetime.fromisoformat(NOW)
DAY = timedelta(days=1)
YEAR = 365 * DAY
LAST = NOW_AT - 5 * DAY
"""When the last activity of a history was: before the lookback window."""
OLDEST = 15 * YEAR
SYNCS = 100


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let windows be of some twenty activities, so that few make many spans."""
    monkeypatch.setattr(slices, "_SMALLEST", 1)
    monkeypatch.setattr(slices, "_LARGEST", 1)
    monkeypatch.setattr(slices, "_PAGE", 20)
    monkeypatch.setattr(audit, "_FEWEST", 100)


def history(number: int = 500, days: float = 600, **more: Any) -> Api:
    """Serve so many activities, spread over the days before the last of them."""
    rng = Random(5)
    times = sorted(LAST - timedelta(days=days) * rng.random() for _ in range(number))
    return Api(Workspace.of(activities=[activity(place, iso(time)) for place, time in enumerate(times)]), **more)


class Syncs:
    """Syncs of activities, each from the state that the one before left, a day later."""

    def __init__(self, read: Read, api: Api, clock: FrozenDateTimeFactory, **config: Any) -> None:
        self._read, self.api, self._clock, self._config = read, api, clock, config
        self.state: list[AirbyteStateMessage] = []
        self.held: set[str] = set()
        """The ids of the activities that a destination holds."""
        self._number = 100_000

    def __call__(
        self, *faults: Fault, after: timedelta = DAY, before_its_last_state: bool = False, **config: Any
    ) -> Output:
        """Sync, while some faults strike; each state has a ledger that the next sync can read.

        :param before_its_last_state: whether what follows the last state doesn't arrive
        """
        forget_budgets()
        self._clock.tick(after)
        self.api.log.clear()
        for fault in faults:
            self.api.faults.add(fault)
        output = self._read(self.api, "activities", state=self.state, **{**self._config, **config})
        self.api.faults.clear()
        rows = records_until_state(output, "activities") if before_its_last_state else output.records("activities")
        self.held |= {row["id"] for row in rows}
        for content in states_of(output):
            entries_of(content.get("ledger", []))
        self.state = output.states("activities")[-1:] or self.state
        return output

    @property
    def content(self) -> dict[str, Any]:
        assert self.state[0].stream
        return vars(self.state[0].stream.stream_state)

    def change_state(self, **content: Any) -> None:
        """Replace what a state holds; None for what it is to lack."""
        changed = {**self.content, **content}
        self.state = [state_of({name: value for name, value in changed.items() if value is not None})]

    def add(self, age: timedelta) -> str:
        """Let an activity arrive that is so old now."""
        self._number += 1
        self.api.workspace.insert("activities", activity(self._number, iso(datetime.now(UTC) - age)))
        return f"a_{self._number}"

    def missing(self) -> set[str]:
        """Name the activities that the destination hasn't got."""
        return {row["id"] for row in self.api.workspace.records("activities")} - self.held


def deleted(api: Api, *numbers: int) -> None:
    for number in numbers:
        api.workspace.delete("activities", f"a_{number}")


def asked(api: Api) -> int:
    return len(api.log.of(PATH))


def said(output: Output, text: str) -> list[str]:
    return [line for line in output.lines() if text in line]


def states_of(output: Output) -> list[dict[str, Any]]:
    return [vars(state.stream.stream_state) for state in output.states("activities") if state.stream]


def total(ledger: list[list[Any]]) -> int:
    """Tell how many activities entries hold that meet."""
    held: int = sum(entry[2] for entry in ledger) - sum(sum(entry[4:5]) for entry in ledger)
    return held


def test_given_a_complete_sync_when_read_then_its_ledger_covers_all_and_holds_what_was_received(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)

    sync()

    ledger = sync.content["ledger"]
    assert ledger[0][0] == "1970-01-01T00:00:00.000Z"
    assert [span[1] for span in ledger[:-1]] == [span[0] for span in ledger[1:]]
    assert ledger[-1][1] == sync.content["slices"][-1]["end"]
    assert total(ledger) == 500
    assert len(ledger) > 10


def test_given_arrivals_of_any_age_when_read_again_then_they_come_and_little_else(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    recent, old = sync.add(201 * DAY), sync.add(14 * YEAR)

    second, requests = sync(), asked(sync.api)
    third = sync()

    assert {recent, old} <= set(ids(second))
    assert len(ids(second)) <= 0.35 * 500
    assert second.status("activities") == COMPLETE
    assert requests <= 40
    (line,) = said(second, "compared with the API's counts")
    assert "2 of them differ: the API counts 2 activities more than were received." in line
    assert not second.warnings()
    assert ids(third) == []
    assert asked(sync.api) <= 12
    assert said(third, "The API counts what was received")
    assert not sync.missing()


@pytest.mark.parametrize("age", [timedelta(minutes=1), 3 * DAY, 30 * DAY, 15 * YEAR], ids=str)
@pytest.mark.parametrize("lookback", [0, 3, 30])
def test_given_an_arrival_when_read_again_then_it_comes_whatever_the_lookback_is(
    age: timedelta, lookback: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(200), clock, lookback_window_days=lookback)
    sync()
    late = sync.add(age)

    output = sync(after=timedelta(hours=1))

    assert late in ids(output)


def test_given_deletions_when_read_again_then_it_is_complete_and_a_warning_names_number_and_span(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    times = {row["id"]: row["activityTime"] for row in sync.api.workspace.records("activities")}
    deleted(sync.api, 301, 302, 303)

    second, third = sync(), sync()

    assert second.status("activities") == COMPLETE
    (warning,) = second.warnings()
    assert "the API no longer lists 3 of the activities from" in warning
    assert "until the stream is refreshed" in warning
    low, _, high = warning.split(" from ")[1].split(". ")[0].partition(" to ")
    assert low <= times["a_301"] <= times["a_303"] <= high
    assert third.warnings() == []
    assert ids(third) == []


def test_given_deletions_in_many_spans_when_read_again_then_the_warning_names_them_all(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    times = {row["id"]: row["activityTime"] for row in sync.api.workspace.records("activities")}
    gone = range(5, 400, 50)
    deleted(sync.api, *gone)

    (warning,) = sync().warnings()

    assert "the API no longer lists 8 of the activities" in warning
    spans = [span.split(" to ") for span in warning.split(" from ")[1].split(". ")[0].split(", ")]
    assert all(any(low <= times[f"a_{number}"] <= high for low, high in spans) for number in gone)
    assert len(spans) > 5


def test_given_an_import_when_read_again_then_all_of_it_comes_with_few_requests_more_than_its_pages(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    rng = Random(7)
    for _ in range(150):
        sync.add(6 * DAY + rng.random() * 200 * DAY)

    second = sync()

    pages = -(-len(ids(second)) // 20)
    assert not sync.missing()
    assert asked(sync.api) <= 1.3 * pages + 40
    assert len(ids(second)) <= 500


@pytest.mark.parametrize("style", TRAITS)
def test_given_bounds_and_a_resolution_of_any_kind_and_syncs_that_meet_amid_activities_then_the_numbers_fit(
    style: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    traits, rng = TRAITS[style], Random(style)
    write = iso_stored if traits.stored_finer else iso
    api = Api(Workspace.of(activities=[]), traits=traits)
    sync = Syncs(read, api, clock, lookback_window_days=0, start_date="2026-06-30T00:00:00Z")
    time, number, late = NOW_AT - timedelta(minutes=4), 0, "a_99999"
    for round_ in range(5):
        now = datetime.now(UTC) + timedelta(seconds=67.3)
        while time < now:
            api.workspace.insert("activities", activity(number, write(time)))
            number, time = number + 1, time + timedelta(seconds=2 * rng.random())
        if round_ == 4:
            api.workspace.insert("activities", activity(99_999, write(NOW_AT - timedelta(minutes=2))))
        output = sync(after=timedelta(seconds=67.3))
        assert output.warnings() == []
        # If the API cuts times to a second, the last second of a sync goes on, and its span is read again.
        assert bool(said(output, "of them differ")) == (round_ == 4) or traits.coarse_times

    assert late in ids(output)
    # What arrived after the second in which the last sync began isn't due yet.
    assert all(
        row["activityTime"] >= "2026-07-01T00:05:36"
        for row in api.workspace.records("activities")
        if row["id"] in sync.missing()
    )


def test_given_additions_and_deletions_in_two_spans_that_cancel_each_other_then_they_are_found_in_eight_syncs(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    late = [sync.add(200 * DAY) for _ in range(3)]
    deleted(sync.api, 10, 11, 12)
    outputs = [sync(after=timedelta(hours=1)) for _ in range(8)]

    assert set(late) <= sync.held
    assert any("no longer lists 3 of the activities" in text for output in outputs for text in output.warnings())
    assert not set(late) & set(ids(outputs[0]))


def test_given_a_turn_when_read_eight_times_then_each_span_has_been_counted_alone(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    counted: set[str] = set()
    for _ in range(8):
        sync(after=timedelta(minutes=1))
        counted |= {request.params["endDate"] for request in sync.api.log.counts(PATH)}

    ends = [end for _, end, *_ in sync.content["ledger"]]
    assert set(ends[:18]) <= counted


def test_given_an_arrival_where_neither_of_two_spans_returns_it_when_read_again_then_it_is_found(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    # Dates are compared by ten seconds, so that what lies at the beginning of those in which two spans meet is in none.
    coarse = Traits(date_resolution=timedelta(seconds=10), exclusive_start=True, exclusive_end=True)
    sync = Syncs(read, history(traits=coarse), clock)
    sync()
    meet = [datetime.fromisoformat(low) for low, *_ in sync.content["ledger"][3:9:2]]
    for number, seam in enumerate(meet):
        time = seam.replace(second=seam.second // 10 * 10, microsecond=0)
        sync.api.workspace.insert("activities", activity(90_000 + number, iso(time)))

    second, third = sync(), sync()

    assert {"a_90000", "a_90001", "a_90002"} <= set(ids(second))
    assert second.status("activities") == third.status("activities") == COMPLETE
    assert ids(third) == []
    assert not said(third, "differ")


def test_given_activities_of_the_time_at_which_a_span_meets_the_lookback_when_both_are_read_then_they_count_once(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync(after=timedelta())
    edge = datetime.fromisoformat(sync.content["ledger"][-2][1])
    for number in range(3):
        sync.api.workspace.insert("activities", activity(700 + number, iso(edge)))
    # Now the span before the edge and the one after it are read in one sync, and have three activities in common.
    sync()
    late = {f"a_{800 + number}" for number in range(3)}
    for number in range(3):
        sync.api.workspace.insert("activities", activity(800 + number, iso(edge - timedelta(hours=1))))

    output = sync()

    assert late <= set(ids(output))


def test_given_an_activity_that_neither_of_two_windows_returned_when_read_again_then_what_they_hold_together_is_known(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    # Wherever two windows meet, one activity lies at the beginning of those ten seconds, and is in neither.
    coarse = Traits(date_resolution=timedelta(seconds=10), exclusive_start=True, exclusive_end=True)
    rows = [activity(number, iso(LAST - timedelta(seconds=10 * number))) for number in range(300)]
    sync = Syncs(read, Api(Workspace.of(activities=rows), traits=coarse), clock)
    first = sync(after=timedelta())

    second = sync()

    assert said(first, "They are searched for")
    assert not sync.missing()
    assert ids(second) == []
    assert said(second, "The API counts what was received")


REFUSALS = {
    "all fail": Fault("status", status=504, path=PATH, when=counts),
    "all are refused": Fault("bad_request_400", path=PATH, when=counts),
    "long spans fail": Fault("status", status=504, path=PATH, when=counts_longer_than(20)),
    "each third fails": Fault("status", status=500, path=PATH, when=counts, every=3),
    "the audit's fail": Fault("status", status=500, path=PATH, when=lambda p: p["endDate"] < iso(LAST)),
    "the audit's are refused": Fault("bad_request_400", path=PATH, when=lambda p: p["endDate"] < iso(LAST)),
    "the audit's are forbidden": Fault("forbidden_403", path=PATH, when=lambda p: p["endDate"] < iso(LAST)),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_given_counts_that_cannot_be_had_when_read_then_the_sync_is_as_ever_and_the_next_one_finds_what_arrived(
    why: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    # No window is read twice where the API serves none of an audited span: it isn't asked for one.
    sync = Syncs(read, history(300), clock)
    sync()
    late, new = sync.add(300 * DAY), sync.add(timedelta(hours=1))

    second = sync(REFUSALS[why])
    turn = sync.content
    third = sync()

    assert new in ids(second)
    assert second.status("activities") == COMPLETE
    assert late in {*ids(second), *ids(third)}
    assert late in ids(second) or said(second, "couldn't be compared with the API's counts") or why.startswith("all")
    waits = any(entry[3] for entry in turn["ledger"])
    assert waits == bool(said(second, "The API counts what was received") or late in ids(second))
    assert third.status("activities") == COMPLETE
    assert not sync.missing()


@pytest.mark.parametrize("why", [why for why in REFUSALS if why.startswith("the audit's")])
def test_given_an_audit_that_cannot_be_finished_when_read_then_the_same_spans_have_their_turn_in_the_next_one(
    why: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    sync()
    turn = {start: waited for start, _, _, waited, *_ in sync.content["ledger"]}

    output = sync(REFUSALS[why])

    assert said(output, "couldn't be compared with the API's counts to its end")
    assert {
        start: waited for start, _, _, waited, *_ in sync.content["ledger"] if start in turn
    }.items() <= turn.items()
    assert set(turn.values()) == {0, 1}


def test_given_an_api_that_never_counts_when_read_again_then_no_more_is_asked_for(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(100, traits=Traits(uncounted=[PATH])), clock)
    sync()
    sync.add(timedelta(hours=1))
    output = sync()

    assert output.status("activities") == COMPLETE
    assert sync.api.log.counts(PATH) == []


@pytest.mark.parametrize("why", ["all fail", "all are refused"])
def test_given_activities_left_out_while_the_api_did_not_count_when_it_counts_again_then_they_are_found(
    why: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = history(300)
    api.withheld[PATH] = 0.02
    sync = Syncs(read, api, clock)
    first = sync(REFUSALS[why])
    missing = sync.missing()
    api.withheld.clear()

    second = sync()

    assert first.status("activities") == second.status("activities") == COMPLETE
    assert missing
    assert missing <= set(ids(second))


@pytest.mark.parametrize("requests", range(1, 30, 4))
def test_given_a_sync_that_is_stopped_anywhere_in_its_audit_when_read_again_then_nothing_is_lost(
    requests: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(300), clock, num_workers=2)
    sync()
    late = {sync.add(age * DAY) for age in (50, 51, 200, 300, 3_000)}
    sync(Fault("status", status=500, after=requests), before_its_last_state=True)
    third = sync(after=timedelta(hours=1))
    fourth = sync()

    assert late <= sync.held
    assert third.status("activities") == COMPLETE
    assert not said(fourth, "of them differ")


class CountsFewer(Api):
    """Counts fewer activities than it returns: each tenth one isn't among them."""

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if b'"recordCount"' not in answer.body:
            return answer
        content, params = json.loads(answer.body), call.params
        rows = self.workspace.records("activities")
        within = [row for row in rows if params["startDate"] <= row["activityTime"] <= params["endDate"]]
        content["meta"]["recordCount"] -= sum(int(row["id"].removeprefix("a_")) % 10 == 3 for row in within)
        return replace(answer, body=json.dumps(content).encode())


def test_given_an_api_that_counts_fewer_than_it_returns_when_read_again_then_only_what_has_changed_is_read_again(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, CountsFewer(history().workspace), clock)
    sync()
    second = sync()
    late = sync.add(200 * DAY)
    third = sync()

    assert said(second, "The API counts what was received")
    assert late in ids(third)
    assert len(ids(third)) <= 0.1 * 500
    assert not said(third, "no longer lists")


class Slow(Api):
    """Takes two seconds for an answer, so that the state keeps parts of windows."""

    clock_of_the_test: FrozenDateTimeFactory

    def answer(self, call: Call) -> Answer:
        self.clock_of_the_test.tick(2.0)
        return super().answer(call)


@pytest.mark.parametrize("requests", [5, 7, 9])
@pytest.mark.parametrize("style", ["as documented", "exclusive", "seconds, exclusive", "whole seconds"])
def test_given_a_kill_amid_a_window_and_an_arrival_in_what_had_been_read_of_it_when_read_again_then_it_comes(
    style: str, requests: int, read: Read, clock: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "_PAGE", 1_600)
    api = Slow(history(1_600).workspace, traits=TRAITS[style])
    api.clock_of_the_test = clock
    sync = Syncs(read, api, clock, num_workers=2)
    sync(Fault("status", status=500, path=PATH, after=requests), before_its_last_state=True)
    (done, *_) = sync.content["slices"]
    read_until = datetime.fromisoformat(done["end"])
    late = sync.add(datetime.now(UTC) - read_until + 30 * DAY)

    second = sync()

    assert sync.content["slices"][0]["start"] == done["start"] < iso(read_until - 40 * DAY)
    assert late in ids(second)
    assert len(ids(second)) < 1_600
    assert not sync.missing()


def test_given_a_window_that_was_read_in_parts_and_an_arrival_in_one_of_them_when_read_again_then_it_comes(
    read: Read, clock: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "_PAGE", 1_600)
    api = history(1_000)
    api.unservable.update({"a_500"})
    sync = Syncs(read, api, clock)
    first = sync()
    api.unservable.clear()
    late = [sync.add(age * DAY) for age in (100, 500)]

    second, third = sync(), sync()

    assert first.status("activities") == INCOMPLETE
    assert {*late, "a_500"} <= {*ids(second), *ids(third)}
    assert set(late) <= set(ids(second))
    assert not said(third, "differ")
    assert not sync.missing()


def test_given_a_span_that_cannot_be_read_again_when_read_then_it_is_incomplete_and_stays_to_be_read(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(300), clock)
    sync()
    late = sync.add(300 * DAY)
    alone = lambda params: params["limit"] != "1" and params["endDate"] < iso(LAST)  # noqa: E731

    second = sync(Fault("status", status=500, path=PATH, when=alone))
    gaps = sync.content["slices"]
    third = sync()

    assert second.status("activities") == INCOMPLETE
    assert len(gaps) == 2
    assert sync.content["slices"] != gaps
    assert late in ids(third)
    assert third.status("activities") == COMPLETE


@pytest.mark.parametrize("days", [0.5, 600])
def test_given_a_state_of_an_earlier_version_when_read_then_it_is_counted_and_later_arrivals_come(
    days: float, read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(600, days=days), clock)
    sync()
    sync.change_state(ledger=None)

    second, counted = sync(), len(sync.api.log.counts(PATH))
    third = sync()
    late = sync.add(datetime.now(UTC) - LAST + 0.3 * timedelta(days=days))
    fourth = sync()

    assert ids(second) == ids(third) == []
    (line,) = said(second, "doesn't say how many activities were received")
    assert "600 were counted now" in line
    assert counted <= 70
    assert total(sync.content["ledger"]) == 601
    assert not said(third, "doesn't say how many")
    assert late in ids(fourth)
    assert len(ids(fourth)) <= 0.5 * 600 or days < 1


DAMAGED: list[Any] = [
    None,
    {},
    "spans",
    5,
    [5],
    [[]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z"]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", -1, 0]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 1.5, 0]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", True, 0]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", nan, 0]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", inf, 0]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", None, 0]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 7, 0, -(2**63)]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 7]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 7, -1]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 7, True]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 7, 0.5]],
    [{"start": "2026-01-01T00:00:00.000Z", "end": "2026-02-01T00:00:00.000Z", "number": 7}],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 2**63, 0]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", "7", 0]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 7, 0, 1, 1]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 7, 0, 1, True, 1]],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 7, 0, 1, True, True, True]],
    [[f"{year}-01-01T00:00:00.000Z", f"{year + 1}-01-01T00:00:00.000Z", 1, 0] for year in range(1890, 2020)],
    [["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 7, 0, "1"]],
    [["2026-02-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z", 7, 0]],
    [["yesterday", "2026-01-01T00:00:00.000Z", 7, 0]],
    [["2026-01-01T00:00:00", "2026-02-01T00:00:00.000Z", 7, 0]],
    [[1, 2, 3, 0]],
    [
        ["2026-02-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z", 7, 0],
        ["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", 7, 0],
    ],
    [
        ["2026-01-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z", 7, 0],
        ["2026-02-01T00:00:00.000Z", "2026-04-01T00:00:00.000Z", 7, 0],
    ],
]


@pytest.mark.parametrize("ledger", DAMAGED, ids=json.dumps)
def test_given_a_damaged_ledger_when_read_then_it_counts_as_none(
    ledger: Any, read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(300), clock)
    sync()
    content = {**sync.content, "ledger": ledger}
    sync.state = [state_of(content)]

    output = sync()

    assert output.status("activities") == COMPLETE
    assert ids(output) == []
    assert said(output, "300 were counted now")
    assert total(sync.content["ledger"]) == 300


def test_given_numbers_of_many_digits_when_read_then_the_state_stays_small(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(3_200), clock)
    sync()
    large = [[start, end, 10**17, 10**17, -(10**17)] for start, end, *_ in sync.content["ledger"]]
    sync.change_state(ledger=large)

    output = sync(audit_history=False)

    assert len(large) == 128
    assert all(len(json.dumps(content)) <= 12_000 for content in states_of(output))
    assert len(sync.content["ledger"]) >= 60


@pytest.mark.parametrize(
    "ledger",
    [
        # Beside what is done, and after it.
        [["2000-01-01T00:00:00.000Z", "2001-01-01T00:00:00.000Z", 7, 0]],
        [["2026-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z", 7, 0]],
    ],
)
def test_given_a_ledger_of_what_is_not_done_when_read_then_that_counts_as_nothing(
    ledger: Any, read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(300), clock, start_date="2024-01-01T00:00:00Z")
    sync()
    sync.change_state(ledger=ledger)

    output = sync()

    assert output.status("activities") == COMPLETE
    assert total(sync.content["ledger"]) == 300
    assert not said(output, "no longer lists")


def test_given_the_option_off_when_read_again_then_nothing_is_compared_and_the_ledger_is_kept(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(600), clock)
    sync()
    late = sync.add(100 * DAY)

    second = sync(audit_history=False)
    counted = sync.api.log.counts(PATH)
    third = sync()

    assert ids(second) == []
    assert counted == []
    assert said(second, "compared with the API's counts") == []
    assert late in ids(third)


@pytest.mark.parametrize("before", [0, 20])
@pytest.mark.parametrize("after", [0, 3, 200])
def test_given_another_lookback_when_read_again_then_nothing_is_lost(
    before: int, after: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(600), clock, lookback_window_days=before)
    sync()
    late = [sync.add(age * DAY) for age in (1, 4, 19, 21, 199, 201)]

    output = sync(lookback_window_days=after)
    again = sync(lookback_window_days=before)

    assert set(late) <= set(ids(output))
    assert output.warnings() == []
    assert not said(again, "of them differ")


@pytest.mark.parametrize(
    "dates",
    [
        {"start_date": "2026-01-01T00:00:00Z"},
        {"start_date": "2023-01-01T00:00:00Z"},
        {"end_date": "2026-01-01T00:00:00Z"},
        {"end_date": "2027-01-01T00:00:00Z"},
    ],
    ids=json.dumps,
)
def test_given_other_dates_when_read_again_then_only_what_lies_between_them_comes_and_nothing_is_called_gone(
    dates: Mapping[str, Any], read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(600), clock, start_date="2025-01-01T00:00:00Z")
    sync()
    late = [sync.add(age * DAY) for age in (100, 500, 1_000)]

    output = sync(**dates)
    last = sync()

    times = [row["activityTime"] for row in output.records("activities")]
    assert all(dates.get("start_date", "2025") <= time <= dates.get("end_date", "2028") for time in times)
    assert set(late[:2]) <= sync.held
    assert not said(output, "no longer lists")
    assert not said(last, "no longer lists")


def test_given_hundreds_of_windows_when_read_then_the_state_holds_few_spans_and_the_newest_stay_fine(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(3_200), clock)

    output = sync()

    assert len(output.states("activities")) > 140
    for content in states_of(output):
        assert len(content["ledger"]) <= 128
        assert len(json.dumps(content)) <= 12_000
    ledger = sync.content["ledger"]
    assert len(ledger) == 128
    assert total(ledger) == 3_200
    assert max(entry[2] for entry in ledger) <= 4 * 3_200 / 128
    sync.add(400 * DAY)
    assert len(ids(sync())) <= 0.02 * 3_200


class Arriving(Api):
    """Lets something happen just before the answer to the n-th request for activities."""

    happens: Mapping[int, Callable[[], object]] = {}
    asked = 0

    def answer(self, call: Call) -> Answer:
        self.asked += call.path == PATH
        self.happens.get(self.asked if call.path == PATH else 0, lambda: None)()
        return super().answer(call)


class ArrivingAtCursors(Arriving):
    """Lets something happen just before the answer to the n-th request with a cursor."""

    def answer(self, call: Call) -> Answer:
        if "cursor" not in call.params:
            return Api.answer(self, call)
        return super().answer(call)


@pytest.mark.parametrize("at", range(1, 24, 3))
def test_given_changes_while_the_history_is_compared_when_read_then_what_was_there_before_comes_all_the_same(
    at: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Arriving(history(300).workspace)
    sync = Syncs(read, api, clock)
    sync()
    before = {sync.add(300 * DAY), sync.add(20 * DAY)}
    api.asked = 0
    api.happens = {
        at: lambda: sync.add(500 * DAY),
        at + 1: lambda: deleted(api, 150, 151),
        at + 2: lambda: sync.add(21 * DAY),
    }
    second = sync(after=timedelta(hours=1))
    api.happens = {}
    sync(after=timedelta(hours=1))

    assert before <= set(ids(second))
    assert second.status("activities") == COMPLETE
    assert not sync.missing()


def hidden_by_deletions(sync: Syncs, gone: Mapping[str, str]) -> set[str]:
    """Name what is missing in a span from which as many were deleted: no count of it shows that.

    :param gone: the times of what was deleted
    """
    missing = {
        row["id"]: row["activityTime"]
        for row in sync.api.workspace.records("activities")
        if row["id"] in sync.missing()
    }
    found: set[str] = set()
    for low, high, *_ in sync.content["ledger"]:
        within = {row for row, time in missing.items() if low <= time <= high}
        if len(within) <= sum(low <= time <= high for time in gone.values()):
            found |= within
    return found


@pytest.mark.parametrize("deletes", [False, True])
def test_given_many_syncs_with_additions_deletions_and_kills_when_read_then_each_clean_one_leaves_nothing_behind(
    read: Read, clock: FrozenDateTimeFactory, *, deletes: bool
) -> None:
    rng, sync = Random(f"many {deletes}"), Syncs(read, history(300), clock, num_workers=3)
    gone: dict[str, str] = {}
    syncs_missed: Counter[str] = Counter()
    clean = 0
    for _ in range(SYNCS):
        for _ in range(rng.choice((0, 1, 1, 3, 30))):
            sync.add(timedelta(minutes=1) * (OLDEST / timedelta(minutes=1)) ** rng.random())
        rows = [row for row in sync.api.workspace.records("activities") if row["id"] in sync.held]
        for row in rng.sample(rows, rng.choice((0, 1, 2)) if deletes and len(rows) > 10 else 0):
            gone[row["id"]] = row["activityTime"]
            sync.api.workspace.delete("activities", row["id"])
        is_killed = rng.random() < 0.4
        kill = [Fault("status", status=500, after=rng.randint(0, 30))] if is_killed else []
        output = sync(*kill, after=timedelta(hours=rng.randint(1, 40)), before_its_last_state=is_killed)

        assert all(len(json.dumps(content)) <= 12_000 for content in states_of(output))
        if not is_killed and "lookback_from" not in sync.content:
            assert output.status("activities") == COMPLETE
            clean += 1
            missing = sync.missing()
            syncs_missed = Counter({row: syncs_missed[row] + 1 for row in missing})
            late = {row for row, missed in syncs_missed.items() if missed > (8 if deletes else 0)}
            assert not late - hidden_by_deletions(sync, gone)
    assert clean > SYNCS / 4


EARLY_END = {
    "none": [],
    "killed": [Fault("status", status=500, path=PATH, after=100)],
    "a window fails": [
        Fault("status", status=500, path=PATH, when=lambda p: "2026-06-26" < p["endDate"] < "2026-06-28")
    ],
}


@pytest.mark.parametrize("behind", [timedelta(seconds=2), timedelta(hours=3), timedelta(days=40)], ids=str)
@pytest.mark.parametrize("lookback", [0, 3])
@pytest.mark.parametrize("trouble", EARLY_END)
def test_given_an_api_whose_clock_is_behind_when_read_again_then_nothing_is_called_gone_and_what_arrived_is_found(
    behind: timedelta, lookback: int, trouble: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    rows = [activity(number, iso(NOW_AT - timedelta(minutes=7 * number))) for number in range(2_000)]
    api = Api(
        Workspace.of(activities=rows),
        traits=Traits(dates=True),
        clock=lambda: (datetime.now(UTC) - behind).timestamp(),  # noqa: PLW0108  # it changes
    )
    sync = Syncs(read, api, clock, lookback_window_days=lookback, num_workers=2)
    sync(*EARLY_END[trouble], after=timedelta(), before_its_last_state=trouble == "killed")
    late = {sync.add(age) for age in (timedelta(minutes=30), 5 * DAY, 2 * YEAR)}
    outputs = [sync(after=timedelta(hours=1)) for _ in range(2)]
    behind = timedelta()
    outputs += [sync(after=timedelta(hours=1)) for _ in range(2)]

    assert not [line for output in outputs for line in said(output, "no longer lists")]
    assert not [line for output in outputs for line in said(output, "doesn't say how many")]
    assert late <= sync.held
    assert not sync.missing()


@pytest.mark.parametrize("style", TRAITS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"end_date": "2026-05-01T00:00:00Z"}, {}),
        ({"end_date": "2026-05-01T00:00:00Z"}, {"end_date": "2026-05-02T00:00:00Z"}),
        ({"end_date": "2026-05-01T00:00:00.300Z"}, {}),
        ({"start_date": "2026-05-01T00:00:00.300Z"}, {}),
        ({"start_date": "2026-05-01T00:00:00.300Z"}, {"start_date": "2026-04-30T00:00:00Z"}),
        ({}, {"start_date": "2026-05-01T00:00:00.300Z"}),
        ({}, {"end_date": "2026-05-01T00:00:00.300Z"}),
    ],
    ids=json.dumps,
)
def test_given_activities_around_a_date_and_another_date_when_read_again_then_nothing_is_called_gone(
    style: str, before: Mapping[str, Any], after: Mapping[str, Any], read: Read, clock: FrozenDateTimeFactory
) -> None:
    at = datetime.fromisoformat("2026-05-01T00:00:00Z")
    traits = TRAITS[style]
    write = iso_stored if traits.stored_finer else iso
    # So few that one window holds all before the date.
    times = [at - 20 * DAY, *(at + timedelta(milliseconds=250 * number) for number in range(-9, 10)), at + 20 * DAY]
    rows = [activity(number, write(time)) for number, time in enumerate(times)]
    sync = Syncs(read, Api(Workspace.of(activities=rows), traits=traits), clock, lookback_window_days=0)
    sync(**before)
    ages = (-10 * DAY, -timedelta(seconds=20), -timedelta(seconds=2), timedelta(seconds=2), 10 * DAY)
    late = [activity(900 + number, write(at + age)) for number, age in enumerate(ages)]
    for row in late:
        sync.api.workspace.insert("activities", row)
    outputs = [sync(**config) for config in (before, after, after, after)]

    assert not [line for output in outputs for line in said(output, "no longer lists")]
    assert not said(outputs[-1], "of them differ")
    assert not said(outputs[-1], "doesn't say how many")
    first, last = after.get("start_date", ""), after.get("end_date", "9")
    assert {row["id"] for row in (*rows, *late) if first <= row["activityTime"] <= last} <= sync.held


def test_given_an_end_date_at_the_end_of_a_span_when_read_again_then_what_lies_in_the_second_after_it_is_not_counted(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(100), clock, lookback_window_days=0)
    sync()
    end = sync.content["slices"][-1]["end"]
    sync.api.workspace.insert("activities", activity(900, iso(datetime.fromisoformat(end) + timedelta(seconds=0.5))))

    output = sync(end_date=end)

    assert said(output, "The API counts what was received")
    assert ids(output) == []


def test_given_an_end_date_and_a_shorter_lookback_when_read_again_then_what_arrived_in_between_is_found(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(12, days=5), clock, end_date=iso(LAST), lookback_window_days=3)
    sync.api.workspace.insert("activities", activity(800, iso(LAST)))
    sync()
    sync.api.workspace.insert("activities", activity(900, iso(LAST - 2 * DAY)))

    output = sync(lookback_window_days=1)

    assert "a_900" in ids(output)


def test_given_a_start_date_within_a_span_and_an_arrival_behind_it_when_read_again_then_it_is_found(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    (start, end, *_) = sync.content["ledger"][10]
    start_at, end_at = datetime.fromisoformat(start), datetime.fromisoformat(end)
    middle = start_at + (end_at - start_at) / 2
    late = sync.add(datetime.now(UTC) - middle - (end_at - middle) / 2)
    early = sync.add(datetime.now(UTC) - start_at - (middle - start_at) / 2)

    second = sync(start_date=iso(middle))
    third = sync()

    assert late in ids(second)
    assert all(row["activityTime"] >= iso(middle) for row in second.records("activities"))
    assert not said(second, "no longer lists")
    assert early in ids(third)
    assert not sync.missing()


LONG_FAIL = Fault("status", status=504, path=PATH, when=counts_longer_than(100))
"""Counts of spans of more than a hundred days fail, as long as it lasts."""


def test_given_an_api_that_never_counts_long_spans_when_read_again_then_arrivals_of_any_age_come(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync(LONG_FAIL)
    late = {sync.add(300 * DAY), sync.add(20 * DAY), sync.add(14 * YEAR)}

    second, third = sync(LONG_FAIL), sync(LONG_FAIL)

    assert late <= set(ids(second))
    assert len(ids(second)) <= 0.35 * 500
    assert not said(second, "couldn't be compared")
    assert not said(third, "couldn't be compared")
    assert ids(third) == []
    assert asked(sync.api) <= 80


def test_given_a_state_without_numbers_and_an_api_that_never_counts_long_spans_when_read_then_parts_are_counted(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    sync.change_state(ledger=None)

    second = sync(LONG_FAIL)
    late = sync.add(300 * DAY)
    third = sync(LONG_FAIL)

    assert said(second, "500 were counted now")
    assert not second.warnings()
    assert ids(second) == []
    assert late in ids(third)


def test_given_a_state_without_numbers_and_an_api_that_counts_nothing_old_when_read_then_it_warns_and_counts_later(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    sync.change_state(ledger=None)

    old = Fault("status", status=500, path=PATH, when=lambda p: p["startDate"] < "2026-06-28T23")
    second, requests = sync(old), asked(sync.api)
    content = sync.content
    third = sync()

    assert said(second, "couldn't be compared with the API's counts to its end")
    assert not said(second, "The API counts what was received")
    assert "ledger" not in content
    assert requests <= 120
    assert ids(second) == ids(third) == []
    assert said(third, "500 were counted now")


@pytest.mark.parametrize("requests", [9, 12, 15])
def test_given_a_part_read_without_a_number_and_a_kill_when_the_api_counts_then_it_is_read_again_once(
    requests: int, read: Read, clock: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "_PAGE", 1_600)
    api = Slow(history(1_600).workspace)
    api.clock_of_the_test = clock
    sync = Syncs(read, api, clock, num_workers=2)
    sync(
        REFUSALS["all are refused"], Fault("status", status=500, path=PATH, after=requests), before_its_last_state=True
    )
    done = sync.content["slices"][0]
    late = sync.add(datetime.now(UTC) - datetime.fromisoformat(done["end"]) + 30 * DAY)

    while_refused = sync(REFUSALS["all are refused"])
    once = sync()
    again = sync()

    assert done["start"] < "2000" < done["end"] < iso(LAST)
    assert late not in ids(while_refused)
    assert late in ids(once)
    assert said(once, "it isn't known exactly how many were received")
    assert ids(again) == []
    assert not sync.missing()


def test_given_more_spans_than_a_state_holds_when_cut_off_then_what_arrives_in_each_of_them_comes(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(2_000), clock, start_date="2024-11-01T00:00:00Z")
    sync()
    begin = datetime(2024, 11, 5, tzinfo=UTC)
    spans = [(begin + 5 * DAY * number, begin + 5 * DAY * number + 2 * DAY) for number in range(110)]
    rows = [row["activityTime"] for row in sync.api.workspace.records("activities")]
    ledger = [[iso(low), iso(high), sum(iso(low) <= row <= iso(high) for row in rows), 0] for low, high in spans]
    sync.change_state(
        slices=[{"start": iso(low), "end": iso(high)} for low, high in spans],
        ledger=ledger,
        in_progress=True,
        lookback_from=iso(datetime.now(UTC)),
    )
    cut_off = sync(Fault("status", status=500, path=PATH, after=4), before_its_last_state=True)
    late = {sync.add(datetime.now(UTC) - low - DAY) for low, _ in spans}

    assert all(len(json.dumps(content)) <= 12_000 for content in states_of(cut_off))
    sync()
    quiet = sync()

    assert late <= sync.held
    assert ids(quiet) == []
    assert not quiet.warnings()


def test_given_a_start_date_within_a_span_and_a_deletion_when_read_then_the_warning_names_what_is_read_again(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    low, high = (datetime.fromisoformat(time) for time in sync.content["ledger"][10][:2])
    rows = {row["id"]: row["activityTime"] for row in sync.api.workspace.records("activities")}
    middle = (low + (high - low) / 2).replace(microsecond=0)
    gone = next(row for row, time in rows.items() if iso(middle) < time < iso(high))
    sync.api.workspace.delete("activities", gone)

    output = sync(start_date=iso(middle))

    (warning,) = output.warnings()
    first, _, last = warning.split(" from ")[1].split(". ")[0].partition(" to ")
    assert first == iso(middle)
    assert {row for row, time in rows.items() if first < time < last} - {gone} <= set(ids(output))


def test_given_a_span_whose_count_always_fails_when_read_then_the_others_have_their_turn(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    low, high, *_ = sync.content["ledger"][3]
    fault = Fault(
        "status",
        status=500,
        path=PATH,
        when=lambda p: p["startDate"] < high and p["endDate"] > low and p["endDate"] < iso(LAST),
    )
    # An addition and a deletion that hide each other in each count of both.
    late = sync.add(100 * DAY)
    deleted(sync.api, 300)

    outputs = [sync(fault, after=timedelta(hours=1)) for _ in range(9)]

    assert late in sync.held
    assert {output.status("activities") for output in outputs} == {COMPLETE}
    warned = [output for output in outputs if said(output, "couldn't be compared")]
    assert warned
    assert any(high in said(output, "couldn't be compared")[0] for output in warned)
    assert not [output for output in warned if said(output, "The API counts what was received")]


@pytest.mark.parametrize("lookback", [0, 3])
@pytest.mark.parametrize("behind", [timedelta(seconds=5), timedelta(minutes=2), timedelta(hours=2)], ids=str)
def test_given_few_activities_and_an_api_whose_clock_is_behind_when_read_again_then_only_the_lookback_is(
    behind: timedelta, lookback: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    rows = [activity(number, iso(NOW_AT - timedelta(days=30 * number + 4))) for number in range(18)]
    seconds = behind.total_seconds()
    api = Api(
        Workspace.of(activities=rows), traits=Traits(dates=True), clock=lambda: datetime.now(UTC).timestamp() - seconds
    )
    sync = Syncs(read, api, clock, lookback_window_days=lookback)
    sync()
    new = {sync.add(timedelta(hours=3))} if lookback else set[str]()
    outputs = [sync(after=timedelta(hours=1)) for _ in range(3)]
    late = sync.add(200 * DAY)
    outputs.append(sync(after=timedelta(hours=1)))

    assert all(set(ids(output)) <= new for output in outputs[:3])
    assert {*new, late} <= sync.held
    assert not [output for output in outputs if said(output, "no longer lists")]


def test_given_gaps_and_differing_spans_that_are_read_side_by_side_when_read_again_then_nothing_is_called_gone(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = history(1_500)
    api.unservable.update(f"a_{number}" for number in range(7, 1_500, 31))
    sync = Syncs(read, api, clock)
    sync()
    api.unservable.clear()
    for part in sync.content["slices"][1:-1]:
        low, high = (datetime.fromisoformat(part[name]) for name in ("start", "end"))
        sync.add(datetime.now(UTC) - low - (high - low) / 2)

    outputs = [sync(after=timedelta(hours=1)) for _ in range(4)]

    assert not sync.missing()
    assert not [line for output in outputs for line in output.warnings()]
    assert not [output for output in outputs[1:] if said(output, "of them differ")]


def test_given_one_day_of_the_lookback_that_is_not_counted_when_read_then_the_history_is_compared_all_the_same(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    begin = NOW_AT - 10 * DAY
    api = history()
    for number in range(60):
        api.workspace.insert("activities", activity(90_000 + number, iso(begin + timedelta(minutes=number))))
    time = iso(begin + timedelta(minutes=30))

    def fault() -> Fault:
        return Fault(
            "status", status=500, path=PATH, when=lambda p: counts(p) and p["startDate"] <= time <= p["endDate"]
        )

    sync = Syncs(read, api, clock, lookback_window_days=30)
    sync(fault())
    late = sync.add(200 * DAY)

    output = sync(fault())

    assert late in ids(output)
    assert output.status("activities") == COMPLETE


class CountsUpTo(Api):
    """Counts no more than so many activities."""

    most = 60

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if b'"recordCount"' not in answer.body:
            return answer
        content = json.loads(answer.body)
        content["meta"]["recordCount"] = min(content["meta"]["recordCount"], self.most)
        return replace(answer, body=json.dumps(content).encode())


@pytest.mark.parametrize("from_the_first", [True, False])
def test_given_counts_up_to_a_limit_when_read_again_then_nothing_is_read_again_nor_called_gone(
    read: Read, clock: FrozenDateTimeFactory, *, from_the_first: bool
) -> None:
    limited = CountsUpTo(history(5_000).workspace)
    sync = Syncs(read, limited if from_the_first else Api(limited.workspace), clock)
    sync()
    sync.api = limited

    outputs = [sync(), sync()]

    assert not sync.missing()
    for output in outputs:
        assert ids(output) == []
        (warning,) = output.warnings()
        assert "counts no more than 60 activities" in warning
        assert output.status("activities") == COMPLETE
    assert asked(limited) <= 40


def test_given_neighbors_between_which_something_lies_when_read_again_then_the_log_says_so(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    coarse = Traits(date_resolution=timedelta(seconds=10), exclusive_start=True, exclusive_end=True)
    sync = Syncs(read, history(traits=coarse), clock)
    sync()
    seam = datetime.fromisoformat(sync.content["ledger"][3][0])
    time = seam.replace(second=seam.second // 10 * 10, microsecond=0)
    sync.api.workspace.insert("activities", activity(90_000, iso(time)))

    output = sync()

    assert said(output, "of spans more is counted than in the two alone. Read again: ")


def test_given_a_state_of_an_earlier_version_within_the_lookback_when_read_then_the_ledger_is_begun(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(50, days=10), clock, start_date="2026-06-10T00:00:00Z", lookback_window_days=60)
    sync()
    sync.change_state(ledger=None)
    sync()

    assert total(sync.content["ledger"]) == 50


def counting(change: Callable[[int, Call], int]) -> Traits:
    """Let counts be others than what the API holds."""

    def otherwise(call: Call, answer: Answer) -> Answer:
        content = json.loads(answer.body)
        if answer.status != 200 or "recordCount" not in content["meta"]:
            return answer
        content["meta"]["recordCount"] = change(content["meta"]["recordCount"], call)
        return replace(answer, body=json.dumps(content).encode())

    return Traits(otherwise={PATH: otherwise})


@pytest.mark.parametrize("limit", [5, 20, 100])
@pytest.mark.parametrize("days", [600, 1])
def test_given_counts_up_to_a_limit_that_are_lower_than_a_window_when_read_again_then_a_warning_says_so(
    days: float, limit: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = history(days=days, traits=counting(lambda number, _: min(number, limit)))
    sync = Syncs(read, api, clock)
    sync()
    sync.add(6 * DAY)

    outputs = [sync() for _ in range(3)]

    for output in outputs:
        assert output.status("activities") == COMPLETE
        assert ids(output) == []
        (warning,) = output.warnings()
        assert f"counts no more than {limit} activities" in warning
        assert "can't be compared, because of as many activities or more" in warning


def test_given_counts_up_to_a_limit_when_something_arrives_late_then_it_comes_within_eight_syncs(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    # Each span has some twenty, and all together grow beyond the limit.
    sync = Syncs(read, history(500, traits=counting(lambda number, _: min(number, 500))), clock)
    sync()
    for number in range(400):
        sync.add(DAY * number / 200)
    sync(after=5 * DAY)
    late = {sync.add(age * DAY) for age in (10, 100, 200, 500)}

    outputs = [sync() for _ in range(8)]

    assert late <= sync.held
    assert not sync.missing()
    for output in outputs:
        assert output.status("activities") == COMPLETE
        assert not output.warnings()
        assert said(output, "counts no more than 500 activities")
        assert len(ids(output)) <= 4 * 30


def test_given_an_addition_and_a_deletion_that_hide_each_other_while_a_window_is_read_when_read_again_then_it_settles(
    read: Read, clock: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One more is received than each page counts, as if the API didn't count all that it returns.
    monkeypatch.setattr(slices, "_PAGE", 600)
    api = ArrivingAtCursors(history().workspace)
    rows = sorted((row["activityTime"], row["id"]) for row in api.workspace.records("activities"))
    sync = Syncs(read, api, clock)

    def change() -> None:
        api.workspace.delete("activities", rows[0][1])
        sync.add(datetime.now(UTC) - datetime.fromisoformat(rows[-1][0]) + timedelta(minutes=5))

    api.happens = {1: change}
    sync()
    requests = []
    for _ in range(3):
        output = sync()
        requests.append(asked(api))
        assert output.warnings() == []
        assert ids(output) == []

    assert not sync.missing()
    assert requests[-1] <= 5


@pytest.mark.parametrize("at", range(1, 12))
def test_given_an_addition_and_a_deletion_between_two_counts_when_read_again_then_the_counts_are_believed(
    at: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = Arriving(history(300).workspace)
    sync = Syncs(read, api, clock)
    sync()
    late = sync.add(300 * DAY)
    api.asked = 0
    api.happens = {at: lambda: sync.add(500 * DAY), at + 4: lambda: deleted(api, 290)}

    outputs = [sync(), sync()]

    assert late in sync.held
    assert not sync.missing()
    for output in outputs:
        assert output.status("activities") == COMPLETE
        assert not said(output, "don't add up")


@pytest.mark.parametrize("change", [1, -(10**6)])
def test_given_counts_that_are_others_without_a_page_when_read_again_then_a_warning_says_so_and_nothing_is_read_again(
    change: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    alone = counting(lambda number, call: max(number + change * (call.params["cols"] == "recordCount"), 0))
    sync = Syncs(read, history(traits=alone), clock)
    sync()

    outputs = [sync() for _ in range(3)]

    for output in outputs:
        assert output.status("activities") == COMPLETE
        assert ids(output) == []
        (warning,) = output.warnings()
        assert "its counts don't add up" in warning
        assert "if that is asked for with a page of them" in warning
        assert asked(sync.api) < 250


def test_given_more_windows_in_the_lookback_than_a_state_holds_spans_when_read_then_those_before_it_stay_fine(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    api = history(2_000, 3_600)
    rng = Random(2)
    for number in range(4_000):
        api.workspace.insert("activities", activity(300_000 + number, iso(NOW_AT - 60 * DAY * rng.random())))
    sync = Syncs(read, api, clock, lookback_window_days=60)
    sync()
    for _ in range(2):
        sync(after=timedelta(hours=1))
    edge = iso(datetime.now(UTC) - 61 * DAY)

    older = [entry for entry in sync.content["ledger"] if entry[1] < edge]

    assert len(older) >= 80
    assert max(entry[2] for entry in older) <= 80


@pytest.mark.parametrize("spans", [90, 128, 170, 400])
def test_given_more_spans_than_a_state_has_room_for_when_read_then_the_state_is_small_and_keeps_the_largest(
    spans: int, read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(2_000), clock, start_date="2024-11-01T00:00:00Z")
    sync()
    begin = datetime(2024, 11, 5, tzinfo=UTC)
    done = [(begin + DAY * number, begin + DAY * (number + 1 - 1 / 24)) for number in range(spans)]
    rows = [row["activityTime"] for row in sync.api.workspace.records("activities")]
    numbers = [[iso(low), iso(high), sum(iso(low) <= row <= iso(high) for row in rows), 0] for low, high in done]
    sync.change_state(
        slices=[{"start": iso(low), "end": iso(high)} for low, high in done],
        ledger=numbers[:128],
        in_progress=True,
        lookback_from=iso(datetime.now(UTC)),
    )

    output = sync(end_date="2024-11-02T00:00:00Z")

    assert output.status("activities") == COMPLETE
    for content in states_of(output):
        assert len(json.dumps(content)) <= 12_000
        assert min(80, spans) <= len(content["slices"]) == len(content["ledger"])
        assert total(content["ledger"]) >= sum(sorted(number for _, _, number, _ in numbers[:128])[-80:])


@pytest.mark.parametrize("which", ["start_date", "end_date"])
def test_given_an_activity_beside_a_date_and_an_api_that_cuts_times_when_read_again_then_nothing_is_called_gone(
    which: str, read: Read, clock: FrozenDateTimeFactory
) -> None:
    # An activity that is received, and left out: it lies within two seconds of the date, on the other side.
    coarse = Traits(date_resolution=timedelta(seconds=1), coarse_times=True)
    dates = {"start_date": "2025-06-01T00:00:00.900Z", "end_date": "2026-03-01T00:00:00Z"}
    outside = {"start_date": timedelta(seconds=-1.6), "end_date": timedelta(seconds=1.6)}
    time = datetime.fromisoformat(dates[which]) + outside[which]
    api = history(300, traits=coarse)
    api.workspace.insert("activities", activity(70_001, iso(time)))
    sync = Syncs(read, api, clock, lookback_window_days=0, **{which: dates[which]})
    sync()
    late = sync.add(datetime.now(UTC) - datetime(2025, 9, 1, tzinfo=UTC))

    outputs = [sync() for _ in range(3)]

    assert late in ids(outputs[0])
    assert [output.warnings() for output in outputs] == [[], [], []]
    assert ids(outputs[1]) == ids(outputs[2]) == []


@pytest.mark.parametrize("changes", ["deleted", "deleted, and another one arrives"])
def test_given_an_activity_that_is_deleted_while_its_window_is_read_when_another_arrives_later_then_that_comes(
    changes: str, read: Read, clock: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One window of three pages: what was on the first one is gone before the third one.
    monkeypatch.setattr(slices, "_PAGE", 600)
    api = ArrivingAtCursors(history().workspace)
    row = min(api.workspace.records("activities"), key=lambda row: row["activityTime"])
    time = datetime.fromisoformat(row["activityTime"])
    sync = Syncs(read, api, clock)

    def change() -> None:
        api.workspace.delete("activities", row["id"])
        if "arrives" in changes:
            sync.add(datetime.now(UTC) - time - timedelta(minutes=5))

    api.happens = {2: change}
    sync()
    late = sync.add(datetime.now(UTC) - time - timedelta(hours=1))
    outputs = [sync() for _ in range(3)]

    assert row["id"] in sync.held
    assert late in sync.held
    assert not sync.missing()
    assert {output.status("activities") for output in outputs} == {COMPLETE}
    assert ids(outputs[-1]) == []


def test_given_a_number_that_may_be_too_high_when_it_is_what_the_api_counts_then_the_span_is_read_in_its_turn(
    read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    ledger = json.loads(json.dumps(sync.content["ledger"]))
    low, high, number, *_ = ledger[3]
    ledger[3] = [low, high, number + 1, 0, 0, True]
    sync.change_state(ledger=ledger)
    middle = datetime.fromisoformat(low) + (datetime.fromisoformat(high) - datetime.fromisoformat(low)) / 2
    late = sync.add(datetime.now(UTC) - middle)

    outputs = [sync() for _ in range(9)]

    assert late in sync.held
    assert sum(bool(said(output, "it isn't known exactly how many were received")) for output in outputs) == 1
    assert not [output for output in outputs if output.warnings()]


@pytest.mark.parametrize("days", [1, 2, 30, 300])
def test_given_an_end_date_before_that_of_the_last_sync_when_read_then_what_arrived_late_before_it_comes(
    days: float, read: Read, clock: FrozenDateTimeFactory
) -> None:
    sync = Syncs(read, history(), clock)
    sync()
    end = datetime.now(UTC) - days * DAY
    late = {sync.add(days * DAY + age) for age in (DAY * 1.2, 2 * DAY, 30 * DAY)}
    later = sync.add((days - 0.5) * DAY)

    output = sync(end_date=iso(end)[:19] + "Z")

    assert late <= set(ids(output))
    assert output.status("activities") == COMPLETE
    assert not output.warnings()
    assert len(ids(output)) < 60
    sync()
    assert later in sync.held
    assert not sync.missing()
