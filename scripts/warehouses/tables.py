"""The names of the tables, which are PyAirbyte's: a table for each stream, in one schema."""

from collections.abc import Callable
from typing import NamedTuple

SCHEMA = "commonroom"
LOADED_AT = "_airbyte_extracted_at"
"""The column of PyAirbyte's that tells when a row was read."""

Tell = Callable[[str], None]
"""Takes a line for whoever watches."""


class WarehouseError(Exception):
    """Says what a warehouse refused, or why there is none, and what to do."""


class Span(NamedTuple):
    """A part of a table: the rows from one time on, up to another one and without it."""

    column: str
    start: str
    """ISO 8601, as ``end`` is."""
    end: str
    key: str = "id"
    """What tells one row from another."""


def name_of(table: str, database: str | None = None) -> str:
    """Return a table's name as SQL."""
    return ".".join(quoted(part) for part in (database, SCHEMA, table) if part)


def quoted(name: str) -> str:
    """Return a name as SQL."""
    return '"' + name.replace('"', '""') + '"'
