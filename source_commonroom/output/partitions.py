"""The partitions: what the CDK's worker threads read, a walk each."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from airbyte_cdk.models import AirbyteMessage, AirbyteStreamStatus, StreamDescriptor
from airbyte_cdk.sources.streams.concurrent.partitions.partition import Partition
from airbyte_cdk.sources.streams.concurrent.partitions.partition_generator import PartitionGenerator
from airbyte_cdk.sources.streams.concurrent.partitions.stream_slicer import StreamSlicer
from airbyte_cdk.sources.types import Record, StreamSlice
from airbyte_cdk.utils.slice_hasher import SliceHasher
from airbyte_cdk.utils.stream_status_utils import as_airbyte_message

from source_commonroom.output.pages import Backlog, PageMessage

Rows = list[dict[str, Any]]
Pages = Callable[[StreamSlice], Iterator[Rows]]
"""Walks the pages of a slice, and yields the rows of each; called by worker threads.

When the next page is asked for, the one before is on the queue: a state that is put there then stands behind it.
"""
ToRecords = Callable[[Rows, StreamSlice], Rows]
"""Makes the records of a page's rows, changed in place; fewer than rows if some were read before."""
Emit = Callable[[str, StreamSlice, Rows], Iterator[Any]]
"""Makes of a page's records, by the stream's name and slice, what goes on the CDK's queue, in order."""


@dataclass(eq=False)
class PagePartition(Partition):
    """A slice of a stream, read page by page, as pages or as records.

    Why not the CDK's ``DeclarativePartition``: it hands messages, and so pages, to the message repository, which may
    put them on the queue after the STATE that covers them, because another thread can be the one that empties it.
    """

    stream: str
    stream_slice: StreamSlice
    pages: Pages
    to_records: ToRecords
    emit: Emit

    def read(self) -> Iterable[Record]:
        """Yield what the pages hold, in the API's order.

        :raises AirbyteTracedException: as ``PageRetriever.page_of``, and if the API counts more than it returns
        """
        for rows in self.pages(self.stream_slice):
            yield from self.emit(self.stream, self.stream_slice, self.to_records(rows, self.stream_slice))

    def to_slice(self) -> StreamSlice:
        """Return the slice."""
        return self.stream_slice

    def stream_name(self) -> str:
        """Return the stream's name."""
        return self.stream

    def __hash__(self) -> int:
        return SliceHasher.hash(self.stream, self.stream_slice)


@dataclass(eq=False)
class PagePartitions(PartitionGenerator):
    """Makes a partition of every slice, as soon as it is known; the CDK's generator makes its own partitions only."""

    stream: str
    slicer: StreamSlicer
    pages: Pages
    to_records: ToRecords
    emit: Emit

    def generate(self) -> Iterable[Partition]:
        """Yield the partitions."""
        for stream_slice in self.slicer.stream_slices():
            yield PagePartition(self.stream, stream_slice, self.pages, self.to_records, self.emit)


def as_records(stream: str, stream_slice: StreamSlice, rows: Rows) -> Iterator[Record]:
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
        rows: Rows,
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
