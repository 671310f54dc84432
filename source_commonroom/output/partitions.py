"""The partitions: what the CDK's worker threads read, a walk each."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from airbyte_cdk.models import AirbyteMessage, AirbyteStreamStatus, StreamDescriptor
from airbyte_cdk.sources.streams.concurrent.partitions.partition import Partition
from airbyte_cdk.sources.streams.concurrent.partitions.partition_generator import PartitionGenerator
from airbyte_cdk.sources.streams.concurrent.partitions.stream_slicer import StreamSlicer
from airbyte_cdk.sources.types import Record, StreamSlice
from airbyte_cdk.utils.slice_hasher import SliceHasher
from airbyte_cdk.utils.stream_status_utils import as_airbyte_message

from source_commonroom.output.pages import Backlog, PageMessage


class PagePartition(Partition):
    """A slice of a stream, read page by page, as pages or as records.

    Why not the CDK's ``DeclarativePartition``: it hands messages, and so pages, to the message repository, which may
    put them on the queue after the STATE that covers them, because another thread can be the one that empties it.

    :param pages: walks the pages of the slice
    :param to_records: makes the records of a page's rows
    :param emit: makes of a page's records what goes on the queue
    """

    def __init__(
        self, stream: str, stream_slice: StreamSlice, pages: "Pages", to_records: "ToRecords", emit: "Emit"
    ) -> None:
        self._stream = stream
        self._slice = stream_slice
        self._pages = pages
        self._to_records = to_records
        self._emit = emit
        self._hash = SliceHasher.hash(stream, stream_slice)

    def read(self) -> Iterable[Record]:
        """Yield what the pages hold, in the API's order.

        :raises AirbyteTracedException: as ``PageRetriever.pages``, and if the API counts more than it returns
        """
        for rows in self._pages(self._slice):
            yield from self._emit(self._stream, self._slice, self._to_records(rows, self._slice))

    def to_slice(self) -> StreamSlice:
        """Return the slice."""
        return self._slice

    def stream_name(self) -> str:
        """Return the stream's name."""
        return self._stream

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other


class PagePartitions(PartitionGenerator):
    """Makes a partition of every slice, as soon as it is known."""

    def __init__(
        self, stream: str, slicer: StreamSlicer, pages: "Pages", to_records: "ToRecords", emit: "Emit"
    ) -> None:
        self._stream = stream
        self._slicer = slicer
        self._pages = pages
        self._to_records = to_records
        self._emit = emit

    def generate(self) -> Iterable[Partition]:
        """Yield the partitions."""
        for stream_slice in self._slicer.stream_slices():
            yield PagePartition(self._stream, stream_slice, self._pages, self._to_records, self._emit)


class Pages(Protocol):
    """Walks the pages of a slice; called by worker threads.

    When the next page is asked for, the one before is on the queue: a state that is put there then stands behind it.
    """

    def __call__(self, stream_slice: StreamSlice, /) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of each page."""


class ToRecords(Protocol):
    """Makes the records of a page's rows; called by worker threads."""

    def __call__(self, rows: list[dict[str, Any]], stream_slice: StreamSlice, /) -> list[dict[str, Any]]:
        """Return the records, changed in place; fewer than rows if some were read before."""


class Emit(Protocol):
    """Makes of a page's records what goes on the CDK's queue; called by worker threads."""

    def __call__(self, stream: str, stream_slice: StreamSlice, rows: list[dict[str, Any]]) -> Iterator[Any]:
        """Yield the items, in order."""


def as_records(stream: str, stream_slice: StreamSlice, rows: list[dict[str, Any]]) -> Iterator[Record]:
    """Yield plain records, for callers of ``source.read()`` in process."""
    for row in rows:
        yield Record(data=row, stream_name=stream, associated_slice=stream_slice)


class AsPages:
    """Yields each page as one message, and the stream's RUNNING status before its first one."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._running: set[str] = set()
        self._lock = threading.Lock()

    def __call__(
        self,
        stream: str,
        stream_slice: StreamSlice,  # noqa: ARG002  # Emit's signature
        rows: list[dict[str, Any]],
    ) -> Iterator[AirbyteMessage]:
        """Yield the page, once there is room for it."""
        if not rows:
            return
        with self._lock:
            first = stream not in self._running
            self._running.add(stream)
        if first:
            yield as_airbyte_message(StreamDescriptor(name=stream), AirbyteStreamStatus.RUNNING)
        page = PageMessage(stream, rows)
        self._backlog.add(page)
        yield page
