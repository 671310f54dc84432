"""Lists: what can only be walked page by page, each counted before it is read and compared after."""

import queue
from collections.abc import Callable, Iterable, Iterator

from airbyte_cdk.sources.streams.concurrent.partitions.stream_slicer import StreamSlicer
from airbyte_cdk.sources.types import StreamSlice

from source_commonroom.api.retriever import PageRetriever, Rows
from source_commonroom.lists.both_ends import ListFromBothEnds
from source_commonroom.lists.completeness import Counts

# The extra field of a slice with the number of its list, if that has two ends.
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
        self._lists: list[ListFromBothEnds] = []
        self._decided: queue.SimpleQueue[int] = queue.SimpleQueue()

    def stream_slices(self) -> Iterable[StreamSlice]:
        """Yield the walks of the lists: the first one of each, and a second one of those that turn out to be long.

        No list waits until the length of another one is known.
        """
        if not self._retriever.both_ends:
            yield from self._slicer.stream_slices()
            return
        undecided = 0
        for number, part in enumerate(self._slicer.stream_slices()):
            self._lists.append(self._list(number, part))
            undecided += 1
            yield _with_number(number, part)
            while undecided and not self._decided.empty():
                undecided -= 1
                yield from self._second_walk(self._decided.get())
        while undecided:
            try:
                number = self._decided.get(timeout=1.0)
            except queue.Empty:
                # If the output is gone, nothing reads the first pages. Pinned by
                # test_given_a_reader_that_goes_away_when_lists_are_walked_from_both_ends_then_the_process_ends.
                if self._output_closed():
                    return
                continue
            undecided -= 1
            yield from self._second_walk(number)

    def _list(self, number: int, part: StreamSlice) -> ListFromBothEnds:
        return ListFromBothEnds(
            self._retriever, part, self._counts, lambda: self._decided.put(number), both=self._from_both_ends
        )

    def _second_walk(self, number: int) -> Iterator[StreamSlice]:
        walk = self._lists[number].second_walk()
        if walk is not None:
            yield _with_number(number, walk)

    def pages(self, stream_slice: StreamSlice) -> Iterator[Rows]:
        """Yield the pages of a walk.

        :raises AirbyteTracedException: as :meth:`Counts.read` and :meth:`ListFromBothEnds.pages`
        """
        number = stream_slice.extra_fields.get(_LIST)
        return self._counts.read(stream_slice) if number is None else self._lists[number].pages(stream_slice)


def _with_number(number: int, walk: StreamSlice) -> StreamSlice:
    return StreamSlice(partition=walk.partition, cursor_slice={}, extra_fields={**walk.extra_fields, _LIST: number})
