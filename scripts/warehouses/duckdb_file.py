"""Copy the tables of one DuckDB file into another one, which several processes share."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from scripts.warehouses.tables import LOADED_AT, SCHEMA, Span, Tell, WarehouseError, name_of, quoted

_PATIENCE = 1800
"""Seconds for which a file is waited for: one process at a time may write to it, and none reads meanwhile."""


class DuckDBFile:
    """A DuckDB file as a warehouse."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def copy(
        self, database: Path, tables: Sequence[str], *, span: Span | None = None, tell: Tell = print
    ) -> dict[str, int]:
        """Make tables hold what those of another file do, all at once.

        :param database: the other file; not open anywhere else
        :param span: replace only this part of the tables, and rows with the same keys; the other file holds no other
        :param tell: takes a line when another process has to be waited for
        :return: how many rows of each table were copied
        :raises WarehouseError: if anything fails; nothing is changed then
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._connect(tell) as connection:
                connection.execute(f"ATTACH {_text(database)} AS loaded (READ_ONLY)")
                connection.begin()
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
                counts = {table: _copy_table(connection, table, span) for table in tables}
                connection.commit()
                return counts
        except duckdb.Error as error:
            raise WarehouseError(f"{self.path} holds what it held before: {error}") from error

    def newest(self, table: str) -> datetime | None:
        """Tell when the newest row of a table was read from the API; None if it has no row.

        :raises WarehouseError: if there is no such table, or the file can't be opened
        """
        try:
            with self._connect(print) as connection:
                ((time,),) = connection.execute(f"SELECT max({LOADED_AT}) FROM {name_of(table)}").fetchall()
        except duckdb.Error as error:
            raise WarehouseError(f"{self.path}: {error}") from error
        return time.replace(tzinfo=UTC) if time else None

    def _connect(self, tell: Tell) -> duckdb.DuckDBPyConnection:
        end, told = time.monotonic() + _PATIENCE, False
        while True:
            try:
                return duckdb.connect(str(self.path))
            except duckdb.IOException as error:
                if "lock" not in str(error) or time.monotonic() > end:
                    raise
            if not told:
                tell(f"Waiting for {self.path}, which another process has open")
                told = True
            time.sleep(0.2)


def _copy_table(connection: duckdb.DuckDBPyConnection, table: str, span: Span | None) -> int:
    target, loaded = name_of(table), name_of(table, "loaded")
    if not span:
        connection.execute(f"CREATE OR REPLACE TABLE {target} AS FROM {loaded}")
    else:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {target} AS FROM {loaded} LIMIT 0")
        for name, kind, *_ in connection.execute(f"DESCRIBE {loaded}").fetchall():
            connection.execute(f"ALTER TABLE {target} ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}")
        column, key = quoted(span.column), quoted(span.key)
        connection.execute(f"DELETE FROM {target} WHERE {column} >= ? AND {column} < ?", (span.start, span.end))
        connection.execute(f"DELETE FROM {target} WHERE {key} IN (SELECT {key} FROM {loaded})")
        connection.execute(f"INSERT INTO {target} BY NAME FROM {loaded}")
    ((count,),) = connection.execute(f"SELECT count(*) FROM {loaded}").fetchall()
    return int(count)


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
