"""From a query to the rows of its page: keyset paging over sorted entries."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from integration_tests.sandbox.endpoints import SORT_KEYS
from integration_tests.sandbox.workspace import id_key

if TYPE_CHECKING:
    from integration_tests.sandbox.cursors import Position
    from integration_tests.sandbox.messages import Record
    from integration_tests.sandbox.query import Query
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


def page(entries: list[Entry], query: Query) -> tuple[list[Record], Position | None]:
    """Take the query's page; beside it stands the position to go on after, or None at the end."""
    if query.descending:
        end = len(entries) if query.position is None else bisect_left(entries, query.position, key=_position)
        start = max(0, end - query.limit)
        chosen, more = entries[start:end][::-1], start > 0
    else:
        start = 0 if query.position is None else bisect_right(entries, query.position, key=_position)
        chosen, more = entries[start : start + query.limit], start + query.limit < len(entries)
    return [entry.record for entry in chosen], chosen[-1].position if more else None


def _match(workspace: Workspace, query: Query) -> list[Entry]:
    dated_by = query.endpoint.dated_by
    entries = _ordered(workspace, query.endpoint.collection, dated_by or query.sort)
    start = 0 if query.since is None else bisect_left(entries, query.since, key=_time)
    end = len(entries) if query.until is None else bisect_right(entries, query.until, key=_time)
    if query.filters or dated_by not in {None, query.sort}:
        records = _filtered(workspace, query, [entry.record for entry in entries[start:end]])
        return _sorted(workspace, records, query.sort)
    return entries[start:end]


def _filtered(workspace: Workspace, query: Query, records: list[Record]) -> list[Record]:
    conditions = [query.endpoint.filters[name](workspace, value) for name, value in query.filters]
    if query.endpoint.within and query.within:
        conditions.append(query.endpoint.within(workspace, query.within))
    for condition in conditions:
        records = [record for record in records if condition(record)]
    return records


def _ordered(workspace: Workspace, collection: str, sort: str) -> list[Entry]:
    return workspace.derived(
        ("ordered", collection, sort), lambda: _sorted(workspace, workspace.records(collection), sort)
    )


def _sorted(workspace: Workspace, records: list[Record], sort: str) -> list[Entry]:
    sort_key = SORT_KEYS[sort](workspace)
    entries = [Entry((sort_key(record), id_key(record["id"])), record) for record in records]
    return sorted(entries, key=_position)


def _position(entry: Entry) -> Position:
    return entry.position


def _time(entry: Entry) -> str:
    return str(entry.position[0])
