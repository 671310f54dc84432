"""Progress: a window of activities, and how far the reading of it has come."""

import time
from array import array
from typing import Any

from airbyte_cdk.sources.types import StreamSlice

from source_commonroom.components.walk import FirstPage, Walk, hash_of, sum_of
from source_commonroom.moments import moment_of, parse, text
from source_commonroom.seams import Edges
from source_commonroom.sums import Sum, Tally

Rows = list[dict[str, Any]]

# So many activities of a page are remembered, which may come again where a walk is left and another goes on.
_TAIL = 12


class Window:
    """A window that is planned, and how far the reading of it has come.

    :param number: tells it from all others of the sync
    :param low: its first moment, in milliseconds, which is the last one of the window before
    :param high: its last moment
    :param part: the slice that asks for it
    :param first: its first page, if it has been read already
    :param counts: whether the API is asked how many activities it has
    :param of: the sum that it is a part of
    """

    def __init__(
        self,
        number: int,
        low: int,
        high: int,
        part: StreamSlice,
        first: FirstPage | None,
        of: Sum | None,
        *,
        counts: bool,
    ) -> None:
        self.number = number
        self.low = low
        self.high = high
        self.part = part
        self.first = first
        self.counts = counts
        self.of = of
        self.edges = Edges(low, high)
        self.records: int | None = None
        """How many activities the API counted before the first page."""
        self.walks: list[Walk] = []
        """The walks that read it, one after the other: each but the first begins where the one before was left."""
        self.since = low
        """Where the last of them begins."""
        self.due: int | None = None
        """How many activities the API counted from there on, before its first page."""
        self.safe = low
        """Up to where the walks before it brought all that the API counts."""
        self.in_order = True
        """Whether no activity came after one of a later moment."""
        self.reached = ""
        """The moment of the last activity; there may be more of it on the next page."""
        self.reached_before = ""
        """The same, a page before: where the API doesn't count, only a page tells that the one before was in order."""
        self.at_reached = 0
        """How many activities of that moment came."""
        self.latest: list[str] = []
        """The moments of the last page."""
        self._tail: list[tuple[str, int]] = []
        self._overlap: set[int] = set()
        self._overlap_ends = ""
        self.kept_at = time.monotonic()
        """When the state was last kept."""
        self.later: array[int] = array("q")
        """The activities that came when it was read once more."""
        self.left_out_low = 0
        self.left_out_high = 0
        """How many came that a window before it, or after it, was first with."""
        self.is_doubtful = False
        """Whether something may be missing of what was read, whatever the counts say in the end."""
        self.is_cut = False
        """Whether it couldn't be read as one."""
        self.done: list[tuple[int, int]] = []
        """If it is cut, the parts that have been read."""
        self.unserved: list[tuple[int, int]] = []
        """The parts that the API can't serve."""

    def follow(self, rows: Rows, moments: list[str]) -> None:
        """Follow a page: its activities, and their moments."""
        known = [moment for moment in moments if moment] if "" in moments else moments
        so_far = [self.reached, *known]
        self.in_order = self.in_order and so_far == sorted(so_far)
        before = self.at_reached if so_far[0] == so_far[-1] else 0
        self.reached_before, self.reached = self.reached, so_far[-1]
        self.at_reached = before + known.count(self.reached)
        self.latest = known
        self._tail = [(moment, hash_of(row)) for row, moment in zip(rows[-_TAIL:], moments[-_TAIL:], strict=True)]

    def read_until(self) -> tuple[int, int] | None:
        """Return a moment up to which all has been read, if nothing is missing, and how many activities came after it.

        None of those that came is of that moment itself, as it is shown. So whether times are stored finer than they
        are shown doesn't matter: the API counts up to it what came up to it, and nothing else.
        None if there is no such moment.
        """
        counted = self.records is not None
        reached = self.reached if counted else self.reached_before
        if not self.in_order or not reached:
            return None
        high = min(parse(reached) - 1, self.high)
        after = self.at_reached
        shown = {self.reached_before, *self.latest} if counted else set()
        while (at := text(high)) in shown:
            after += self.latest.count(at)
            high -= 1
        lowest = self.latest[0] if counted and self.latest and self.latest[0] < reached else ""
        return (high, after) if self.since < high and lowest <= text(high) else None

    def from_here(self, high: int) -> list[int] | None:
        """Return the activities that came and will come again if the rest is asked for from a moment on.

        None if there are many.
        """
        begin = text(high - 1)
        again = [key for moment, key in self._tail if not moment or moment >= begin]
        return again if len(again) < _TAIL else None

    def leave(self, walk: Walk, high: int, due: int) -> None:
        """Go on with another walk, which begins at a moment up to which all has been read."""
        self._overlap, self._overlap_ends = set(self.from_here(high) or ()), self.reached
        self.walks.append(walk)
        self.since, self.due = high, due

    def new_of(self, rows: Rows) -> Rows:
        """Return the rows of a page that didn't come in the walk before."""
        if not self._overlap:
            return rows
        new = [row for row in rows if hash_of(row) not in self._overlap]
        if any(moment_of(row) > self._overlap_ends for row in new):
            self._overlap = set()
        return new

    def tally(self) -> Tally:
        """Return what came of it, in a few numbers."""
        number, mark = sum_of(self.walks, self.later)
        return Tally(self.low, self.high, number, self.left_out_low, self.left_out_high, mark, is_whole=not self.is_cut)
