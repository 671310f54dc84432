"""The chronicle: what the records of some streams are, and what they ever were."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from integration_tests.sandbox import Workspace
from integration_tests.sandbox.messages import shown
from unit_tests.streams import BY_NAME, Stream, complete

if TYPE_CHECKING:
    from collections.abc import Iterable

    Record = dict[str, Any]

Key = tuple[str, ...]
Rows = dict[Key, "Record"]


def key_of(stream: Stream, row: Record) -> Key:
    """Tell a record's primary key."""
    return tuple(str(row[column]) for column in stream.primary_key)


def keyed(stream: Stream, rows: Iterable[Record]) -> Rows:
    """Order records by primary key; of those with the same one the last wins."""
    return {key_of(stream, row): row for row in rows}


def as_shown(rows: Iterable[Record]) -> list[Record]:
    """List records as the API shows them, if it stores the times of activities finer than that."""
    return [{**row, "activityTime": shown(row["activityTime"])} if "activityTime" in row else row for row in rows]


class Chronicle:
    """Every version of every record of some streams, as a sync would bring it."""

    def __init__(self, workspace: Workspace, streams: Iterable[str]) -> None:
        self._workspace = workspace
        self._streams = [BY_NAME[name] for name in streams]
        self._versions: dict[str, defaultdict[Key, list[Record]]] = {}
        for stream in self._streams:
            self._versions[stream.name] = defaultdict(list)
            self._add(stream, complete(stream, workspace))

    def note(self, collection: str, row: Record) -> None:
        """Remember a record that has come into a collection, or has become this."""
        for stream in self._streams:
            if stream.records is not None:
                # Made of several collections; few records, so that they are made anew.
                self._add(stream, complete(stream, self._workspace))
            elif stream.collection == collection:
                self._add(stream, complete(stream, Workspace.of(**{collection: [row]})))

    def now(self, name: str) -> Rows:
        """Tell what the records of a stream are."""
        return keyed(BY_NAME[name], as_shown(complete(BY_NAME[name], self._workspace)))

    def knows(self, name: str, row: Record) -> bool:
        """Tell whether there ever was such a record."""
        return row in self._versions[name].get(key_of(BY_NAME[name], row), ())

    def _add(self, stream: Stream, rows: Iterable[Record]) -> None:
        for row in as_shown(rows):
            versions = self._versions[stream.name][key_of(stream, row)]
            if row not in versions:
                versions.append(row)
