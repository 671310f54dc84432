"""The walk: from the first page of an endpoint, or of a slice of it, to the last."""

import logging
from abc import abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import InitVar, dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.declarative.requesters.request_options import RequestOptionsProvider
from airbyte_cdk.sources.declarative.retrievers.retriever import Retriever
from airbyte_cdk.sources.declarative.transformations import RecordTransformation
from airbyte_cdk.sources.streams.core import StreamData
from airbyte_cdk.sources.types import Config, StreamSlice, StreamState
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.errors import RequestFailedError
from source_commonroom.components.page_sizes import PageSizes, is_smallest, smaller_sizes
from source_commonroom.components.pages import is_paged, parse_page, records_of, rows_of
from source_commonroom.components.repeats import Repeats
from source_commonroom.components.retries import PatientRequester

logger = logging.getLogger("airbyte")

_NO_SLICE = StreamSlice(partition={}, cursor_slice={})

UPWARDS = {"sort": "id", "direction": "asc"}
DOWNWARDS = {"sort": "id", "direction": "desc"}

# So many pages in a row that bring nothing new are no walk any more. An API that filters after it has cut the pages
# serves some that are empty.
_PATIENCE = 500
_MOST_DIGITS = 18
# The meta column that asks for a count.
_COUNT = "recordCount"
# What the API answers to a column that it doesn't serve.
_REFUSALS = {"invalid_request", "forbidden"}
# So often a page may take the API too long before it is asked for in smaller ones.
_SLOW_TRIES = 2
# So many records a set may hold.
_PART = 2**16


class CountRefusedError(Exception):
    """The API doesn't count records here; the text says how it refused."""


class CountFailedError(CountRefusedError):
    """The API didn't answer a request for a count this time; the next one may be answered."""


class CursorRefusedError(Exception):
    """The API refused, in the middle of a walk, the cursor that it gave itself."""


class ColumnsRefusedError(AirbyteTracedException):
    """The API serves an endpoint, but not with some columns.

    :param stream: the stream's name
    :param columns: which
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
    """How many records a list has at one moment, as the API counts them."""

    records: int
    top: int | None = None
    """The number in the highest id at that moment, where the list is sorted by ids that only grow: a record with a
    higher one was created later, and isn't counted. None where that can't be told."""


class PageTransformation(RecordTransformation):
    """Changes records in place, a page at a time."""

    name: str

    @abstractmethod
    def choose(self, properties: Mapping[str, Any], cols: str) -> str:
        """Keep to the columns that a configured catalog selects, and return those of ``cols`` to ask for."""

    @abstractmethod
    def named(self, column: str) -> list[str]:
        """Return which columns of the stream's schema a column of the API fills, where they are called otherwise."""

    @abstractmethod
    def transform_page(self, records: list[dict[str, Any]], repeats: Repeats) -> None:
        """Change the records of a page; any thread may ask for it.

        :param records: a record may be replaced by another one that equals it
        :param repeats: takes warnings
        """

    def transform(
        self,
        record: dict[str, Any],
        config: Config | None = None,  # noqa: ARG002  # the CDK's signature
        stream_state: StreamState | None = None,  # noqa: ARG002
        stream_slice: StreamSlice | None = None,  # noqa: ARG002
    ) -> None:
        """Change one record."""
        self.transform_page([record], Repeats(self.name))


@dataclass(frozen=True)
class FirstPage:
    """The first page of a slice, from which a walk can go on."""

    params: Mapping[str, Any]
    """The query it was asked with, and so that of the pages that follow: a cursor may be bound to it."""
    page: Mapping[str, Any]
    records: int
    """How many records the slice has, on this page and on those that follow."""


