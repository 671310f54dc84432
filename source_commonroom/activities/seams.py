"""Seams: the moments at which windows meet, and what comes twice there."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from source_commonroom.activities.timestamps import format_timestamp, parse_timestamp
from source_commonroom.api.keys import hash_of

# Whatever the API's resolution is, up to this, and whether its bounds are inclusive: so close to a seam, in
# milliseconds, a record may come in both windows.
_NEAR = 1_100
# As far as the second of a record near a seam may lie from it.
_FAR = 3_000
# So many records of one second are remembered, and so many without a moment. What comes twice beyond is emitted twice.
_MOST = 2**16
# A moment up to its second.
_SECOND = len("2026-01-01T00:00:00")

Row = Mapping[str, Any]


class Edges:
    """The bounds of a window, and which records of it lie near them.

    :param low: the first moment of the window, in milliseconds
    :param high: its last moment
    """

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high
        self._low_from, self._low_to = format_timestamp(low - _NEAR), format_timestamp(low + _NEAR)
        self._high_from, self._high_to = format_timestamp(high - _NEAR), format_timestamp(high + _NEAR)

    def may_hold(self, first: str, last: str) -> bool:
        """Tell whether records of the moments between two may lie near an edge."""
        return first <= self._low_to or last >= self._high_from

    def outside(self, moments: Sequence[str], first: int, last: int) -> set[int]:
        """Return the places of records that lie before the sync's first moment or after its last one, and near it.

        It is asked for up to a second more than belongs to it. What lies far outside came for a reason that only the
        API knows, and is left out by nobody.
        """
        begin = format_timestamp(first) if self._low <= first else ""
        end = format_timestamp(last) if self._high >= last else "9999"
        far = format_timestamp(self._low - _FAR), format_timestamp(self._high + _FAR)
        return {place for place, moment in enumerate(moments) if far[0] <= moment < begin or end < moment <= far[1]}

    def are_near(self, moment: str) -> bool:
        """Tell whether a record lies near an edge; one without a moment may."""
        return not moment or self._low_from <= moment <= self._low_to or self._high_from <= moment <= self._high_to


class Seams:
    """Keeps of what windows read near their seams who was first; any thread may ask.

    It holds the records near the seams of windows that are planned or being read, and no others: their number doesn't
    grow with the sync.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: Counter[int] = Counter()
        self._first_window: dict[str, dict[int, int]] = {}

    def expect(self, seam: int, windows: int) -> None:
        """Expect that so many windows will be read that have a seam for an edge."""
        with self._lock:
            self._pending[seam] += windows

    def window_done(self, *seams: int) -> None:
        """Learn that a window with these edges isn't read any more."""
        with self._lock:
            for seam in seams:
                self._pending[seam] -= 1
                if self._pending[seam] <= 0:
                    del self._pending[seam]
                    self._drop_near(seam)
            if not self._pending:
                self._first_window.clear()

    def _drop_near(self, seam: int) -> None:
        """Forget what lies near a seam, and near no other one."""
        low, high = format_timestamp(seam - _FAR), format_timestamp(seam + _FAR)
        for second in [second for second in self._first_window if low <= second <= high]:
            moment = parse_timestamp(f"{second}Z")
            if not any(abs(other - moment) <= _FAR for other in self._pending):
                del self._first_window[second]

    def read_before(self, window: int, rows: Sequence[Row], moments: Sequence[str], edges: Edges) -> dict[int, str]:
        """Take the records of a page that lie near an edge, and return those that came in another window before.

        :param window: the number of the window that reads them
        :return: the places of those that came before, and their moments
        """
        before: dict[int, str] = {}
        with self._lock:
            for place, (row, moment) in enumerate(zip(rows, moments, strict=True)):
                if not edges.are_near(moment):
                    continue
                first = self._first_window.setdefault(moment[:_SECOND], {})
                key = hash_of(row)
                if len(first) < _MOST:
                    first.setdefault(key, window)
                if first.get(key, window) != window:
                    before[place] = moment
        return before
