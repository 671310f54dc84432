"""The cursor of activities: windows of equal size, and a state that keeps each window that is done."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.connector_state_manager import ConnectorStateManager
from airbyte_cdk.sources.message import MessageRepository
from airbyte_cdk.sources.streams.concurrent.cursor import Cursor
from airbyte_cdk.sources.streams.concurrent.partitions.partition import Partition
from airbyte_cdk.sources.types import Record, StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.activities.coverage import Coverage, Span
from source_commonroom.activities.cuts import unserved_message
from source_commonroom.activities.planning import Planner
from source_commonroom.activities.progress import Window
from source_commonroom.activities.seams import Seams
from source_commonroom.activities.state import IN_PROGRESS, LOOKBACK_FROM
from source_commonroom.activities.sums import ActivitiesMissingError, SpanTotal, Tally, compare, seams_of
from source_commonroom.activities.timestamps import (
    CURSOR_FIELD,
    SECOND,
    floor_to_second,
    format_timestamp,
    parse_timestamp,
    seam_near,
    to_milliseconds,
    widen_to_seconds,
)
from source_commonroom.activities.windows import WindowReader
from source_commonroom.api.retriever import PageRetriever, Rows
from source_commonroom.lists.estimates import Estimates

logger = logging.getLogger("airbyte")

# How far the API's clock and this machine's may differ without a warning, in seconds.
_APART = 60
# The extra field of a slice that names its window.
_WINDOW = "window"


@dataclass(frozen=True)
class TimeRange:
    """What a sync of activities is to read.

    :param start: the first millisecond since 1970
    :param end: the last one; None for the time at which the sync begins
    :param lookback: how much before the last sync's end is read again
    """

    start: int
    end: int | None
    lookback: timedelta

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "TimeRange":
        """Return what a valid configuration asks for."""
        start, end = config.get("start_date"), config.get("end_date")
        return cls(
            start=parse_timestamp(start) if start else 0,
            end=parse_timestamp(end) if end else None,
            lookback=timedelta(days=config.get("lookback_window_days", 3)),
        )


class WindowCursor(Cursor):
    """A cursor whose slices are planned by the API's count, and whose state is a list of what is done.

    Why not the CDK's ``ConcurrentCursor``: its slices are of equal time, so that a burst holds back one worker and
    quiet years another; and its state is one timestamp, so that a finished slice doesn't count until all earlier ones
    are finished.

    A window begins where the one before ends: the time at which they meet is asked for twice, and what is received
    twice is left out. So it doesn't matter whether the API's bounds are inclusive, nor how finely it compares.
    Pinned by unit_tests/test_seams.py.

    If the API refuses a cursor in the middle of a window, the rest is read from the last timestamp seen.
    Pinned by unit_tests/test_walk.py.

    The state: ``{"state_type": "date-range", "slices": [{"start": …, "end": …}, …]}``, merged where two meet; and as
    long as some of it isn't done, or some was done in an earlier sync than the last one, ``lookback_from``, the end of
    the earliest sync of which something in it stems, and ``in_progress``. A sync that begins with one in progress goes
    on, and reads nothing that is done; only after one that reached its end, the lookback is read again. So a sync that
    is killed again and again gets there, and the next one reads what arrived late meanwhile. The
    CDK's form, one timestamp, is read as well. Pinned by unit_tests/test_progress.py.

    :param manager: holds the state of all streams
    :param workers: how many windows are read at once
    :param estimates: receives what the API counts
    :param output_closed: whether the output is closed, so that the planning doesn't wait for it
    """

    def __init__(
        self,
        time_range: TimeRange,
        manager: ConnectorStateManager,
        messages: MessageRepository,
        retriever: PageRetriever,
        workers: int,
        estimates: Estimates,
        output_closed: Callable[[], bool],
    ) -> None:
        self._time_range = time_range
        self._manager = manager
        self._messages = messages
        self._retriever = retriever
        self._stream_name = retriever.name
        self._lock = threading.Lock()
        self._start = time_range.start
        self._end: int | None = None
        """The end of this sync; None as long as it hasn't begun."""
        self._planned_end = 0
        """The same by this machine's clock, whatever the API's shows."""
        self._ends_before_now = False
        """Whether it is an end date, and not the time at which the sync began."""
        self._load_state(manager.get_stream_state(self._stream_name, None))
        self._unserved = Coverage()
        self._warned_of_clock = False
        self._missing: list[Span] = []
        self._windows: dict[int, Window] = {}
        self._seams = Seams()
        self._planner = Planner(retriever, self._slice_for, workers, estimates, output_closed)
        self._reader = WindowReader(
            retriever, self._seams, self._slice_for, lambda: (self._start, self._planned_end), self._checkpoint
        )

    def _load_state(self, state: MutableMapping[str, Any]) -> None:
        """Take what is done from the state, see :func:`~source_commonroom.activities.state.usable_state`."""
        spans = [(parse_timestamp(span["start"]), parse_timestamp(span["end"])) for span in state.get("slices", [])]
        if CURSOR_FIELD in state:
            spans = [(self._start, parse_timestamp(state[CURSOR_FIELD]))]
        self._done = Coverage(spans)
        since = state.get(LOOKBACK_FROM)
        self._lookback_from = parse_timestamp(since) if since else max((high for _, high in spans), default=None)
        self._was_in_progress = bool(state.get(IN_PROGRESS))

    @property
    def state(self) -> MutableMapping[str, Any]:
        """What is done."""
        state: dict[str, Any] = {
            "state_type": "date-range",
            "slices": [{"start": format_timestamp(low), "end": format_timestamp(high)} for low, high in self._done],
        }
        since, end = self._lookback_from, self._done.end
        if self._in_progress():
            state[IN_PROGRESS] = True
        elif since is None or end is None or since >= end:
            since = None
        if since is not None:
            state[LOOKBACK_FROM] = format_timestamp(since)
        return state

    def _in_progress(self) -> bool:
        """Tell whether the sync hasn't read yet what it set out to read, but for what the API can't serve."""
        if self._end is None:
            return self._was_in_progress
        return any(low < high for low, high in Coverage([*self._done, *self._unserved]).gaps(self._start, self._end))

    def observe(self, record: Record) -> None:
        """Do nothing: the state holds the windows that are done, not the records that were seen."""

    def should_be_synced(self, record: Record) -> bool:  # noqa: ARG002  # the CDK's signature
        """Return True: what a window returns belongs to it."""
        return True

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield the windows that are still to be read, planned as they are asked for."""
        for first, last in self._gaps():
            met: set[int] = set()
            for window in self._planner.windows(first, last):
                for edge in {window.low, window.high} - met:
                    self._seams.expect(edge, 1 if edge in (first, last) else 2)
                    met.add(edge)
                self._windows[window.number] = window
                yield StreamSlice(
                    partition={}, cursor_slice=window.part.cursor_slice, extra_fields={_WINDOW: window.number}
                )
        self._planner.report()

    def _gaps(self) -> list[Span]:
        """Return the spans that are still to be read, each between the boundaries of what is done.

        After a sync that reached its end, the lookback is one of them. If no sync does, because one window fails each
        time, it is one of them once in a period as long as the lookback. Pinned by
        test_given_syncs_in_progress_for_longer_than_the_lookback_when_read_then_the_lookback_is_read_again.

        It is taken out of what is done: else a window of it that fails would leave no gap behind, and what arrived late
        in it would be lost once the end of the next sync has moved on. Pinned by
        test_given_a_window_of_the_lookback_that_fails_when_read_again_then_it_is_read_again.
        """
        now = to_milliseconds(datetime.now(UTC))
        end = now if self._time_range.end is None else min(self._time_range.end, now)
        if self._start > end:
            logger.warning("%s: the start date lies in the future. Nothing is read until then.", self._stream_name)
        self._ends_before_now = end < now
        if not self._ends_before_now:
            end = seam_near(end, self._start, end)
        self._planned_end = end
        with self._lock:
            since = self._lookback_from
            lookback = self._time_range.lookback // timedelta(milliseconds=1)
            if since is None:
                self._lookback_from = end
            elif not self._was_in_progress or 0 < lookback < end - since:
                self._done = self._done.until(since - lookback)
                self._lookback_from = end
            self._end = end
            gaps = self._done.gaps(self._start, end) if self._start <= end else []
        return [widen_to_seconds(low, high, self._start, end) for low, high in gaps]

    def pages(self, stream_slice: StreamSlice) -> Iterator[Rows]:
        """Yield the pages of a window; and if it is the last one, what the sum of the windows shows to be missing.

        :raises AirbyteTracedException: (transient_error) if the API returned fewer activities than it counts, or can't
            serve some of them; and what :meth:`PageRetriever.page_of` raises
        """
        window = self._windows[stream_slice.extra_fields[_WINDOW]]
        failed: AirbyteTracedException | None = None
        try:
            try:
                yield from self._read(window)
            except AirbyteTracedException as error:
                failed = error
            try:
                yield from self._compare(window.total, None if failed else window.tally())
            except AirbyteTracedException as error:
                if not (failed or window.is_split):
                    self._checkpoint((window.low, window.high))
                if not (failed or window.unserved):
                    raise
                # The stream's error is the one below.
                logger.error("%s", error.message)  # noqa: TRY400  # a sentence, and no stack trace
        except BaseException:
            # The CDK doesn't close it.
            del self._windows[window.number]
            raise
        if window.unserved and not failed:
            failed = AirbyteTracedException(
                message=unserved_message(self._stream_name, window.unserved),
                internal_message=f"{len(window.unserved)} spans failed on every request",
                failure_type=FailureType.transient_error,
            )
        if failed:
            del self._windows[window.number]
            raise failed

    def _read(self, window: Window) -> Iterator[Rows]:
        self._planner.release_first_page(window)
        try:
            yield from self._reader.pages(window)
        except AirbyteTracedException:
            raise
        except BaseException:
            # The sync ends.
            if window.total:
                window.total.give_up()
            raise
        finally:
            self._seams.window_done(window.low, window.high)
            self._warn_of_clock()
            if window.done or window.unserved:
                with self._lock:
                    # A millisecond more on each side, because spans that are one millisecond apart are one in a state.
                    wider = ((low - 1, high + 1) for low, high in window.unserved)
                    self._unserved = Coverage([*self._unserved, *wider])
                    self._checkpoint_spans(window.done)

    def _compare(self, whole: SpanTotal | None, tally: Tally | None) -> Iterator[Rows]:
        """Compare the sum of windows with the count of the whole when the last one is read; no state covers a loss.

        :param tally: what was received of a window; None if it failed
        """
        failed: AirbyteTracedException | None = None
        for run in whole.window_done(tally) if whole else ():
            assert whole  # noqa: S101  # for the type checker
            is_all = (run[0].low, run[-1].high) == (whole.low, whole.high)
            try:
                yield from compare(self._stream_name, run, whole.records if is_all else None, self._reader)
            except AirbyteTracedException as error:
                failed = failed or error
                spans = error.spans if isinstance(error, ActivitiesMissingError) else seams_of(run)
                with self._lock:
                    # Other windows of it may be closed only now.
                    self._missing += [(low - 1, high + 1) for low, high in spans]
                    self._checkpoint_spans([])
        if failed:
            raise failed

    def close_partition(self, partition: Partition) -> None:
        """Mark a window as done, and emit the state."""
        stream_slice = partition.to_slice()
        assert isinstance(stream_slice, StreamSlice)  # noqa: S101  # stream_slices makes no others
        window = self._windows.pop(stream_slice.extra_fields[_WINDOW])
        self._checkpoint((window.low, window.high))

    def ensure_at_least_one_state_emitted(self) -> None:
        """Emit the state at the end, whatever that was."""
        with self._lock:
            self._checkpoint_spans([])

    def _checkpoint(self, span: Span) -> None:
        """Mark a span as done, and emit the state.

        The thread that closes a window does the same, so that states follow in order, each behind its pages.
        """
        with self._lock:
            self._checkpoint_spans([span])

    def _checkpoint_spans(self, spans: Iterable[Span]) -> None:
        """Mark spans as done, and emit the state; called with the lock held.

        What lies after the API's own time can't have been read, whatever this machine's clock says. Pinned by
        test_given_a_clock_that_is_ahead_when_read_then_the_state_ends_with_the_clock_of_the_api.
        """
        self._done = Coverage([*self._done, *spans])
        for low, high in [*self._missing, *self._unserved]:
            self._done = self._done.without(low, high)
        clocks = self._retriever.requester.api_clock.first
        if clocks is not None and self._end is not None:
            now = to_milliseconds(clocks[0])
            self._done = self._done.until(now)
            self._end = min(self._end, now)
            self._lookback_from = now if self._lookback_from is None else min(self._lookback_from, now)
        self._manager.update_state_for_stream(self._stream_name, None, self.state)
        self._messages.emit_message(self._manager.create_state_message(self._stream_name, None))

    def _warn_of_clock(self) -> None:
        clocks = self._retriever.requester.api_clock.first
        if clocks is None or abs((clocks[0] - clocks[1]).total_seconds()) <= _APART:
            return
        with self._lock:
            warned, self._warned_of_clock = self._warned_of_clock, True
        if not warned:
            logger.warning(
                "%s: this machine's clock shows %s, and the API's shows %s. One of them is wrong. What counts as read "
                "ends with the earlier one, so that nothing is missed. Set this machine's clock.",
                self._stream_name,
                format_timestamp(to_milliseconds(clocks[1])),
                format_timestamp(to_milliseconds(clocks[0])),
            )

    def _slice_for(self, low: int, high: int) -> StreamSlice:
        """Return the slice that asks for a span.

        It begins a millisecond early, so that windows overlap even if neither bound is inclusive. The
        first one begins so long before the second of the start date, and the last one ends with the second of the end
        date, because the API may compare no finer. What lies there is left out.
        """
        start = floor_to_second(low) if low == self._start else low
        start -= bool(low)
        end = floor_to_second(high) + SECOND if high == self._planned_end and self._ends_before_now else high
        return StreamSlice(
            partition={}, cursor_slice={"startDate": format_timestamp(start), "endDate": format_timestamp(end)}
        )
