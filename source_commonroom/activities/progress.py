"""Progress: a window of activities, and how far it has been read."""

import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import replace

from airbyte_cdk.sources.types import StreamSlice

from source_commonroom.activities.ledger import Entry
from source_commonroom.activities.seams import Edges
from source_commonroom.activities.sums import SpanTotal, Tally
from source_commonroom.activities.timestamps import (
    NEAR,
    SECOND,
    UP_TO_SECOND,
    floor_to_second,
    format_timestamp,
    parse_timestamp,
    timestamp_of,
)
from source_commonroom.api.keys import hash_of, hashes_of
from source_commonroom.api.retriever import FirstPage, Rows
from source_commonroom.api.walk import Walk, sum_of

# How many activities may be read twice if another walk continues; and how many if fewer isn't possible.
_FEW_AGAIN = 20
_MOST_AGAIN = 100
# So long before the time near which a window may be parted, in milliseconds, the first place for that is; each further
# one lies twice as far, and there are so many.
_FIRST_PART = 3_000
_PARTS = 14


class _Point:
    """A time at which the number of a window may be parted in two, and what was received before it."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.before = 0
        self.is_clear = True
        """Whether nothing that was received lies so near that it isn't known on which side it is counted."""
        self._first, self._at, self._last = (format_timestamp(time) for time in (at - NEAR, at, at + NEAR))

    def note(self, timestamps: Sequence[str]) -> None:
        """Note the timestamps of a page."""
        self.before += sum(timestamp < self._at for timestamp in timestamps)
        self.is_clear = self.is_clear and not any(self._first <= timestamp <= self._last for timestamp in timestamps)


class _Points:
    """The times at which the number of a window may be parted in two.

    :param times: the best one first
    """

    def __init__(self, times: Iterable[int] = ()) -> None:
        self._points = [_Point(at) for at in times]
        self._noted = 0

    def note(self, timestamps: Sequence[str]) -> None:
        """Note the timestamps of a page."""
        self._noted += len(timestamps)
        for point in self._points:
            point.note(timestamps)

    def clear(self, received: int) -> _Point | None:
        """Return the best one at which it is known how many activities lie before it; None if there is none.

        :param received: how many activities the window received, each counted once
        """
        return next((point for point in self._points if point.is_clear), None) if self._noted == received else None


