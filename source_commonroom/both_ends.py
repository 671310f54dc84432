"""Both ends: a list that can only be walked page by page, walked from its first and its last page at once."""

import logging
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.counts import Counts
from source_commonroom.components.errors import RequestFailedError
from source_commonroom.components.walk import PageRetriever, Walk, number_of

logger = logging.getLogger("airbyte")

_DOWN = {"direction": "desc"}


class ListFromBothEnds:
    """Two walks of one list by id, up and down, that meet: each record comes once, in half the time.

    The API sorts by id, and ids only grow. So all that lies above the lowest id of the walk down has been read, as has
    all that lies below the highest id of the walk up: two numbers tell where they meet, whatever the size of the list,
    and whether records are inserted or deleted meanwhile. That the pages are sorted so is checked, not believed: where
    the API refuses ``direction`` or ignores it, or an id has no number, the walk up goes on alone to the end.

    One instance serves one read of one list. Pinned by unit_tests/test_both_ends.py.

    :param retriever: asks for the pages
    :param part: the list, as a slice of the stream
    :param counts: what the API counts of it
    """

    def __init__(self, retriever: PageRetriever, part: StreamSlice, counts: Counts) -> None:
        self._retriever = retriever
        self._counts = counts
        self._up_walk = part
        self._down_walk = StreamSlice(
            partition={**part.partition, **_DOWN}, cursor_slice={}, extra_fields=part.extra_fields
        )
        self._lock = threading.Lock()
        self._up_to: int | None = None
        self._down_to: int | None = None
        self._down_from: int | None = None
        self._alone = False
        self._counted: int | None = None
        self._received = 0
        self._ended: set[bool] = set()
        self._compared = False
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
            read, (transient_error) where the API answered fewer records than it counts, and what
            :meth:`PageRetriever.pages` raises
        """
        down = "direction" in stream_slice.partition
        walk = Walk(self._retriever)
        yield from self._down(walk) if down else self._up(walk)
        with self._lock:
            if self._alone and not down:
                # Perhaps not in order, so that a record may have come twice.
                self._received = walk.received
            else:
                self._received += walk.unusable
            self._ended.add(down)
            # Where the walk up is alone, it doesn't wait for the other.
            over = not self._compared and False in self._ended and (True in self._ended or self._alone)
            self._compared = self._compared or over
        if over:
            yield from self._complete()

    def _complete(self) -> Iterator[list[dict[str, Any]]]:
        """Compare with the count. Where something is missing, what was inserted above the walk down comes first.

        Without it, one deletion among any number of insertions would look like a loss.
        """
        short = self._counted is not None and self._received < self._counted
        if short and self._down_from is not None:
            for rows in self._retriever.pages(self._down_walk):
                new = [row for row in rows if (number_of(row) or 0) > self._down_from]
                self._received += len(new)
                yield new
                if len(new) < len(rows):
                    break
        self._counts.compare(self._up_walk, self._counted, self._received)

    def _up(self, walk: Walk) -> Iterator[list[dict[str, Any]]]:
        try:
            self._counted = self._counts.before(self._up_walk)
            for rows in walk.to_the_end(self._up_walk):
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
            if not self._alone and not _ascend(self._up_to, numbers):
                if self._down_to is not None:
                    raise self._disorder()
                self._alone = True
            new = rows
            if not self._alone:
                self._up_to = numbers[-1] if numbers else self._up_to
                if self._down_to is not None:
                    new = [row for row, number in _pairs(rows, numbers) if number < self._down_to]
            self._received += len(new)
        return new

    def _down(self, walk: Walk) -> Iterator[list[dict[str, Any]]]:
        pages = walk.to_the_end(self._down_walk)
        while True:
            try:
                rows = next(pages, None)
            except RequestFailedError as error:
                if self._down_to is not None or error.failure.name != "invalid_request":
                    raise
                self._go_alone("refuses to sort downwards")
                return
            if rows is None:
                return
            new = self._claim_downwards(rows)
            yield new
            if len(new) < len(rows):
                return

    def _claim_downwards(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        numbers = [number_of(row) for row in rows]
        with self._lock:
            up_to = self._up_to
            if self._alone or up_to is None:
                return []
            if _ascend(None, [*reversed(numbers), *([] if self._down_to is None else [self._down_to])]):
                new = [row for row, number in _pairs(rows, numbers) if number > up_to]
                if new:
                    self._down_to = number_of(new[-1])
                    self._down_from = self._down_from or numbers[0]
                self._received += len(new)
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
