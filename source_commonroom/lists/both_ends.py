"""Both ends: a list sorted by id, read upwards from its first page and, if that helps, downwards from its last page."""

import logging
import threading
from collections.abc import Callable, Iterator
from enum import Enum, auto
from operator import lt

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.api.errors import RATE_LIMIT_LASTS, RequestFailedError
from source_commonroom.api.keys import Keys, number_of
from source_commonroom.api.retriever import DOWNWARDS, Count, FirstPage, PageRetriever, Rows
from source_commonroom.api.walk import Walk
from source_commonroom.lists.completeness import Counts

logger = logging.getLogger("airbyte")

# A list of no more pages isn't worth a second walk.
_FEW_PAGES = 3


class State(Enum):
    """Who reads the rest of the list. In the pictures ``=`` has been read, and ``·`` hasn't.

    ::

        UP ──────► BOTH ──────► MET, WHOLE
         │          │ │             │
         │          │ └► DOWN ──► WHOLE
         └──────────┴──► ALONE   REREAD   (if the order turns out not to hold: MET becomes REREAD, all others ALONE)
    """

    UP = auto()
    """``c_1 ====== up ►·································· c_9999``

    The walk up reads, and there is no other one yet. Each list begins so, and a short one ends so. The walk down
    begins once the API has counted more than a few pages, or if the walk up fails.
    """
    BOTH = auto()
    """``c_1 ====== up ►··············◄ down ============ c_9999``

    Two threads read, towards each other. Each checks on each page that its ids go on in order, and whether the page
    contains records that the other walk has read. If the walk down fails meanwhile, the walk up reads the rest.
    """
    DOWN = auto()
    """``c_1 ====== ✗ ················◄ down ============ c_9999``

    The walk up failed, for a reason that may pass. The walk down reads the rest, down to what the walk up has read,
    so that as little as possible is missing if it fails as well.
    """
    MET = auto()
    """``c_1 =================== up ►│=================== c_9999``

    The walk up reached records that the walk down has read, and stopped. The walk down may have a page left.
    """
    WHOLE = auto()
    """``c_1 ===================│◄ down ================= c_9999``

    The walk down reached records that the walk up has read, or one of the two reached the end of the list.
    """
    ALONE = auto()
    """``c_1 ====== up ►··············✗================== c_9999``

    The walk up reads on to the end of the list, and leaves out what the walk down has read, which stops. So it is if
    the ids turn out not to be in order, so that meetings mean nothing: the API refuses ``direction`` or ignores it, or
    ids have no numbers. And if one of the walks failed for good: then the stream is incomplete in any case.
    """
    REREAD = auto()
    """``c_1 ~~ third ►==·····===····=====··============= c_9999``

    The same, but the walk up has stopped already, at what looked like a meeting. A third walk reads the whole list
    once the two are over, and leaves out what they have read.
    """


