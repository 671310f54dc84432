"""The walk: from the first page of an endpoint, or of a slice of it, to the last."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from threading import Lock
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.declarative.requesters.request_options import RequestOptionsProvider
from airbyte_cdk.sources.declarative.retrievers.retriever import Retriever
from airbyte_cdk.sources.declarative.transformations import RecordTransformation
from airbyte_cdk.sources.streams.core import StreamData
from airbyte_cdk.sources.types import Config, StreamSlice, StreamState
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.pages import is_paged, parse_page, rows_of
from source_commonroom.components.retries import PatientRequester

_NO_SLICE = StreamSlice(partition={}, cursor_slice={})


class CountRefusedError(Exception):
    """The API answered, but didn't count; the text says how."""


class PageTransformation(RecordTransformation):
    """Changes records in place, a page at a time."""

    @abstractmethod
    def choose(self, properties: Mapping[str, Any], cols: str) -> str:
        """Keep to the columns that a configured catalog selects, and return those of ``cols`` to ask for."""

    @abstractmethod
    def transform_page(self, records: list[dict[str, Any]]) -> None:
        """Change the records of a page; any thread may ask for it."""

    def transform(
        self,
        record: dict[str, Any],
        config: Config | None = None,  # noqa: ARG002  # the CDK's signature
        stream_state: StreamState | None = None,  # noqa: ARG002
        stream_slice: StreamSlice | None = None,  # noqa: ARG002
    ) -> None:
        """Change one record."""
        self.transform_page([record])


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
    :param both_ends: whether the list is sorted by id either way, by ``direction``, so that two walks may meet
    :param partition_in_query: whether the partition goes into the query; else it is for the path alone
    :param takes: the only fields that a record takes of its row, and what the row calls each; empty for all
    :param adds: what records get of their slice, by the names of its fields
    :param unique_across: the field of the partition by which slices overlap, so that a record that another one brought
        is left out
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
    both_ends: bool = False
    partition_in_query: bool = True
    takes: dict[str, str] = field(default_factory=dict)
    adds: list[str] = field(default_factory=list)
    unique_across: str = ""
    transformations: list[PageTransformation] = field(default_factory=list)
    request_options_provider: RequestOptionsProvider | None = None

    def __post_init__(self, parameters: Mapping[str, Any] | None) -> None:
        """Begin with no record seen; the CDK hands ``parameters`` to every component."""
        self._seen: set[Any] = set()
        self._selected: Mapping[str, Any] | None = None
        self._asked_for: str | None = None
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

    def pages(
        self, stream_slice: StreamSlice | None = None, first: FirstPage | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of each page of a slice, in the API's order and as it sent them.

        :param first: the first page, where it has been read already
        :raises AirbyteTracedException: where a page can't be had, or the walk would never end (both transient_error)
        """
        params = self._params(stream_slice) if first is None else first.params
        page = self._page(params, stream_slice) if first is None else first.page
        walked: set[str] = set()
        while True:
            yield rows_of(page, self.name)
            following = page["meta"].get("nextCursor") if is_paged(self.page) else None
            if following is None:
                return
            if following in walked:
                raise AirbyteTracedException(
                    message=f"{self.name}: the API answered with the same cursor twice, so that the walk would never "
                    "end. Run the sync again later; if it happens again, tell Common Room's support.",
                    internal_message="meta.nextCursor is one that was walked already",
                    failure_type=FailureType.transient_error,
                )
            walked.add(following)
            page = self._page({**params, "cursor": following}, stream_slice)

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
            transformation.transform_page(rows)
        return rows

    def first_page(self, stream_slice: StreamSlice) -> FirstPage:
        """Return the first page of a slice together with the number of its records, by the meta column ``recordCount``.

        :raises CountRefusedError: where the API refuses the request, or leaves the number out
        :raises AirbyteTracedException: where it can't be reached or refuses the token
        """
        params = {**self._params(stream_slice), "cols": ",".join(filter(None, [self._columns(), "recordCount"]))}
        try:
            page = self._page(params, stream_slice)
        except AirbyteTracedException as error:
            if error.failure_type == FailureType.system_error:
                raise CountRefusedError("it refused the request") from error
            raise
        records = page["meta"].get("recordCount")
        if not isinstance(records, int):
            raise CountRefusedError("it left meta.recordCount out")
        return FirstPage(params, page, records)

    def _unseen(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        with self._lock:
            new = [row for row in rows if _key_of(row) not in self._seen]
            self._seen.update(map(_key_of, new))
        return new

    def _page(self, params: Mapping[str, Any], stream_slice: StreamSlice | None) -> Mapping[str, Any]:
        return parse_page(self.requester.get(params, stream_slice), self.page)

    def _params(self, stream_slice: StreamSlice | None) -> Mapping[str, Any]:
        params: dict[str, Any] = {}
        if self.request_options_provider is not None:
            params.update(self.request_options_provider.get_request_params(stream_slice=stream_slice))
        if stream_slice and self.partition_in_query:
            params.update(stream_slice.partition)
        if is_paged(self.page):
            params["limit"] = self.page_size
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


def number_of(row: Mapping[str, Any]) -> int | None:
    """Return the number in a record's prefixed id: 12 for ``c_12``."""
    record_id = row.get("id")
    digits = record_id.rpartition("_")[2] if isinstance(record_id, str) else ""
    return int(digits) if digits.isascii() and digits.isdecimal() else None


def _key_of(row: Mapping[str, Any]) -> Any:
    """Return what tells one record from another, the number where there is one: that takes half the memory."""
    number = number_of(row)
    return row.get("id") if number is None else number
