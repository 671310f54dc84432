"""The walk: from the first page of an endpoint, or of a slice of it, to the last."""

import logging
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.api.errors import RequestFailedError
from source_commonroom.api.keys import Keys, distinct, hashes_of
from source_commonroom.api.page import is_paged, records_of, rows_of
from source_commonroom.api.retriever import CursorRefusedError, FirstPage, PageRetriever, Rows

logger = logging.getLogger("airbyte")

# After so many pages in a row without a new record, a walk ends with an error. An API that filters after it has cut the
# pages serves some that are empty.
_PATIENCE = 500


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


class _PageRead(NamedTuple):
    """A page of a walk: how it was asked for, and what it contained."""

    cursor: str | None
    limit: int | None
    rows: int
    content: int
    """A hash of its records' ids, in their order."""


class Walk:
    """A walk of a slice, page by page, which can be begun again without yielding a record twice.

    It remembers 8 bytes of each record, and as much again of each when it is begun again.
    Pinned by unit_tests/test_walk.py.

    :param after: walks of the same slice that are over: their records aren't yielded once more, but count as received
    """

    def __init__(self, retriever: PageRetriever, after: Sequence["Walk"] = ()) -> None:
        self._retriever = retriever
        self._seen: array[int] = array("q")
        self._sum = 0, (0, 0)
        self._confirmed = 0
        self._after = after
        self._pages: list[_PageRead] = []
        self._query: tuple[Mapping[str, Any], StreamSlice | None] = ({}, None)
        self.repeated = False
        """Whether two cursors returned the same page, so that another page may be missing."""
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
        """How many records were received, each counted once.

        Neither a row that is no record nor a repeated record may make up for a missing one. Pinned by
        test_given_records_that_come_twice_while_others_do_not_come_when_read_then_the_stream_is_incomplete.
        """
        return self.sum[0]

    @property
    def sum(self) -> tuple[int, int]:
        """How many records were received, each counted once, and the sum of their keys, as a checksum."""
        length, known = self._sum
        if length != len(self._seen):
            # Cached, because each window is asked for it three times at its end; with the length, because another
            # thread may ask meanwhile.
            length = len(self._seen)
            known = distinct([self._seen])
            self._sum = length, known
        return known

    @property
    def keys(self) -> Keys:
        """The records that were received."""
        return Keys([self._seen])

    @property
    def confirmed_keys(self) -> Keys:
        """The records of the pages that are confirmed; another thread may ask for them while the walk goes on."""
        return Keys([self._seen[: self._confirmed]])

    def confirm(self) -> None:
        """Confirm all pages so far: their records are emitted, here or elsewhere."""
        self._confirmed = len(self._seen)

    def seen_among(self, keys: Iterable[int]) -> set[int]:
        """Return those of some keys whose records were received."""
        return set(keys).intersection(self._seen)

    def not_confirmed(self, rows: Rows) -> Rows:
        """Return those of some rows that aren't on a confirmed page; another thread may ask."""
        keys = hashes_of(rows)
        # For a few rows a look at all keys costs a fraction of what it costs to put them in order.
        known = set(keys).intersection(self._seen[: self._confirmed])
        return [row for row, key in zip(rows, keys, strict=True) if key not in known]

    def unmark_last(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Treat rows of the last page as not received: they aren't emitted."""
        left = set(hashes_of(rows))
        start = len(self._seen) - self._pages[-1].rows
        kept = [key for key in self._seen[start:] if key not in left]
        del self._seen[start:]
        self._seen.extend(kept)
        self._sum = 0, (0, 0)

    def read_to_end(self, stream_slice: StreamSlice | None, first: FirstPage | None = None) -> Iterator[Rows]:
        """Yield the rows of each page, and begin again once if the API refuses a cursor of its own.

        If it does so because pages have become smaller, that doesn't count.

        :param first: the first page, if it has been read already
        :raises AirbyteTracedException: as :meth:`PageRetriever.page_of`
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

    def pages(self, stream_slice: StreamSlice | None, first: FirstPage | None = None) -> Iterator[Rows]:
        """Yield the rows of each page, but for those received before this call, or on the page before.

        A row on two consecutive pages stands at their border: if cursors count rows, an insertion before it moves it
        to the next page.

        :raises CursorRefusedError: if it can't go on; to call this again begins anew
        :raises AirbyteTracedException: as :meth:`PageRetriever.page_of`
        """
        retriever = self._retriever
        before = keys_of([*self._after, self]) if self._after or self._seen else None
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
        empty_pages = 0
        start, next_check, known = len(self._seen), _PATIENCE, -1
        while True:
            rows = rows_of(page, retriever.repeats)
            keys = hashes_of(rows)
            self._note_count(page)
            if "limit" in page:
                params = {**params, "limit": page["limit"]}
            content = hash(tuple(keys))
            repeated = content in contents
            contents.add(content)
            self._pages.append(_PageRead(cursor, params.get("limit"), len(keys), content))
            empty_pages = 0 if rows and not repeated else empty_pages + 1
            if len(self._pages) > next_check:
                next_check, known = 2 * next_check, self._check_progress(start, known)
            if not repeated and not border.isdisjoint(keys) and keys[0] not in border:
                # More than a page of rows was inserted before this page, so that it holds some of earlier ones.
                before = keys_of([*self._after, self])
            yield self._repeated_page(rows) if repeated else self._deduplicate(rows, keys, border, before)
            border = set(keys)
            cursor = page["meta"].get("nextCursor") if is_paged(retriever.page) else None
            if cursor is None:
                return
            if cursor in cursors:
                raise self._endless("the API answered with the same cursor twice")
            if empty_pages >= _PATIENCE:
                raise self._endless(f"{_PATIENCE} pages in a row contained nothing new")
            cursors.add(cursor)
            page, params = self._page_at(cursor, params, stream_slice)

    def _page_at(
        self, cursor: str, params: Mapping[str, Any], stream_slice: StreamSlice | None
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the page that a cursor names, and the query for which it stands: with a larger page again, if it may.

        :param params: the query that returned the cursor
        :raises CursorRefusedError: if the API refuses the cursor, or it means another place for smaller pages
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
            sizes.are_cursors_free = False
            return self._page_at(cursor, params, stream_slice)
        if page.get("limit", size) < (size or 0):
            # If cursors number pages, this is another place, and most rows are known.
            keys = hashes_of(records_of(page))
            if 2 * len(self.seen_among(keys)) > len(keys):
                raise CursorRefusedError
            sizes.are_cursors_free = True
        return page, larger

    def has_moved(self) -> bool:
        """Tell whether its first page, its last, or the one in the middle isn't what it was, read for again.

        A page that was returned twice has moved, too.

        If cursors count rows, a record that is deleted before a page moves all behind it up by one, and one that lives
        is skipped at the border where the walk was. If they name a row, pages stay where they are. A record that is
        added behind the last page has moved nothing.

        A deletion shows on all pages from its own to the last one that was read before it. So three pages show most of
        them, and all in a list of three pages; in a longer one, only another reading shows all.
        """
        if self.repeated:
            # The page that belongs there may be missing.
            return True
        last = len(self._pages) - 1
        return last >= 0 and any(not self._is_unchanged(place) for place in sorted({0, last // 2, last}, reverse=True))

    def _note_count(self, page: Mapping[str, Any]) -> None:
        records = page["meta"].get("recordCount") if isinstance(page["meta"], dict) else None
        if isinstance(records, int) and not isinstance(records, bool):
            counts = self.counts or PageCounts(records, records)
            # If the walk was begun again, the page may be of a part of the slice: it isn't compared with one before.
            before = counts.last if len(self._pages) > 0 else records
            rose, fell = counts.rose or records > before, counts.fell or records < before
            self.counts = PageCounts(counts.first, records, rose, fell)

    def _is_unchanged(self, place: int) -> bool:
        read = self._pages[place]
        params, stream_slice = self._query
        query = {**params, "limit": read.limit} if read.limit else params
        if read.cursor is not None:
            query = {**query, "cursor": read.cursor}
        try:
            page = self._retriever.page_of(query, stream_slice, as_large=True)
        except RequestFailedError:
            # It isn't known whether it has moved, so it counts as moved.
            return False
        keys = hashes_of(records_of(page))
        if place == len(self._pages) - 1:
            keys = keys[: read.rows]
        return hash(tuple(keys)) == read.content

    def refused_again(self) -> AirbyteTracedException:
        """Return the error of a walk that was begun again, and got no further."""
        what = "the API refused, in the middle of a list, the cursor that it gave itself; and once more after the list"
        return self._error(f"{what} was begun again", "a cursor was refused as invalid, twice")

    def _deduplicate(self, rows: Rows, keys: list[int], border: set[int], before: Keys | None) -> Rows:
        """Return the rows that weren't received before, and remember them all."""
        self._seen.extend(keys)
        if before is None and border.isdisjoint(keys):
            return rows
        known: Keys | tuple[int, ...] = () if before is None else before
        return [row for row, key in zip(rows, keys, strict=True) if key not in border and key not in known]

    def _repeated_page(self, rows: Rows) -> Rows:
        """Return nothing of a page that another cursor returned already, and log that once."""
        if rows and not self.repeated:
            self.repeated = True
            logger.warning(
                "%s: the API returned the same page for two cursors. It is left out, and whether the page that belongs "
                "there is missing is checked at the end of the list.",
                self._retriever.name,
            )
        return []

    def _check_progress(self, start: int, known: int) -> int:
        """Return how many different records were received since a place: more each time, or the cursors go in a circle.

        Called at twice as many pages each time, because it puts all of them in sets.
        """
        number = distinct([self._seen[start:]])[0]
        if number <= known:
            raise self._endless(f"the last of {len(self._pages)} pages contained no new record")
        return number

    def _endless(self, what: str) -> AirbyteTracedException:
        return self._error(f"{what}, so that the walk would never end", f"{len(self._pages)} pages were received")

    def _error(self, what: str, internal_message: str) -> AirbyteTracedException:
        return AirbyteTracedException(
            message=f"{self._retriever.name}: {what}. Run the sync again later; if it happens again, tell Common "
            "Room's support.",
            internal_message=internal_message,
            failure_type=FailureType.transient_error,
        )


def keys_of(walks: Iterable[Walk]) -> Keys:
    """Return the records that some walks received, those of the walks before them too."""
    arrays: list[array[int]] = []
    for walk in walks:
        arrays += [walk._seen, *(earlier._seen for earlier in walk._after)]  # noqa: SLF001  # of its own kind
    return Keys(arrays)


def received(walks: Sequence[Walk]) -> int:
    """Return how many records some walks received, each counted once."""
    return sum_of(walks)[0]


def sum_of(walks: Sequence[Walk], more: "array[int] | None" = None) -> tuple[int, int]:
    """Return how many records some walks received, each counted once, and the sum of their keys.

    :param more: the keys of records that were received in another way
    """
    if len(walks) == 1 and not more:
        return walks[0].sum
    arrays = [walk._seen for walk in walks]  # noqa: SLF001  # of its own kind
    return distinct([*arrays, more] if more else arrays)
