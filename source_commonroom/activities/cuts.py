"""Cuts: a window that the API can't serve as one, read in parts until it is known what it can't serve."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from airbyte_cdk.sources.types import StreamSlice

from source_commonroom.activities.coverage import Coverage, Span
from source_commonroom.activities.progress import Window
from source_commonroom.activities.timestamps import format_timestamp, parse_timestamp, seam_near, timestamps_of
from source_commonroom.api.errors import RequestFailedError
from source_commonroom.api.keys import hash_of, hashes_of
from source_commonroom.api.page import records_of
from source_commonroom.api.retriever import Count, CountRefusedError, FirstPage, PageRetriever, Rows
from source_commonroom.api.walk import Walk, keys_of
from source_commonroom.lists.completeness import Counts

logger = logging.getLogger("airbyte")

# How many parts may fail in a row as long as nothing has been served: the halves of a window, and those of one of them.
# And how many later, if several records fail.
_MAX_FAILURES_AT_FIRST = 4
_MAX_FAILURES = 12
# Parts that are no longer, in milliseconds, meet within a second.
_COARSE = 2_000
# So many spans a message names.
_NAMED = 3


class Cut:
    """Reads in parts a window of which a page failed in spite of all tries.

    What fails is cut in two again and again, until only a millisecond and its neighbors are left; or a second, if the
    API compares no finer, because an activity may lie between two parts then that meet within it. If nothing is served,
    the API is down, and not a record to blame.

    :param counts: compares each part with its count
    :param bounds: the first and the last millisecond of the sync
    :param window: the window; its ``done`` and ``unserved`` say in the end what was read and what wasn't
    :param drop_repeated: returns of a page's rows those that no other window received first
    """

    def __init__(
        self,
        retriever: PageRetriever,
        counts: Counts,
        slice_for: Callable[[int, int], StreamSlice],
        bounds: Span,
        window: Window,
        drop_repeated: Callable[[Rows], Rows],
    ) -> None:
        self._retriever = retriever
        self._counts = counts
        self._slice_for = slice_for
        self._bounds = bounds
        self._window = window
        self._drop_repeated = drop_repeated
        self._seen_before = keys_of(window.walks)
        self._seen: set[int] = set()
        self._failed: list[Span] = []
        self._untried: list[Span] = []
        self._failures = 0
        """How many parts failed one after the other."""
        self._served = False
        self._known_timestamp = window.reached
        """The timestamp of an activity that was received."""
        self._has_milliseconds: bool | None = None

    def pages(self, error: RequestFailedError) -> Iterator[Rows]:
        """Yield the pages of the parts that the API can serve.

        :raises RequestFailedError: that, if so many parts fail that no single records can be the cause
        """
        window = self._window
        window.is_split = True
        logger.warning(
            "%s: a page of the activities from %s to %s failed each time (%s). Is there one that the API can't serve? "
            "What is left of them is read in smaller parts to find out.",
            self._retriever.name,
            format_timestamp(window.low),
            format_timestamp(window.high),
            error.internal_message,
        )
        self._failed.append((self._complete_until(window), window.high))
        unserved: list[Span] = []
        try:
            yield from self._parts(error, unserved)
        except BaseException:
            # Spans that are a millisecond apart are one in a state: what lies between them must be named.
            unserved += [span for span in (*self._failed, *self._untried) if span[1] - span[0] <= 1]
            raise
        finally:
            window.unserved = list(Coverage(unserved)) or unserved

    def _parts(self, error: RequestFailedError, unserved: list[Span]) -> Iterator[Rows]:
        """Yield the pages of part after part, and list those that can't be served."""
        while self._untried or self._failed:
            if not self._untried:
                low, high = self._failed[-1]
                if high - low <= 1 or (high - low <= _COARSE and not self._compares_milliseconds()):
                    unserved.append(self._failed.pop())
                    continue
                middle = seam_near((low + high) // 2, low, high)
                # Both are tried before either is cut again: if neither is served, no record is the cause.
                self._untried = [(low, middle), (middle, high)]
                self._failed.pop()
            yield from self._try(*self._untried[-1], error)
            self._untried.pop()
        if not self._served and not self._serves_others():
            raise error

    def _try(self, low: int, high: int, error: RequestFailedError) -> Iterator[Rows]:
        """Yield the pages of a part; if it fails, it is to be cut."""
        window = self._window
        part = Window(0, low, high, self._slice_for(low, high), None, None, counts=window.counts)
        # What failed for the window may be had for a part, once that has been read.
        part.is_counted = window.is_counted
        try:
            yield from self._read(part)
        except RequestFailedError as again:
            if not again.failure.retried:
                raise
            has_pages = any(walk.pages_read for walk in part.walks)
            self._served = self._served or has_pages
            self._failures = 1 if has_pages else self._failures + 1
            if self._failures >= _MAX_FAILURES_AT_FIRST and not self._served:
                self._served = self._serves_others()
            if self._failures >= (_MAX_FAILURES if self._served else _MAX_FAILURES_AT_FIRST):
                raise error from None
            self._failed.append((self._complete_until(part), high))
        else:
            self._failures, self._served = 0, True
            window.done.append((low, high))
            window.note_entry(part.entry())

    def _read(self, part: Window) -> Iterator[Rows]:
        """Yield the pages of a part, without waiting long for any."""
        narrow = part.high - part.low <= 1
        retriever = self._retriever.quick(2 if narrow else 1)
        walk = Walk(retriever)
        part.walks.append(walk)
        try:
            first = retriever.first_page(part.part) if part.counts else None
        except CountRefusedError:
            first = None
        except RequestFailedError as error:
            if self._failures and not narrow:
                # The part beside it failed with and without a count.
                raise
            first = first_page_counted_apart(self._retriever, part, error)
        if part.counts and first is not None:
            part.records = part.expected = first.records
        for rows in walk.read_to_end(part.part, first):
            timestamps = timestamps_of(rows)
            part.track_page(rows, timestamps)
            if rows:
                part.note_edges(sorted(timestamps))
            self._known_timestamp = self._known_timestamp or part.reached
            yield self._drop_seen(rows)
        for rows in verify_window(self._counts, part):
            # Their timestamps aren't looked at.
            part.is_near_low = part.is_near_high = True
            yield self._drop_seen(rows)

    def _drop_seen(self, rows: Rows) -> Rows:
        new = [row for row in rows if (key := hash_of(row)) not in self._seen and key not in self._seen_before]
        self._seen.update(map(hash_of, new))
        return self._drop_repeated(new)

    def _complete_until(self, part: Window) -> int:
        """Return until when a part is complete although it failed, and mark that as done."""
        reached = part.read_until()
        if reached is not None and part.since == part.complete_until and self._is_complete(part, *reached):
            part.complete_until = reached[0]
            if part.expected is not None:
                self._window.note_entry(part.entry_until(*reached))
        if part.complete_until > part.low:
            self._window.done.append((part.low, part.complete_until - 1))
        return part.complete_until

    def _is_complete(self, part: Window, high: int, after: int) -> bool:
        """Tell whether the API counts no more in what was read of a part than it has answered.

        :param high: the last millisecond of that
        :param after: how many activities were received since then
        """
        walk = part.walks[-1]
        # A received record that was deleted must not make up for one that a cursor which counts rows then skipped.
        if (walk.counts and walk.counts.fell) or walk.has_moved():
            return False
        if part.expected is None:
            # What can be counted is counted as a part, and read once more.
            return not part.is_counted
        try:
            counted = self._retriever.quick().count(self._slice_for(part.since, high))
        except CountRefusedError:
            return False
        return counted <= part.received_until(after)

    def _compares_milliseconds(self) -> bool:
        """Tell whether a span of a few milliseconds returns what lies in it, and nothing else.

        By an activity that was received or lies near: the span around it returns it, and the one behind it doesn't.
        """
        if self._has_milliseconds is None:
            near = filter(None, map(self._first_timestamp_of, self._neighbors()))
            known = self._known_timestamp or next(near, "")
            at = parse_timestamp(known) if known else 0
            self._has_milliseconds = bool(
                known
                and self._first_timestamp_of((at, at + 1))
                and self._first_timestamp_of((at + 3, at + 4)) not in {known, None}
            )
        return self._has_milliseconds

    def _serves_others(self) -> bool:
        """Tell whether the API answers for the time after the window, before it, or at its beginning."""
        window = self._window
        spans = [*self._neighbors(), (window.low, window.high)]
        return any(self._first_timestamp_of(span) is not None for span in spans)

    def _neighbors(self) -> list[Span]:
        """Return the spans after the window and before it, as far as the sync reaches."""
        first, last = self._bounds
        spans = [(self._window.high + 2, last), (first, self._window.low - 2)]
        return [(low, high) for low, high in spans if low < high]

    def _first_timestamp_of(self, span: Span) -> str | None:
        """Return the timestamp of the first activity of a span, empty if it has none; None if it isn't served."""
        retriever, part = self._retriever.quick(), self._slice_for(*span)
        try:
            page = retriever.page_of({**retriever.params(part), "limit": 1}, part)
        except RequestFailedError:
            return None
        return next(iter(timestamps_of(records_of(page))), "")


def verify_window(counts: Counts, window: Window) -> Iterator[Rows]:
    """Find out whether the walks of a window received all of it, and yield the rows that they missed.

    If it couldn't be counted before, it is counted now and read once more: the sum of the windows doesn't show what
    is missing within one.

    :raises AirbyteTracedException: as :meth:`Counts.verify`
    """
    doubtful = window.is_doubtful or window.is_short()
    count = None if window.records is None else Count(window.records)
    if count is None and window.is_counted:
        count = counts.count_after(window.part)
        doubtful = doubtful or bool(count and count.records)
    yield from counts.verify(window.part, count, window.walks, doubtful=doubtful, counted_apart=window.counted_apart)


def first_page_counted_apart(retriever: PageRetriever, window: Window, error: RequestFailedError) -> FirstPage:
    """Return the first page of a window that the API didn't serve together with a count, counted if that is possible.

    It may have been the page that failed, and pages may have become smaller since. So the count is asked for alone, and
    then the page once more: a record that is deleted in between may not make up for a missing one. If the page has
    changed meanwhile, the count may be of other activities.

    :param error: what the request for both met
    :raises RequestFailedError: that, if the page isn't served without a count either
    """
    if not error.failure.retried:
        raise error
    quick = retriever.quick(1)
    try:
        before = quick.plain_page(window.part)
        try:
            counted = quick.count(window.part)
        except CountRefusedError:
            window.counts = False
            return before
        page = quick.plain_page(window.part)
    except RequestFailedError:
        raise error from None
    was, now = (hashes_of(records_of(first.page)) for first in (before, page))
    window.counts = window.counted_apart = True
    window.is_doubtful = window.is_doubtful or was != now
    return replace(page, records=counted)


def unserved_message(name: str, spans: Iterable[Span]) -> str:
    """Say what the API can't serve, for people."""
    named = [f"{format_timestamp(low)} to {format_timestamp(high)}" for low, high in spans]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return (
        f"{name}: the API can't serve the activities of {', '.join(named[:_NAMED])}{more}: each request for them "
        "failed, and those beside them didn't. All others were read, and the next sync asks for these alone. "
        "Tell Common Room's support, with these times: one of its records is broken."
    )
