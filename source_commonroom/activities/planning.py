"""Planning: which windows of a span are read, by what the API counts, by the calendar, or by what pages show."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.activities.progress import Window
from source_commonroom.activities.slices import PagePreview, SpanCount, plan, plan_without_counts, window_size
from source_commonroom.activities.sums import SpanTotal
from source_commonroom.activities.timestamps import format_timestamp, parse_timestamp, seam_near, timestamp_of
from source_commonroom.api.errors import RequestFailedError
from source_commonroom.api.retriever import CountFailedError, CountRefusedError, FirstPage, PageRetriever
from source_commonroom.lists.estimates import Estimates

logger = logging.getLogger("airbyte")

_DAY = 24 * 3600 * 1000
# After so many spans in a row that fail, counted or not, the API counts as down.
_DOWN = 3
# How many records are assumed to be left if the API doesn't count.
_UNKNOWN_REST = 10**9


class Planner:
    """Plans the windows of spans, one span after the other, in a thread of its own.

    A window is planned by its first page, which is kept until the window is read: planning costs hardly a request, and
    keeps no more than a few windows ahead of the reading.

    A count may be what the API fails at, of all activities or of long spans. Then spans of the calendar are counted,
    the newest first, as long as it takes; and if days can't be counted either, nothing is.

    :param workers: how many windows are read at once
    :param estimates: receives what the API counts
    :param output_closed: whether the output is closed, so that the planning doesn't wait for it
    """

    def __init__(
        self,
        retriever: PageRetriever,
        slice_for: Callable[[int, int], StreamSlice],
        workers: int,
        estimates: Estimates,
        output_closed: Callable[[], bool],
    ) -> None:
        self._retriever = retriever
        self._name = retriever.name
        self._slice_for = slice_for
        self._size = window_size(workers)
        self._max_buffered = workers
        self._estimates = estimates
        self._output_closed = output_closed
        self._probed: tuple[tuple[int, int], FirstPage] | None = None
        self._plain_pages: dict[tuple[int, int], FirstPage] = {}
        self._buffered = 0
        self._buffer_changed = threading.Condition()
        self._windows = 0
        self._counts = True
        self._uncountable_length: int | None = None
        """The length of spans that can't be counted, and no longer ones; more than a day. None if there is none."""
        self._uncounted: list[tuple[int, int]] = []
        """What is read although a count of a part of it failed that isn't long."""
        self._reason = ""

    def windows(self, first: int, last: int) -> Iterator[Window]:
        """Yield the windows of a span, each planned as it is asked for.

        :raises AirbyteTracedException: (config_error) if the API refuses the token, or access
        """
        try:
            if not self._counts:
                yield from self._by_pages(first, last)
            elif self._is_too_long(first, last) or (whole := self._probe(first, last)) is None:
                yield from self._by_parts(first, last)
            else:
                yield from self._by_count(first, last, whole)
        except CountRefusedError as refused:
            self._stop_counting(refused)
            yield from self._by_pages(first, last)

    @property
    def counts(self) -> bool:
        """Whether the API counts, as far as is known; counts of some spans may fail."""
        return self._counts

    @property
    def uncountable_length(self) -> int | None:
        """The length of spans, in milliseconds, from which on the API doesn't count them; None if none is known."""
        return self._uncountable_length

    def report(self) -> None:
        """Say what couldn't be compared, once all is planned."""
        spans = ", ".join(f"{format_timestamp(low)} to {format_timestamp(high)}" for low, high in self._uncounted)
        if not self._counts:
            text = (
                f"the API doesn't count records ({self._reason}). They are read all the same, but nothing shows "
                "whether what is received is all that there is."
            )
        elif spans:
            text = (
                f"the API failed to count the records of the spans {spans} ({self._reason}). They are read all the "
                "same, but what is received can't be compared with a count this time."
            )
        elif self._uncountable_length is not None:
            text = (
                f"the API didn't count the records of a long span ({self._reason}). Shorter ones were counted, and "
                "what was received is compared with the count of each; the count of the whole isn't known."
            )
        else:
            return
        logger.warning("%s: %s", self._name, text)

    def release_first_page(self, window: Window) -> None:
        """Note that a window is being read, so that another first page may be kept."""
        with self._buffer_changed:
            if window.first is not None:
                self._buffered -= 1
                self._buffer_changed.notify_all()

    def _by_count(self, first: int, last: int, whole: SpanCount) -> Iterator[Window]:
        """Plan a span that was counted."""
        self._estimates.add(self._name, whole.records)
        total, begin = SpanTotal(first, last, whole.records), first

        def probe(low: int, high: int) -> SpanCount | None:
            return whole if (low, high) == (first, last) else self._probe(low, high)

        try:
            for low, high in plan(first, last, probe, self._size):
                total.add(high)
                known = self._probed[1] if self._probed and self._probed[0] == (low, high) else None
                yield self._window(low, high, known, total)
                begin = high
        except CountRefusedError as refused:
            total.give_up()
            self._stop_counting(refused)
            yield from self._by_pages(begin, last)

    def _by_parts(self, first: int, last: int) -> Iterator[Window]:
        """Plan a span whose first page and count weren't served together."""
        seen = self._preview(first, last)
        self._plain_pages.clear()
        if seen and not self._is_too_long(first, last) and (alone := self._count_alone(first, last)):
            yield from self._by_count(first, last, SpanCount(alone.records, seen.earliest))
            return
        begin = self._earliest(seen, first, last)
        yield from self._by_calendar(begin, last, is_new=begin > first or seen is None)
        if begin > first:
            # Nothing was shown of it, so that it is read at once, and counted afterwards; unless nothing can be.
            earlier = self._window(first, begin, None, None, counts=False)
            earlier.is_counted = self._counts and not self._uncounted
            yield earlier

    def _by_calendar(self, begin: int, last: int, *, is_new: bool) -> Iterator[Window]:
        """Plan a span that couldn't be counted, in halves of halves, the newest first.

        If the plain page of one isn't served either, it may contain a record that the API can't serve, or the API is
        down: the reader of the window finds out.

        :param is_new: whether its count wasn't asked for alone before
        """
        failures = 0
        ahead = [(begin, last)]
        while ahead:
            low, high = ahead.pop()
            is_short = high - low <= _DAY
            if not self._is_too_long(low, high):
                try:
                    found, served = self._probe_apart(low, high, is_new=is_new or (low, high) != (begin, last))
                except CountRefusedError as refused:
                    self._stop_counting(refused)
                    yield from self._by_pages(begin, high)
                    return
                failures = 0 if found or served else failures + 1
                if found is not None:
                    yield from self._by_count(low, high, found)
                    continue
                if failures >= _DOWN:
                    # The API is down. The rest is one window.
                    yield self._window(begin, high, None, None)
                    return
                if is_short and not served:
                    yield self._window(low, high, None, None)
                    continue
                if is_short:
                    # The next span may be counted: a count of so little that failed says nothing of others.
                    self._uncounted.append((begin, high))
                    yield from self._by_pages(begin, high)
                    return
                if served:
                    self._uncountable_length = high - low
            middle = seam_near((low + high) // 2, low, high)
            ahead += [(low, middle), (middle, high)]

    def _by_pages(self, first: int, last: int) -> Iterator[Window]:
        """Plan a span that the API doesn't count."""
        for low, high in plan_without_counts(
            first, last, self._preview, lambda windows: self._size(windows, _UNKNOWN_REST)
        ):
            known = self._plain_pages.get((low, high))
            self._plain_pages.clear()
            yield self._window(low, high, known, None, counts=False)

    def _window(
        self, low: int, high: int, first: FirstPage | None, total: SpanTotal | None, *, counts: bool = True
    ) -> Window:
        """Return a window, once there is room for its first page."""
        if first is not None:
            with self._buffer_changed:
                while self._buffered >= self._max_buffered and not self._output_closed():
                    self._buffer_changed.wait(1.0)
                self._buffered += 1
        self._windows += 1
        return Window(self._windows, low, high, self._slice_for(low, high), first, total, counts=counts)

    def _stop_if_output_closed(self) -> None:
        """Do nothing, unless the output is closed.

        :raises RuntimeError: if the output is closed, so that the sync ends within the request under way
        """
        if self._output_closed():
            raise RuntimeError("the output was closed before all windows were planned")

    def _probe(self, low: int, high: int, tries: int = 2) -> SpanCount | None:
        """Return what the first page and the count of a span show; None if the API fails."""
        self._stop_if_output_closed()
        try:
            first = self._retriever.quick(tries).first_page(self._slice_for(low, high))
        except AirbyteTracedException as error:
            self._raise_unless_transient(error)
            # One window fails then, and not all that follow. Pinned by
            # test_given_a_window_that_fails_when_read_again_then_only_that_one_is_read.
            return None
        self._probed = (low, high), first
        known = _timestamps_on(first)
        return SpanCount(first.records, _earliest_within(known, low, high) if known == sorted(known) else None)

    def _probe_apart(self, low: int, high: int, *, is_new: bool) -> tuple[SpanCount | None, bool]:
        """Return what a count of a span shows, None if the API fails, and whether it serves the first page.

        :param is_new: whether the count wasn't asked for alone before
        """
        if is_new and (found := self._probe(low, high, tries=1)) is not None:
            return found, True
        served = self._preview(low, high) is not None
        self._plain_pages.clear()
        return self._count_alone(low, high) if served and is_new else None, served

    def _count_alone(self, low: int, high: int) -> SpanCount | None:
        """Return what the count of a span shows, asked for without a page; None if the API doesn't answer.

        If page and count failed together, it may have been the page.
        """
        try:
            return SpanCount(self._retriever.quick(1).count(self._slice_for(low, high)), None)
        except CountFailedError as failed:
            self._reason = self._reason or str(failed)
            return None

    def _preview(self, low: int, high: int) -> PagePreview | None:
        """Return what the first page of a span shows; None if the API fails."""
        self._stop_if_output_closed()
        try:
            first = self._retriever.quick().plain_page(self._slice_for(low, high))
        except AirbyteTracedException as error:
            self._raise_unless_transient(error)
            return None
        self._plain_pages[low, high] = first
        known = _timestamps_on(first)
        more = first.page["meta"].get("nextCursor") is not None
        if known != sorted(known) or not known:
            return PagePreview(first.records, None, None, more)
        return PagePreview(first.records, _earliest_within(known, low, high), parse_timestamp(known[-1]), more)

    def _raise_unless_transient(self, error: AirbyteTracedException) -> None:
        """Note what the API answered, and raise what won't pass by itself."""
        if not isinstance(error, RequestFailedError) or not error.failure.retried:
            raise error
        self._reason = f"it answered {error.verdict.facts['met']}"

    @staticmethod
    def _earliest(seen: PagePreview | None, first: int, last: int) -> int:
        """Return the timestamp of the first activity of a span, if its plain page shows it; else the span's start."""
        if seen is None or (seen.earliest is None and seen.rows):
            return first
        # An empty span is one window.
        return first if seen.earliest is None else max(first, seam_near(min(seen.earliest, last) - 1, first, last))

    def _is_too_long(self, low: int, high: int) -> bool:
        return self._uncountable_length is not None and high - low >= self._uncountable_length

    def _stop_counting(self, why: CountRefusedError) -> None:
        self._counts, self._reason = False, str(why)


def _timestamps_on(first: FirstPage) -> list[str]:
    rows: list[Mapping[str, Any]] = [row for row in first.page["data"] if isinstance(row, dict)]
    return list(filter(None, map(timestamp_of, rows)))


def _earliest_within(known: list[str], low: int, high: int) -> int | None:
    """Return the first of some timestamps, if it lies in its span; a wrong one only makes the plan worse."""
    earliest = parse_timestamp(known[0]) if known else None
    return earliest if earliest is not None and low - 1000 <= earliest <= high + 1000 else None