@dataclass
class PageRetriever(Retriever):
    """Walks the pages of an endpoint by ``meta.nextCursor``, taken as it is.

    Why not YAML: ``SimpleRetriever`` hands on records one by one, and that costs more CPU than all else; here a whole
    page is the unit, and :mod:`source_commonroom.output` takes it as one. Its parts lose data besides:
    ``DpathExtractor`` yields empty rows, at which the CDK's queue loop ends the whole sync with exit code 0, and
    ``CursorPagination`` evaluates the cursor as a Python literal (``"1.10"`` becomes ``1.1``, ``"None"`` ends the
    stream) and follows cursors that repeat, or go round in a circle, for ever.
    Pinned by test_given_rows_that_are_no_records_when_read_then_they_are_reported,
    test_given_cursors_that_look_like_literals_when_read_then_nothing_is_lost and
    test_given_a_repeated_cursor_when_read_then_the_stream_is_incomplete.

    What a slice's partition holds goes into the query; its ``extra_fields`` don't, and are for the path and ``adds``.

    :param requester: sends the requests; its error handler lets whole pages through only
    :param name: the stream's name
    :param page: the kind of page that the endpoint serves, see :func:`parse_page`
    :param page_size: how many rows are asked for at once; 200 is the most that the API serves
    :param cols: the columns to ask for, all that the endpoint knows besides those that it always answers
    :param expensive: those of them that take the API longest
    :param counts: whether the endpoint counts its records, by the meta column ``recordCount``
    :param both_ends: whether the list is sorted by id either way, by ``direction``, so that two walks may meet
    :param partition_in_query: whether the partition goes into the query; else it is for the path alone
    :param takes: the only fields that a record takes of its row, and what the row calls each; empty for all
    :param adds: what records get of their slice, by the names of its fields
    :param unique_across: the field of the partition whose slices may bring a record twice, because they overlap, or are
        in an order that changes meanwhile; it is left out the second time
    :param transformations: what each page goes through at last
    :param request_options_provider: the CDK's, which turns a slice into ``startDate`` and ``endDate``
    """

    config: Config
    requester: PatientRequester
    parameters: InitVar[Mapping[str, Any] | None] = None
    name: str = ""
    page: str = "paged"
    page_size: int = 200
    cols: str = ""
    expensive: list[str] = field(default_factory=list)
    counts: bool = False
    both_ends: bool = False
    partition_in_query: bool = True
    takes: dict[str, str] = field(default_factory=dict)
    adds: list[str] = field(default_factory=list)
    unique_across: str = ""
    transformations: list[PageTransformation] = field(default_factory=list)
    request_options_provider: RequestOptionsProvider | None = None

    def __post_init__(self, parameters: Mapping[str, Any] | None) -> None:
        """Begin with no record seen; the CDK hands ``parameters`` to every component."""
        self.repeats = Repeats(self.name, is_discreet=self.config.get("pii", "keep") != "keep")
        self._seen: set[Any] = set()
        self._selected: Mapping[str, Any] | None = None
        self._asked_for: str | None = None
        self._refuses_direction = False
        self._others_are_served: Callable[[], bool] | None = None
        self._is_quick = False
        self.sizes = PageSizes(self.page_size)
        self._lock = Lock()

    def choose(self, properties: Mapping[str, Any]) -> None:
        """Ask only for the columns that a configured catalog selects.

        :param properties: those of the stream's schema in the catalog
        """
        self._selected = properties

    def read_records(
        self,
        records_schema: Mapping[str, Any],  # noqa: ARG002  # the CDK's signature
        stream_slice: StreamSlice | None = None,
    ) -> Iterable[StreamData]:
        """Yield the records of a slice one by one, as the CDK asks for them."""
        for rows in self.pages(stream_slice):
            yield from self.finish(rows, stream_slice)

    def pages(self, stream_slice: StreamSlice | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of each page of a slice, in the API's order and as it sent them; some may be empty.

        :raises AirbyteTracedException: where a page can't be had, or the walk would never end (both transient_error)
        """
        return Walk(self).to_the_end(stream_slice)

    def finish(self, rows: list[dict[str, Any]], stream_slice: StreamSlice | None = None) -> list[dict[str, Any]]:
        """Return the records that a page's rows become, changed in place: what a walk brings, made what is emitted."""
        stream_slice = stream_slice or _NO_SLICE
        if self.unique_across in stream_slice.partition:
            rows = self._unseen(rows)
        if self.takes:
            rows = [{name: row.get(source) for name, source in self.takes.items()} for row in rows]
        if self.adds:
            added = {name: stream_slice.extra_fields.get(name, stream_slice.partition.get(name)) for name in self.adds}
            for row in rows:
                row.update(added)
        for transformation in self.transformations:
            transformation.transform_page(rows, self.repeats)
        return rows

    def first_page(self, stream_slice: StreamSlice) -> FirstPage:
        """Return the first page of a slice together with the number of its records, by the meta column ``recordCount``.

        :raises CountRefusedError: where the API refuses the request, or leaves the number out
        :raises AirbyteTracedException: where it can't be reached or refuses the token
        """
        params = {**self.params(stream_slice), "cols": ",".join(filter(None, [self._columns(), "recordCount"]))}
        try:
            page = self.page_of(params, stream_slice)
        except RequestFailedError as error:
            if error.failure.name == "invalid_request":
                raise CountRefusedError("it refused the request") from error
            raise
        return FirstPage(params, page, _counted(page))

    def plain_page(self, stream_slice: StreamSlice) -> FirstPage:
        """Return the first page of a slice whose records nobody counts; the number is that of its own rows.

        :raises AirbyteTracedException: as :meth:`first_page`
        """
        params = self.params(stream_slice)
        page = self.page_of(params, stream_slice)
        return FirstPage(params, page, len(page["data"]))

    def quick(self, tries: int) -> "PageRetriever":
        """Return the same retriever, but that it sends a request so often at most, and waits for a shorter time."""
        # Else each copy would choose its columns anew.
        self._columns()
        quick = copy(self)
        quick.requester = self.requester.quick(tries)
        quick._is_quick = True  # noqa: SLF001  # of its own kind
        return quick

    def unless(self, others_are_served: Callable[[], bool]) -> "PageRetriever":
        """Return the same retriever, but that a request fails after the usual tries if others are served.

        For requests that may fail for a reason of their own: an outage is waited for, and that isn't.
        """
        self._columns()
        choosy = copy(self)
        choosy._others_are_served = others_are_served  # noqa: SLF001  # of its own kind
        return choosy

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
        return _counted(self._page_of_one(stream_slice, {}))

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
        # What isn't a record is reported where it is read.
        row = page["data"][0] if page["data"] else None
        return Count(_counted(page), number_of(row) if isinstance(row, dict) else None)

    def _page_of_one(self, stream_slice: StreamSlice | None, order: Mapping[str, str]) -> Mapping[str, Any]:
        params = {**self.params(stream_slice), **order, "cols": "recordCount", "limit": 1}
        # It may be the count that fails.
        asks = self.unless(lambda: self.serves(stream_slice))
        try:
            return asks.page_of(params, stream_slice)
        except AirbyteTracedException as error:
            if error.failure_type == FailureType.config_error:
                raise
            if isinstance(error, RequestFailedError) and error.failure.name == "invalid_request":
                raise CountRefusedError("it refused the request") from error
            raise CountFailedError("it didn't answer the request") from error

    def _unseen(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        with self._lock:
            new = [row for row in rows if _key_of(row) not in self._seen]
            self._seen.update(map(_key_of, new))
        return new

    def page_of(
        self, params: Mapping[str, Any], stream_slice: StreamSlice | None, *, as_large: bool = False
    ) -> Mapping[str, Any]:
        """Return the page that a query is answered with, see :func:`parse_page`.

        One that takes the API too long twice is asked for in smaller pages; ``limit`` of the page says so.

        :param as_large: whether a smaller page won't do
        :raises RequestFailedError: where the API doesn't serve it
        """
        size = params.get("limit", 0)
        may_help = not self._is_quick or self.sizes.may_help(counted=_is_counted(params))
        in_vain = self.requester.is_hurried or not may_help
        may_shrink = bool(smaller_sizes(size)) and not (as_large or in_vain)
        try:
            page = self._answer_of(params, stream_slice, slow_tries=_SLOW_TRIES if may_shrink else None)
        except RequestFailedError as error:
            if error.is_too_slow and may_shrink:
                return self._smaller_page_of(params, stream_slice, error)
            if error.is_too_slow and is_smallest(size):
                raise self._of_small_pages(error, params, size) from error
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
        :raises RequestFailedError: where even the smallest page isn't served
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
        self.sizes.are_in_vain(counted=_is_counted(params))
        raise self._of_small_pages(error, params, sizes[-1])

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

    def _of_small_pages(self, error: RequestFailedError, params: Mapping[str, Any], size: int) -> RequestFailedError:
        cols = str(params.get("cols", "")).split(",")
        return error.of_small_pages(size, [name for name in self.expensive if name in cols])

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
        # The API may refuse to count; who asked then asks without.
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
            names = [name for column in refused for name in self._named(column)]
            raise ColumnsRefusedError(self.name, names, error) from None

    def _named(self, column: str) -> list[str]:
        """Return what a column of the API is called in the stream's schema."""
        found = (names for step in self.transformations if (names := step.named(column)))
        return next(found, [column])

    def params(self, stream_slice: StreamSlice | None) -> Mapping[str, Any]:
        """Return the query of a slice, but for the cursor."""
        # The default order may change: the one that a walk builds on is asked for.
        params: dict[str, Any] = dict(UPWARDS) if self.both_ends and not self._refuses_direction else {}
        if self.request_options_provider is not None:
            params.update(self.request_options_provider.get_request_params(stream_slice=stream_slice))
        if stream_slice and self.partition_in_query:
            params.update(stream_slice.partition)
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
                for transformation in self.transformations if self._selected is not None else ():
                    self._asked_for = transformation.choose(self._selected or {}, self.cols)
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


class PageCounts(NamedTuple):
    """The counts that the pages of a walk carried, one after the other."""

    first: int
    """The one on the first page."""
    last: int
    """The one on the last page."""
    rose: bool = False
    """Whether one was higher than the one before: something was created meanwhile."""
    fell: bool = False
    """Whether one was lower: something was deleted."""


class _Asked(NamedTuple):
    """A page of a walk: how it was asked for, and what came."""

    cursor: str | None
    limit: int | None
    rows: int
    content: int
    """A hash of its records' ids, in their order."""


class Keys:
    """A set of records in 8 bytes each, where a ``set`` takes ten times as much. It doesn't change.

    :param arrays: the hashes of the records
    """

    def __init__(self, arrays: Sequence["array[int]"]) -> None:
        # In parts, because each is a set, and then a list, of Python's integers for a moment.
        self._parts = [array("q", sorted(set().union(*part))) for part in _parts_of(arrays)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[int]:
        for part in self._parts:
            yield from part

    def __contains__(self, key: int) -> bool:
        part = self._parts[key % len(self._parts)]
        place = bisect_left(part, key)
        return place < len(part) and part[place] == key

    def has(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a record is one of them."""
        return hash_of(row) in self


class Walk:
    """A walk of a slice, page by page, which can be begun again: what came already doesn't come twice then.

    It remembers 8 bytes of each record, and as much again of each when it is begun again.
    Pinned by unit_tests/test_walk.py.

    :param retriever: asks for the pages
    :param after: walks of the same slice that are over: what they brought isn't brought once more, but is received
    """

    def __init__(self, retriever: PageRetriever, after: Sequence["Walk"] = ()) -> None:
        self._retriever = retriever
        self._came: array[int] = array("q")
        self._sum = 0, (0, 0)
        self._confirmed = 0
        self._after = after
        self._pages: list[_Asked] = []
        self._query: tuple[Mapping[str, Any], StreamSlice | None] = ({}, None)
        self.repeated = False
        """Whether a page came twice under two cursors, so that another one may not have come at all."""
        self.counts: PageCounts | None = None
        """The counts that pages carried; None if they carried none."""
        self.passes = 0
        """How often it was begun."""

    @property
    def pages_read(self) -> int:
        """How many pages it took, since it was last begun."""
        return len(self._pages)

    @property
    def received(self) -> int:
        """How many records came, each counted once.

        A row that is none must not stand for one that is missing, nor a record that comes twice. Pinned by
        test_given_records_that_come_twice_while_others_do_not_come_when_read_then_the_stream_is_incomplete.
        """
        return self.sum[0]

    @property
    def sum(self) -> tuple[int, int]:
        """How many records came, each counted once, and the sum of their keys: it tells them apart."""
        length, known = self._sum
        if length != len(self._came):
            # Kept, because each window is asked for it at its end by three who compare; with the length, because
            # another thread may ask meanwhile.
            length = len(self._came)
            known = distinct([self._came])
            self._sum = length, known
        return known

    @property
    def keys(self) -> Keys:
        """The records that came."""
        return Keys([self._came])

    @property
    def confirmed(self) -> int:
        """How many keys are confirmed."""
        return self._confirmed

    @property
    def confirmed_keys(self) -> Keys:
        """The records of the pages that are confirmed; another thread may ask for them while the walk goes on."""
        return Keys([self._came[: self._confirmed]])

    def confirm(self) -> None:
        """Confirm all pages so far: what came is emitted, here or elsewhere."""
        self._confirmed = len(self._came)

    def brought(self, keys: Iterable[int]) -> set[int]:
        """Return those of some keys whose records came."""
        return set(keys).intersection(self._came)

    def left_by(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those of some rows that aren't on a confirmed page; another thread may ask."""
        keys = hashes_of(rows)
        # For a few rows a look at all keys costs a fraction of what it costs to put them in order.
        known = set(keys).intersection(self._came[: self._confirmed])
        return [row for row, key in zip(rows, keys, strict=True) if key not in known]

    def forget(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take rows of the last page for not come: they aren't emitted."""
        left = set(hashes_of(rows))
        start = len(self._came) - self._pages[-1].rows
        kept = [key for key in self._came[start:] if key not in left]
        del self._came[start:]
        self._came.extend(kept)
        self._sum = 0, (0, 0)

    def to_the_end(
        self, stream_slice: StreamSlice | None, first: FirstPage | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of each page, and begin again once where the API refuses a cursor of its own.

        If it does so because pages have become smaller, that doesn't count.

        :param first: the first page, where it has been read already
        :raises AirbyteTracedException: as :meth:`PageRetriever.pages`
        """
        sizes, refusals = self._retriever.sizes, 0
        while True:
            size = sizes.now
            pages = self.pages(stream_slice, first)
            first = None
            try:
                yield from pages
            except CursorRefusedError as refused:
                refusals += sizes.now >= size
                if refusals > 1:
                    raise self.refused_again() from refused
                logger.warning(
                    "%s: %s. The list is read again from its first page, and nothing is emitted twice.",
                    self._retriever.name,
                    "the API refused, in the middle of a list, the cursor that it gave itself"
                    if sizes.now >= size
                    else f"a page took the API too long, and its cursors are for pages of {size} rows alone",
                )
            else:
                return

    def pages(self, stream_slice: StreamSlice | None, first: FirstPage | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of each page, but for those that came before this call, or on the page before.

        A row that comes on two pages running stands at their border: if cursors count rows, one that is inserted
        before it moves it there.

        :raises CursorRefusedError: where it can't go on; to call this again begins anew
        :raises AirbyteTracedException: as :meth:`PageRetriever.pages`
        """
        retriever = self._retriever
        before = keys_of([*self._after, self]) if self._after or self._came else None
        self.passes += 1
        self._pages = []
        params = retriever.params(stream_slice) if first is None else first.params
        self._query = (params, stream_slice)
        page = retriever.page_of(params, stream_slice) if first is None else first.page
        # Pages are large, and this one would be kept as long as the walk goes on.
        first = None
        cursor: str | None = None
        cursors: set[str] = set()
        contents: set[int] = set()
        border: set[int] = set()
        barren = 0
        start, look_at, known = len(self._came), _PATIENCE, -1
        while True:
            rows = rows_of(page, retriever.repeats)
            keys = hashes_of(rows)
            self._note_count(page)
            if "limit" in page:
                params = {**params, "limit": page["limit"]}
            content = hash(tuple(keys))
            repeated = content in contents
            contents.add(content)
            self._pages.append(_Asked(cursor, params.get("limit"), len(keys), content))
            barren = 0 if rows and not repeated else barren + 1
            if len(self._pages) > look_at:
                look_at, known = 2 * look_at, self._grown(start, known)
            if not repeated and not border.isdisjoint(keys) and keys[0] not in border:
                # More than a page of rows was inserted before this page, so that it holds some of earlier ones.
                before = keys_of([*self._after, self])
            yield self._repeated_page(rows) if repeated else self._new_of(rows, keys, border, before)
            border = set(keys)
            cursor = page["meta"].get("nextCursor") if is_paged(retriever.page) else None
            if cursor is None:
                return
            if cursor in cursors:
                raise self._endless("the API answered with the same cursor twice")
            if barren >= _PATIENCE:
                raise self._endless(f"{_PATIENCE} pages in a row brought nothing")
            cursors.add(cursor)
            page, params = self._page_at(cursor, params, stream_slice)

    def _page_at(
        self, cursor: str, params: Mapping[str, Any], stream_slice: StreamSlice | None
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the page that a cursor names, and the query for which it stands: with a larger page again, if it may.

        :param params: the query that the cursor came of
        :raises CursorRefusedError: if the API refuses the cursor, or takes it for another place in smaller pages
        """
        sizes = self._retriever.sizes
        size = params.get("limit")
        larger = params if size is None else {**params, "limit": sizes.after(size)}
        try:
            page = self._retriever.page_of({**larger, "cursor": cursor}, stream_slice)
        except RequestFailedError as error:
            if error.failure.name != "invalid_request":
                raise
            if larger == params:
                raise CursorRefusedError from error
            # It is good for fewer rows, and not for more.
            sizes.bind_cursors()
            return self._page_at(cursor, params, stream_slice)
        if page.get("limit", size) < (size or 0):
            # If cursors number pages, this is another place, and what came comes again.
            keys = hashes_of(records_of(page))
            if 2 * len(self.brought(keys)) > len(keys):
                raise CursorRefusedError
            sizes.free_cursors()
        return page, larger

    def has_moved(self) -> bool:
        """Tell whether its first page, its last, or the one in the middle isn't what it was, asked for again.

        A page that came twice has moved, too.

        If cursors count rows, a record that is deleted before a page moves all behind it up by one, and one that lives
        is skipped at the border where the walk was. If they name a row, pages stay where they are. A record that comes
        behind the last page has moved nothing.

        A deletion shows on all pages from its own to the last one that was read before it. So three pages tell most of
        them, and all in a list of three pages; of more, only another reading tells all.
        """
        if self.repeated:
            # The page that belongs there may be missing.
            return True
        last = len(self._pages) - 1
        return last >= 0 and any(not self._is_still(place) for place in sorted({0, last // 2, last}, reverse=True))

    def _note_count(self, page: Mapping[str, Any]) -> None:
        records = page["meta"].get("recordCount") if isinstance(page["meta"], dict) else None
        if isinstance(records, int) and not isinstance(records, bool):
            counts = self.counts or PageCounts(records, records)
            # If the walk was begun again, the page may be of a part of the slice: it isn't compared with one before.
            before = counts.last if len(self._pages) > 0 else records
            rose, fell = counts.rose or records > before, counts.fell or records < before
            self.counts = PageCounts(counts.first, records, rose, fell)

    def _is_still(self, place: int) -> bool:
        asked = self._pages[place]
        params, stream_slice = self._query
        query = {**params, "limit": asked.limit} if asked.limit else params
        if asked.cursor is not None:
            query = {**query, "cursor": asked.cursor}
        try:
            page = self._retriever.page_of(query, stream_slice, as_large=True)
        except RequestFailedError:
            # Whether it has moved can't be told, so that it counts as moved.
            return False
        keys = hashes_of(records_of(page))
        if place == len(self._pages) - 1:
            keys = keys[: asked.rows]
        return hash(tuple(keys)) == asked.content

    def refused_again(self) -> AirbyteTracedException:
        """Return the error of a walk that was begun again, and came no further."""
        return AirbyteTracedException(
            message=f"{self._retriever.name}: the API refused, in the middle of a list, the cursor that it gave "
            "itself; and once more after the list was begun again. Run the sync again later; if it happens again, tell "
            "Common Room's support.",
            internal_message="a cursor was refused as invalid, twice",
            failure_type=FailureType.transient_error,
        )

    def _new_of(
        self, rows: list[dict[str, Any]], keys: list[int], border: set[int], before: Keys | None
    ) -> list[dict[str, Any]]:
        """Return the rows that haven't come before, and remember them all."""
        self._came.extend(keys)
        if before is None and border.isdisjoint(keys):
            return rows
        known: Keys | tuple[int, ...] = () if before is None else before
        return [row for row, key in zip(rows, keys, strict=True) if key not in border and key not in known]

    def _repeated_page(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return nothing of a page that came already under another cursor, and say so once."""
        if rows and not self.repeated:
            self.repeated = True
            logger.warning(
                "%s: the API answered with a page that came already, under another cursor. It is left out, and whether "
                "the page that belongs there is missing is looked into at the end of the list.",
                self._retriever.name,
            )
        return []

    def _grown(self, start: int, known: int) -> int:
        """Return how many different records came since a place: more each time, or cursors go round and never repeat.

        Asked at twice as many pages each time, because it puts all of them in sets.
        """
        number = distinct([self._came[start:]])[0]
        if number <= known:
            raise self._endless(f"the last of {len(self._pages)} pages brought nothing that hadn't come before")
        return number

    def _endless(self, what: str) -> AirbyteTracedException:
        return AirbyteTracedException(
            message=f"{self._retriever.name}: {what}, so that the walk would never end. Run the sync again later; if "
            "it happens again, tell Common Room's support.",
            internal_message=f"{len(self._pages)} pages came",
            failure_type=FailureType.transient_error,
        )


def keys_of(walks: Iterable[Walk]) -> Keys:
    """Return the records that some walks brought, those of the walks before them too."""
    arrays: list[array[int]] = []
    for walk in walks:
        arrays += [walk._came, *(earlier._came for earlier in walk._after)]  # noqa: SLF001  # of its own kind
    return Keys(arrays)


def received(walks: Sequence[Walk]) -> int:
    """Return how many records some walks brought, each counted once."""
    return sum_of(walks)[0]


def sum_of(walks: Sequence[Walk], more: "array[int] | None" = None) -> tuple[int, int]:
    """Return how many records some walks brought, each counted once, and the sum of their keys.

    :param more: the keys of records that came in another way
    """
    if len(walks) == 1 and not more:
        return walks[0].sum
    arrays = [walk._came for walk in walks]  # noqa: SLF001  # of its own kind
    return distinct([*arrays, more] if more else arrays)


def distinct(arrays: Sequence["array[int]"]) -> tuple[int, int]:
    """Return how many keys there are, each counted once, and their sum."""
    # In parts, because a set takes ten times the memory.
    number = total = 0
    for part in _parts_of(arrays):
        keys: set[int] = set().union(*part)
        number += len(keys)
        total += sum(keys)
        del keys
    return number, total


def _parts_of(arrays: Sequence["array[int]"]) -> Sequence[Sequence["array[int]"]]:
    """Deal keys out to parts of bounded size, by their remainder."""
    number = sum(map(len, arrays))
    if number < _PART:
        return [arrays]
    parts = [array("q") for _ in range(1 + number // _PART)]
    for keys in arrays:
        for key in keys:
            parts[key % len(parts)].append(key)
    return [[part] for part in parts]


def _counted(page: Mapping[str, Any]) -> int:
    meta = page["meta"]
    records = meta.get("recordCount")
    if records is None and not page["data"] and meta.get("nextCursor") is None:
        # Some APIs leave a count out that is 0. That says nothing of other lists.
        return 0
    # A bool is an int in Python, and an estimate has 64 bits.
    if not isinstance(records, int) or isinstance(records, bool) or not 0 <= records < 2**63:
        raise CountRefusedError("it left meta.recordCount out")
    return records


def number_of(row: Mapping[str, Any]) -> int | None:
    """Return the number in a record's prefixed id: 12 for ``c_12``."""
    record_id = row.get("id")
    digits = record_id.rpartition("_")[2] if isinstance(record_id, str) else ""
    # Python makes no number of thousands of digits.
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS else None


def _key_of(row: Mapping[str, Any]) -> Any:
    """Return what tells one record from another, the number where there is one: that takes half the memory."""
    number = number_of(row)
    return _id_of(row) if number is None else number


def hash_of(row: Mapping[str, Any]) -> int:
    """Return 64 bits of what tells one record from another."""
    return hash(_id_of(row))


def hashes_of(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return 64 bits of each record of a page, see :func:`hash_of`."""
    ids: list[Any] = [row.get("id") for row in rows]
    # Most pages, in half the time.
    return list(map(hash, ids)) if set(map(type, ids)) <= {str, int} else list(map(hash_of, rows))


def _id_of(row: Mapping[str, Any]) -> str | int:
    """Return a record's id, or all of it where it has none that is one."""
    record_id = row.get("id")
    return record_id if isinstance(record_id, str | int) else repr(row)
