"""Seams: the times at which windows meet, and the records that both windows receive there."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from source_commonroom.activities.timestamps import NEAR, UP_TO_SECOND, format_timestamp, parse_timestamp
from source_commonroom.api.keys import hash_of

# As far as the second of a record near a seam may lie from it.
_FAR = 3_000
# How many records of one second are remembered, and how many without a timestamp. Repeated ones beyond are emitted.
_MOST = 2**16

Row = Mapping[str, Any]
Window = tuple[int, int, int]
"""What identifies a window: its batch, its first millisecond, and its last one."""


class Edges:
    """The bounds of a window, and which records of it lie near them.

    :param low: the first millisecond of the window
    :param high: its last millisecond
    """

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high
        self._low_from, self._low_to = format_timestamp(low - NEAR), format_timestamp(low + NEAR)
        self._high_from, self._high_to = format_timestamp(high - NEAR), format_timestamp(high + NEAR)

    def may_hold(self, first: str, last: str) -> bool:
        """Tell whether records from one timestamp to another may lie near an edge."""
        return first <= self._low_to or last >= self._high_from

    def near(self, ordered: Sequence[str]) -> tuple[bool, bool]:
        """Tell whether one of some timestamps, in their order, may lie near the first edge, and near the last one."""

        def is_between(first: str, last: str) -> bool:
            place = bisect_left(ordered, first)
            return not ordered[0] or (place < len(ordered) and ordered[place] <= last)

        return is_between(self._low_from, self._low_to), is_between(self._high_from, self._high_to)

    def outside(self, timestamps: Sequence[str], first: int, last: int) -> set[int]:
        """Return the places of records that lie before the sync's start or after its end, and near it.

        The API is asked for up to a second more than belongs to the sync. What lies far outside isn't left out: the API
        has a reason of its own to return it.
        """
        begin = format_timestamp(first) if self._low <= first else ""
        end = format_timestamp(last) if self._high >= last else "9999"
        far = format_timestamp(self._low - _FAR), format_timestamp(self._high + _FAR)
        return {
            place
            for place, timestamp in enumerate(timestamps)
            if far[0] <= timestamp < begin or end < timestamp <= far[1]
        }

    def are_near(self, timestamp: str) -> bool:
        """Tell whether a record lies near an edge; one without a timestamp may."""
        return (
            not timestamp
            or self._low_from <= timestamp <= self._low_to
            or self._high_from <= timestamp <= self._high_to
        )


class Seams:
    """Remembers which window was the first to receive each record near a seam; any thread may ask.

    It holds the records near the seams of windows that are planned or being read, and no others: their number doesn't
    grow with the sync.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: Counter[int] = Counter()
        self._first_window: dict[str, dict[int, Window]] = {}

    def expect(self, seam: int, windows: int) -> None:
        """Expect that so many windows will be read that have a seam for an edge."""
        with self._lock:
            self._pending[seam] += windows

    def window_done(self, *seams: int) -> None:
        """Note that a window with these edges isn't read any more."""
        with self._lock:
            for seam in seams:
                self._pending[seam] -= 1
                if self._pending[seam] <= 0:
                    del self._pending[seam]
                    self._drop_near(seam)
            if not self._pending:
                self._first_window.clear()

    def _drop_near(self, seam: int) -> None:
        """Drop what lies near a seam, and near no other one."""
        low, high = format_timestamp(seam - _FAR), format_timestamp(seam + _FAR)
        for second in [second for second in self._first_window if low <= second <= high]:
            timestamp = parse_timestamp(f"{second}Z")
            if not any(abs(other - timestamp) <= _FAR for other in self._pending):
                del self._first_window[second]

    def read_before(
        self, window: Window, rows: Sequence[Row], timestamps: Sequence[str], edges: Edges
    ) -> dict[int, Window]:
        """Note the records of a page that lie near an edge, and return those that another window received before.

        :param window: the window that reads them
        :return: the places of those, and the window that was the first
        """
        before: dict[int, Window] = {}
        with self._lock:
            for place, (row, timestamp) in enumerate(zip(rows, timestamps, strict=True)):
                if not edges.are_near(timestamp):
                    continue
                first = self._first_window.setdefault(timestamp[:UP_TO_SECOND], {})
                key = hash_of(row)
                if len(first) < _MOST:
                    first.setdefault(key, window)
                if (other := first.get(key, window)) != window:
                    before[place] = other
        return before
