"""Both ends: a list that can only be walked page by page, walked from its first and its last page at once."""

import logging
import threading
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.streams.concurrent.partitions.stream_slicer import StreamSlicer
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.walk import PageRetriever, number_of

logger = logging.getLogger("airbyte")

_DOWN = {"direction": "desc"}


class BothEnds(StreamSlicer):
    """Reads each list of a stream from both its ends, see :class:`ListFromBothEnds`.

    :param retriever: walks the pages of a slice
    :param slicer: names the lists, a slice each; contacts are one, objects one for each type
    """

    def __init__(self, retriever: PageRetriever, slicer: StreamSlicer) -> None:
        self._retriever = retriever
        self._slicer = slicer
        self._lists: dict[str, ListFromBothEnds] = {}

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield two walks for each list, and one where it is short."""
        for number, part in enumerate(self._slicer.stream_slices()):
            key = str(number)
            self._lists[key] = ListFromBothEnds(self._retriever, part)
            for walk in self._lists[key].walks():
                yield StreamSlice(
                    partition=walk.partition, cursor_slice={}, extra_fields={**walk.extra_fields, _LIST: key}
                )

    def pages(self, stream_slice: StreamSlice) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of one walk, see :meth:`ListFromBothEnds.pages`."""
        return self._lists[stream_slice.extra_fields[_LIST]].pages(stream_slice)


# The extra field of a slice that tells which list it walks.
_LIST = "list"


class ListFromBothEnds:
    """Two walks of one list by id, up and down, that meet: each record comes once, in half the time.

    The API sorts by id, and ids only grow. So all that lies above the lowest id of the walk down has been read, as has
    all that lies below the highest id of the walk up: two numbers tell where they meet, whatever the size of the list,
    and whether records are inserted or deleted meanwhile. That the pages are sorted so is checked, not believed: where
    the API refuses ``direction`` or ignores it, or an id has no number, the walk up goes on alone to the end.

    One instance serves one read of one list. Pinned by unit_tests/test_both_ends.py.

    :param retriever: walks the pages of a slice
    :param part: the list, as a slice of the stream
    """

    def __init__(self, retriever: PageRetriever, part: StreamSlice) -> None:
        self._retriever = retriever
        self._up_walk = part
        self._down_walk = StreamSlice(
            partition={**part.partition, **_DOWN}, cursor_slice={}, extra_fields=part.extra_fields
        )
        self._lock = threading.Lock()
        self._up_to: int | None = None
        self._down_to: int | None = None
        self._alone = False
        self._first_page = threading.Event()

    def walks(self) -> Iterator[StreamSlice]:
        """Yield the walk up, and the walk down once the first page tells that there is enough for both."""
        yield self._up_walk
        self._first_page.wait()
        if not self._alone:
            yield self._down_walk

    def pages(self, stream_slice: StreamSlice) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of one of the two walks until it meets the other.

        :raises AirbyteTracedException: (system_error) where the order of ids breaks after records of both walks were
            read, and what :meth:`PageRetriever.pages` raises
        """
        return self._down() if "direction" in stream_slice.partition else self._up()

    def _up(self) -> Iterator[list[dict[str, Any]]]:
        try:
            for rows in self._retriever.pages(self._up_walk):
                new = self._claim_upwards(rows)
                self._first_page.set()
                yield new
                if len(new) < len(rows):
                    return
        except AirbyteTracedException:
            # The stream is incomplete now, whatever the walk down would still bring.
            with self._lock:
                self._alone = True
            raise
        finally:
            self._first_page.set()

    def _claim_upwards(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        numbers = [number_of(row) for row in rows]
        with self._lock:
            if not self._first_page.is_set():
                self._alone = len(rows) < self._retriever.page_size
            if self._alone:
                return rows
            if not _ascend(self._up_to, numbers):
                if self._down_to is not None:
                    raise self._disorder()
                self._alone = True
                return rows
            self._up_to = numbers[-1] if numbers else self._up_to
            down_to = self._down_to
        return rows if down_to is None else [row for row, number in _pairs(rows, numbers) if number < down_to]

    def _down(self) -> Iterator[list[dict[str, Any]]]:
        pages = self._retriever.pages(self._down_walk)
        while True:
            try:
                rows = next(pages, [])
            except AirbyteTracedException as error:
                if self._down_to is not None or error.failure_type != FailureType.system_error:
                    raise
                self._go_alone("refuses to sort downwards")
                return
            new = self._claim_downwards(rows)
            yield new
            if not new or len(new) < len(rows):
                return

    def _claim_downwards(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        numbers = [number_of(row) for row in rows]
        with self._lock:
            if self._alone or self._up_to is None:
                return []
            if _ascend(None, [*reversed(numbers), *([] if self._down_to is None else [self._down_to])]):
                new = [row for row, number in _pairs(rows, numbers) if number > (self._up_to or 0)]
                self._down_to = number_of(new[-1]) if new else self._down_to
                return new
            if self._down_to is not None:
                raise self._disorder()
        self._go_alone("doesn't sort downwards by id when asked to")
        return []

    def _go_alone(self, why: str) -> None:
        with self._lock:
            self._alone = True
        logger.warning("%s: the API %s, so that the list is walked from one end only.", self._retriever.name, why)

    def _disorder(self) -> AirbyteTracedException:
        return AirbyteTracedException(
            message=f"{self._retriever.name}: the API's pages are no longer sorted by id, so that two walks "
            'could miss records. Set "walk_from_both_ends" to false and run the sync again; and report it as an issue '
            "of the connector.",
            internal_message="ids out of order after both walks had begun",
            failure_type=FailureType.system_error,
        )


def _ascend(after: int | None, numbers: list[int | None]) -> bool:
    """Tell whether there is a number in every place, and each is higher than the one before."""
    found = [number for number in numbers if number is not None]
    return len(found) == len(numbers) and all(
        low < high for low, high in pairwise(found if after is None else [after, *found])
    )


def _pairs(rows: list[dict[str, Any]], numbers: list[int | None]) -> Iterator[tuple[dict[str, Any], int]]:
    for row, number in zip(rows, numbers, strict=True):
        if number is not None:
            yield row, number