class ListFromBothEnds:
    """Two walks of one list by id, up and down, that meet: each record is read once, in half the time.

    :class:`State` says how they work together. The order of ids is checked from page to page, and walks have met only
    if a page contains the very records that the other walk has read.

    One instance serves one read of one list. Pinned by unit_tests/test_both_ends.py.

    :param part: the list, as a slice of the stream
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
        self._decided: Callable[[], object] | None = decided
        # Held for all that follows, which both walks change.
        self._lock = threading.Lock()
        self._state = State.UP
        self._walking = 1
        """How many threads read pages."""
        self._failed: AirbyteTracedException | None = None
        """What ended the walk up, if the walk down reads the rest."""
        self._first: int | None = None
        """The number in the first id."""
        self._up_to: int | None = None
        """The highest number that the walk up has read."""
        self._down_to: int | None = None
        """The lowest number that the walk down has read."""
        self._newer: set[int] = set()
        """The numbers that were read and are higher than the highest id at the count."""
        self._keys_of_down: Keys | None = None
        self._last_id, self._lowest_id = "", ""
        """The ids between which the rest lies, for messages."""

    # -- Who reads: the steps from one state to the next.

    def second_walk(self) -> StreamSlice | None:
        """Return the walk down if it is worth one; asked once, when that is known. UP becomes BOTH."""
        with self._lock:
            # Without a top the API has refused to sort downwards, or ids have no numbers.
            sorts = self._count is not None and self._count.top is not None
            long = self._count is not None and self._count.records > _FEW_PAGES * self._retriever.page_size
            if not (self._both and sorts and long and self._state is State.UP):
                return None
            self._state = State.BOTH
            self._walking += 1
        return self._downwards

    def _hand_over(self, error: AirbyteTracedException) -> bool:
        """Let the walk down read the rest after the walk up has failed; UP and BOTH become DOWN, or ALONE.

        :return: whether the walk down has yet to begin
        :raises AirbyteTracedException: the error, if the walk down wouldn't help
        """
        with self._lock:
            waits = isinstance(error, RequestFailedError) and error.failure is RATE_LIMIT_LASTS
            short = self._count is not None and self._count.records <= self._retriever.page_size
            helps = self._both and not (self._state is State.ALONE or waits or short)
            if error.failure_type != FailureType.transient_error or not helps:
                # The stream is incomplete now, whatever the walk down would still read.
                self._state = State.ALONE
                raise error
            self._failed = error
            begins = self._state is State.UP
            if self._state is not State.WHOLE:
                self._state = State.DOWN
            return begins

    def _finish(self) -> None:
        """Note that a walk has ended: the list has been read, unless its order doesn't hold."""
        if self._state is not State.ALONE:
            self._state = State.WHOLE

    def _distrust_order(self, why: str) -> None:
        """Let the walk up read on to the end, or a third walk everything; called with the lock held."""
        if self._state not in {State.UP, State.ALONE}:
            logger.warning("%s: the API %s, so that the list is walked from one end only.", self._retriever.name, why)
        self._state = State.REREAD if self._state is State.MET else State.ALONE

    # -- The walks.

    def pages(self, stream_slice: StreamSlice) -> Iterator[Rows]:
        """Yield the pages of one of the two walks until it meets the other.

        :raises AirbyteTracedException: (transient_error) if the list can't be read to its end from either end, or the
            API returned fewer records than it counts; and what :meth:`PageRetriever.page_of` raises
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

    def _walk_up(self) -> Iterator[Rows]:
        begins_down = False
        try:
            self._count = self._counts.count_before(self._part)
            for rows in self._up.read_to_end(self._part):
                new, met = self._claim_upwards(rows)
                self._decide()
                yield new
                if met:
                    break
            else:
                with self._lock:
                    self._finish()
        except AirbyteTracedException as error:
            begins_down = self._hand_over(error)
        finally:
            self._decide()
        if begins_down:
            yield from self._walk_down_instead()

    def _walk_down_instead(self) -> Iterator[Rows]:
        """Walk down after the walk up has failed; if it had read nothing, only if the other end answers at once.

        Else an outage would be waited for twice.
        """
        first: FirstPage | None = None
        if self._up_to is None:
            try:
                first = self._retriever.quick(1).plain_page(self._downwards)
            except AirbyteTracedException:
                # The failure of the walk up is raised.
                return
        yield from self._walk_down(first)

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
                    self._finish()
                return
            new, ended = self._claim_downwards(rows)
            yield new
            if ended:
                return

    def _end_down(self, error: AirbyteTracedException) -> None:
        """End the walk down at a failure: the walk up reads the rest, if it can.

        :raises AirbyteTracedException: if the failure is one that lasts
        """
        with self._lock:
            refused = isinstance(error, RequestFailedError) and error.failure.name == "invalid_request"
            if refused and self._down_to is None:
                self._distrust_order("refuses to sort downwards")
            elif error.failure_type != FailureType.transient_error:
                self._state = State.ALONE
                raise error

    def _decide(self) -> None:
        decided, self._decided = self._decided, None
        if decided is not None:
            decided()

    def _complete(self) -> Iterator[Rows]:
        """Yield what neither walk has read, and compare with the count."""
        walks = [self._up, self._down] if self._down.passes else [self._up]
        if self._failed and self._state is not State.WHOLE:
            raise self._cut_in_the_middle(self._failed)
        if self._failed:
            logger.info(
                "%s: what couldn't be read from one end of the list was read from the other.", self._retriever.name
            )
        if self._state is State.REREAD:
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
            and self._state not in {State.ALONE, State.REREAD}
            and "segmentId" not in self._part.partition
        )

    # -- A page: which of its rows a walk emits, and whether it has met the other walk.

    def _claim_upwards(self, rows: Rows) -> tuple[Rows, bool]:
        """Return which of a page's rows the walk up emits, and whether it has met the walk down."""
        numbers = list(map(number_of, rows))
        with self._lock:
            if self._first is None and rows:
                self._first = numbers[0]
            if self._state is not State.ALONE and not _ascend(self._up_to, self._beyond(numbers)):
                self._distrust_order("doesn't sort by id, or its ids have no numbers")
            self._up.confirm()
            if self._state is State.ALONE:
                return self._not_read_down(rows), False
            known = self._note(numbers)
            if not known:
                return rows, False
            self._up_to, self._last_id = max(*known, self._up_to or 0), str(rows[-1]["id"])
            down_to = self._down_to
            above = (
                [] if down_to is None else [row for row, number in zip(rows, known, strict=True) if number >= down_to]
            )
            if not above:
                return rows, False
            new = self._down.not_confirmed(rows)
            strange = len(above) - (len(rows) - len(new))
            if strange == len(above):
                self._distrust_order("doesn't sort by id in the same way from both ends")
            elif not strange:
                self._state = State.MET
            # If some of them are new, there may be more behind them.
            return new, self._state is State.MET

    def _beyond(self, numbers: list[int | None]) -> list[int | None]:
        """Return the numbers that have to ascend: after a walk was begun again, not those that it had passed."""
        if self._up.passes == 1:
            return numbers
        return [number for number in numbers if number is None or number > (self._up_to or 0)]

    def _not_read_down(self, rows: Rows) -> Rows:
        """Return the rows that the walk down, which has stopped, hasn't read."""
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

    def _claim_downwards(self, rows: Rows) -> tuple[Rows, bool]:
        """Return which of a page's rows the walk down emits, and whether it is at its end."""
        numbers = list(map(number_of, rows))
        with self._lock:
            new = self._new_below(rows, numbers)
            if new is None:
                # The walk up reads them, with all else.
                self._down.unmark_last(rows)
                return [], True
            self._down.confirm()
            known = self._note(numbers)
            ended = len(new) < len(rows) and not _reach_down_to(self._up_to, list(map(number_of, new)))
            if ended:
                self._finish()
            if known:
                # After a walk was begun again, its first page may contain nothing but what was created meanwhile.
                self._down_to, self._lowest_id = min([*known, self._down_to or known[0]]), str(rows[-1]["id"])
            return new, ended

    def _new_below(self, rows: Rows, numbers: list[int | None]) -> Rows | None:
        """Return the rows of a page that the walk up hasn't read; None if the order doesn't hold."""
        if self._state is State.ALONE:
            return None
        if not _ascend(None, [*reversed(self._below(numbers)), *([] if self._down_to is None else [self._down_to])]):
            self._distrust_order("doesn't sort downwards by id when asked to")
            return None
        if not _reach_down_to(self._up_to, numbers):
            # The walk up isn't there yet.
            return rows
        new = self._up.not_confirmed(rows)
        if len(new) == len(rows):
            self._distrust_order("doesn't sort by id in the same way from both ends")
            return None
        return new

    def _below(self, numbers: list[int | None]) -> list[int | None]:
        """Return the numbers that have to descend: after a walk was begun again, not those that it had passed."""
        if self._down.passes == 1 or self._down_to is None:
            return numbers
        return [number for number in numbers if number is None or number < (self._down_to or 0)]

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


def _reach_down_to(number: int | None, numbers: list[int | None]) -> bool:
    """Tell whether one of some numbers is as low as a number; not if there is none."""
    return number is not None and any(other is not None and other <= number for other in numbers)


def _ascend(after: int | None, numbers: list[int | None]) -> bool:
    """Tell whether there is a number in every place, and each is higher than the one before."""
    found = [number for number in numbers if number is not None]
    first = after is None or not found or after < found[0]
    return first and len(found) == len(numbers) and all(map(lt, found, found[1:]))
