"""Counts: what the API counts, compared with what it answered."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import Enum, auto
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.api.errors import RequestFailedError
from source_commonroom.api.keys import number_of
from source_commonroom.api.retriever import Count, CountFailedError, CountRefusedError, FirstPage, PageRetriever, Rows
from source_commonroom.api.walk import Walk, keys_of, received

logger = logging.getLogger("airbyte")

# How often a list is read once more at most, as long as each reading contains something new.
_MOST_READINGS = 4


class Counts:
    """What the API counts of a stream's lists, compared with the records that were received.

    Numbers are only a reason to look: a list in doubt is read once more, and the two readings are compared.

    :param expect: gets the stream's name, and what was counted before the first page of a list
    """

    def __init__(self, retriever: PageRetriever, expect: Callable[[str, int], object] | None = None) -> None:
        self._retriever = retriever
        self._expect = expect
        self._refused = False

    def count_before(self, part: StreamSlice) -> Count | None:
        """Return how many records a list has; None if that can't be known.

        :raises AirbyteTracedException: (config_error) if the API refuses the token, or access to the list
        """
        if not self._retriever.counts or self._refused:
            return None
        try:
            count = self._retriever.count_with_top(part)
        except CountFailedError as failed:
            self._warn_of_missing_count(part, failed)
            return None
        except CountRefusedError as refused:
            self._refused = True
            logger.info(
                "%s: the API doesn't count records (%s), so that there is no estimate, and no count to compare with.",
                self._retriever.name,
                refused,
            )
            return None
        if self._expect:
            self._expect(self._retriever.name, count.records)
        return count

    def count_after(self, part: StreamSlice) -> Count | None:
        """Return how many records a list has that couldn't be counted before it was read.

        None, after a warning, if it can't be counted now either.

        :raises AirbyteTracedException: (config_error) if the API refuses the token, or access to the list
        """
        try:
            return Count(self._retriever.quick().count(part))
        except CountRefusedError as refused:
            self._warn_of_missing_count(part, refused)
            return None

    def _warn_of_missing_count(self, part: StreamSlice, why: CountRefusedError) -> None:
        logger.warning(
            "%s: the API didn't count the records of %s (%s). They are read all the same, but what is received can't "
            "be compared with a count this time.",
            self._retriever.name,
            _describe_slice(part) or "the list",
            why,
        )

    def read(self, part: StreamSlice, first: FirstPage | None = None) -> Iterator[Rows]:
        """Yield the pages of a list in one walk, and the rows that it missed.

        :param first: the first page, counted, if it has been read already
        :raises AirbyteTracedException: as :meth:`Walk.read_to_end` and :meth:`verify`
        """
        count = Count(first.records) if first else self.count_before(part)
        walk = Walk(self._retriever)
        yield from walk.read_to_end(part, first)
        yield from self.verify(part, count, [walk])

    def verify(
        self,
        part: StreamSlice,
        before: Count | None,
        walks: Sequence[Walk],
        newer: Collection[int] = (),
        *,
        doubtful: bool = False,
        counted_apart: bool = False,
    ) -> Iterator[Rows]:
        """Find out whether walks of a list received all of it, and yield the rows that they missed.

        In a list sorted by ids that only grow, a received record that isn't newer than the highest id at the count is
        one of those that were counted: nothing that was created or deleted meanwhile can make up for a missing one.
        In other lists a record that was created meanwhile can. So they are compared with a count after the last page as
        well: what pages carry, or one that is asked for.

        If fewer were received, the list is read once more, and again as long as that returns anything new. If the API
        doesn't count, pages that are asked for again show whether a record may have been skipped.

        :param before: the API's count before the first page; None if it isn't known
        :param newer: the numbers in the received ids that are higher than the count's top
        :param doubtful: whether something may be missing in any case
        :param counted_apart: whether the count and the first page are two answers, so that even a single page may hold
            records that arrived in between
        :raises AirbyteTracedException: (transient_error) if records are missing; and as :meth:`Walk.read_to_end`
        """
        found = received(walks) - len(newer)
        if before is None:
            if not (doubtful or self._is_doubtful(walks)):
                return
            repeated = any(walk.repeated for walk in walks)
            reason = "a page was returned twice" if repeated else "pages have moved"
            logger.warning("%s: %s while the list was read. It is read once more.", self._describe_list(part), reason)
            yield from self._reread(part, None, None, walks, ())
            return
        doubtful = doubtful or found < before.records
        if not doubtful and before.top is not None:
            return
        now: Count | None = None
        if not doubtful and all(walk.counts and walk.passes == 1 for walk in walks):
            doubtful = _may_hide_a_loss(walks[-1]) or any(walk.repeated for walk in walks)
        elif not doubtful:
            now = self._count(part, bounded=False) if counted_apart or _have_several_pages(walks) else None
            doubtful = (now is not None and found < now.records) or self._is_doubtful(walks)
            doubtful = doubtful or any(map(_may_hide_a_loss, walks))
        if not doubtful:
            return
        now = now or self._count(part, bounded=before.top is not None)
        is_short = found < max(before.records, now.records if now else 0)
        logger.log(
            logging.WARNING if is_short else logging.INFO,
            "%s%s. They are read once more.",
            self._describe_counts(part, before.records, found),
            f". It counts {now.records} now" if now else "",
        )
        # Without another count, what is newer than the first one stays newer.
        yield from self._reread(part, before.top, now or before, walks, () if now else newer)

    @staticmethod
    def _is_doubtful(walks: Sequence[Walk]) -> bool:
        """Tell whether a record may have been skipped, though no number shows it: pages are asked for again."""
        if any(walk.repeated for walk in walks):
            return True
        return _have_several_pages(walks) and any(walk.has_moved() for walk in walks)

    def _reread(
        self,
        part: StreamSlice,
        top: int | None,
        counted: Count | None,
        walks: Sequence[Walk],
        known_newer: Collection[int],
    ) -> Iterator[Rows]:
        """Read a list until a reading contains nothing new, and is as large as was counted.

        :param top: the highest number that the reading before could have contained; None if that isn't known
        :param counted: the API's last count; None if it doesn't count
        :param known_newer: the numbers in the received ids that are newer than that count
        :raises AirbyteTracedException: (transient_error) if none of the readings is
        """
        bounded = top is not None
        earlier, last = list(walks), keys_of(walks)
        newer = set(known_newer)
        plausible = 0
        for _ in range(_MOST_READINGS):
            again = Walk(self._retriever, earlier)
            new = 0
            for rows in again.read_to_end(part, self._first_counted(part) if counted and not bounded else None):
                new += len(rows) - len(_newer_than(rows, top))
                newer |= _newer_than(rows, counted and counted.top)
                yield rows
            keys = again.keys
            then = self._count(part, bounded=bounded) if counted else None
            # In the reading before, and not in this one.
            gone = sum(key not in keys for key in last)
            verdict = _judge(again, counted, then, len(newer), new, gone)
            plausible = plausible + 1 if verdict is Verdict.PLAUSIBLE else 0
            if verdict is Verdict.WHOLE or plausible > 1:
                logger.info("%s: read once more, it is complete.", self._describe_list(part))
                return
            if counted and then and then.records == counted.records and not new and not gone and not again.repeated:
                # Nothing has changed, and so nothing would.
                break
            earlier, last = [*earlier, again], keys
            if then:
                top, counted, newer = counted and counted.top, then, set()
        numbers = (
            f"{self._describe_list(part)}: each reading of the list contained records that the ones before it didn't"
            if counted is None
            else self._describe_counts(part, counted.records, again.received - len(newer))
            + " when they were read once more"
        )
        raise AirbyteTracedException(
            message=f"{numbers}. So records may be missing. Run the sync again; if it happens each time, tell Common "
            "Room's support: the API leaves out records that it counts, or changes the order of the list.",
            internal_message=f"{len(earlier) - len(walks) + 1} further readings left the list in doubt",
            failure_type=FailureType.transient_error,
        )

    def _first_counted(self, part: StreamSlice) -> FirstPage | None:
        """Return the first page of a list, so that all pages carry their counts; None if it can't be had so."""
        try:
            return self._retriever.quick().first_page(part)
        except CountRefusedError:
            return None
        except RequestFailedError as error:
            if not error.failure.retried:
                raise
            return None

    def _count(self, part: StreamSlice, *, bounded: bool) -> Count | None:
        """Return how many records a list has now; None if the API doesn't count any more.

        :param bounded: whether the list is known to be sorted by ids that only grow
        :raises AirbyteTracedException: as :meth:`count_before`
        """
        try:
            return self._retriever.count_with_top(part) if bounded else Count(self._retriever.count(part))
        except CountRefusedError:
            return None

    def _describe_list(self, part: StreamSlice) -> str:
        name = _describe_slice(part)
        return f"{self._retriever.name}{name and f' ({name})'}"

    def _describe_counts(self, part: StreamSlice, counted: int, found: int) -> str:
        name = _describe_slice(part)
        return (
            f"{self._retriever.name}: the API counted {counted} records{name and f' ({name})'} and returned {found} "
            "of them"
        )


