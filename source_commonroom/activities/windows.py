"""Windows: the activities of a span of time, read page by page, and cut if the API can't serve one of them."""

import logging
import time
from collections.abc import Callable, Iterator

from airbyte_cdk.sources.types import StreamSlice

from source_commonroom.activities.coverage import Span
from source_commonroom.activities.cuts import Cut, first_page_counted_apart, verify_window
from source_commonroom.activities.ledger import Entry
from source_commonroom.activities.progress import Window
from source_commonroom.activities.seams import Seams
from source_commonroom.activities.timestamps import (
    CURSOR_FIELD,
    floor_to_second,
    format_timestamp,
    parse_timestamp,
    timestamps_of,
)
from source_commonroom.api.errors import RequestFailedError
from source_commonroom.api.keys import Keys, hash_of, hashes_of
from source_commonroom.api.page import records_of
from source_commonroom.api.retriever import (
    CountFailedError,
    CountRefusedError,
    CursorRefusedError,
    FirstPage,
    PageRetriever,
    Rows,
)
from source_commonroom.api.walk import PageCounts, Walk
from source_commonroom.lists.completeness import Counts

logger = logging.getLogger("airbyte")

# How often the state is emitted, in seconds: at first so soon that a sync which is killed has lost little.
_CHECKPOINT = 30
_CHECKPOINT_AT_FIRST = 0.25
# The share of a sync that lies between two checkpoints of a window until then.
_MAX_SHARE_LOST = 0.2


