"""The cursor of activities: windows of equal size, and a state that keeps each window that is done."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.connector_state_manager import ConnectorStateManager
from airbyte_cdk.sources.streams.concurrent.cursor import ConcurrentCursor
from airbyte_cdk.sources.streams.concurrent.state_converters.datetime_stream_state_converter import (
    CustomFormatConcurrentStreamStateConverter,
)
from airbyte_cdk.sources.types import Record, StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.counts import Counts
from source_commonroom.components.walk import (
    Count,
    CountRefusedError,
    CursorRefusedError,
    FirstPage,
    PageRetriever,
    Walk,
)
from source_commonroom.estimates import Estimates
from source_commonroom.output import PageMessage
from source_commonroom.slices import Probe, plan, window_size

logger = logging.getLogger("airbyte")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# The state is kept at least once a minute; a page may take half of it.
_CHECKPOINT_SECONDS = 30
# A moment as the API writes it, but for February 29th. Two of them compare as texts do.
_MOMENT = re.compile(
    r"(?!0000)[0-9]{4}-"
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{3}Z"
)


class _Window:
    """How far the reading of a window has come."""

    def __init__(self, walk: Walk, *, counted: bool) -> None:
        self.walk = walk
        self.counted = counted
        """Whether the API told how many activities it has."""
        self.in_order = True
        """Whether no activity came after one of a later moment."""
        self.reached = ""
        """The moment of the last activity; there may be more of it on the next page."""
        self.reached_before = ""
        """The same, a page before: where the API doesn't count, only a page tells that the one before was in order."""
        self.at_reached = 0
        """How many activities of that moment came."""
        self.kept_at = time.monotonic()
        """When the state was last kept."""


