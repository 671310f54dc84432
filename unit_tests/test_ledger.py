"""The ledger and its audit, driven by plans against a model of a history that changes between syncs."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from source_commonroom.activities.audit import Audit
from source_commonroom.activities.coverage import Coverage, Span
from source_commonroom.activities.ledger import MOST_ENTRIES, Entry, Ledger, content_of, entries_of, expected
from source_commonroom.activities.slices import SpanCount, plan
from source_commonroom.activities.timestamps import SECOND
from source_commonroom.api.retriever import CountFailedError

END = 1_000_000
"""The last millisecond of the history."""
HOUR = 3_600_000
MOST = 24
"""As many entries a state holds here."""
times = st.integers(0, END // 500).map(lambda half_seconds: half_seconds * 500 + half_seconds % 7)


class Model:
    """Activities, each of a time and a number, and what a destination holds of them.

    :param inclusive: whether the bounds of a query belong to it
    :param seconds: whether it is cut down to seconds
    """

    def __init__(self, *, inclusive: bool, seconds: bool) -> None:
        self._inclusive, self._seconds = inclusive, seconds
        self.rows: list[tuple[int, int]] = []
        self.held: set[tuple[int, int]] = set()
        self.number = 0
        self.failing: set[int] = set()
        self.asked = 0
        self.ledger = Ledger()

    def insert(self, time: int) -> None:
        self.number += 1
        self.rows.insert(bisect_left(self.rows, (time, 0)), (time, self.number))

    def delete(self, place: int) -> None:
        if self.rows:
            del self.rows[place % len(self.rows)]

    def query(self, low: int, high: int) -> list[tuple[int, int]]:
        """Answer what the connector asks for where it reads a span."""
        first, last = low - 1, high
        if self._seconds:
            first, last = first - first % SECOND, last - last % SECOND
        start = bisect_left(self.rows, (first + (not self._inclusive), 0))
        return self.rows[start : bisect_right(self.rows, (last - (not self._inclusive), self.number))]

    def count(self, low: int, high: int) -> int:
        self.asked += 1
        if self.asked in self.failing:
            raise CountFailedError("it doesn't")
        return len(self.query(low, high))

    def read(self, spans: Sequence[Span], batch: int) -> None:
        """Read spans in windows, and note what was received of each."""
        for first, last in spans:
            first_window: dict[tuple[int, int], int] = {}
            windows = list(self._windows(first, last))
            for window, (low, high) in enumerate(windows):
                rows = self.query(low, high)
                early = [row for row in rows if first_window.setdefault(row, window) != window]
                near = [abs(row[0] - low) <= 1_100 for row in rows], [abs(row[0] - high) <= 1_100 for row in rows]
                self.held |= set(rows)
                entry = Entry(low, high, len(rows), None, batch, len(early), 0, any(near[0]), any(near[1]))
                self.ledger.add(entry)

    def _windows(self, first: int, last: int) -> Iterator[Span]:
        def probe(low: int, high: int) -> SpanCount:
            rows = self.query(low, high)
            return SpanCount(len(rows), rows[0][0] if rows else None)

        return plan(first, last, probe, lambda _windows, _left: 5)

    def sync(self) -> Audit:
        """Audit what was read, read again what differs, and begin the next sync from the state."""
        audit, done, self.asked = Audit(self.count), Coverage([(0, END)]), 0
        audit.run(self.ledger.runs(done))
        spans = Coverage([*((one.entry.low, one.entry.high) for one in audit.differing), *audit.between])
        self.ledger.share(audit.shared)
        for low, high in spans:
            self.ledger.take_out(low, high)
        self.ledger.let_wait(audit.waiting)
        self.read(list(spans), 2)
        self.store()
        return audit

    def store(self) -> None:
        entries = self.ledger.compact(Coverage([(0, END)]), MOST)
        assert len(entries) <= MOST
        assert Coverage((one.low, one.high) for one in entries).gaps(0, END) == []
        self.ledger = Ledger(entries_of(content_of(entries)))

    def missing(self) -> set[tuple[int, int]]:
        return set(self.query(0, END)) - self.held


def begun(rows: Sequence[int], *, inclusive: bool, seconds: bool) -> Model:
    model = Model(inclusive=inclusive, seconds=seconds)
    for time in rows:
        model.insert(time)
    model.read([(0, END)], 1)
    model.store()
    return model


some = st.lists(times, max_size=6)


@given(st.lists(times, max_size=150), st.lists(some, max_size=5), st.booleans(), st.booleans())
@settings(max_examples=150)
def test_given_additions_when_audited_then_each_sync_reads_all_of_them(
    rows: list[int],
    rounds: list[list[int]],
    inclusive: bool,  # noqa: FBT001  # as drawn
    seconds: bool,  # noqa: FBT001  # as drawn
) -> None:
    model = begun(rows, inclusive=inclusive, seconds=seconds)
    for added in rounds:
        for time in added:
            model.insert(time)

        audit = model.sync()

        assert not model.missing()
        assert audit.requests <= 16 + 3 * MOST
        quiet = model.sync()
        assert not quiet.differing
        assert not quiet.between


changes = st.lists(st.tuples(some, st.lists(st.integers(0, 10_000), max_size=4), st.booleans()), max_size=5)


@given(st.lists(times, max_size=150), changes, st.booleans(), st.booleans(), st.sets(st.integers(1, 60), max_size=3))
@settings(max_examples=150)
def test_given_additions_and_deletions_and_counts_that_fail_when_audited_then_they_are_found_in_eight_quiet_syncs(
    rows: list[int],
    rounds: list[tuple[list[int], list[int], bool]],
    inclusive: bool,  # noqa: FBT001  # as drawn
    seconds: bool,  # noqa: FBT001  # as drawn
    failing: set[int],
) -> None:
    model = begun(rows, inclusive=inclusive, seconds=seconds)
    for added, gone, fails in rounds:
        for time in added:
            model.insert(time)
        for place in gone:
            model.delete(place)
        model.failing = failing if fails else set()
        model.sync()
    model.failing = set()
    for _ in range(8):
        model.sync()

    # Only within one entry an addition and a deletion can hide each other.
    for entry in model.ledger:
        within = set(model.query(entry.low, entry.high))
        gone_ones = [row for row in model.held - set(model.rows) if entry.low - 1_000 <= row[0] <= entry.high + 1_000]
        assert len(within - model.held) <= len(gone_ones)


def test_given_an_entry_within_a_larger_one_when_added_then_the_larger_one_stays() -> None:
    ledger = Ledger([Entry(0, 100_000, 7)])

    ledger.add(Entry(40_000, 44_000, 1))
    assert [(one.low, one.high, one.number) for one in ledger] == [(0, 100_000, 7)]
    ledger.add(Entry(0, 200_000, 9))

    assert [(one.low, one.high, one.number) for one in ledger] == [(0, 200_000, 9)]


some_spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(-1, 1)), max_size=12)


@given(some_spans)
@settings(max_examples=200)
def test_given_entries_that_overlap_when_added_then_the_next_sync_can_read_them_and_knows_the_last_one(
    spans: list[tuple[int, int, int]],
) -> None:
    ledger, low, high = Ledger(), 0, 0
    for begin, length, edge in spans:
        low, high = begin * SECOND, (begin + length) * SECOND + edge
        ledger.add(Entry(low, high, length))

    entries = entries_of(content_of(list(ledger)))

    assert [(one.low, one.high) for one in entries] == [(one.low, one.high) for one in ledger]
    assert not spans or any(one.low <= low and high <= one.high for one in entries)


def test_given_entries_apart_from_each_other_when_too_many_then_the_smallest_of_the_older_ones_go() -> None:
    entries = [Entry(place * 10_000, place * 10_000 + 5_000, place) for place in range(60)]

    kept = Ledger(entries).compact(Coverage((one.low, one.high) for one in entries), 20)

    assert kept == entries[40:]


def test_given_a_gap_in_what_is_done_when_compacted_then_no_entry_bridges_it() -> None:
    entries = [Entry(place * 10_000, place * 10_000 + 10_000, 1, 0) for place in range(40)]
    done = Coverage([(0, 99_000), (101_000, 400_000)])

    kept = Ledger(entries).within(done).compact(done, 20)

    assert len(kept) == 20
    assert 100_000 in {one.high for one in kept}


@pytest.mark.parametrize("until", [100_000, 95_000, 250_000])
def test_given_a_time_from_which_on_is_read_again_when_joined_then_that_goes_first_and_nothing_is_joined_across_it(
    until: int,
) -> None:
    entries = [Entry(place * 10_000, place * 10_000 + 10_000, 1 + (place > 20), 0) for place in range(40)]
    ledger, done = Ledger(entries), Coverage([(0, 400_000)])

    for most in (30, 20):
        kept = ledger.compact(done, most, until)

        assert len(kept) == most
        assert expected(kept) == expected(entries)
        assert not [one for one in kept if one.low < until < one.high and one.high - one.low > 10_000]
        before = [one for one in kept if one.high <= until]
        assert len(before) == min(most - 2, until // 10_000) or len(kept) - len(before) <= 3


def test_given_entries_with_activities_in_common_when_joined_then_each_activity_counts_once() -> None:
    first, *others = [Entry(place * 10_000, place * 10_000 + 10_000, 5, 2) for place in range(40)]
    entries = [replace(first, shared=None), *others]
    done = Coverage([(0, 400_000)])

    kept = Ledger(entries).compact(done, 20)

    assert len(kept) == 20
    assert expected(kept) == expected(entries) == 40 * 5 - 39 * 2


def test_given_entries_of_which_it_is_not_known_what_they_share_when_joined_then_the_number_is_in_doubt() -> None:
    entries = [Entry(place * 10_000, place * 10_000 + 10_000, 5) for place in range(40)]
    done = Coverage([(0, 400_000)])

    kept = entries_of(content_of(Ledger(entries).compact(done, 20)))

    assert len(kept) == 20
    assert [one.is_doubtful for one in kept] == [one.number > 5 for one in kept]
    assert any(one.is_doubtful for one in kept)


def test_given_an_entry_that_overlaps_one_of_another_batch_when_added_then_what_it_shares_is_unknown() -> None:
    ledger = Ledger()

    ledger.add(Entry(0, 10_000, 5, None, 2, left_out_high=1))
    ledger.add(Entry(10_000, 20_000, 5, None, 2, left_out_low=1, is_overlapped=True))
    ledger.add(Entry(20_000, 30_000, 5, None, 2))
    ledger.add(Entry(30_000, 40_000, 5, None, 2, left_out_low=2))

    assert [one.shared for one in ledger] == [None, None, None, 2]


def test_given_hundreds_of_entries_when_joined_in_memory_then_nothing_is_lost() -> None:
    entries = [Entry(place * 10_000, place * 10_000 + 10_000, 5, place % 2) for place in range(300)]
    ledger, done = Ledger(entries), Coverage([(0, 3_000_000)])

    ledger.join(done, 128)

    assert len(ledger) == 128
    assert expected(list(ledger)) == expected(entries)
    apart = Ledger(Entry(place * 10_000, place * 10_000 + 5_000, 5) for place in range(300))
    apart.join(Coverage((one.low, one.high) for one in apart), 128)
    assert len(apart) == 300


@pytest.mark.parametrize("arriving", [0, 1, 7, 16, 40])
@pytest.mark.parametrize("large", [True, False], ids=["the new ones are joined", "the old ones are joined"])
def test_given_new_entries_with_each_sync_when_audited_then_none_waits_longer_than_eight_syncs(
    arriving: int,
    large: bool,  # noqa: FBT001  # as drawn
) -> None:
    asked = set[Span]()

    def count(low: int, high: int) -> int:
        asked.add((low, high))
        return sum(one.number - (one.shared or 0) for one in entries if low <= one.low and one.high <= high)

    entries = [Entry(place * HOUR, (place + 1) * HOUR, 9_000 if large else 10, 0) for place in range(MOST_ENTRIES)]
    end, waits, most = len(entries) * HOUR, [0] * len(entries), 0
    for _ in range(40):
        asked.clear()
        ledger, done = Ledger(entries), Coverage([(0, end)])
        audit = Audit(count)
        audit.run(ledger.runs(done))
        ledger.let_wait(audit.waiting)
        alone = [one for one in entries if (one.low, one.high) in asked]
        most = max(most, audit.requests)
        waits = [
            0 if any(one.low <= place * HOUR + 1 <= one.high for one in alone) else waited + 1
            for place, waited in enumerate(waits)
        ]
        assert max(waits) < 8
        new = [Entry(end + place * HOUR, end + (place + 1) * HOUR, 1_000, 0) for place in range(arriving)]
        end += arriving * HOUR
        compacted = Ledger([*ledger, *new]).compact(Coverage([(0, end)]), MOST_ENTRIES)
        entries = entries_of(content_of(compacted))

    assert most <= 17
