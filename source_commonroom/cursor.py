"""The cursor of activities: windows of equal size, and a state that keeps each window that is done."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.connector_state_manager import ConnectorStateManager
from airbyte_cdk.sources.streams.concurrent.cursor import ConcurrentCursor
from airbyte_cdk.sources.streams.concurrent.state_converters.datetime_stream_state_converter import (
    CustomFormatConcurrentStreamStateConverter,
)
from airbyte_cdk.sources.types import Record, StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.walk import CountRefusedError, FirstPage, PageRetriever
from source_commonroom.output import PageMessage
from source_commonroom.slices import Probe, plan, window_size

logger = logging.getLogger("airbyte")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class WindowCursor(ConcurrentCursor):
    """A ``ConcurrentCursor`` whose slices are planned by the API's count, and whose state is a list of what is done.

    Why not ``DatetimeBasedCursor`` alone: its slices are of equal time, so that a year of history holds back a worker
    and an hour's burst another; and its state is one moment, so that a slice that is done counts for nothing as long as
    an earlier one isn't. It reads states of that kind too. Start, end, lookback and resolution stay the manifest's.

    A window is planned by its first page, which is kept until the window is read: planning costs hardly a request,
    and keeps no more than a few windows ahead of the reading.

    The state: ``{"state_type": "date-range", "slices": [{"start": …, "end": …}, …]}``, merged where two meet.

    :param cursor: what the factory made of the manifest
    :param manager: holds the state of all streams
    :param retriever: walks the pages of a window
    :param workers: how many windows are read at once
    :param over: tells whether nobody reads any more, so that the planning doesn't wait for it
    """

    def __init__(
        self,
        cursor: ConcurrentCursor,
        manager: ConnectorStateManager,
        retriever: PageRetriever,
        workers: int,
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
        self._calendar_step = cursor._slice_range  # noqa: SLF001
        self._retriever = retriever
        self._size = window_size(workers)
        self._over = over
        self._ahead = workers
        self._last_probe: tuple[StreamSlice, FirstPage] | None = None
        self._first_pages: dict[str, FirstPage] = {}
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
        for gap in list(super().stream_slices()):
            try:
                yield from self._planned(gap)
            except CountRefusedError as refused:
                logger.warning(
                    "%s: the API doesn't count records (%s), so that they are read in windows of equal time.",
                    self._stream_name,
                    refused,
                )
                self._slice_range = self._calendar_step
                yield from super().stream_slices()
                return

    def pages(self, stream_slice: StreamSlice) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a window; see :meth:`PageRetriever.pages`."""
        with self._begun:
            first = self._first_pages.pop(self._key(stream_slice), None)
            self._begun.notify_all()
        yield from self._retriever.pages(stream_slice, first)

    def _planned(self, gap: StreamSlice) -> Iterable[StreamSlice]:
        start_field, end_field = self._slice_boundary_fields_wrapper
        first, last = self._milliseconds(gap[start_field]), self._milliseconds(gap[end_field])
        for low, high in plan(first, last, self._probe, self._size):
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

    def _key(self, window: StreamSlice) -> str:
        start_field, _ = self._slice_boundary_fields_wrapper
        return str(window[start_field])

    def _milliseconds(self, text: str) -> int:
        moment: datetime = self._connector_state_converter.parse_value(text)
        return (moment - _EPOCH) // _MILLISECOND

    def _text(self, milliseconds: int) -> str:
        text: str = self._connector_state_converter.output_format(_EPOCH + milliseconds * _MILLISECOND)
        return text
