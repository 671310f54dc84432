"""The cursor of activities: windows of equal size, and a state that keeps each window that is done."""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
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

from source_commonroom.activities.audit import Audit
from source_commonroom.activities.audit_report import report, report_begun
from source_commonroom.activities.coverage import Coverage, Span
from source_commonroom.activities.cuts import unserved_message
from source_commonroom.activities.ledger import MOST_ENTRIES, Entry, Ledger, content_of, entries_of
from source_commonroom.activities.planning import Planner
from source_commonroom.activities.progress import Window
from source_commonroom.activities.seams import Seams
from source_commonroom.activities.state import IN_PROGRESS, LEDGER, LOOKBACK_FROM
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
# A state has no more characters than this.
_MOST_CHARACTERS = 12_000
# In memory, entries are joined if there are so many more than in a state, beside those that this sync compares. Fewer
# would be joined too often, and more make each state dear.
_MORE_ENTRIES = MOST_ENTRIES // 2
# What was read, has no number in the ledger, and is no longer than this, in milliseconds, is read again at once.
_SHORT = 10_000
# So close to a date, in seconds, that isn't asked for as such, a number of activities isn't noted.
_AROUND_A_DATE = 3


@dataclass(frozen=True)
class TimeRange:
    """What a sync of activities is to read.

    :param start: the first millisecond since 1970
    :param end: the last one; None for the time at which the sync begins
    :param lookback: how much before the last sync's end is read again
    :param audits: whether what was read before that is compared with counts
    """

    start: int
    end: int | None
    lookback: timedelta
    audits: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "TimeRange":
        """Return what a valid configuration asks for."""
        start, end = config.get("start_date"), config.get("end_date")
        return cls(
            start=parse_timestamp(start) if start else 0,
            end=parse_timestamp(end) if end else None,
            lookback=timedelta(days=config.get("lookback_window_days", 3)),
            audits=config.get("audit_history", True),
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

    Beside it ``ledger`` says how many activities were received of which span. A sync that begins with one compares
    these numbers with the API's counts, beside the reading, and reads again what differs; see
    :class:`~source_commonroom.activities.audit.Audit`. Pinned by unit_tests/test_audit.py.

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
        self._output_closed = output_closed
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
        self._batch = 1
        """Identifies the windows that are planned together: what two of them that meet both receive is left out."""
        self._audited: tuple[Ledger, Coverage] = Ledger(), Coverage()
        """What earlier syncs read and is to be compared with counts: its numbers, and its spans."""
        self._seams = Seams()
        self._planner = Planner(retriever, self._slice_for, workers, estimates, output_closed)
        self._reader = WindowReader(
            retriever, self._seams, self._slice_for, lambda: (self._start, self._planned_end), self._checkpoint_part
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
        self._has_numbers = LEDGER in state or not spans
        """Whether the ledger has been begun: what it doesn't cover was read without a number, and is read again."""
        self._ledger = Ledger(entries_of(state.get(LEDGER, []))).within(self._done)

    @property
    def state(self) -> MutableMapping[str, Any]:
        """What is done."""
        state: dict[str, Any] = {"state_type": "date-range", "slices": _slices_of(self._done)}
        since, end = self._lookback_from, self._done.end
        if self._in_progress():
            state[IN_PROGRESS] = True
        elif since is None or end is None or since >= end:
            since = None
        if since is not None:
            state[LOOKBACK_FROM] = format_timestamp(since)
        if self._has_numbers and end is not None:
            self._add_ledger(state)
        return state

    def _add_ledger(self, state: dict[str, Any]) -> None:
        """Add to a state the numbers of what is done; and leave out of it what it has no room for.

        What was read without a number goes first, since the next sync reads it again in any case. Then an entry that is
        left out takes its span along: it would count as read, and what arrives in it would be missed.
        """
        ledger, most, until = self._ledger.within(self._done), MOST_ENTRIES, self._read_again_from
        spans, unnumbered = self._done, sorted(ledger.not_covered(self._done), key=lambda span: span[0] - span[1])
        while True:
            entries, done, without_number = ledger.compact(spans, most, until), spans, Coverage(unnumbered)
            for gap in Ledger(entries).not_covered(done) if len(entries) < len(ledger) else ():
                for low, high in without_number.gaps(*gap):
                    done = done.without(low, high)
            state["slices"], state[LEDGER] = _slices_of(done), content_of(entries)
            if not (most or unnumbered) or len(json.dumps(state)) <= _MOST_CHARACTERS:
                return
            if unnumbered:
                # The shortest ones.
                for _ in range(-(-len(unnumbered) // 16)):
                    spans = spans.without(*unnumbered.pop())
            else:
                most = min(most, len(entries)) * 15 // 16

    @property
    def _read_again_from(self) -> int | None:
        """From when on a sync reads again that begins after this one has reached its end, see :meth:`_edges`.

        None if nothing is done.
        """
        lookback = self._time_range.lookback // timedelta(milliseconds=1)
        return (
            None if self._lookback_from is None else floor_to_second(self._lookback_from - lookback - _APART * SECOND)
        )

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
        """Yield the windows that are still to be read, planned as they are asked for.

        Those of the history that differ from the API's counts come last.
        """
        yield from self._windows_of(self._gaps())
        if self._time_range.audits and list(self._audited[1]):
            differing = self._audit()
            self._batch += 1
            yield from self._windows_of(differing)
        self._planner.report()

    def _windows_of(self, gaps: Sequence[Span]) -> Iterator[StreamSlice]:
        """Yield the windows of some gaps."""
        met: set[int] = set()
        outer = {first for first, _ in gaps} ^ {last for _, last in gaps}
        for first, last in gaps:
            for window in self._planner.windows(first, last):
                for edge in {window.low, window.high} - met:
                    self._seams.expect(edge, 1 if edge in outer else 2)
                    met.add(edge)
                window.batch = self._batch
                self._windows[window.number] = window
                yield StreamSlice(
                    partition={}, cursor_slice=window.part.cursor_slice, extra_fields={_WINDOW: window.number}
                )

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
            history_until = end
            if since is None:
                self._lookback_from = end
            elif not self._was_in_progress or 0 < lookback < end - since:
                self._forget_from(since - lookback)
                self._lookback_from = end
            else:
                # The next sync reads the rest again.
                history_until = min(since - lookback, end)
                if self._done.end is not None:
                    # What was read beyond it, by this machine's clock, isn't done.
                    self._forget_from(self._done.end)
            self._end = end
            cut = (self._lookback_from or end) - lookback
            is_end = history_until == end
            edge = self._ledger.edge_after(end) if is_end else self._ledger.edge_before(history_until)
            self._take_history(edge)
            gaps = self._done.gaps(self._start, end) if self._start <= end else []
        return self._cut_at_edges([widen_to_seconds(low, high, self._start, end) for low, high in gaps], cut)

    def _cut_at_edges(self, gaps: Sequence[Span], cut: int) -> list[Span]:
        """Return gaps cut where windows should meet, see :meth:`_edges`."""
        found = list(gaps)
        for edge in self._edges(cut):
            found = [part for gap in found for part in _cut_at(edge, gap)]
        return found

    def _edges(self, cut: int) -> Iterator[int]:
        """Yield where windows should meet, so that their numbers are those of spans that a later sync can compare.

        :param cut: from when on the next sync reads again
        """
        if self._start != floor_to_second(self._start):
            yield self._start + _AROUND_A_DATE * SECOND
        if self._time_range.lookback:
            # A little earlier, because the API's clock may be behind this machine's.
            yield cut - _APART * SECOND
        if self._ends_before_now:
            yield self._planned_end - _AROUND_A_DATE * SECOND

    def _forget_from(self, timestamp: int) -> None:
        """Take out of what is done what lies after a timestamp, and the entry in which it lies.

        Called with the lock held.
        """
        edge = self._ledger.edge_before(timestamp)
        self._done, self._ledger = self._done.until(edge), self._ledger.until(edge)

    def _take_history(self, until: int) -> None:
        """Note for the audit what earlier syncs read, and this one doesn't read again; called with the lock held."""
        ledger = Ledger(one for one in self._ledger.until(until) if one.high > self._start)
        spans = Coverage((max(low, self._start), high) for low, high in self._done.until(until))
        for low, high in ledger.not_covered(spans) if self._time_range.audits else ():
            if high - low <= _SHORT:
                self._done, spans = self._done.without(low, high), spans.without(low, high)
        self._audited = ledger, spans
        # All that is left is read by this sync.
        self._has_numbers = self._has_numbers or not list(spans)

    def _audit(self) -> list[Span]:
        """Compare what earlier syncs received with the API's counts, and return the spans that are read again.

        They are taken out of what is done: so a sync that ends before they are read leaves them as gaps.
        """
        if not self._planner.counts:
            logger.info(
                "%s: the history before the lookback window isn't compared with the API's counts, because it doesn't "
                "count now. The next sync compares it.",
                self._stream_name,
            )
            return []
        ledger, done = self._audited
        audit = Audit(self._count, self._count_few, self._count_with_page, self._planner.uncountable_length)
        without_number: Sequence[Span] = []
        if self._has_numbers:
            without_number = ledger.not_covered(done)
        else:
            self._begin_by_counting(audit, ledger, done)
        audit.run(ledger.runs(done))
        without_number = [*without_number, *audit.unsure]
        differing = [*((one.entry.low, one.entry.high) for one in audit.differing), *audit.between]
        spans = Coverage([*differing, *without_number])
        with self._lock:
            self._ledger.share(audit.shared)
            for low, high in spans:
                self._ledger.take_out(low, high)
                self._done = self._done.without(low, high)
            self._ledger.let_wait(audit.waiting)
            self._ledger.trust(audit.sound)
            start, end = self._start, self._planned_end
        gaps = [widen_to_seconds(low, high, start, end) for low, high in spans]
        report(
            self._stream_name,
            audit,
            without_number,
            gaps,
            lambda low, high: widen_to_seconds(low, high, start, end),
        )
        return self._cut_at_edges(gaps, end)

    def _count(self, low: int, high: int) -> int:
        """Return how many activities a span has now.

        :raises RuntimeError: if the output is closed, so that the sync ends within the request under way
        """
        self._stop_if_output_closed()
        return self._reader.count_of(_slice_of(low - bool(low), high))

    def _count_few(self, low: int, high: int) -> int:
        """Return how many activities a span has now that the API doesn't count, if one page returns them all.

        :raises RuntimeError: as :meth:`_count`
        """
        self._stop_if_output_closed()
        return self._reader.count_few_of(_slice_of(low - bool(low), high))

    def _count_with_page(self, low: int, high: int) -> int:
        """Return how many activities a span has now, asked together with its first page.

        :raises RuntimeError: as :meth:`_count`
        """
        self._stop_if_output_closed()
        return self._reader.count_with_page_of(_slice_of(low - bool(low), high))

    def _stop_if_output_closed(self) -> None:
        if self._output_closed():
            raise RuntimeError("the output was closed before the history was compared")

    def _begin_by_counting(self, audit: Audit, ledger: Ledger, done: Coverage) -> None:
        """Count what was read, because the state is of an earlier version and says nothing of that."""
        found = [entry for low, high in ledger.not_covered(done) for entry in audit.begin(low, high)]
        for entry in found:
            ledger.add(entry)
        with self._lock:
            for entry in found:
                self._ledger.add(entry)
            # Else the next sync counts it.
            self._has_numbers = bool(found)
        if found:
            report_begun(self._stream_name, found)

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
                    self._checkpoint(window)
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
        self._let_part(window)
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
                    for entry in window.entries:
                        self._note(entry)
                    self._checkpoint_spans(window.done)

    def _let_part(self, window: Window) -> None:
        """Let the number of a window be two, if the next sync begins within it because the API's clock is behind.

        When the windows were planned, nothing had shown that clock. Without a number of what lies before that time, the
        next sync would read all of the window again.
        """
        clocks = self._retriever.requester.api_clock.first
        if clocks is None:
            return
        now = to_milliseconds(clocks[0])
        with self._lock:
            since = now if self._lookback_from is None else min(self._lookback_from, now)
        begin = since - self._time_range.lookback // timedelta(milliseconds=1)
        if window.low + 2 * _APART * SECOND < begin < window.high - _AROUND_A_DATE * SECOND:
            window.may_part_near(begin)

    def _compare(self, whole: SpanTotal | None, tally: Tally | None) -> Iterator[Rows]:
        """Compare the sum of windows with the count of the whole when the last one is read; no state covers a loss.

        :param tally: what was received of a window; None if it failed
        """
        failed: AirbyteTracedException | None = None
        for run in whole.window_done(tally) if whole else ():
            assert whole  # noqa: S101  # for the type checker
            is_all = (run[0].low, run[-1].high) == (whole.low, whole.high)
            shared: dict[Span, int] = {}
            try:
                yield from compare(self._stream_name, run, whole.records if is_all else None, self._reader, shared)
                with self._lock:
                    self._ledger.share(shared)
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
        self._checkpoint(self._windows.pop(stream_slice.extra_fields[_WINDOW]))

    def ensure_at_least_one_state_emitted(self) -> None:
        """Emit the state at the end, whatever that was."""
        with self._lock:
            self._checkpoint_spans([])

    def _checkpoint(self, window: Window) -> None:
        """Mark a window as done, and emit the state."""
        self._checkpoint_entries((window.low, window.high), [] if window.is_split else window.entries_if_parted())

    def _checkpoint_part(self, span: Span, entry: Entry | None) -> None:
        """Mark a part of a window as done, and emit the state.

        :param entry: how many activities were received of it; None if that isn't known
        """
        self._checkpoint_entries(span, [] if entry is None else [entry])

    def _checkpoint_entries(self, span: Span, entries: Sequence[Entry]) -> None:
        """Mark a span as done, and emit the state.

        The thread that closes a window does the same, so that states follow in order, each behind its pages.

        :param entries: how many activities were received of it, or of its parts that meet; none if that isn't known, or
            was noted before
        """
        with self._lock:
            self._note(*entries)
            self._checkpoint_spans([span])

    def _note(self, *entries: Entry) -> None:
        """Add to the ledger what was received of a span, or of its parts that meet; called with the lock held.

        Unless the API may count another number once this sync's start or end isn't one any more, see
        :meth:`_slice_for`. The next sync reads the span again then, which is a short one.
        """
        if not entries:
            return
        first, last = entries[0], entries[-1]
        is_start = first.low == self._start != floor_to_second(first.low)
        is_end = last.high == self._planned_end and self._ends_before_now
        if not ((is_start and first.is_near_low) or (is_end and last.is_near_high)):
            self._ledger.put(entries)

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
        most = MOST_ENTRIES + len(self._audited[0])
        if len(self._ledger) > most + _MORE_ENTRIES:
            self._ledger.join(self._done, most, self._read_again_from)
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
        return _slice_of(start, end)


def _slices_of(done: Coverage) -> list[dict[str, str]]:
    """Return what a state holds of what is done."""
    return [{"start": format_timestamp(low), "end": format_timestamp(high)} for low, high in done]


def _slice_of(start: int, end: int) -> StreamSlice:
    return StreamSlice(
        partition={}, cursor_slice={"startDate": format_timestamp(start), "endDate": format_timestamp(end)}
    )


def _cut_at(timestamp: int, span: Span) -> Sequence[Span]:
    """Return a span in two parts that meet at the second of a timestamp; or as it is if that isn't well within it."""
    low, high = span
    edge = floor_to_second(timestamp)
    return [(low, edge), (edge, high)] if low + 2 * SECOND < edge < high - 2 * SECOND else [span]
