"""The walk: from the first page of an endpoint, or of a slice of it, to the last."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import InitVar, dataclass
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.declarative.requesters.request_options import RequestOptionsProvider
from airbyte_cdk.sources.declarative.retrievers.retriever import Retriever
from airbyte_cdk.sources.streams.core import StreamData
from airbyte_cdk.sources.types import Config, StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.pages import parse_page, rows_of
from source_commonroom.components.retries import PatientRequester


class CountRefusedError(Exception):
    """The API answered, but didn't count; the text says how."""


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
    stream) and follows a cursor that repeats for ever.
    Pinned by test_given_rows_that_are_no_records_when_read_then_they_are_reported,
    test_given_cursors_that_look_like_literals_when_read_then_nothing_is_lost and
    test_given_a_repeated_cursor_when_read_then_the_stream_is_incomplete.

    :param requester: sends the requests; its error handler lets whole pages through only
    :param name: the stream's name
    :param page: the kind of page that the endpoint serves, see :func:`parse_page`
    :param page_size: how many rows are asked for at once; 200 is the most that the API serves
    :param both_ends: whether the list is sorted by id either way, by ``direction``, so that two walks may meet
    :param request_options_provider: the CDK's, which turns a slice into ``startDate`` and ``endDate``
    """

    config: Config
    requester: PatientRequester
    parameters: InitVar[Mapping[str, Any] | None] = None
    name: str = ""
    page: str = "paged"
    page_size: int = 200
    both_ends: bool = False
    request_options_provider: RequestOptionsProvider | None = None

    def __post_init__(self, parameters: Mapping[str, Any] | None) -> None:
        """Do nothing: the CDK hands ``parameters`` to every component."""

    def read_records(
        self,
        records_schema: Mapping[str, Any],  # noqa: ARG002  # the CDK's signature
        stream_slice: StreamSlice | None = None,
    ) -> Iterable[StreamData]:
        """Yield the records of a slice one by one, as the CDK asks for them."""
        for rows in self.pages(stream_slice):
            yield from rows

    def pages(
        self, stream_slice: StreamSlice | None = None, first: "FirstPage | None" = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the records of each page of a slice, in the API's order.

        :param first: the first page, where it has been read already
        :raises AirbyteTracedException: where a page can't be had, or the walk would never end (both transient_error)
        """
        params = self._params(stream_slice) if first is None else first.params
        page = self._page(params) if first is None else first.page
        cursor: str | None = None
        while True:
            yield rows_of(page, self.name)
            following = page["meta"]["nextCursor"] if self.page == "paged" else None
            if following is None:
                return
            if following == cursor:
                raise AirbyteTracedException(
                    message=f"{self.name}: the API answered with the same cursor twice, so that the walk would never "
                    "end. Run the sync again later; if it happens again, tell Common Room's support.",
                    internal_message="meta.nextCursor repeats the cursor of the request",
                    failure_type=FailureType.transient_error,
                )
            cursor = following
            page = self._page({**params, "cursor": cursor})

    def first_page(self, stream_slice: StreamSlice) -> "FirstPage":
        """Return the first page of a slice together with the number of its records, by the meta column ``recordCount``.

        :raises CountRefusedError: where the API refuses the request, or leaves the number out
        :raises AirbyteTracedException: where it can't be reached or refuses the token
        """
        columns = [self.requester.get_request_params().get("cols"), "recordCount"]
        params = {**self._params(stream_slice), "cols": ",".join(filter(None, columns))}
        try:
            page = self._page(params)
        except AirbyteTracedException as error:
            if error.failure_type == FailureType.system_error:
                raise CountRefusedError("it refused the request") from error
            raise
        records = page["meta"].get("recordCount")
        if not isinstance(records, int):
            raise CountRefusedError("it left meta.recordCount out")
        return FirstPage(params, page, records)

    def _page(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return parse_page(self.requester.get(params), self.page)

    def _params(self, stream_slice: StreamSlice | None) -> Mapping[str, Any]:
        window: Mapping[str, Any] = {}
        if self.request_options_provider is not None:
            window = self.request_options_provider.get_request_params(stream_slice=stream_slice)
        part = stream_slice.partition if stream_slice else {}
        return {**window, **part, **({"limit": self.page_size} if self.page == "paged" else {})}
