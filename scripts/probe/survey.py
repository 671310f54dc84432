"""The survey: what more than one check wants to know of the API, each question asked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scripts.probe.findings import UntoldError
from source_commonroom.table import StreamRow, rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scripts.probe.answers import Answer, Client

LARGEST, USUAL, SHORT = 200, 50, 20
"""Rows of the largest page, of one without a `limit`, and of one that is served in time whatever its columns."""
LOCATION_TYPES = ("world_region", "country", "country_region", "city")
_MOST_TYPES = 3
"""So many types of objects are asked for their fields and members, and fewer for their pages."""
_MOST_TYPES_READ = 2
_MORE_PAGES = 1
"""So many pages are read after the first one, to reach the end of a list."""
_HALVINGS = 12
"""So many requests are spent on finding the columns that are refused."""
_PAGED = ("paged", "paged_open")


@dataclass(frozen=True)
class Listing:
    """A list that is read page by page: a stream's, or that of one of its slices."""

    row: StreamRow
    slice: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    """Which slice it is, for people; without an id."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"{self.row.name} ({self.part})" if self.part else self.row.name

    @property
    def columns(self) -> tuple[str, ...]:
        """What `cols` may ask for."""
        return tuple(self.row.cols.split(",")) if self.row.cols else ()

    @property
    def order(self) -> str:
        """What the connector sorts it by; empty if it doesn't."""
        return self.row.cursor_field or ("id" if self.row.both_ends else "")

    @property
    def counts(self) -> bool:
        """Whether it can be counted. The table says of activities how they are counted otherwise."""
        return self.row.counts or bool(self.row.cursor_field)


