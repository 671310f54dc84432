"""Windows: the activities of a span of time, read page by page, and cut where the API can't serve one of them."""

import logging
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from airbyte_cdk.sources.types import StreamSlice

from source_commonroom.components.counts import Counts
from source_commonroom.components.errors import RequestFailedError
from source_commonroom.components.walk import (
    Count,
    CountRefusedError,
    CursorRefusedError,
    FirstPage,
    Keys,
    PageRetriever,
    Walk,
)
from source_commonroom.coverage import Coverage, Span
from source_commonroom.moments import FIELD, moment_of, parse, text
from source_commonroom.seams import Edges, Seams, key_of
from source_commonroom.sums import Sum, Tally

logger = logging.getLogger("airbyte")

Rows = list[dict[str, Any]]

# So many parts may fail one after the other: the first is what the second is for where nothing has been served yet.
_MOST_AT_FIRST = 4
_MOST = 12
# A window that is no longer than this, in milliseconds, is what was left of one that was cut in an earlier sync.
_REST = 64
# So many spans a message names.
_NAMED = 3


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
        self.walk: Walk | None = None
        self.records: int | None = None
        """How many activities the API counted before the first page."""
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
        self.kept_at = time.monotonic()
        """When the state was last kept."""
        self.came: array[int] = array("q")
        """The activities that came, those too that another window was first with."""
        self.left_out_low = 0
        self.left_out_high = 0
        """How many came that a window before it, or after it, was first with."""
        self.may_be_kept = True
        """Whether what has been read of it may be kept in the state: as long as it is read from its beginning on."""
        self.is_cut = False
        """Whether it couldn't be read as one."""
        self.done: list[Span] = []
        """If it is cut, the parts that have been read."""
        self.unserved: list[Span] = []
        """The parts that the API can't serve."""

    def follow(self, moments: list[str]) -> None:
        """Follow the moments of a page."""
        known = [moment for moment in moments if moment] if "" in moments else moments
        so_far = [self.reached, *known]
        self.in_order = self.in_order and so_far == sorted(so_far)
        before = self.at_reached if so_far[0] == so_far[-1] else 0
        self.reached_before, self.reached = self.reached, so_far[-1]
        self.at_reached = before + known.count(self.reached)
        self.latest = known

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
        return (high, after) if self.low < high and lowest <= text(high) else None

    def tally(self) -> Tally:
        """Return what came of it, in a few numbers."""
        keys = Keys([self.came])
        unusable = self.walk.unusable if self.walk else 0
        return Tally(self.low, self.high, len(keys) + unusable, self.left_out_low, self.left_out_high, sum(keys))