class WindowReader:
    """Reads windows, each by one thread.

    :param seams: knows what other windows received
    :param bounds: returns the first and the last millisecond of the sync
    :param checkpoint_span: marks a span as done in the state, and notes how many activities were received of it if that
        is known; called when all pages of it are on the queue
    """

    def __init__(
        self,
        retriever: PageRetriever,
        seams: Seams,
        slice_for: Callable[[int, int], StreamSlice],
        bounds: Callable[[], Span],
        checkpoint_span: Callable[[Span, Entry | None], None],
    ) -> None:
        # A page that fails for a reason of its own is cut; an outage is waited for.
        self._retriever = retriever.failing_early_if(self._others_are_served)
        self._name = retriever.name
        self._seams = seams
        self._counts = Counts(self._retriever)
        self._slice_for = slice_for
        self._bounds = bounds
        self._checkpoint_span = checkpoint_span
        self._started_at: float | None = None

    def pages(self, window: Window) -> Iterator[Rows]:
        """Yield the pages of a window, less what other windows received first.

        If the API can't serve a page, the window is cut, and its ``unserved`` lists what is left over in the end.

        :raises AirbyteTracedException: (transient_error) if the API returned fewer activities than it counts, and what
            :meth:`PageRetriever.page_of` raises
        """
        self._started_at = self._started_at or time.monotonic()
        window.checkpointed_at = time.monotonic()
        window.walks = [Walk(self._retriever)]
        try:
            yield from self._walk_pages(window, self._first_page(window))
        except RequestFailedError as error:
            if not error.failure.retried:
                raise
            yield from Cut(
                self._retriever,
                self._counts,
                self._slice_for,
                self._bounds(),
                window,
                lambda rows: self._drop_repeated(window, rows),
            ).pages(error)
        else:
            for rows in verify_window(self._counts, window):
                yield self._drop_repeated(window, rows)

    def _others_are_served(self) -> bool:
        """Tell whether the API serves the first activity of all, or the last one."""
        part = self._slice_for(*self._bounds())
        return any(self._retriever.serves(part, {"direction": direction}) for direction in ("asc", "desc"))

    def reread(self, low: int, high: int, known: Callable[[int], bool]) -> Iterator[Rows]:
        """Yield what a span holds beside what is known of it, by the keys of :func:`hash_of`.

        :raises AirbyteTracedException: as :meth:`pages`
        """
        part = self._slice_for(low, high)
        for rows in self._counts.read(part, self._retriever.first_page(part)):
            yield [row for row in rows if not known(hash_of(row))]

    def keys(self, low: int, high: int) -> Keys:
        """Return what a span holds now.

        :raises AirbyteTracedException: as :meth:`PageRetriever.page_of`
        """
        walk = Walk(self._retriever)
        for _ in walk.read_to_end(self._slice_for(low, high)):
            pass
        return walk.keys

    def count(self, low: int, high: int) -> int:
        """Return how many activities a span has now.

        :raises CountRefusedError: as :meth:`PageRetriever.count`
        :raises RequestFailedError: if the API refuses the token, or access
        """
        return self.count_of(self._slice_for(low, high))

    def count_of(self, part: StreamSlice) -> int:
        """Return how many activities a slice has now.

        :raises CountRefusedError: as :meth:`PageRetriever.count`
        :raises RequestFailedError: if the API refuses the token, or access
        """
        try:
            return self._retriever.quick().count(part)
        except CountRefusedError:
            # It was counted with its first page when it was planned.
            return self.count_with_page_of(part)

    def count_with_page_of(self, part: StreamSlice) -> int:
        """Return how many activities a slice has now, asked together with its first page.

        :raises CountRefusedError: as :meth:`PageRetriever.first_page`
        :raises CountFailedError: if it isn't answered
        :raises RequestFailedError: if the API refuses the token, or access
        """
        try:
            return self._retriever.quick().first_page(part).records
        except RequestFailedError as error:
            if not error.failure.retried:
                raise
            raise CountFailedError("it didn't answer the request") from error

    def count_few_of(self, part: StreamSlice) -> int:
        """Return how many activities a slice has now that the API doesn't count, if one page returns them all.

        :raises CountFailedError: if it doesn't
        :raises RequestFailedError: if the API refuses the token, or access
        """
        try:
            page = self._retriever.quick(1).plain_page(part)
        except RequestFailedError as error:
            if not error.failure.retried:
                raise
            raise CountFailedError("it didn't answer the request") from error
        if page.page["meta"].get("nextCursor") is not None:
            raise CountFailedError("it has more than a page")
        return page.records

    def _first_page(self, window: Window) -> FirstPage | None:
        """Return the first page of a window, after noting how many activities the API counts."""
        first, window.first = window.first, None
        if first is None and window.counts:
            try:
                first = self._retriever.first_page(window.part)
            except CountRefusedError:
                # It counted when the windows were planned, and is asked again at the end.
                return None
            except RequestFailedError as error:
                first = first_page_counted_apart(self._retriever, window, error)
        if first is not None and window.counts:
            window.records = window.expected = first.records
        return first

    def _walk_pages(self, window: Window, first: FirstPage | None) -> Iterator[Rows]:
        """Yield the pages of a window; if a cursor is refused, go on at the last timestamp seen, or begin again."""
        rest, begin = window.part, window.since
        stuck_at: str | None = None
        restart_points: list[int] = []
        sizes, size = self._retriever.sizes, self._retriever.sizes.now
        while True:
            walk = window.walks[-1]
            try:
                for rows in walk.pages(rest, first):
                    yield self._drop_repeated(window, window.drop_overlap(rows), follow=True)
                    first = self._checkpoint(window)
                    if first is not None:
                        break
                else:
                    return
                begin = window.since
                rest = self._slice_for(begin, window.high)
            except CursorRefusedError as refused:
                reached = window.reached if window.in_order else ""
                if reached != stuck_at or sizes.now < size:
                    # Pages that have become smaller are a reason of their own.
                    size = sizes.now
                    stuck_at, restart_points = reached, _restart_points(window, begin, reached)
                    first = self._leave_at_refused_cursor(window)
                    if first is not None:
                        begin = window.since
                        rest = self._slice_for(begin, window.high)
                        continue
                if not restart_points:
                    raise walk.refused_again() from refused
                self._warn_of_refusal(reached or "the window's first page")
                begin, first = restart_points.pop(0), None
                window.expect_repeats_until(reached)
                rest = self._slice_for(begin, window.high)

    def _leave_at_refused_cursor(self, window: Window) -> FirstPage | None:
        """Leave a walk whose cursor was refused as at a checkpoint, so that what it received is compared with counts.

        :return: the first page of the rest; None if that can't be done
        """
        reached = window.read_until() if window.expected is not None else None
        if reached is None:
            return None
        self._warn_of_refusal(format_timestamp(reached[0]))
        return self._leave_walk_at(window, *reached)

    def _warn_of_refusal(self, place: str) -> None:
        logger.warning(
            "%s: the API refused, in the middle of a window, the cursor that it gave itself. The rest is read from %s "
            "on, and nothing is emitted twice.",
            self._name,
            place,
        )

    def _checkpoint(self, window: Window) -> FirstPage | None:
        """Keep in the state what of a window has been read, if that wasn't done for some time.

        That must not be more than has been read, so that the API is asked for the rest of the window with its count,
        in place of the page that follows: what was received and the rest add up to the count before. Pinned by
        test_given_rows_held_back_in_a_window_that_takes_minutes_when_read_then_no_state_covers_them.

        :return: the first page of the rest; None to go on with the page that follows
        """
        now = time.monotonic()
        soon = (now - (self._started_at or now)) * _MAX_SHARE_LOST
        if now - window.checkpointed_at < min(max(soon, _CHECKPOINT_AT_FIRST), _CHECKPOINT):
            return None
        reached, walk = window.read_until(), window.walks[-1]
        if reached is None or (
            window.expected is not None and window.expected - walk.received <= self._retriever.page_size
        ):
            return None
        high, after = reached
        window.checkpointed_at = now
        if window.expected is None:
            # If the API doesn't count, pages that have moved show that something may be skipped. What can be counted
            # is kept once it has been.
            if not window.is_counted and not walk.has_moved():
                self._checkpoint_span((window.since, high - 1), None)
            return None
        return self._leave_walk_at(window, high, after)

    def _leave_walk_at(self, window: Window, high: int, after: int) -> FirstPage | None:
        """Leave a walk, checkpoint it if nothing is missing, and return the first page of the rest.

        :param high: the time from which on the rest is asked for
        :param after: how many activities were received since then
        :return: None if the walk has to go on
        """
        walk = window.walks[-1]
        try:
            first = self._retriever.quick().first_page(self._slice_for(high, window.high))
        except (CountRefusedError, RequestFailedError):
            # The page that follows meets what is wrong.
            return None
        rows = records_of(first.page)
        keys = hashes_of(rows)
        again = walk.seen_among(keys)
        if not keys or keys[-1] in again:
            # More of what was received before may follow, so that it isn't known how many the two have in common.
            return None
        known: int | None = walk.received + first.records - len(again)
        if not window.overlaps_as_expected(high, min(timestamps_of(rows)), again):
            # It isn't known how many of those that are counted were received already.
            known = None
        if self._is_complete(window, high, known, after):
            window.complete_until = high if window.complete_until == window.since else window.complete_until
            self._checkpoint_span((window.since, high - 1), window.entry_until(high, after))
        else:
            window.is_doubtful = True
        window.continue_with(Walk(self._retriever), high, first.records, again)
        return first

    def _is_complete(self, window: Window, high: int, known: int | None, after: int) -> bool:
        """Tell whether what was received of a window up to a time is all that the API counts of it.

        :param known: how many activities were received, or are counted from that time on; None if that isn't known
        :param after: how many were received since that time
        """
        expected, counts = window.expected or 0, window.walks[-1].counts
        if known is not None and known < expected:
            return False
        # Without counts of its own pages, it isn't known what arrived since it was counted.
        if known == expected and counts and not (counts.rose or self._has_risen(window, counts)):
            return True
        # Neither late arrivals nor what was deleted after it was received may make up for what is missing.
        try:
            return not (counts and counts.fell) and self.count(window.since, high) <= window.received_until(after)
        except CountRefusedError:
            return False

    def _has_risen(self, window: Window, counts: PageCounts) -> bool:
        """Tell whether an activity arrived since the last page, which would make up for one that was skipped.

        If cursors count rows, one is skipped if another one is deleted.
        """
        try:
            return counts.fell and self.count(window.since, window.high) > counts.last
        except CountRefusedError:
            return True

    def _drop_repeated(self, window: Window, rows: Rows, *, follow: bool = False) -> Rows:
        """Return the rows that no other window received first, and report those without a timestamp."""
        timestamps = timestamps_of(rows)
        if follow:
            window.track_page(rows, timestamps)
        else:
            window.reread_keys.extend(hashes_of(rows))
        if "" in timestamps:
            self._retriever.repeats.warn(
                f"activities that have no valid {CURSOR_FIELD}",
                timestamps.count(""),
                f"{timestamps.count('')} of {len(rows)} activities of a page have no valid {CURSOR_FIELD}. They are "
                "emitted all the same, but can't be found again by their time. Tell Common Room's support.",
            )
        # Most pages are in order already: that is half as much as to look for the least and the greatest.
        order = sorted(timestamps)
        if not rows or not window.edges.may_hold(order[0], order[-1]):
            return rows
        window.note_edges(order)
        before = self._seams.read_before((window.batch, window.low, window.high), rows, timestamps, window.edges)
        outside = window.edges.outside(timestamps, *self._bounds())
        if not before and not outside:
            return rows
        for place, first in before.items():
            window.leave_out(timestamps[place], first)
        if outside:
            # The window counts them, and they lie near its edge.
            window.is_near_low = window.is_near_high = True
        return [row for place, row in enumerate(rows) if place not in before and place not in outside]


def _restart_points(window: Window, begin: int, reached: str) -> list[int]:
    """Return from where on a window may be read after the API refused a cursor, the safest one first.

    If the API doesn't count, all that this cursor returned is read again, because a record may have been skipped.
    Else the second is, because the API may compare no finer; and if that returns nothing new, what is left of it.

    :param begin: where the walk began
    :param reached: the timestamp of the last activity; empty if they aren't in order
    """
    if not reached:
        return [window.since]
    at = parse_timestamp(reached)
    restart_points = [max(floor_to_second(at), window.since), at]
    return restart_points if window.expected is not None else [begin, *restart_points]
