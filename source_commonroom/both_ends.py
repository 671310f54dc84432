"""Both ends: a list that can only be walked page by page, walked from its first and its last page at once."""

import logging
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise, takewhile
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
    :param over: tells whether nobody reads any more, so that the walk down doesn't wait for the walk up
    """

    def __init__(self, retriever: PageRetriever, part: StreamSlice, counts: Counts, over: Callable[[], bool]) -> None:
        self._retriever = retriever
        self._counts = counts
        self._over = over
        self._part = part
        self._downwards = StreamSlice(
            partition={**part.partition, **_DOWN}, cursor_slice={}, extra_fields=part.extra_fields
        )
        self._up = Walk(retriever)
        self._down = Walk(retriever)
        self._lock = threading.Lock()
        self._up_to: int | None = None
        self._down_to: int | None = None
        self._down_from = 0
        self._alone = False
        self._counted: int | None = None
        self._received = 0
        self._ended: set[bool] = set()
        self._compared = False
        self._first_page = threading.Event()

    def walks(self) -> Iterator[StreamSlice]:
        """Yield the walk up, and the walk down once the first page tells that there is enough for both."""
        yield self._part
        # Where the output is gone, nobody reads the first page. Pinned by
        # test_given_a_reader_that_goes_away_when_lists_are_walked_from_both_ends_then_the_process_ends.
        while not self._first_page.wait(1.0):
            if self._over():
                return
        if not self._alone:
            yield self._downwards

    def pages(self, stream_slice: StreamSlice) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of one of the two walks until it meets the other.

        :raises AirbyteTracedException: (system_error) where the order of ids breaks after records of both walks were
            read, (transient_error) where the API answered fewer records than it counts, and what
            :meth:`PageRetriever.pages` raises
        """
        down = "direction" in stream_slice.partition
        yield from self._walk_down() if down else self._walk_up()
        with self._lock:
            self._ended.add(down)
            # Where the walk up is alone, it doesn't wait for the other.
            over = not self._compared and False in self._ended and (True in self._ended or self._alone)
            self._compared = self._compared or over
        if over:
            yield from self._complete()

    def _complete(self) -> Iterator[list[dict[str, Any]]]:
        """Compare with the count, and yield what is still missing.

        Two walks in order leave nothing behind them but what is inserted above both. So the API is asked to count once
        more, and where that is more than what came, the top is read again: then all that it counted has come, or is
        gone. So neither can insertions hide a loss, nor look like one.
        """
        counted = self._counted
        if counted is None or self._alone:
            yield from self._counts.complete(self._part, counted, [self._up], self._up.received)
            return
        now = self._counts.now(self._part, counted)
        if self._came() < now:
            yield from self._above()
        if now <= self._came() < counted:
            self._counts.say_gone(self._part, counted, self._came(), now)
        yield from self._counts.complete(self._part, now, [self._up, self._down], self._came())

    def _came(self) -> int:
        return self._received + self._up.unusable + self._down.unusable

    def _above(self) -> Iterator[list[dict[str, Any]]]:
        """Yield what was inserted above both walks."""
        known = max(self._up_to or 0, self._down_from)
        for rows in self._retriever.pages(self._downwards):
            new = [row for row in rows if (number_of(row) or 0) > known]
            self._up.remember(new)
            self._received += len(new)
            yield new
            if len(new) < len(rows):
                return

    def _walk_up(self) -> Iterator[list[dict[str, Any]]]:
        try:
            self._counted = self._counts.before(self._part)
            for rows in self._up.to_the_end(self._part):
                new = self._claim_upwards(rows)
                self._first_page.set()
                yield new
                if len(new) < len(rows):
                    self._up.forget(len(rows) - len(new))
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
            late = _late(self._up, numbers, lambda number: number < (self._up_to or 0))
            if not self._alone and not _ascend(self._up_to, numbers[late:]):
                if self._down_to is not None:
                    raise self._disorder()
                self._alone = True
            new = rows
            if not self._alone:
                self._up_to = numbers[-1] if numbers[late:] else self._up_to
                if self._down_to is not None:
                    new = [row for row, number in _pairs(rows, numbers) if number < self._down_to]
            self._received += len(new)
        return new

    def _walk_down(self) -> Iterator[list[dict[str, Any]]]:
        pages = self._down.to_the_end(self._downwards)
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
                self._down.forget(len(rows) - len(new))
                return

    def _claim_downwards(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        numbers = [number_of(row) for row in rows]
        with self._lock:
            up_to = self._up_to
            if self._alone or up_to is None:
                return []
            late = _late(self._down, numbers, lambda number: 0 < self._down_from < number)
            if _ascend(None, [*reversed(numbers[late:]), *([] if self._down_to is None else [self._down_to])]):
                new = [row for row, number in _pairs(rows, numbers) if number > up_to]
                if new:
                    self._down_to = number_of(new[-1]) if new[late:] else self._down_to
                    self._down_from = max(self._down_from, numbers[0] or 0)
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


def _late(walk: Walk, numbers: list[int | None], behind: Callable[[int], bool]) -> int:
    """Return how many rows a page of a walk that was begun again begins with that came to stand behind it meanwhile.

    They are no sign of disorder. Pinned by
    test_given_a_cursor_that_is_refused_after_an_insertion_when_read_then_the_order_is_not_taken_for_broken.
    """
    return len(list(takewhile(lambda number: number is not None and behind(number), numbers))) if walk.passes > 1 else 0


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
