"""From a query to the rows of its page: paging over sorted entries, by key or by offset."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from integration_tests.sandbox.endpoints import SORT_KEYS, SORTED_BY_OTHERS
from integration_tests.sandbox.messages import iso_stored
from integration_tests.sandbox.workspace import id_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration_tests.sandbox.cursors import Place, Position
    from integration_tests.sandbox.messages import Record
    from integration_tests.sandbox.query import Query
    from integration_tests.sandbox.traits import Traits
    from integration_tests.sandbox.workspace import Workspace


class Entry(NamedTuple):
    """A record at its place in an order."""

    position: Position
    record: Record


def listed(workspace: Workspace, query: Query) -> list[Record]:
    """List what matches a query of an endpoint that doesn't page, in the order in which it was made."""
    return _filtered(workspace, query, workspace.records(query.endpoint.collection))


def matching(workspace: Workspace, query: Query) -> list[Entry]:
    """List what matches a query, over all pages, in its ascending order."""
    return workspace.derived(("matching", query.selection), lambda: _match(workspace, query))


def held_back(workspace: Workspace, query: Query, share: float) -> list[Entry]:
    """List what matches a query less a share of it, which the ids decide: the same rows whatever the query."""
    return workspace.derived(
        ("held back", share, query.selection),
        lambda: [entry for entry in matching(workspace, query) if _lot(entry.record["id"]) >= share],
    )


def _lot(record_id: str) -> float:
    """Draw a number from 0 to 1 by an id."""
    return int.from_bytes(blake2b(record_id.encode(), digest_size=6).digest()) / 2**48


def page(entries: list[Entry], query: Query, *, by_offset: bool) -> tuple[list[Record], Place | None]:
    """Take the query's page; beside it stands the place to go on after, or None at the end."""
    before = _rows_before(entries, query)
    chosen = _taken(entries, query, before, before + query.limit)
    end: Place | None = None
    if before + query.limit < len(entries):
        end = before + query.limit if by_offset else chosen[-1].position
    return [entry.record for entry in chosen], end


def _rows_before(entries: list[Entry], query: Query) -> int:
    """Count the rows before the query's page."""
    match query.place:
        case None:
            return 0
        case int():
            return query.place
        case _ if query.descending:
            return len(entries) - bisect_left(entries, query.place, key=_position)
        case _:
            return bisect_right(entries, query.place, key=_position)


def _taken(entries: list[Entry], query: Query, start: int, end: int) -> list[Entry]:
    """Take rows by their numbers in the order that was asked for."""
    if not query.descending:
        return entries[start:end]
    return entries[max(0, len(entries) - end) : max(0, len(entries) - start)][::-1]


def _match(workspace: Workspace, query: Query) -> list[Entry]:
    dated_by = query.endpoint.dated_by
    traits = query.traits
    entries = _ordered(workspace, query, dated_by or query.sort)
    first, last = (
        bisect_right if traits.exclusive_start else bisect_left,
        bisect_left if traits.exclusive_end else bisect_right,
    )
    time = _coarse_time(traits) if traits.coarse_times else _time
    start = 0 if query.since is None else first(entries, query.since, key=time)
    end = len(entries) if query.until is None else last(entries, query.until, key=time)
    if query.filters or dated_by not in {None, query.sort}:
        records = _filtered(workspace, query, [entry.record for entry in entries[start:end]])
        return _sorted(workspace, records, query.sort, as_texts=traits.text_sorted_ids)
    return entries[start:end]


def _filtered(workspace: Workspace, query: Query, records: list[Record]) -> list[Record]:
    conditions = [query.endpoint.filters[name](workspace, value) for name, value in query.filters]
    if query.endpoint.within and query.within:
        conditions.append(query.endpoint.within(workspace, query.within))
    for condition in conditions:
        records = [record for record in records if condition(record)]
    return records


def _ordered(workspace: Workspace, query: Query, sort: str) -> list[Entry]:
    collection, as_texts = query.endpoint.collection, query.traits.text_sorted_ids
    return workspace.derived_again(
        ("ordered", collection, sort, as_texts),
        lambda before: _sorted(workspace, workspace.records(collection), sort, before, as_texts=as_texts),
    )


def _sorted(
    workspace: Workspace, records: list[Record], sort: str, before: list[Entry] | None = None, *, as_texts: bool
) -> list[Entry]:
    """Sort records. Ids are compared as texts, or else by their numbers.

    Tests change a large collection before each answer: what stood in the order before isn't made again.
    """
    key_of_id: Callable[[str], str | int] = str if as_texts else id_key
    sort_key = SORT_KEYS[sort](workspace)
    if sort == "id":
        sort_key = lambda record: key_of_id(record["id"])  # noqa: E731
    known = {} if sort in SORTED_BY_OTHERS else {id(entry.record): entry for entry in before or []}
    entries = [
        known.get(id(record)) or Entry((sort_key(record), key_of_id(record["id"])), record) for record in records
    ]
    return sorted(entries, key=_position)


def _position(entry: Entry) -> Position:
    return entry.position


def _time(entry: Entry) -> str:
    return str(entry.position[0])


def _coarse_time(traits: Traits) -> Callable[[Entry], str]:
    return lambda entry: iso_stored(traits.cut(datetime.fromisoformat(_time(entry))))