class Window:
    """A window that is planned, and how far it has been read.

    :param number: identifies it within the sync
    :param low: its first millisecond since 1970, which is the last one of the window before
    :param high: its last millisecond
    :param first: its first page, if it has been read already
    :param counts: whether the API is asked how many activities it has
    :param total: the total of the span that it is a part of
    """

    counted_apart = False
    """Whether the count and the first page are two answers."""
    batch = 0
    """Identifies the windows that are planned with it: what two of them that meet both receive is left out of one."""
    is_near_low = False
    """Whether it received an activity so near to its start that the window before it may receive it, too."""
    is_near_high = False
    """The same of its end, and the window after it."""
    is_overlapped = False
    """Whether it received an activity that a window which isn't its neighbor had received first."""
    is_split = False
    """Whether it couldn't be read as one."""

    def __init__(
        self,
        number: int,
        low: int,
        high: int,
        part: StreamSlice,
        first: FirstPage | None,
        total: SpanTotal | None,
        *,
        counts: bool,
    ) -> None:
        self.number = number
        self.low, self.high = low, high
        self.part = part
        self.first = first
        self.counts = counts
        self.total = total
        self.edges = Edges(low, high)
        self.is_counted = counts
        """Whether the API counts windows, even if it didn't count this one before its first page."""
        self.records: int | None = None
        """How many activities the API counted before the first page."""
        self.walks: list[Walk] = []
        """The walks that read it, one after the other: each but the first continues the one before."""
        self.since = low
        """The start of the last of them."""
        self.expected: int | None = None
        """How many activities the API counted from there on, before its first page."""
        self.complete_until = low
        """Until when the walks before it received all that the API counts."""
        self.in_order = True
        """Whether the activities were received in the order of their timestamps."""
        self.reached = ""
        """The timestamp of the last activity; the next page may contain it as well."""
        self.reached_before = ""
        """The same, a page before: if the API doesn't count, only the next page shows that a page was in order."""
        self.without_timestamp = 0
        """How many received activities have no timestamp."""
        self.latest: list[str] = []
        """The timestamps of the last page."""
        self._latest_keys: tuple[list[str], list[int]] = [], []
        """The timestamps of all activities of the last page, and their keys."""
        self._repeats_until = ""
        self._overlap: set[int] = set()
        self._overlap_ends = ""
        self.checkpointed_at = time.monotonic()
        """When the state was last kept."""
        self.reread_keys: array[int] = array("q")
        """The keys of the activities that were received when it was read once more."""
        self.left_out_low = self.left_out_high = 0
        """How many received activities the window before it, or after it, had received first."""
        self._points = _Points()
        self.is_doubtful = False
        """Whether something may be missing of what was read, whatever the counts say in the end."""
        self.done: list[tuple[int, int]] = []
        """If it is cut, the parts that have been read."""
        self.entries: list[Entry] = []
        """What was received of those parts."""
        self.unserved: list[tuple[int, int]] = []
        """The parts that the API can't serve."""

    def track_page(self, rows: Rows, timestamps: list[str]) -> None:
        """Note a page: its activities, and their timestamps."""
        self._points.note(timestamps)
        known = [timestamp for timestamp in timestamps if timestamp] if "" in timestamps else timestamps
        if self._repeats_until:
            further = [timestamp for timestamp in known if timestamp >= self._repeats_until]
            if further and further[-1] > self._repeats_until:
                self._repeats_until = ""
            known = further
        self.without_timestamp += timestamps.count("")
        so_far = [self.reached, *known]
        self.in_order = self.in_order and so_far == sorted(so_far)
        self.reached_before, self.reached = self.reached, so_far[-1]
        self.latest = known
        self._latest_keys = timestamps, hashes_of(rows)

    def may_part_near(self, timestamp: int) -> None:
        """Let its number be two: of what lies before a time a little earlier than this one, and of the rest."""
        times = [floor_to_second(timestamp) - _FIRST_PART * 2**number for number in range(_PARTS)]
        self._points = _Points(at for at in times if self.low + 2 * SECOND < at < self.high - 2 * SECOND)

    def leave_out(self, timestamp: str, first: tuple[int, int, int]) -> None:
        """Note that an activity was received by another window first.

        :param first: that window, see :data:`~source_commonroom.activities.seams.Window`
        """
        batch, low, high = first
        is_before, is_after = (batch == self.batch and at for at in (high == self.low, low == self.high))
        if is_before == is_after:
            self.is_overlapped = True
            is_before = timestamp <= format_timestamp((self.low + self.high) // 2)
        self.left_out_low += is_before
        self.left_out_high += not is_before

    def read_until(self) -> tuple[int, int] | None:
        """Return a time before which all has been read, if nothing is missing, and how many activities follow it.

        It is a whole second, and if there is one, a second in which no activity lies. So whether bounds are inclusive,
        and how finely the API compares, doesn't matter: it counts up to that time exactly what was received
        before it. Of that time itself there may be more. None if there is no such time near the last activity.
        """
        if not self.in_order:
            return None
        if self.records is None:
            # The next page may turn out to belong before the last one.
            found = (floor_to_second(parse_timestamp(self.reached_before)), 0) if self.reached_before else None
        else:
            found = self._last_second()
        return found if found and self.since < found[0] < self.high else None

    def _last_second(self) -> tuple[int, int] | None:
        """Return the second of the last activity, or an earlier one that is followed by few, and how many follow.

        All of those are on the last page.
        """
        seconds = [
            timestamp[:UP_TO_SECOND] for timestamp in [self.reached_before or format_timestamp(self.low), *self.latest]
        ]
        last: tuple[int, int] | None = None
        for place in range(len(seconds) - 1, 0, -1):
            after = len(seconds) - place
            if after > (_MOST_AGAIN if last is None else _FEW_AGAIN):
                break
            if seconds[place] == seconds[place - 1]:
                continue
            at, before = (parse_timestamp(f"{second}Z") for second in (seconds[place], seconds[place - 1]))
            if at - before > SECOND:
                return at - SECOND, after
            last = last or (at, after)
        return last

    def expect_repeats_until(self, reached: str) -> None:
        """Expect rows up to a timestamp to be read again: new ones among them don't break the order."""
        self._repeats_until = reached

    def is_short(self) -> bool:
        """Tell whether the last walk received fewer activities than were counted before its first page.

        What arrived late in a walk before it must not make up for what it lacks.
        """
        return self.expected is not None and self.walks[-1].received < self.expected

    def received_until(self, after: int) -> int:
        """Return how many activities the last walk received up to the time that so many follow.

        Those without a timestamp aren't counted in any span.
        """
        return self.walks[-1].received - self.without_timestamp - after

    def overlaps_as_expected(self, high: int, first: str, again: set[int]) -> bool:
        """Tell whether the rows read again from a time on are all that were received since: none is gone or withheld.

        If one of the second before is among them, the API compares seconds, and all of that second must be.

        :param high: the time, a whole second
        :param first: the timestamp of the first activity that is returned now
        :param again: the keys of those that were received before
        """
        begin = format_timestamp(high if first >= format_timestamp(high) else high - SECOND)
        return again == {key for timestamp, key in zip(*self._latest_keys, strict=True) if timestamp >= begin}

    def continue_with(self, walk: Walk, high: int, expected: int, overlap: set[int]) -> None:
        """Go on with another walk, which begins at a time up to which all has been read.

        :param overlap: the keys of the activities that are read again
        """
        self._overlap, self._overlap_ends = overlap, self.reached
        self.walks.append(walk)
        self.since, self.expected = high, expected

    def drop_overlap(self, rows: Rows) -> Rows:
        """Return the rows of a page that the walk before didn't receive."""
        if not self._overlap:
            return rows
        new = [row for row in rows if hash_of(row) not in self._overlap]
        if any(timestamp_of(row) > self._overlap_ends for row in new):
            self._overlap = set()
        return new

    def entry_until(self, high: int, after: int) -> Entry | None:
        """Return what the last walk received up to a time; None if some of that may have been deleted since.

        :param after: how many activities it received since that time
        """
        counts = self.walks[-1].counts
        if counts and counts.fell:
            return None
        return Entry(self.since, high, max(self.received_until(after), 0))

    def note_entry(self, entry: Entry | None) -> None:
        """Note what was received of a part of it, if that is known."""
        if entry is not None:
            self.entries.append(entry)

    def note_edges(self, ordered: list[str]) -> None:
        """Note whether a timestamp of a page lies near an edge.

        :param ordered: those of the page, in their order
        """
        is_near_low, is_near_high = self.edges.near(ordered)
        self.is_near_low = self.is_near_low or is_near_low
        self.is_near_high = self.is_near_high or is_near_high

    def entry(self) -> Entry | None:
        """Return what was received of it, if it was read as a whole; None if some of that may have been deleted since.

        A number that is too high would hide what arrives.
        """
        received, counts = self.tally().received, [walk.counts for walk in self.walks if walk.counts]
        number, is_low = received, False
        if len(self.walks) == 1 and counts:
            (pages,) = counts
            if pages.rose and pages.fell:
                return None
            if not pages.rose:
                # It doesn't count all that it returns; or what was deleted meanwhile had been received.
                number = min(received, pages.last)
                is_low = number < received and not pages.fell
        elif self.is_doubtful or any(pages.fell for pages in counts):
            return None
        return Entry(
            self.low,
            self.high,
            number,
            None,
            self.batch,
            self.left_out_low,
            self.left_out_high,
            self.is_near_low,
            self.is_near_high,
            is_overlapped=self.is_overlapped,
            is_low=is_low,
        )

    def entries_if_parted(self) -> list[Entry]:
        """Return what was received of it, in two entries if it may be parted and it is known what lies in each.

        None at all if it isn't known how many there are, see :meth:`entry`.
        """
        entry = self.entry()
        if entry is None:
            return []
        is_known = not (self.without_timestamp or self.reread_keys)
        point = self._points.clear(entry.number) if is_known else None
        if point is None:
            return [entry]
        return [
            replace(entry, high=point.at, number=point.before, left_out_high=0, is_near_high=False),
            replace(entry, low=point.at, number=entry.number - point.before, left_out_low=0, is_near_low=False),
        ]

    def tally(self) -> Tally:
        """Return what was received of it, in a few numbers."""
        number, checksum = sum_of(self.walks, self.reread_keys)
        return Tally(
            self.low, self.high, number, self.left_out_low, self.left_out_high, checksum, is_whole=not self.is_split
        )