class WindowReader:
    """Reads windows, each by one thread.

    :param retriever: asks for the pages
    :param seams: knows what came in other windows
    :param part_of: makes the slice that asks for a span, from the first moment to the last
    :param bounds: tells the first and the last moment of the sync
    """

    def __init__(
        self,
        retriever: PageRetriever,
        seams: Seams,
        part_of: Callable[[int, int], StreamSlice],
        bounds: Callable[[], Span],
    ) -> None:
        self._retriever = retriever
        self._name = retriever.name
        self._seams = seams
        self._counts = Counts(retriever)
        self._part_of = part_of
        self._bounds = bounds

    def pages(self, window: Window) -> Iterator[Rows]:
        """Yield the pages of a window, less what other windows were first with.

        If the API can't serve a page, the window is cut, and what is left over in the end stands in its ``unserved``.

        :raises AirbyteTracedException: (transient_error) if the API answered fewer activities than it counts, and what
            :meth:`PageRetriever.pages` raises
        """
        walk = window.walk = Walk(self._retriever)
        try:
            first = self._first_page(window)
            if window.counts and first is not None:
                window.records = first.records
            for rows in self._walked(window, walk, first):
                yield self._taken(window, rows, follow=True)
        except RequestFailedError as error:
            if not error.failure.retried:
                raise
            yield from self._cut(window, error)
        else:
            window.may_be_kept = False
            count = None if window.records is None else Count(window.records)
            for rows in self._counts.complete(window.part, count, [walk]):
                yield self._taken(window, rows)

    def is_whole(self, window: Window, high: int, after: int) -> bool:
        """Tell whether the API counts no more in a part of a window than it has answered.

        Else what is missing would be in the state before the end of the window tells. Pinned by
        test_given_rows_held_back_in_a_window_that_takes_minutes_when_read_then_no_state_covers_them.

        :param high: the last moment of the part
        :param after: how many activities came after it
        """
        if window.records is None or window.walk is None:
            return True
        try:
            return self._retriever.count(self._part_of(window.low, high)) <= window.walk.received - after
        except CountRefusedError:
            # The end of the window will tell. Pinned by
            # test_given_counts_that_fail_in_a_window_that_takes_minutes_when_read_then_no_state_covers_a_part_of_it.
            return False

    def again(self, low: int, high: int, known: Callable[[int], bool]) -> Iterator[Rows]:
        """Yield what a span holds beside what is known of it, by the keys of :func:`key_of`.

        :raises AirbyteTracedException: as :meth:`pages`
        """
        part = self._part_of(low, high)
        walk = Walk(self._retriever)
        first = self._retriever.first_page(part)
        for rows in walk.to_the_end(part, first):
            yield [row for row in rows if not known(key_of(row))]
        for rows in self._counts.complete(part, Count(first.records), [walk]):
            yield [row for row in rows if not known(key_of(row))]

    def keys(self, low: int, high: int) -> Keys:
        """Return what a span holds now.

        :raises AirbyteTracedException: as :meth:`PageRetriever.pages`
        """
        walk = Walk(self._retriever)
        for _ in walk.to_the_end(self._part_of(low, high)):
            pass
        return walk.keys

    def count(self, low: int, high: int) -> int:
        """Return how many activities a span has now.

        :raises CountRefusedError: as :meth:`PageRetriever.count`
        """
        return self._retriever.count(self._part_of(low, high))

    def _first_page(self, window: Window) -> FirstPage | None:
        if window.first is not None or not window.counts:
            first, window.first = window.first, None
            return first
        try:
            return self._retriever.first_page(window.part)
        except CountRefusedError:
            # It counted when the windows were planned. Whoever reads the page without a count meets what is wrong.
            return None
        except RequestFailedError as error:
            first = self._uncounted_page(window.part, error)
            window.counts = False
            return first

    def _uncounted_page(self, part: StreamSlice, error: RequestFailedError) -> FirstPage:
        """Return the first page of a span that the API failed to count; raise that error if it isn't served either."""
        if not error.failure.retried:
            raise error
        try:
            first = self._retriever.quick(1).plain_page(part)
        except RequestFailedError:
            raise error from None
        logger.warning(
            "%s: the API didn't count the activities of %s. They are read all the same, but what comes can't be "
            "compared with a count this time.",
            self._name,
            ", ".join(f"{name} {value}" for name, value in part.cursor_slice.items()),
        )
        return first

    def _walked(self, window: Window, walk: Walk, first: FirstPage | None) -> Iterator[Rows]:
        """Yield the pages of a window; where a cursor is refused, go on at the last moment seen, or begin again."""
        rest, begun_at = window.part, None
        while True:
            try:
                yield from walk.pages(rest, first)
            except CursorRefusedError as refused:
                go_on_at = window.reached if window.in_order else ""
                if go_on_at == begun_at:
                    raise walk.refused_again() from refused
                logger.warning(
                    "%s: the API refused, in the middle of a window, the cursor that it gave itself. The rest is read "
                    "from %s on, and nothing is emitted twice.",
                    self._name,
                    go_on_at or "the window's first page",
                )
                begun_at, first = go_on_at, None
                if go_on_at:
                    rest = self._part_of(parse(go_on_at), window.high)
            else:
                return

    def _taken(self, window: Window, rows: Rows, *, follow: bool = False) -> Rows:
        """Return the rows that no other window was first with, and report those without a moment."""
        moments = list(map(moment_of, rows))
        if follow:
            window.follow(moments)
        if "" in moments:
            logger.warning(
                "%s: %d of %d activities of a page have no %s that is a moment. They are emitted as they are. A record "
                "that has none can't be found again by its time; tell Common Room's support.",
                self._name,
                moments.count(""),
                len(rows),
                FIELD,
            )
        window.came.extend(map(key_of, rows))
        if not rows or not window.edges.touched_by(min(moments), max(moments)):
            return rows
        before = self._seams.taken(window.number, rows, moments, window.edges)
        outside = window.edges.outside(moments, *self._bounds())
        if not before and not outside:
            return rows
        middle = text((window.low + window.high) // 2)
        early = sum(moment <= middle for moment in before.values())
        window.left_out_low += early
        window.left_out_high += len(before) - early
        return [row for place, row in enumerate(rows) if place not in before and place not in outside]

    def _cut(self, window: Window, error: RequestFailedError) -> Iterator[Rows]:
        """Yield the parts of a window that the API can serve, where it failed to serve all of it.

        What it can't serve is cut in two again and again, the newer half first, until only a millisecond and its
        neighbors are left. If nothing is served, the API is down, and no record is the cause.

        :raises RequestFailedError: the error, if so many parts fail that no single records can be the cause
        """
        window.is_cut, window.may_be_kept = True, False
        logger.warning(
            "%s Is it one activity that the API can't serve? The rest of the window, %s to %s, is read in smaller "
            "parts to find out.",
            error,
            text(window.low),
            text(window.high),
        )
        came = set(window.came)
        low = self._safe(window, window)
        failures, served = 0, False
        todo = [(low, window.high, True)]
        while todo:
            low, high, failed = todo.pop()
            if failed and high - low <= 1:
                window.unserved.append((low, high))
            elif failed:
                middle = (low + high) // 2
                todo += [(low, middle, False), (middle, high, False)]
            else:
                part = Window(0, low, high, self._part_of(low, high), None, None, counts=window.counts)
                try:
                    yield from self._read_part(window, part, came)
                except RequestFailedError as again:
                    if not again.failure.retried:
                        raise
                    served = served or bool(part.came)
                    failures = 1 if part.came else failures + 1
                    if failures >= _MOST_AT_FIRST and not served:
                        served = window.high - window.low <= _REST and self._answers_beside(window)
                    if failures >= (_MOST if served else _MOST_AT_FIRST):
                        raise error from None
                    todo.append((self._safe(window, part), high, True))
                else:
                    failures, served = 0, True
                    window.done.append((low, high))
        window.unserved = list(Coverage(window.unserved)) or window.unserved
        if not served and not self._answers_beside(window):
            raise error

    def _read_part(self, window: Window, part: Window, came: set[int]) -> Iterator[Rows]:
        """Yield the pages of a part of a window, without waiting long for any."""
        retriever = self._retriever.quick(2 if part.high - part.low <= 1 else 1)
        walk = part.walk = Walk(retriever)
        try:
            first = retriever.first_page(part.part) if part.counts else None
        except CountRefusedError:
            first = None
        except RequestFailedError as error:
            first, part.counts = self._uncounted_page(part.part, error), False
        if part.counts and first is not None:
            part.records = first.records
        for rows in walk.to_the_end(part.part, first):
            part.follow(list(map(moment_of, rows)))
            part.came.extend(map(key_of, rows))
            yield self._new_of(window, rows, came)
        for rows in self._counts.complete(part.part, None if part.records is None else Count(part.records), [walk]):
            yield self._new_of(window, rows, came)

    def _new_of(self, window: Window, rows: Rows, came: set[int]) -> Rows:
        new = [row for row in rows if key_of(row) not in came]
        came.update(map(key_of, new))
        return self._taken(window, new)

    def _safe(self, window: Window, part: Window) -> int:
        """Return up to where a part of a window has been read whole although it failed, and take that for done."""
        reached = part.read_until()
        if reached is None or not self.is_whole(part, *reached):
            return part.low
        window.done.append((part.low, reached[0]))
        return reached[0]

    def _answers_beside(self, window: Window) -> bool:
        """Tell whether the API serves an activity after a window or before it, or says that there is none."""
        retriever = self._retriever.quick(2)
        first, last = self._bounds()
        beside = [(window.high + 2, last), (first, window.low - 2)]
        for part in (self._part_of(low, high) for low, high in beside if low < high):
            try:
                retriever.page_of({**retriever.params(part), "limit": 1}, part)
            except RequestFailedError:
                continue
            return True
        return False


def unserved_message(name: str, spans: Iterable[Span]) -> str:
    """Say what the API can't serve, for people."""
    named = [f"{text(low)} to {text(high)}" for low, high in spans]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return (
        f"{name}: the API can't serve the activities of {', '.join(named[:_NAMED])}{more}: each request for them "
        "failed, and those beside them didn't. All others came, and the next sync asks for these alone. Tell Common "
        "Room's support, with these moments: one of its records is broken."
    )
