"""Both ends: a list sorted by id, walked from its first page on, and from its last page on where that helps."""

import logging
import threading
from collections.abc import Callable, Iterator
from operator import lt
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.api.errors import RATE_LIMIT_LASTS, RequestFailedError
from source_commonroom.api.keys import Keys, number_of
from source_commonroom.api.retriever import DOWNWARDS, Count, FirstPage, PageRetriever
from source_commonroom.api.walk import Walk
from source_commonroom.lists.completeness import Counts

logger = logging.getLogger("airbyte")

# A list of no more pages isn't worth a second walk.
_FEW_PAGES = 3

Rows = list[dict[str, Any]]


class ListFromBothEnds:
    """Two walks of one list by id, up and down, that meet: each record comes once, in half the time.

    ::

        c_1 ── up ──►  up_to │ … not read yet … │ down_to  ◄── down ── c_9999 = down_from │ created meanwhile

    A walk has met the other one when it comes to records that the other one has brought. That the ids ascend from page
    to page is checked, not believed; and numbers that don't fit are no meeting, if the records aren't those that came.
    Then the list is walked from one end only: the walk up goes on to the end of the list, and leaves out what the walk
    down has brought. So it is if the API refuses ``direction``, or ignores it.

    The walk down begins

    - at once, if the API counts more than a few pages,
    - or where the walk up fails in the middle, so that what is missing is as little as can be.

    One instance serves one read of one list. Pinned by unit_tests/test_both_ends.py.

    :param retriever: asks for the pages
    :param part: the list, as a slice of the stream
    :param counts: what the API counts of it
    :param decided: is called once it is known whether there is a second walk
    :param both: whether there may be a second walk
    """

    def __init__(
        self,
        retriever: PageRetriever,
        part: StreamSlice,
        counts: Counts,
        decided: Callable[[], object],
        *,
        both: bool,
    ) -> None:
        self._retriever = retriever
        self._counts = counts
        self._both = both
        self._part = part
        self._downwards = StreamSlice(
            partition={**part.partition, **DOWNWARDS}, cursor_slice={}, extra_fields=part.extra_fields
        )
        self._up = Walk(retriever)
        self._down = Walk(retriever)
        self._count: Count | None = None
        self._newer: set[int] = set()
        self._decided: Callable[[], object] | None = decided
        # Held for all that follows, which both walks change.
        self._lock = threading.Lock()
        self._first: int | None = None
        self._up_to: int | None = None
        self._down_to: int | None = None
        self._single = False
        """Whether the walk up goes on alone, to the end of the list."""
        self._whole = False
        """Whether a walk came to what the other one has brought, or to the end of the list."""
        self._up_met = False
        self._up_ended = False
        self._down_began = False
        self._walking = 1
        self._failed: AirbyteTracedException | None = None
        self._keys_of_down: Keys | None = None
        # Where the gap between the two walks begins and ends, for people.
        self._last_id, self._lowest_id = "", ""

    def second_walk(self) -> StreamSlice | None:
        """Return the walk down, where it is worth one; asked once it is known."""
        with self._lock:
            # Without a top the API has refused to sort downwards, or ids have no numbers.
            sorts = self._count is not None and self._count.top is not None
            long = self._count is not None and self._count.records > _FEW_PAGES * self._retriever.page_size
            if not (self._both and sorts and long) or self._single or self._up_ended or self._down_began:
                return None
            self._down_began = True
            self._walking += 1
        return self._downwards

    def pages(self, stream_slice: StreamSlice) -> Iterator[Rows]:
        """Yield the pages of one of the two walks until it meets the other.

        :raises AirbyteTracedException: (transient_error) if the list can't be read to its end from either end, or the
            API answered fewer records than it counts; and what :meth:`PageRetriever.pages` raises
        """
        if "direction" in stream_slice.partition:
            yield from self._walk_down()
        else:
            yield from self._walk_up()
        with self._lock:
            self._walking -= 1
            last = not self._walking
        if last:
            yield from self._complete()

    def _complete(self) -> Iterator[Rows]:
        """Bring what neither walk has brought, and compare with the count."""
        walks = [self._up, self._down] if self._down.passes else [self._up]
        if self._failed and not self._whole:
            raise self._cut_in_the_middle(self._failed)
        if self._failed:
            logger.info(
                "%s: what couldn't be read from one end of the list was read from the other.", self._retriever.name
            )
        if self._single and self._up_met:
            # The walk up ended at what looked like a meeting, before the order turned out not to hold.
            rest = Walk(self._retriever, walks)
            yield from rest.read_to_end(self._part)
            walks.append(rest)
        if self._count is not None and not self._is_bounded:
            yield from self._counts.verify(self._part, Count(self._count.records), walks)
        else:
            yield from self._counts.verify(self._part, self._count, walks, self._newer)

    @property
    def _is_bounded(self) -> bool:
        """Whether all that lies below the count's top was counted, and all above it is newer.

        Not if the API ignores directions, so that the top is the first record; nor of a segment, which records that
        are older may join.
        """
        top = self._count and self._count.top
        return (
            top is not None
            and self._first is not None
            and top > self._first
            and not self._single
            and "segmentId" not in self._part.partition
        )

    def _walk_up(self) -> Iterator[Rows]:
        try:
            self._count = self._counts.count_before(self._part)
            for rows in self._up.read_to_end(self._part):
                new, met = self._claim_upwards(rows)
                self._decide()
                yield new
                if met:
                    break
            with self._lock:
                self._whole = self._up_ended = True
        except AirbyteTracedException as error:
            if not self._goes_on_from_the_other_end(error):
                raise
        finally:
            self._decide()
        if self._failed and self._begin_down():
            yield from self._walk_down_instead()

    def _walk_down_instead(self) -> Iterator[Rows]:
        """Walk down after the walk up has failed; if it had brought nothing, only if the other end answers at once.

        Else an outage would be waited for twice.
        """
        first: FirstPage | None = None
        if self._up_to is None:
            try:
                first = self._retriever.quick(1).plain_page(self._downwards)
            except AirbyteTracedException:
                # The failure of the walk up is said.
                return
        yield from self._walk_down(first)

    def _decide(self) -> None:
        decided, self._decided = self._decided, None
        if decided is not None:
            decided()

    def _goes_on_from_the_other_end(self, error: AirbyteTracedException) -> bool:
        """Tell whether the walk up may leave what it couldn't read to the walk down, and let it."""
        with self._lock:
            self._up_ended = True
            waits = isinstance(error, RequestFailedError) and error.failure is RATE_LIMIT_LASTS
            short = self._count is not None and self._count.records <= self._retriever.page_size
            helps = self._both and not (self._single or waits or short)
            if error.failure_type == FailureType.transient_error and helps:
                self._failed = error
                return True
            # The stream is incomplete now, whatever the walk down would still bring.
            self._single = True
            return False

    def _begin_down(self) -> bool:
        with self._lock:
            begins = not self._down_began
            self._down_began = True
        return begins

    def _claim_upwards(self, rows: Rows) -> tuple[Rows, bool]:
        """Return which of a page's rows the walk up emits, and whether it has met the walk down."""
        numbers = list(map(number_of, rows))
        with self._lock:
            if self._first is None and rows:
                self._first = numbers[0]
            if not self._single and not _ascend(self._up_to, self._beyond(numbers)):
                self._walk_alone("doesn't sort by id, or its ids have no numbers")
            self._up.confirm()
            if self._single:
                return self._not_come_down(rows), False
            known = self._note(numbers)
            if not known:
                return rows, False
            self._up_to, self._last_id = max(*known, self._up_to or 0), str(rows[-1]["id"])
            down_to = self._down_to
            above = [] if down_to is None else [row for row, number in _pairs(rows, known) if number >= down_to]
            new = self._not_come_down(rows) if above else rows
            strange = len(above) - (len(rows) - len(new))
            if above and strange == len(above):
                self._walk_alone("doesn't sort by id in the same way from both ends")
                return new, False
            # If some of them are new, there may be more behind them.
            self._up_met = bool(above) and not strange
            return new, self._up_met

    def _beyond(self, numbers: list[int | None]) -> list[int | None]:
        """Return the numbers that have to ascend: after a walk was begun again, not those that it had passed."""
        if self._up.passes == 1:
            return numbers
        return [number for number in numbers if number is None or number > (self._up_to or 0)]

    def _not_come_down(self, rows: Rows) -> Rows:
        """Return the rows that the walk down hasn't brought."""
        if not self._down.confirmed:
            return rows
        if not self._single:
            return self._down.not_confirmed(rows)
        # The walk down has ended, and is compared with page after page.
        if self._keys_of_down is None:
            self._keys_of_down = self._down.confirmed_keys
        keys = self._keys_of_down
        return [row for row in rows if not keys.has(row)]

    def _note(self, numbers: list[int | None]) -> list[int]:
        """Note which of the numbers are newer than the count, and return those that there are."""
        known = [number for number in numbers if number is not None]
        top = self._count and self._count.top
        if top is not None and known and max(known) > top:
            self._newer.update(number for number in known if number > top)
        return known

    def _walk_down(self, first: FirstPage | None = None) -> Iterator[Rows]:
        pages = self._down.read_to_end(self._downwards, first)
        while True:
            try:
                rows = next(pages, None)
            except AirbyteTracedException as error:
                self._end_down(error)
                return
            if rows is None:
                with self._lock:
                    self._whole = True
                return
            new, ended = self._claim_downwards(rows)
            yield new
            if ended:
                return

    def _end_down(self, error: AirbyteTracedException) -> None:
        """End the walk down at a failure: the walk up brings the rest, if it can.

        :raises AirbyteTracedException: if the failure is one that lasts
        """
        with self._lock:
            refused = isinstance(error, RequestFailedError) and error.failure.name == "invalid_request"
            if refused and self._down_to is None:
                self._walk_alone("refuses to sort downwards")
            elif error.failure_type != FailureType.transient_error:
                self._single = True
                raise error

    def _claim_downwards(self, rows: Rows) -> tuple[Rows, bool]:
        """Return which of a page's rows the walk down emits, and whether it is at its end."""
        numbers = list(map(number_of, rows))
        with self._lock:
            new = self._new_below(rows, numbers)
            if new is None:
                # The walk up brings them, with all else.
                self._down.unmark_last(rows)
                return [], True
            self._down.confirm()
            known = self._note(numbers)
            ended = len(new) < len(rows) and not _reach_down_to(self._up_to, list(map(number_of, new)))
            self._whole = self._whole or ended
            if known:
                # After a walk was begun again, its first page may hold nothing but what was created meanwhile.
                self._down_to, self._lowest_id = min([*known, self._down_to or known[0]]), str(rows[-1]["id"])
            return new, ended

    def _new_below(self, rows: Rows, numbers: list[int | None]) -> Rows | None:
        """Return the rows of a page that the walk up hasn't brought; None if the list isn't what it has to be."""
        if self._single:
            return None
        if not _ascend(None, [*reversed(self._below(numbers)), *([] if self._down_to is None else [self._down_to])]):
            self._walk_alone("doesn't sort downwards by id when asked to")
            return None
        if not _reach_down_to(self._up_to, numbers):
            # The walk up hasn't come so far.
            return rows
        new = self._up.not_confirmed(rows)
        if len(new) == len(rows):
            self._walk_alone("doesn't sort by id in the same way from both ends")
            return None
        return new

    def _below(self, numbers: list[int | None]) -> list[int | None]:
        """Return the numbers that have to descend: after a walk was begun again, not those that it had passed."""
        if self._down.passes == 1 or self._down_to is None:
            return numbers
        return [number for number in numbers if number is None or number < (self._down_to or 0)]

    def _walk_alone(self, why: str) -> None:
        """Let the walk up go on alone; called with the lock held."""
        if not self._single and self._down_began:
            logger.warning("%s: the API %s, so that the list is walked from one end only.", self._retriever.name, why)
        self._single = True

    def _cut_in_the_middle(self, error: AirbyteTracedException) -> AirbyteTracedException:
        if not (self._last_id or self._lowest_id):
            return error
        low, high = self._last_id or "the first record", self._lowest_id or "the last record"
        return AirbyteTracedException(
            message=f"{error.message} Everything else was read, from both ends of the list: what is missing lies "
            f"between {low} and {high}.",
            internal_message=f"{error.internal_message}; between {low} and {high}",
            failure_type=FailureType.transient_error,
        )


def _pairs(rows: Rows, numbers: list[int]) -> Iterator[tuple[dict[str, Any], int]]:
    """Pair rows with their numbers; each has one."""
    return zip(rows, numbers, strict=True)


def _reach_down_to(number: int | None, numbers: list[int | None]) -> bool:
    """Tell whether one of some numbers is as low as a number; not if there is none."""
    return number is not None and any(other is not None and other <= number for other in numbers)


def _ascend(after: int | None, numbers: list[int | None]) -> bool:
    """Tell whether there is a number in every place, and each is higher than the one before."""
    found = [number for number in numbers if number is not None]
    first = after is None or not found or after < found[0]
    return first and len(found) == len(numbers) and all(map(lt, found, found[1:]))
