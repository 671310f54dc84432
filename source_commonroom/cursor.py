"""The cursor of activities: windows of equal size, and a state that keeps each window that is done."""

import logging
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.connector_state_manager import ConnectorStateManager
from airbyte_cdk.sources.streams.concurrent.cursor import ConcurrentCursor
from airbyte_cdk.sources.streams.concurrent.partitions.partition import Partition
from airbyte_cdk.sources.types import Record, StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.walk import PageRetriever
from source_commonroom.coverage import Coverage, Span
from source_commonroom.cuts import unserved_message
from source_commonroom.estimates import Estimates
from source_commonroom.moments import SECOND, in_seconds, milliseconds, parse, seam_at, second_of, text
from source_commonroom.output import PageMessage
from source_commonroom.planning import Planner
from source_commonroom.progress import Window
from source_commonroom.seams import Seams
from source_commonroom.state import IN_PROGRESS, LOOKBACK_FROM
from source_commonroom.sums import NotAllCameError, Sum, Tally, compare, seams_of
from source_commonroom.windows import WindowReader

logger = logging.getLogger("airbyte")

# As far as the API's clock and this machine's may be apart without a word, in seconds.
_APART = 60
# The extra field of a slice that tells which window it is.
_WINDOW = "window"


class WindowCursor(ConcurrentCursor):
    """A ``ConcurrentCursor`` whose slices are planned by the API's count, and whose state is a list of what is done.

    Why not ``DatetimeBasedCursor`` alone: its slices are of equal time, so that a year of history holds back a worker
    and an hour's burst another; and its state is one moment, so that a slice that is done counts for nothing as long as
    an earlier one isn't. It reads states of that kind too. Start, end and lookback stay the manifest's.

    A window begins where the one before ends: the moment in which they meet is asked for twice, and what comes twice is
    left out. So it doesn't matter whether the API's bounds are inclusive, nor how finely it compares. Pinned by
    unit_tests/test_seams.py.

    Where the API refuses a cursor in the middle of a window, the rest is read from the last moment seen.
    Pinned by unit_tests/test_walk.py.

    The state: ``{"state_type": "date-range", "slices": [{"start": …, "end": …}, …]}``, merged where two meet; and as
    long as some of it isn't done, or some was done in an earlier sync than the last one, ``lookback_from``, the end of
    the earliest sync of which something in it stems, and ``in_progress``. A sync that begins with one in progress goes
    on, and reads nothing that is done; only after one that came to its end, the lookback is read again. So a sync that
    is killed again and again gets there, and what arrives late meanwhile comes with the next one.
    Pinned by unit_tests/test_progress.py.

    :param cursor: what the factory made of the manifest
    :param manager: holds the state of all streams
    :param retriever: walks the pages of a window
    :param workers: how many windows are read at once
    :param estimates: takes what the API counts
    :param over: tells whether nobody reads any more, so that the planning doesn't wait for it
    """

    def __init__(
        self,
        cursor: ConcurrentCursor,
        manager: ConnectorStateManager,
        retriever: PageRetriever,
        workers: int,
        estimates: Estimates,
        over: Callable[[], bool],
    ) -> None:
        # The factory makes a cursor of the manifest; its parts are taken as they are, but for the state.
        super().__init__(
            stream_name=cursor._stream_name,  # noqa: SLF001  # no other way to them
            stream_namespace=None,
            stream_state={},
            message_repository=cursor._message_repository,  # noqa: SLF001
            connector_state_manager=manager,
            connector_state_converter=cursor._connector_state_converter,  # noqa: SLF001
            cursor_field=cursor.cursor_field,
            slice_boundary_fields=cursor._slice_boundary_fields,  # noqa: SLF001
            start=cursor._start,  # noqa: SLF001
            end_provider=cursor._end_provider,  # noqa: SLF001
            lookback_window=cursor._lookback_window,  # noqa: SLF001
        )
        self._retriever = retriever
        self._begin = milliseconds(cast("datetime", self._start)) if self._start else 0
        self._end: int | None = None
        """The end of this sync; None as long as it hasn't begun."""
        self._last = 0
        """The same, whatever the API's clock shows."""
        self._ends_before_now = False
        """Whether it is an end date, and not the moment at which the sync began."""
        self._read_state(manager.get_stream_state(self._stream_name, None))
        self._unserved = Coverage()
        self._warned_of_clock = False
        self._missing: list[Span] = []
        self._windows: dict[int, Window] = {}
        self._seams = Seams()
        self._planner = Planner(retriever, self._part_of, workers, estimates, over)
        self._reader = WindowReader(
            retriever, self._seams, self._part_of, lambda: (self._begin, self._last), self._keep
        )

    def _read_state(self, state: MutableMapping[str, Any]) -> None:
        """Take what is done from the state, see :func:`~source_commonroom.state.usable_state`."""
        field = self.cursor_field.cursor_field_key
        spans = [(parse(span["start"]), parse(span["end"])) for span in state.get("slices", [])]
        if field in state:
            spans = [(self._begin, parse(state[field]))]
        self._done = Coverage(spans)
        told = state.get(LOOKBACK_FROM)
        self._lookback_from = parse(told) if told else max((high for _, high in spans), default=None)
        self._was_in_progress = bool(state.get(IN_PROGRESS))

    @property
    def state(self) -> MutableMapping[str, Any]:
        """What is done."""
        state: dict[str, Any] = {
            "state_type": "date-range",
            "slices": [{"start": text(low), "end": text(high)} for low, high in self._done],
        }
        since, end = self._lookback_from, self._done.end
        if self._in_progress():
            state[IN_PROGRESS] = True
        elif since is None or end is None or since >= end:
            since = None
        if since is not None:
            state[LOOKBACK_FROM] = text(since)
        return state

    def _in_progress(self) -> bool:
        """Tell whether the sync hasn't read yet what it set out to read, but for what the API can't serve."""
        if self._end is None:
            return self._was_in_progress
        return any(low < high for low, high in Coverage([*self._done, *self._unserved]).gaps(self._begin, self._end))

    def observe(self, record: Record | PageMessage) -> None:
        """Do nothing: the state tells of windows that are done, and not of records that were seen."""

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

        After a sync that came to its end, the lookback is one of them; and once in the time that it is long, even if
        none comes to its end, because one window fails each time. Pinned by
        test_given_syncs_in_progress_for_longer_than_the_lookback_when_read_then_the_lookback_is_read_again.

        It is taken out of what is done: else a window of it that fails would leave no gap behind, and what arrived late
        in it would be lost once the end of the next sync has moved on. Pinned by
        test_given_a_window_of_the_lookback_that_fails_when_read_again_then_it_is_read_again.
        """
        end = milliseconds(cast("datetime", self._end_provider()))
        if self._begin > end:
            logger.warning("%s: the start date lies in the future. Nothing is read until then.", self._stream_name)
        self._ends_before_now = end < milliseconds(datetime.now(UTC))
        if not self._ends_before_now:
            end = seam_at(end, self._begin, end)
        self._last = end
        with self._lock:
            since = self._lookback_from
            lookback = cast("timedelta", self._lookback_window or timedelta(0)) // timedelta(milliseconds=1)
            if since is None:
                self._lookback_from = end
            elif not self._was_in_progress or 0 < lookback < end - since:
                self._done = self._done.until(since - lookback)
                self._lookback_from = end
            self._end = end
            gaps = self._done.gaps(self._begin, end) if self._begin <= end else []
        return [in_seconds(low, high, self._begin, end) for low, high in gaps]

    def pages(self, stream_slice: StreamSlice) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a window; and if it is the last one, what the sum of the windows shows to be missing.

        :raises AirbyteTracedException: (transient_error) if the API answered fewer activities than it counts, or can't
            serve some of them; and what :meth:`PageRetriever.pages` raises
        """
        window = self._windows[stream_slice.extra_fields[_WINDOW]]
        try:
            try:
                yield from self._read(window)
            except AirbyteTracedException:
                yield from self._compare_others(window)
                raise
            try:
                yield from self._compare(window)
            except AirbyteTracedException as error:
                if not window.unserved:
                    raise
                # What can't be served is the stream's error.
                logger.error("%s", error.message)  # noqa: TRY400  # a sentence, and no stack trace
        except BaseException:
            # Nobody closes it.
            del self._windows[window.number]
            raise
        if window.unserved:
            del self._windows[window.number]
            raise AirbyteTracedException(
                message=unserved_message(self._stream_name, window.unserved),
                internal_message=f"{len(window.unserved)} spans failed on every request",
                failure_type=FailureType.transient_error,
            )

    def _read(self, window: Window) -> Iterator[list[dict[str, Any]]]:
        self._planner.begin(window)
        try:
            yield from self._reader.pages(window)
        except AirbyteTracedException:
            raise
        except BaseException:
            # The sync ends.
            if window.of:
                window.of.give_up()
            raise
        finally:
            self._seams.over(window.low, window.high)
            self._warn_of_clock()
            if window.done or window.unserved:
                with self._lock:
                    # A millisecond more on each side, because spans that are one millisecond apart are one in a state.
                    wider = ((low - 1, high + 1) for low, high in window.unserved)
                    self._unserved = Coverage([*self._unserved, *wider])
                    self._keep_spans(window.done)

    def _compare(self, window: Window) -> Iterator[list[dict[str, Any]]]:
        """Compare the sum of the windows with the count of the whole, once the last of them has been read."""
        try:
            yield from self._compared(window.of, window.tally())
        except AirbyteTracedException:
            if not window.is_cut:
                self._keep((window.low, window.high))
            raise

    def _compare_others(self, window: Window) -> Iterator[list[dict[str, Any]]]:
        """Compare the sum of the windows beside one that failed: its own error is the stream's, another is logged."""
        try:
            yield from self._compared(window.of, None)
        except AirbyteTracedException as other:
            logger.error("%s", other.message)  # noqa: TRY400  # a sentence, and no stack trace

    def _compared(self, whole: Sum | None, tally: Tally | None) -> Iterator[list[dict[str, Any]]]:
        """Compare all windows that a tally leaves to be compared; no state covers where something may be missing."""
        failed: AirbyteTracedException | None = None
        for run in whole.over(tally) if whole else ():
            assert whole  # noqa: S101  # for the type checker
            is_all = (run[0].low, run[-1].high) == (whole.low, whole.high)
            try:
                yield from compare(self._stream_name, run, whole.records if is_all else None, self._reader)
            except AirbyteTracedException as error:
                failed = failed or error
                spans = error.spans if isinstance(error, NotAllCameError) else seams_of(run)
                with self._lock:
                    # Other windows of it may be closed only now.
                    self._missing += [(low - 1, high + 1) for low, high in spans]
                    self._keep_spans([])
        if failed:
            raise failed

    def close_partition(self, partition: Partition) -> None:
        """Take a window for done, and tell the platform."""
        stream_slice = partition.to_slice()
        assert isinstance(stream_slice, StreamSlice)  # noqa: S101  # stream_slices makes no others
        window = self._windows.pop(stream_slice.extra_fields[_WINDOW])
        self._keep((window.low, window.high))

    def ensure_at_least_one_state_emitted(self) -> None:
        """Tell the platform at the end, whatever that was."""
        with self._lock:
            self._keep_spans([])

    def _keep(self, span: Span) -> None:
        """Take a span for done, and tell the platform.

        Whatever thread closes a window does the same, so that states come in their order, each behind its pages.
        """
        with self._lock:
            self._keep_spans([span])

    def _keep_spans(self, spans: Iterable[Span]) -> None:
        """Take spans for done, and tell the platform; whoever calls it holds the lock.

        What lies after the API's own time can't have been read, whatever this machine's clock says. Pinned by
        test_given_a_clock_that_is_ahead_when_read_then_the_state_ends_with_the_clock_of_the_api.
        """
        self._done = Coverage([*self._done, *spans])
        for low, high in [*self._missing, *self._unserved]:
            self._done = self._done.without(low, high)
        clocks = self._retriever.requester.api_clock.first
        if clocks is not None and self._end is not None:
            now = milliseconds(clocks[0])
            self._done = self._done.until(now)
            self._end = min(self._end, now)
            self._lookback_from = now if self._lookback_from is None else min(self._lookback_from, now)
        self._emit_state_message()

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
                text(milliseconds(clocks[1])),
                text(milliseconds(clocks[0])),
            )

    def _part_of(self, low: int, high: int) -> StreamSlice:
        """Return the slice that asks for a span.

        It begins a millisecond before its first moment, so that windows overlap even if neither bound is inclusive. The
        first one begins so long before the second of the start date, and the last one ends with the second of the end
        date, because the API may compare no finer. What lies there is left out.
        """
        start_field, end_field = self._slice_boundary_fields_wrapper
        start = second_of(low) if low == self._begin else low
        start -= bool(low)
        end = second_of(high) + SECOND if high == self._last and self._ends_before_now else high
        return StreamSlice(partition={}, cursor_slice={start_field: text(start), end_field: text(end)})
