"""Counts: what the API counts, compared with what it answers."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.walk import CountRefusedError, PageRetriever, Walk

logger = logging.getLogger("airbyte")


class Counts:
    """What the API counts of a stream's lists, before they are read and after.

    :param retriever: asks for it, where the endpoint counts
    :param expect: gets the stream's name, and what was counted before the first page of a list
    """

    def __init__(self, retriever: PageRetriever, expect: Callable[[str, int], object] | None = None) -> None:
        self._retriever = retriever
        self._expect = expect
        self._refused = False

    def before(self, part: StreamSlice) -> int | None:
        """Return how many records a list has; None where that can't be known.

        :raises AirbyteTracedException: (config_error) where the API refuses the token, or access to the list
        """
        if not self._retriever.counts or self._refused:
            return None
        try:
            records = self._retriever.count(part)
        except CountRefusedError as refused:
            self._refused = True
            logger.info(
                "%s: the API doesn't count records (%s), so that there is no estimate, and no count to compare with.",
                self._retriever.name,
                refused,
            )
            return None
        if self._expect:
            self._expect(self._retriever.name, records)
        return records

    def now(self, part: StreamSlice, before: int) -> int:
        """Return how many records a list has now; as many as before where the API doesn't count any more.

        :raises AirbyteTracedException: as :meth:`before`
        """
        try:
            return self._retriever.count(part)
        except CountRefusedError:
            return before

    def complete(
        self, part: StreamSlice, before: int | None, walks: Sequence[Walk], received: int
    ) -> Iterator[list[dict[str, Any]]]:
        """Compare what walks of a list brought with what the API counted before, and yield the rows that they missed.

        Records come and go while a list is read. A shortfall is no loss where the count has fallen by as much. Any
        other is settled by reading the list once more: what had come to stand behind the walks comes then, and what
        the API holds back doesn't come then either. It is always said.

        :param before: the API's count before the first page; None where it wasn't known
        :param walks: that are over
        :param received: how many rows came by them
        :raises AirbyteTracedException: (transient_error) where rows are missing; and as :meth:`Walk.to_the_end`
        """
        if before is None or received >= before:
            return
        now = self.now(part, before)
        if received >= now:
            self.say_gone(part, before, received, now)
            return
        logger.warning("%s. It counts %d now. They are read once more.", self._numbers(part, before, received), now)
        again = Walk(self._retriever, walks)
        yield from again.to_the_end(part)
        then = self.now(part, now)
        if again.received >= now:
            logger.info("%s: read once more, all %d records came.", self._retriever.name, again.received)
            return
        numbers = self._numbers(part, now, again.received)
        if now - again.received <= abs(then - now):
            logger.warning("%s. It counts %d now: so much has come or gone while they were read.", numbers, then)
            return
        raise AirbyteTracedException(
            message=f"{numbers} when they were read once more; it counts {then} now. So records are missing. Run the "
            "sync again; if it happens each time, tell Common Room's support: the API leaves out records that it "
            "counts.",
            internal_message=f"recordCount {before}, {now} and {then}; {received} and {again.received} rows received",
            failure_type=FailureType.transient_error,
        )

    def say_gone(self, part: StreamSlice, before: int, received: int, now: int) -> None:
        """Say that a shortfall is no loss."""
        numbers = self._numbers(part, before, received)
        logger.warning("%s. It counts %d now: so much has gone while they were read.", numbers, now)

    def _numbers(self, part: StreamSlice, counted: int, received: int) -> str:
        where = ", ".join(f"{name} {value}" for name, value in {**part.partition, **part.cursor_slice}.items())
        return (
            f"{self._retriever.name}: the API counted {counted} records{where and f' ({where})'} and answered "
            f"{received} of them"
        )
