"""Lists: what can only be walked page by page, each counted before it is read and compared after."""

import queue
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from airbyte_cdk.sources.streams.concurrent.partitions.stream_slicer import StreamSlicer
from airbyte_cdk.sources.types import StreamSlice

from source_commonroom.api.retriever import PageRetriever
from source_commonroom.api.walk import Walk
from source_commonroom.lists.both_ends import ListFromBothEnds
from source_commonroom.lists.completeness import Counts

# The extra field of a slice that names the list it walks.
_LIST = "list"


class Lists(StreamSlicer):
    """Reads the lists of a stream, each from its first page on, or from both its ends.

    :param slicer: names the lists, a slice each; contacts are one, objects one for each type
    :param from_both_ends: whether each long one is walked from both ends at once, if it is sorted by id
    """

    def __init__(
        self,
        retriever: PageRetriever,
        slicer: StreamSlicer,
        counts: Counts,
        output_closed: Callable[[], bool],
        *,
        from_both_ends: bool,
    ) -> None:
        self._retriever = retriever
        self._slicer = slicer
        self._counts = counts
        self._output_closed = output_closed
        self._from_both_ends = from_both_ends
        self._lists: dict[str, ListFromBothEnds | ListFromOneEnd] = {}
        self._decided: queue.SimpleQueue[str] = queue.SimpleQueue()

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield the walks of the lists: the first one of each, and a second one of those that turn out to be long.

        No list waits until the length of another one is known.
        """
        undecided = 0
        for number, part in enumerate(self._slicer.stream_slices()):
            key = str(number)
            self._lists[key] = self._list(key, part)
            undecided += self._retriever.both_ends
            yield _with_list_key(key, part)
            while undecided and not self._decided.empty():
                undecided -= 1
                yield from self._second_walk(self._decided.get())
        while undecided:
            try:
                key = self._decided.get(timeout=1.0)
            except queue.Empty:
                # If the output is gone, nobody reads the first pages. Pinned by
                # test_given_a_reader_that_goes_away_when_lists_are_walked_from_both_ends_then_the_process_ends.
                if self._output_closed():
                    return
                continue
            undecided -= 1
            yield from self._second_walk(key)

    def _second_walk(self, key: str) -> Iterator[StreamSlice]:
        walk = self._lists[key].second_walk()
        if walk is not None:
            yield _with_list_key(key, walk)

    def _list(self, key: str, part: StreamSlice) -> "ListFromBothEnds | ListFromOneEnd":
        if self._retriever.both_ends:
            return ListFromBothEnds(
                self._retriever, part, self._counts, lambda: self._decided.put(key), both=self._from_both_ends
            )
        return ListFromOneEnd(self._retriever, part, self._counts)

    def pages(self, stream_slice: StreamSlice) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a walk.

        :raises AirbyteTracedException: as :meth:`ListFromBothEnds.pages`
        """
        return self._lists[stream_slice.extra_fields[_LIST]].pages(stream_slice)


def _with_list_key(key: str, walk: StreamSlice) -> StreamSlice:
    return StreamSlice(partition=walk.partition, cursor_slice={}, extra_fields={**walk.extra_fields, _LIST: key})


class ListFromOneEnd:
    """A list in one walk.

    :param part: the list, as a slice of the stream
    """

    def __init__(self, retriever: PageRetriever, part: StreamSlice, counts: Counts) -> None:
        self._retriever = retriever
        self._part = part
        self._counts = counts

    def second_walk(self) -> None:
        """Return None: there is one walk."""

    def pages(self, _: StreamSlice) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages.

        :raises AirbyteTracedException: (transient_error) if the API returned fewer records than it counts, and what
            :meth:`PageRetriever.page_of` raises
        """
        counted = self._counts.count_before(self._part)
        walk = Walk(self._retriever)
        yield from walk.read_to_end(self._part)
        yield from self._counts.verify(self._part, counted, [walk])
