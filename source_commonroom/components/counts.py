"""Counts: what the API counts, compared with what it answers."""

import logging
from collections.abc import Callable

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.walk import CountRefusedError, PageRetriever

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

    def compare(self, part: StreamSlice, before: int | None, received: int) -> None:
        """Compare what a list brought with what the API counted before.

        Records come and go while a list is read. So a shortfall is no loss where the count itself has moved by as much
        meanwhile; the API is asked for that only then. It is always said.

        :param before: the API's count before the first page; None where it wasn't known
        :param received: how many rows came
        :raises AirbyteTracedException: (transient_error) where rows are missing
        """
        if before is None or received >= before:
            return
        try:
            now = self._retriever.count(part)
        except CountRefusedError:
            now = before
        where = ", ".join(f"{name} {value}" for name, value in {**part.partition, **part.cursor_slice}.items())
        numbers = (
            f"{self._retriever.name}: the API counted {before} records{where and f' ({where})'} and answered "
            f"{received} of them"
        )
        if before - received <= abs(now - before):
            logger.warning("%s. It counts %d now: so much has come or gone while they were read.", numbers, now)
            return
        logger.warning("%s. It counts %d now, so that records are missing.", numbers, now)
        raise AirbyteTracedException(
            message=f"{numbers}; it counts {now} now. So records are missing. Run the sync again; if it happens each "
            "time, tell Common Room's support: the API leaves out records that it counts.",
            internal_message=f"recordCount {before} before and {now} after, {received} rows received",
            failure_type=FailureType.transient_error,
        )