def _have_several_pages(walks: Sequence[Walk]) -> bool:
    """Tell whether there were several pages: one is one answer, in which nothing changes."""
    return sum(walk.pages_read for walk in walks) > 1


def _may_hide_a_loss(walk: Walk) -> bool:
    """Tell by the counts of its pages whether a walk that received as many as were counted may have missed a record.

    The pages that follow a cursor which was refused carry none, so that such a walk isn't judged by them.

    If nothing was created meanwhile, what was received is what was counted, also what was deleted afterwards. If
    something was, it was received too, or fewer were received than the last page counts. If both happened, a created
    record may make up for a missing one.
    """
    counts = walk.counts
    if counts is None or not counts.rose:
        return False
    return counts.fell or walk.received < counts.last


def _describe_slice(part: StreamSlice) -> str:
    """Name a list among those of its stream."""
    return ", ".join(f"{name} {value}" for name, value in {**part.partition, **part.cursor_slice}.items())


class Verdict(Enum):
    """What another reading of a list shows."""

    WHOLE = auto()
    """All that was counted before it was received, and nothing else can make up for any of it."""
    PLAUSIBLE = auto()
    """What is missing may have been deleted, or what was received created, while the list was read. Two readings in a
    row have to show that, because the same would have to be missing by chance twice."""
    DOUBTFUL = auto()
    """More is missing."""