@dataclass
class Survey:
    """What is known of the API, asked for when it is wanted first."""

    client: Client
    refused_columns: dict[str, list[str]] = field(default_factory=dict)
    """By list, those without which its page is answered."""
    highest: dict[str, Answer] = field(default_factory=dict)
    """By list, its count and its highest id at the beginning of the run."""
    refused_limit: Answer | None = None
    """What was answered to the largest `limit`, if that was a refusal."""

    def ask(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        ids: Mapping[str, str] | None = None,
        again: bool = False,
    ) -> Answer:
        """Return what is answered, whatever that is."""
        return self.client.get(path, params, ids=ids, again=again)

    def forget(self) -> None:
        """Forget what was made of answers, some of which are others now; the answers stay known."""
        for name, made in vars(type(self)).items():
            if isinstance(made, cached_property):
                vars(self).pop(name, None)
        self.refused_columns.clear()
        self.refused_limit = None

    def ask_too_much(self, path: str, params: Mapping[str, str]) -> Answer:
        """Return what is answered to what had better be refused."""
        return self.client.get(path, params, may_be_refused=True)

    def need(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """Return a 200 in JSON, or raise the reason why there is none.

        :raises UntoldError: if something else is answered
        """
        return whole(self.ask(path, params))

    def of(self, stream: str) -> Answer:
        """Return the answer of a stream that is one list, unpaged."""
        return self.need(rows()[stream].path)

    @cached_property
    def page_size(self) -> int:
        """The rows of a page that the API takes: 200, or what it takes instead."""
        for listing in self._plain_listings():
            answer = self.ask(listing.row.path, {**_sorted(listing), "limit": str(LARGEST)})
            if answer.ok:
                return LARGEST
            if answer.denied and self.ask(listing.row.path, {**_sorted(listing), "limit": str(USUAL)}).ok:
                self.refused_limit = answer
                return USUAL
        raise UntoldError("no list could be read")

    @cached_property
    def listings(self) -> list[Listing]:
        """All lists that are read page by page, those of objects for a few types."""
        found = list(self._plain_listings())
        found += [Listing(rows()["locations"], {"locationType": kind}, kind) for kind in LOCATION_TYPES]
        types = self.object_types[:_MOST_TYPES_READ]
        return found + [
            Listing(rows()["objects"], {"objectTypeId": type_id}, f"type {place}")
            for place, type_id in enumerate(types, start=1)
        ]

    @cached_property
    def leading(self) -> list[Listing]:
        """One list of each stream: what is asked of these costs too many requests to be asked of all."""
        return list({listing.row.name: listing for listing in reversed(self.listings)}.values())[::-1]

    @staticmethod
    def _plain_listings() -> Iterator[Listing]:
        for row in rows().values():
            if row.page in _PAGED and row.slices not in {"location_types", "object_types", "segment_members"}:
                yield Listing(row)

    def listing(self, stream: str) -> Listing:
        """Return the list of a stream, or the first one of several.

        :raises UntoldError: if it has none
        """
        found = next((listing for listing in self.leading if listing.row.name == stream), None)
        if found is None:
            raise UntoldError(f"there is no list of {stream}")
        return found

    @cached_property
    def all_object_types(self) -> list[str]:
        """The ids of the types of objects."""
        answer = self.ask(rows()["object_types"].path)
        return [str(row["id"]) for row in answer.rows if "id" in row] if answer.ok else []

    @property
    def object_types(self) -> list[str]:
        """Those that are asked for."""
        return self.all_object_types[:_MOST_TYPES]

    def need_object_types(self) -> list[str]:
        """Return those that are asked for, or raise the reason why there are none.

        :raises UntoldError: if they can't be read, or there are none
        """
        if not self.object_types:
            self.of("object_types")
            raise UntoldError("there are no types of objects")
        return self.object_types

    def thin(self, listing: Listing, direction: str = "asc", *, again: bool = False) -> Answer:
        """Return the first page of a list without more columns, sorted as the connector sorts it."""
        order = _sorted(listing, direction)
        return self.ask(listing.row.path, {**listing.slice, **order, "limit": str(self.page_size)}, again=again)

    def full(self, listing: Listing) -> Answer:
        """Return the first page of a list with all columns, as the connector asks for it.

        If it isn't served in time, it is a short one; and if some columns are refused, those are found by halves, and
        it is one without them.
        """
        if not listing.columns:
            return self.thin(listing)
        answer = self.with_columns(listing, listing.columns)
        if answer.failed and self.thin(listing).ok:
            return self.with_columns(listing, listing.columns, limit=str(SHORT))
        if not answer.denied or not self.thin(listing).ok:
            return answer
        if listing.name not in self.refused_columns:
            self.refused_columns[listing.name] = self._refused(listing, list(listing.columns), [_HALVINGS])
        rest = [column for column in listing.columns if column not in self.refused_columns[listing.name]]
        return self.with_columns(listing, rest) if rest else self.thin(listing)

    def with_columns(self, listing: Listing, columns: Sequence[str], **more: str) -> Answer:
        """Return a page of a list with some columns; of activities with their count, unless that is refused there."""
        counted = ["recordCount"] if listing.row.cursor_field and not self.counts_beside.denied else []
        return self.ask(listing.row.path, self._params(listing, [*columns, *counted], **more))

    @cached_property
    def counts_beside(self) -> Answer:
        """What is answered to activities with all columns and their count; or with a column fewer, if it is refused.

        So that a count that is refused beside columns isn't taken for columns that are refused.
        """
        listing = self.listing("activities")
        answer = self.ask(listing.row.path, self._params(listing, [*listing.columns, "recordCount"]))
        if answer.denied and not self.ask(listing.row.path, self._params(listing, listing.columns)).ok:
            return self.ask(listing.row.path, self._params(listing, [listing.columns[0], "recordCount"]))
        return answer

    def _params(self, listing: Listing, columns: Sequence[str], **more: str) -> dict[str, str]:
        size = {"limit": str(self.page_size), "cols": ",".join(columns)}
        return {**listing.slice, **_sorted(listing), **size, **more}

    def _refused(self, listing: Listing, columns: list[str], left: list[int]) -> list[str]:
        """Find the columns of a page that was refused; if requests run out, all that may be."""
        if len(columns) == 1 or left[0] <= 0:
            return columns
        middle = len(columns) // 2
        found: list[str] = []
        for half in (columns[:middle], columns[middle:]):
            left[0] -= 1
            if self.with_columns(listing, half).denied:
                found += self._refused(listing, half, left)
        return found

    def counted(self, listing: Listing, *, again: bool = False) -> Answer:
        """Return the count of a list with one row, from its upper end if it has an order."""
        params = {**listing.slice, **_sorted(listing, "desc"), "limit": "1", "cols": "recordCount"}
        return self.ask(listing.row.path, params, again=again)

    def ends(self, listing: Listing) -> list[Answer]:
        """Return last pages of a list: its own, or that of a part of it that a filter names; empty if none is near."""
        first = self.full(listing)
        if not first.ok:
            return []
        if not first.cursor:
            return [first]
        if narrowed := self._narrowed(listing, first):
            answer = self.ask(listing.row.path, {**listing.slice, **narrowed, "limit": str(self.page_size)})
            return [answer] if answer.ok and not answer.cursor else []
        if listing.counts and (self.counted(listing).count or 0) > self.page_size * (_MORE_PAGES + 1):
            return []
        page = first
        for _ in range(_MORE_PAGES):
            page = self.ask(listing.row.path, {**first.params, "cursor": page.cursor})
            if not page.ok or not page.cursor:
                return [page] if page.ok else []
        return []

    def _narrowed(self, listing: Listing, page: Answer) -> dict[str, str]:
        """Name a small part of a list by a documented filter; empty if it has none, or nothing to filter by."""
        column = _FILTERS.get(listing.row.name)
        if listing.row.name == "contacts":
            return {"segmentId": self.small_segment, "cols": "recordCount"} if self.small_segment else {}
        if listing.row.name == "activities":
            return {"startDate": max(texts(self.thin(listing, "desc").rows, "activityTime"), default="")}
        if column is None:
            return {}
        parameter, source = column
        counted = {"cols": "recordCount"} if listing.counts else {}
        value = next(iter(texts(page.rows, source)), "")
        return {parameter: value, **counted} if value else {}

    @cached_property
    def segments(self) -> list[dict[str, Any]]:
        """The segments of the first page, with how many members they have."""
        return whole(self.full(self.listing("segments"))).rows

    def segments_of(self, entity: str) -> list[dict[str, Any]]:
        """Return the segments of one type of members."""
        return [row for row in self.segments if row.get("entityType") == entity and isinstance(row.get("id"), str)]

    @cached_property
    def small_segment(self) -> str:
        """The smallest segment of contacts that fits a page, or one that doesn't say; empty if there is none."""
        try:
            found = self.segments_of("contact")
        except UntoldError:
            return ""
        sizes = {row["id"]: row.get("entityCount") for row in found}
        known = {key: size for key, size in sizes.items() if isinstance(size, int) and 1 < size < self.page_size}
        return min(
            known, key=lambda key: known[key], default=next((key for key, size in sizes.items() if not size), "")
        )

    @cached_property
    def read(self) -> dict[str, Answer]:
        """The full pages of all lists that could be read, by the list's name."""
        found = {listing.name: self.full(listing) for listing in self.listings}
        return {name: answer for name, answer in found.items() if answer.ok}

    def fields_of(self, entity: str) -> list[dict[str, Any]]:
        """Return the definitions of the custom fields of an entity, or of a type of objects."""
        return self.need(rows()["custom_fields"].path, {"entityType": entity}).rows


_FILTERS = {
    "organizations": ("primaryDomain", "primaryDomain"),
    "segments": ("query", "name"),
    "topics": ("query", "name"),
    "industries": ("query", "name"),
    "tech_stack_products": ("query", "product"),
    "website_visits": ("contactId", "contactId"),
}
"""By stream: the parameter that narrows it, and the column that holds a value for it."""


def whole(answer: Answer) -> Answer:
    """Return a 200 in JSON, or raise.

    :raises UntoldError: if it is something else
    """
    if not answer.ok:
        raise UntoldError(f"`{answer.place}` answered {answer.said}")
    return answer


def texts(found: list[dict[str, Any]], column: str) -> list[str]:
    """Return the texts of a column."""
    return [value for row in found if isinstance(value := row.get(column), str) and value]


def _sorted(listing: Listing, direction: str = "asc") -> dict[str, str]:
    return {"sort": listing.order, "direction": direction} if listing.order else {}