class WindowCursor(ConcurrentCursor):
    """A ``ConcurrentCursor`` whose slices are planned by the API's count, and whose state is a list of what is done.

    Why not ``DatetimeBasedCursor`` alone: its slices are of equal time, so that a year of history holds back a worker
    and an hour's burst another; and its state is one moment, so that a slice that is done counts for nothing as long as
    an earlier one isn't. It reads states of that kind too. Start, end, lookback and resolution stay the manifest's.

    A window is planned by its first page, which is kept until the window is read: planning costs hardly a request,
    and keeps no more than a few windows ahead of the reading.

    Where the API refuses a cursor in the middle of a window, the rest is read from the last moment seen.
    Pinned by unit_tests/test_walk.py.

    The state: ``{"state_type": "date-range", "slices": [{"start": …, "end": …}, …]}``, merged where two meet.

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
        made = cursor._connector_state_converter  # noqa: SLF001  # no other way to them
        assert isinstance(made, CustomFormatConcurrentStreamStateConverter)  # noqa: S101  # by_activity_time makes it
        super().__init__(
            stream_name=cursor._stream_name,  # noqa: SLF001
            stream_namespace=None,
            stream_state=manager.get_stream_state(cursor._stream_name, None),  # noqa: SLF001
            message_repository=cursor._message_repository,  # noqa: SLF001
            connector_state_manager=manager,
            connector_state_converter=CustomFormatConcurrentStreamStateConverter(
                datetime_format=made._datetime_format,  # noqa: SLF001
                input_datetime_formats=made._input_datetime_formats,  # noqa: SLF001
                is_sequential_state=False,
                cursor_granularity=_MILLISECOND,
            ),
            cursor_field=cursor.cursor_field,
            slice_boundary_fields=cursor._slice_boundary_fields,  # noqa: SLF001
            start=cursor._start,  # noqa: SLF001
            end_provider=cursor._end_provider,  # noqa: SLF001
            lookback_window=cursor._lookback_window,  # noqa: SLF001
            cursor_granularity=_MILLISECOND,
        )
        if not manager.get_stream_state(cursor._stream_name, None):  # noqa: SLF001
            # The converter takes the first moment for read where there is no state, and nobody has read it. Pinned by
            # test_given_a_first_window_that_fails_when_read_again_then_its_first_moment_is_read.
            self._concurrent_state["slices"] = []
        self._calendar_step = cursor._slice_range  # noqa: SLF001
        self._retriever = retriever
        self._estimates = estimates
        self._counts = Counts(retriever)
        self._counted = True
        self._size = window_size(workers)
        self._over = over
        self._ahead = workers
        self._last_probe: tuple[StreamSlice, FirstPage] | None = None
        self._first_pages: dict[tuple[str, str], FirstPage] = {}
        self._open: dict[tuple[str, str], _Window] = {}
        self._begun = threading.Condition()

    @property
    def state(self) -> MutableMapping[str, Any]:
        """The windows that are done."""
        state = super().state
        for window in state["slices"]:
            # Nobody observes records, so that this would be the start of the first window for ever.
            window.pop(self._connector_state_converter.MOST_RECENT_RECORD_KEY, None)
        return state

    def observe(self, record: Record | PageMessage) -> None:
        """Do nothing: the state tells of windows that are done, and not of records that were seen."""

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield the windows that are still to be read, planned as they are asked for."""
        gaps = self._gaps()
        for place, (first, last) in enumerate(gaps):
            begin = _milliseconds(first)
            try:
                for window in self._planned(begin, _milliseconds(last)):
                    yield window
                    begin = self._bounds(window)[1] + 1
            except CountRefusedError as refused:
                logger.warning(
                    "%s: the API doesn't count records (%s), so that they are read in windows of equal time.",
                    self._stream_name,
                    refused,
                )
                self._counted = False
                self._slice_range = self._calendar_step
                for low, high in [(_at(begin), last), *gaps[place + 1 :]]:
                    yield from self._split_per_slice_range(low, high, upper_is_end=True)
                return

    def _gaps(self) -> list[tuple[Any, Any]]:
        """Return the spans that are still to be read, both ends inclusive, and the lookback window as one of them."""
        start_key, end_key = self._boundary_keys
        # The converter's moments, which the CDK calls values.
        begin = cast("datetime", self._start or _EPOCH)
        end = cast("datetime", self._end_provider())
        if begin > end:
            logger.warning("%s: the start date lies in the future. Nothing is read until then.", self._stream_name)
        gaps = []
        for span in self._settled():
            gaps.append((begin, min(span[start_key] - _MILLISECOND, end)))
            begin = max(begin, span[end_key] + _MILLISECOND)
        return [(low, high) for low, high in [*gaps, (begin, end)] if low <= high]

    def _settled(self) -> list[dict[str, Any]]:
        """Return the spans that are done, and take the lookback window out of the state.

        Else a window of it that fails would leave no gap behind, and what arrived late in it would be lost once the end
        of the next sync has moved on. The last moment stays in the state, because the next lookback is counted from
        there; but as a span of one moment it is none that is done. Pinned by
        test_given_a_window_of_the_lookback_that_fails_when_read_again_then_it_is_read_again.
        """
        start_key, end_key = self._boundary_keys
        with self._lock:
            self._merge_partitions()
            done = self._concurrent_state["slices"]
            if not done:
                return []
            last: datetime = done[-1][end_key]
            since = last - cast("timedelta", self._lookback_window or timedelta(0))
            kept = [
                {start_key: span[start_key], end_key: min(span[end_key], since - _MILLISECOND)}
                for span in done
                if span[start_key] < min(since, span[end_key])
            ]
            mark = [{start_key: last, end_key: last}] if since < last else []
            self._concurrent_state["slices"] = [*map(dict, kept), *mark]
            self._merge_partitions()
        return kept

    def pages(self, stream_slice: StreamSlice) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a window.

        :raises AirbyteTracedException: (transient_error) where the API answered fewer activities than it counts, and
            what :meth:`PageRetriever.pages` raises
        """
        key = self._key(stream_slice)
        with self._begun:
            first = self._first_pages.pop(key, None)
            self._begun.notify_all()
        if first is None and self._counted:
            first = self._first_page(stream_slice)
        walk = Walk(self._retriever)
        window = self._open[key] = _Window(walk, counted=first is not None)
        for rows in self._walked(window, stream_slice, first):
            self._follow(window, rows)
            yield rows
        del self._open[key]
        yield from self._counts.complete(stream_slice, Count(first.records) if first else None, [walk])

    def keep(self, stream_slice: StreamSlice) -> None:
        """Keep in the state what of a window has been read, where that wasn't done for some time.

        Whatever thread closes a window does the same, so that states come in their order, each behind its pages.
        """
        window = self._open.get(self._key(stream_slice))
        if window is None or time.monotonic() - window.kept_at < _CHECKPOINT_SECONDS:
            return
        reached = window.reached if window.counted else window.reached_before
        if not window.in_order or not reached:
            return
        low, last = self._bounds(stream_slice)
        high = min(self._milliseconds(reached) - 1, last)
        if high < low:
            return
        window.kept_at = time.monotonic()
        if self._is_whole(window, self._window(low, high)):
            with self._lock:
                start_key, end_key = self._boundary_keys
                self._concurrent_state["slices"].append({start_key: _at(low), end_key: _at(high)})
                self._merge_partitions()
                self._emit_state_message()

    def _is_whole(self, window: _Window, part: StreamSlice) -> bool:
        """Tell whether the API counts no more in a part of a window, before the last moment seen, than it has answered.

        Else what is missing would be in the state before the end of the window tells. Pinned by
        test_given_rows_held_back_in_a_window_that_takes_minutes_when_read_then_no_state_covers_them.
        """
        if not window.counted:
            return True
        try:
            return self._retriever.count(part) <= window.walk.received - window.at_reached
        except CountRefusedError:
            # The end of the window will tell. Pinned by
            # test_given_counts_that_fail_in_a_window_that_takes_minutes_when_read_then_no_state_covers_a_part_of_it.
            return False

    def _first_page(self, window: StreamSlice) -> FirstPage | None:
        try:
            return self._retriever.first_page(window)
        except CountRefusedError:
            # It counted when the windows were planned. Whoever reads the page without a count meets what is wrong.
            return None

    def _walked(
        self, window: _Window, stream_slice: StreamSlice, first: FirstPage | None
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a window; where a cursor is refused, go on at the last moment seen, or begin again."""
        rest, begun_at = stream_slice, None
        while True:
            try:
                yield from window.walk.pages(rest, first)
            except CursorRefusedError as refused:
                go_on_at = window.reached if window.in_order else ""
                if go_on_at == begun_at:
                    raise window.walk.refused_again() from refused
                logger.warning(
                    "%s: the API refused, in the middle of a window, the cursor that it gave itself. The rest is read "
                    "from %s on, and nothing is emitted twice.",
                    self._stream_name,
                    go_on_at or "the window's first page",
                )
                begun_at, first = go_on_at, None
                if go_on_at:
                    rest = self._window(self._milliseconds(go_on_at), self._bounds(stream_slice)[1])
            else:
                return

    def _follow(self, window: _Window, rows: list[dict[str, Any]]) -> None:
        """Follow the moments of a page, and report those that are none."""
        known = [moment for moment in map(self._moment, rows) if moment]
        so_far = [window.reached, *known]
        window.in_order = window.in_order and so_far == sorted(so_far)
        before = window.at_reached if so_far[0] == so_far[-1] else 0
        window.reached_before, window.reached = window.reached, so_far[-1]
        window.at_reached = before + known.count(window.reached)
        if len(known) < len(rows):
            logger.warning(
                "%s: %d of %d activities of a page have no %s that is a moment. They are emitted as they are. A record "
                "that has none can't be found again by its time; tell Common Room's support.",
                self._stream_name,
                len(rows) - len(known),
                len(rows),
                self.cursor_field.cursor_field_key,
            )

    def _moment(self, row: Mapping[str, Any]) -> str:
        """Return the moment of an activity as the API writes it; empty where it has none."""
        moment = row.get(self.cursor_field.cursor_field_key)
        if not isinstance(moment, str):
            return ""
        if _MOMENT.fullmatch(moment):
            # To parse each would cost as much as all else.
            return moment
        try:
            return self._text(self._milliseconds(moment))
        except (ValueError, OverflowError):
            return ""

    def _planned(self, first: int, last: int) -> Iterable[StreamSlice]:
        def probe(low: int, high: int) -> Probe | None:
            found = self._probe(low, high)
            if found and (low, high) == (first, last):
                self._estimates.add(self._stream_name, found.records)
            return found

        for low, high in plan(first, last, probe, self._size):
            window = self._window(low, high)
            if self._last_probe is not None and self._last_probe[0] == window:
                self._keep(*self._last_probe)
            yield window

    def _probe(self, low: int, high: int) -> Probe | None:
        window = self._window(low, high)
        try:
            first = self._retriever.first_page(window)
        except AirbyteTracedException as error:
            if error.failure_type == FailureType.transient_error:
                # One window fails then, and not all that follow. Pinned by
                # test_given_a_window_that_fails_when_read_again_then_only_that_one_is_read.
                return None
            raise
        self._last_probe = (window, first)
        return Probe(first.records, self._earliest(first))

    def _earliest(self, first: FirstPage) -> int | None:
        """Return the moment of the first record; a wrong one makes the plan worse, and nothing else."""
        for row in first.page["data"]:
            try:
                return self._milliseconds(row[self.cursor_field.cursor_field_key])
            except (TypeError, KeyError, ValueError):
                continue
        return None

    def _keep(self, window: StreamSlice, first: FirstPage) -> None:
        with self._begun:
            while len(self._first_pages) >= self._ahead and not self._over():
                self._begun.wait(1.0)
            self._first_pages[self._key(window)] = first

    def _window(self, low: int, high: int) -> StreamSlice:
        start_field, end_field = self._slice_boundary_fields_wrapper
        return StreamSlice(partition={}, cursor_slice={start_field: self._text(low), end_field: self._text(high)})

    def _bounds(self, window: StreamSlice) -> tuple[int, int]:
        start_field, end_field = self._slice_boundary_fields_wrapper
        return self._milliseconds(window[start_field]), self._milliseconds(window[end_field])

    @property
    def _boundary_keys(self) -> tuple[str, str]:
        """What the bounds of a span in the state are called."""
        return self._connector_state_converter.START_KEY, self._connector_state_converter.END_KEY

    def _key(self, window: StreamSlice) -> tuple[str, str]:
        start_field, end_field = self._slice_boundary_fields_wrapper
        return str(window[start_field]), str(window[end_field])

    def _milliseconds(self, text: str) -> int:
        return _milliseconds(self._connector_state_converter.parse_value(text))

    def _text(self, milliseconds: int) -> str:
        text: str = self._connector_state_converter.output_format(_at(milliseconds))
        return text


def _at(milliseconds: int) -> datetime:
    return _EPOCH + milliseconds * _MILLISECOND


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND
