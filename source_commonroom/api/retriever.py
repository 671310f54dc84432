"""The retriever: asks for the pages of an endpoint, or of a slice of it, and for its counts."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple, Protocol

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.api.errors import RequestFailedError
from source_commonroom.api.http import Requester
from source_commonroom.api.keys import key_of, number_of
from source_commonroom.api.page import is_paged, parse_page
from source_commonroom.api.page_sizes import PageSizes, is_smallest, smaller_sizes
from source_commonroom.api.repeats import Repeats

logger = logging.getLogger("airbyte")

Rows = list[dict[str, Any]]
"""The rows of a page, or the records made of them."""

_NO_SLICE = StreamSlice(partition={}, cursor_slice={})

UPWARDS = {"sort": "id", "direction": "asc"}
DOWNWARDS = {"sort": "id", "direction": "desc"}

# The meta column that asks for a count.
_COUNT = "recordCount"
# What the API answers to a column that it doesn't serve.
_REFUSALS = {"invalid_request", "forbidden"}
# So often a page may take the API too long before it is asked for in smaller ones.
_SLOW_TRIES = 2


class CountRefusedError(Exception):
    """The API doesn't count records here; the text says how it refused."""


class CountFailedError(CountRefusedError):
    """The API didn't answer a request for a count this time; the next one may be answered."""


class CursorRefusedError(Exception):
    """The API refused, in the middle of a walk, the cursor that it gave itself."""


class ColumnsRefusedError(AirbyteTracedException):
    """The API serves an endpoint, but not with some columns.

    :param error: what the request for all columns met
    """

    def __init__(self, stream: str, columns: Sequence[str], error: RequestFailedError) -> None:
        facts, them = error.verdict.facts, "them" if len(columns) > 1 else "it"
        super().__init__(
            message=f"{stream}: Common Room refuses to serve {', '.join(columns)} of /{facts['endpoint']} "
            f"({facts['met']}). The API token, or the plan of the workspace, doesn't include {them}, or the API no "
            f"longer has {them}. Deselect {them}, or have an admin of Common Room widen what the token may read.",
            internal_message=f"columns_refused: {', '.join(columns)}",
            failure_type=FailureType.config_error,
        )


class Count(NamedTuple):
    """How many records a list has at one time, as the API counts them."""

    records: int
    top: int | None = None
    """The number in the highest id at that time, if the list is sorted by ids that only grow: a record with a higher
    one was created later, and isn't counted. None if that isn't known."""


class PageTransformation(Protocol):
    """Changes records in place, a page at a time."""

    def select_columns(self, properties: Mapping[str, Any], cols: str) -> str:
        """Keep to the columns that a configured catalog selects, and return those of ``cols`` to ask for."""

    def columns_filled_by(self, column: str) -> list[str]:
        """Return which columns of the stream's schema a column of the API fills, if they have other names."""

    def transform_page(self, records: Rows, repeats: Repeats) -> None:
        """Change the records of a page; any thread may ask for it.

        :param records: a record may be replaced by another one that equals it
        """


@dataclass(frozen=True)
class FirstPage:
    """The first page of a slice, from which a walk can go on."""

    params: Mapping[str, Any]
    """The query it was asked with, and so that of the pages that follow: a cursor may be bound to it."""
    page: Mapping[str, Any]
    records: int
    """How many records the slice has, on this page and on those that follow."""


@dataclass
class PageRetriever:
    """Walks the pages of an endpoint by ``meta.nextCursor``, taken as it is.

    Why not the CDK's: ``SimpleRetriever`` hands on records one by one, which costs more CPU than all else.
    ``DpathExtractor`` yields empty rows, at which the CDK ends the whole sync with exit code 0. ``CursorPagination``
    evaluates cursors as Python literals (``"1.10"`` becomes ``1.1``), and follows those that repeat for ever.
    Pinned by test_given_rows_that_are_no_records_when_read_then_they_are_reported,
    test_given_cursors_that_look_like_literals_when_read_then_nothing_is_lost and
    test_given_a_repeated_cursor_when_read_then_the_stream_is_incomplete.

    What a slice's partition and its cursor slice hold goes into the query; its ``extra_fields`` don't, and are for the
    path and ``slice_fields``. Parameters that aren't described here are what ``manifest.yaml`` says of the stream,
    see :class:`~source_commonroom.table.StreamRow`.

    :param requester: sends the requests; it lets whole pages through only
    :param page_size: how many rows are asked for at once; 200 is the most that the API serves
    :param order: the query that asks for the order that a walk builds on, unless it is by id
    :param dedupe_across: the field of the partition whose slices may contain a record twice, because they overlap or
        their order changes meanwhile; it is left out the second time
    :param shape: transforms the records of each page; None leaves them as they are
    :param hides_personal_data: whether warnings leave out what may be personal
    """

    requester: Requester
    name: str
    page: str = "paged"
    page_size: int = 200
    cols: str = ""
    expensive: Sequence[str] = ()
    counts: bool = False
    both_ends: bool = False
    order: Mapping[str, str] = field(default_factory=dict)
    field_mapping: Mapping[str, str] = field(default_factory=dict)
    slice_fields: Sequence[str] = ()
    dedupe_across: str = ""
    shape: PageTransformation | None = None
    hides_personal_data: bool = False

    def __post_init__(self) -> None:
        """Begin with no record seen."""
        self.repeats = Repeats(self.name, hides_personal_data=self.hides_personal_data)
        self._seen: set[Any] = set()
        self._selected: Mapping[str, Any] | None = None
        self._asked_for: str | None = None
        self._refuses_direction = False
        self._others_are_served: Callable[[], bool] | None = None
        self._is_quick = False
        self.sizes = PageSizes(self.page_size)
        self._lock = Lock()

    def select_columns(self, properties: Mapping[str, Any]) -> None:
        """Ask only for the columns that a configured catalog selects.

        :param properties: those of the stream's schema in the catalog
        """
        self._selected = properties

    def to_records(self, rows: Rows, stream_slice: StreamSlice | None = None) -> Rows:
        """Return the records to emit for a page's rows, which are changed in place."""
        stream_slice = stream_slice or _NO_SLICE
        if self.dedupe_across in stream_slice.partition:
            rows = self._deduplicate(rows)
        if self.field_mapping:
            rows = [{name: row.get(source) for name, source in self.field_mapping.items()} for row in rows]
        if self.slice_fields:
            said = {**stream_slice.partition, **stream_slice.extra_fields}
            added = {name: said.get(name) for name in self.slice_fields}
            for row in rows:
                row.update(added)
        if self.shape is not None:
            self.shape.transform_page(rows, self.repeats)
        return rows

    def first_page(self, stream_slice: StreamSlice) -> FirstPage:
        """Return the first page of a slice together with the number of its records, by the meta column ``recordCount``.

        :raises CountRefusedError: if the API refuses the request, or leaves the number out
        :raises AirbyteTracedException: if it can't be reached or refuses the token
        """
        params = {**self.params(stream_slice), "cols": ",".join(filter(None, [self._columns(), "recordCount"]))}
        try:
            page = self.page_of(params, stream_slice)
        except RequestFailedError as error:
            if error.failure.name == "invalid_request":
                raise CountRefusedError("it refused the request") from error
            raise
        return FirstPage(params, page, _count_in(page))

    def plain_page(self, stream_slice: StreamSlice) -> FirstPage:
        """Return the first page of a slice without counting its records; the number is that of its own rows.

        :raises AirbyteTracedException: as :meth:`first_page`
        """
        params = self.params(stream_slice)
        page = self.page_of(params, stream_slice)
        return FirstPage(params, page, len(page["data"]))

    def quick(self, tries: int = 2) -> "PageRetriever":
        """Return the same retriever, but that it sends a request so often at most, and waits for a shorter time.

        For requests that have an alternative.
        """
        # Else each copy would select its columns anew.
        self._columns()
        quick = copy(self)
        quick.requester = self.requester.quick(tries)
        quick._is_quick = True  # noqa: SLF001  # of its own kind
        return quick

    def failing_early_if(self, others_are_served: Callable[[], bool]) -> "PageRetriever":
        """Return the same retriever, but that a request fails after the usual tries if others are served.

        For requests that may fail for a reason of their own: an outage is waited for, and that isn't.
        """
        self._columns()
        early = copy(self)
        early._others_are_served = others_are_served  # noqa: SLF001  # of its own kind
        return early

    def serves(self, stream_slice: StreamSlice | None, order: Mapping[str, Any] | None = None) -> bool:
        """Tell whether the API serves the first record of a slice now, without a count."""
        try:
            self.quick(1).page_of({**self.params(stream_slice), **(order or {}), "limit": 1}, stream_slice)
        except AirbyteTracedException:
            return False
        return True

    def count(self, stream_slice: StreamSlice | None) -> int:
        """Return how many records a slice has now, by the meta column ``recordCount``; asked with a page of one.

        :raises CountRefusedError: if the API refuses, or leaves the number out
        :raises CountFailedError: if the API fails although it was asked again
        :raises AirbyteTracedException: (config_error) if it refuses the token, or access
        """
        return _count_in(self._page_of_one(stream_slice, {}))

    def count_with_top(self, stream_slice: StreamSlice | None) -> Count:
        """Return how many records a list sorted by id has now, and the highest id of them: both of one answer.

        :raises CountRefusedError: as :meth:`count`
        :raises CountFailedError: as :meth:`count`
        :raises AirbyteTracedException: as :meth:`count`
        """
        if not self.both_ends or self._refuses_direction:
            return Count(self.count(stream_slice))
        try:
            page = self._page_of_one(stream_slice, DOWNWARDS)
        except CountFailedError:
            raise
        except CountRefusedError:
            # It may be the direction that it refuses.
            self._refuses_direction = True
            try:
                return Count(self.count(stream_slice))
            except CountRefusedError:
                self._refuses_direction = False
                raise
        # A row that is no record is reported when it is read.
        row = page["data"][0] if page["data"] else None
        return Count(_count_in(page), number_of(row) if isinstance(row, dict) else None)

    def _page_of_one(self, stream_slice: StreamSlice | None, order: Mapping[str, str]) -> Mapping[str, Any]:
        params = {**self.params(stream_slice), **order, "cols": "recordCount", "limit": 1}
        # It may be the count that fails.
        asks = self.failing_early_if(lambda: self.serves(stream_slice))
        try:
            return asks.page_of(params, stream_slice)
        except AirbyteTracedException as error:
            if error.failure_type == FailureType.config_error:
                raise
            if isinstance(error, RequestFailedError) and error.failure.name == "invalid_request":
                raise CountRefusedError("it refused the request") from error
            raise CountFailedError("it didn't answer the request") from error

    def _deduplicate(self, rows: Rows) -> Rows:
        with self._lock:
            new = [row for row in rows if key_of(row) not in self._seen]
            self._seen.update(map(key_of, new))
        return new

    def page_of(
        self, params: Mapping[str, Any], stream_slice: StreamSlice | None, *, as_large: bool = False
    ) -> Mapping[str, Any]:
        """Return the page that a query is answered with, see :func:`parse_page`.

        One that takes the API too long twice is asked for in smaller pages; ``limit`` of the page says so.

        :param as_large: whether a smaller page won't do
        :raises RequestFailedError: if the API doesn't serve it
        """
        size = params.get("limit", 0)
        may_help = not self._is_quick or self.sizes.may_help(counted=_is_counted(params))
        in_vain = self.requester.has_short_timeouts or not may_help
        may_shrink = bool(smaller_sizes(size)) and not (as_large or in_vain)
        try:
            page = self._answer_of(params, stream_slice, slow_tries=_SLOW_TRIES if may_shrink else None)
        except RequestFailedError as error:
            if error.is_too_slow and may_shrink:
                return self._smaller_page_of(params, stream_slice, error)
            if error.is_too_slow and is_smallest(size):
                raise self._for_small_pages(error, params, size) from error
            self._raise_if_columns_are_refused(error, params, stream_slice)
            raise
        self.sizes.served(size)
        return page

    def _answer_of(
        self, params: Mapping[str, Any], stream_slice: StreamSlice | None, slow_tries: int | None = None
    ) -> Mapping[str, Any]:
        answer = self.requester.get(params, stream_slice, self._others_are_served, slow_tries)
        return parse_page(answer, self.page)

    def _smaller_page_of(
        self, params: Mapping[str, Any], stream_slice: StreamSlice | None, error: RequestFailedError
    ) -> Mapping[str, Any]:
        """Return a part of a page that takes the API too long, as large as it can be.

        :param error: what the whole page met
        :raises RequestFailedError: if even the smallest page isn't served
        """
        sizes = smaller_sizes(params["limit"])
        for size in sizes[-1:] if self._is_quick else sizes:
            logger.info(
                "%s: a page took the API too long (%s). It is asked for with %d rows.",
                self.name,
                error.verdict.facts["met"],
                size,
            )
            try:
                # The last one as long as any: it may be an outage. Who has another way doesn't wait for that.
                slow_tries = None if size == sizes[-1] and not self._is_quick else 1
                page = self._answer_of({**params, "limit": size}, stream_slice, slow_tries)
            except RequestFailedError as again:
                if again.failure.name == "invalid_request" and "cursor" in params:
                    return self._whole_page_of(params, stream_slice, again, size)
                if not again.is_too_slow:
                    raise
                error = again
            else:
                return self._smaller_unless_whole(params, stream_slice, page, size)
        self.sizes.note_unserved(counted=_is_counted(params))
        raise self._for_small_pages(error, params, sizes[-1])

    def _smaller_unless_whole(
        self, params: Mapping[str, Any], stream_slice: StreamSlice | None, page: Mapping[str, Any], size: int
    ) -> Mapping[str, Any]:
        """Return a smaller page, unless the whole one is served by now: then it was an outage."""
        try:
            return self._answer_of(params, stream_slice, slow_tries=1)
        except RequestFailedError as error:
            if not error.is_too_slow:
                raise
        self.sizes.shrink_to(size)
        return {**page, "limit": size}

    def _for_small_pages(self, error: RequestFailedError, params: Mapping[str, Any], size: int) -> RequestFailedError:
        cols = str(params.get("cols", "")).split(",")
        return error.for_small_pages(size, [name for name in self.expensive if name in cols])

    def _whole_page_of(
        self, params: Mapping[str, Any], stream_slice: StreamSlice | None, refused: RequestFailedError, size: int
    ) -> Mapping[str, Any]:
        """Return a page whose cursor is refused for smaller ones: what it met at first may have been an outage.

        :raises RequestFailedError: that of the refusal, if it takes too long again
        """
        try:
            return self._answer_of(params, stream_slice, _SLOW_TRIES)
        except RequestFailedError as error:
            if not error.is_too_slow:
                raise
            self.sizes.shrink_to(size)
            raise refused from error

    def _raise_if_columns_are_refused(
        self, error: RequestFailedError, params: Mapping[str, Any], stream_slice: StreamSlice | None
    ) -> None:
        """Find out whether the API refuses a request for single columns, by halves of them.

        :raises ColumnsRefusedError: if it does
        """
        columns = [column for column in str(params.get("cols", "")).split(",") if column and column != _COUNT]
        # The API may refuse to count; the caller asks again without a count then.
        may_be_count = _is_counted(params) and error.failure.name == "invalid_request"
        if error.failure.name not in _REFUSALS or "cursor" in params or not columns or may_be_count:
            return

        def is_refused(part: Sequence[str]) -> bool:
            query = {**params, "cols": ",".join(part), **({"limit": 1} if "limit" in params else {})}
            try:
                self.requester.get({name: value for name, value in query.items() if value != ""}, stream_slice)
            except RequestFailedError as again:
                if again.failure.name not in _REFUSALS:
                    raise
                return True
            return False

        if not is_refused([]) and (refused := list(_refused_of(columns, is_refused))):
            shape = self.shape
            names = [name for column in refused for name in (shape and shape.columns_filled_by(column)) or [column]]
            raise ColumnsRefusedError(self.name, names, error) from None

    def params(self, stream_slice: StreamSlice | None) -> Mapping[str, Any]:
        """Return the query of a slice, but for the cursor."""
        # The default order may change: the one that a walk builds on is asked for.
        params: dict[str, Any] = {**self.order, **(UPWARDS if self.both_ends and not self._refuses_direction else {})}
        if stream_slice:
            params.update(stream_slice.cursor_slice)
            params.update({} if self.requester.names_a_slice else stream_slice.partition)
        if is_paged(self.page):
            params["limit"] = self.sizes.now
        if cols := self._columns():
            params["cols"] = cols
        return params

    def _columns(self) -> str:
        """Return what to ask for. Not before the walk begins, because a failure must be that of the stream."""
        with self._lock:
            if self._asked_for is None:
                self._asked_for = self.cols
                if self.shape is not None and self._selected is not None:
                    self._asked_for = self.shape.select_columns(self._selected, self.cols)
            return self._asked_for


def _is_counted(params: Mapping[str, Any]) -> bool:
    """Tell whether a query asks for a count."""
    return _COUNT in str(params.get("cols", "")).split(",")


def _refused_of(columns: Sequence[str], is_refused: Callable[[Sequence[str]], bool]) -> Iterator[str]:
    """Yield those of some columns that are refused each alone: few of many, found by halves."""
    if not is_refused(columns):
        return
    if len(columns) == 1:
        yield columns[0]
        return
    half = len(columns) // 2
    yield from _refused_of(columns[:half], is_refused)
    yield from _refused_of(columns[half:], is_refused)


def _count_in(page: Mapping[str, Any]) -> int:
    meta = page["meta"]
    records = meta.get("recordCount")
    if records is None and not page["data"] and meta.get("nextCursor") is None:
        # Some APIs leave a count out that is 0. That says nothing of other lists.
        return 0
    # A bool is an int in Python, and an estimate has 64 bits.
    if not isinstance(records, int) or isinstance(records, bool) or not 0 <= records < 2**63:
        raise CountRefusedError("it left meta.recordCount out")
    return records