def _judge(again: Walk, counted: Count | None, then: Count | None, newer: int, new: int, gone: int) -> Verdict:
    """Judge a reading.

    :param counted: the API's count before it
    :param then: the count after it
    :param newer: how many received records were created after the count before it
    :param new: how many received records the reading before it should have contained, and didn't
    :param gone: how many records the reading before it contained, and this one didn't
    """
    if again.repeated:
        return Verdict.DOUBTFUL
    if counted is None:
        return Verdict.DOUBTFUL if new else Verdict.WHOLE
    found = again.received - newer
    if counted.top is not None and found >= counted.records:
        return Verdict.WHOLE
    if then is None:
        return Verdict.DOUBTFUL
    if counted.top is None and found >= counted.records:
        # What was created may make up for what is missing, unless it is there as well, and nothing was deleted.
        hidden = _rose_and_fell(counted.records, again, then.records)
        return Verdict.WHOLE if found >= then.records and not hidden else Verdict.PLAUSIBLE
    # Only what was received before and is gone may be missing, and no more than was deleted since the count.
    excused = counted.records - found <= min(gone, counted.records + newer - then.records)
    return Verdict.PLAUSIBLE if excused and not new else Verdict.DOUBTFUL


def _rose_and_fell(before: int, walk: Walk, after: int) -> bool:
    """Tell whether records were created and others deleted from one count on to another, as far as pages show.

    :param before: the count before the first page
    :param after: the one after the last page
    """
    counts = walk.counts
    if counts is None:
        return False
    rose = counts.rose or counts.first > before or after > counts.last
    return rose and (counts.fell or counts.first < before or after < counts.last)


def _newer_than(rows: Sequence[dict[str, Any]], top: int | None) -> set[int]:
    """Return the numbers in the ids of rows that are higher than a count's top: they were created after it."""
    if top is None:
        return set()
    numbers = (number_of(row) for row in rows)
    return {number for number in numbers if number is not None and number > top}
