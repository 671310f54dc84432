"""Copy the tables of a DuckDB file into PostgreSQL: the same names, rows and types, in one transaction.

PyAirbyte has a cache for PostgreSQL, but it changes values on their way: it reads its files with pandas, which makes
numbers of texts that look like numbers, so that `02139` is loaded as `2139`, `+15550100` as `15550100`, and `nan` as
null. It also can't replace a table that a view selects from, as those of dbt do. Into DuckDB it loads everything as it
is, so a sync goes there first. Pinned by `test_pyairbytes_own_cache_of_postgresql_changes_values`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from scripts.warehouses.tables import LOADED_AT, SCHEMA, Span, Tell, WarehouseError, name_of, quoted

_BATCH = 5_000
# What libpq takes as an address, letter by letter.
_SCHEMES = ("postgresql://", "postgres://")
_SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
# By DuckDB's type, as PyAirbyte makes it; any other is text.
_TYPES = {
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DECIMAL(38,9)": "numeric(38,9)",
    "JSON": "jsonb",
    # Of UTC: the connector's timestamps all have a zone, and PyAirbyte writes them without it.
    "TIMESTAMP": "timestamp with time zone",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
}
# PostgreSQL has no NUL character, and JSON escapes it. An escaped backslash is put aside meanwhile.
_WITHOUT_NUL = {
    "VARCHAR": r"replace({0}, chr(0), '�')",
    "JSON": r"replace(replace(replace({0}, '\\', chr(1)), '\u0000', '\ufffd'), chr(1), '\\')",
}
# A year before the first is written as `0001-12-31 (BC) 15:00:00+00`; PostgreSQL has the era at the end.
_WITH_ERA = r"regexp_replace({0}, '^(\S+) \(BC\) (.+)$', '\1 \2 BC')"
_HAS_NUL = {"VARCHAR": "contains({0}, chr(0))", "JSON": r"contains(replace({0}, '\\', ''), '\u0000')"}
# Who holds a table isn't waited for endlessly. If this process is killed, the server soon lets go of its tables.
_SETTINGS = """
    SET LOCAL TimeZone = 'UTC';
    SET LOCAL lock_timeout = '10min';
    SELECT set_config(name, '2s', true) FROM pg_settings WHERE name = 'client_connection_check_interval'
"""
_COLUMNS_OF = """
    SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""


class Postgres:
    """A database of PostgreSQL.

    :param url: ``postgresql://user@host:port/database``, with the parameters of libpq; without a password, which libpq
        takes from ``PGPASSWORD`` or its password file
    :param drop_views: drop the views that use a column whose type has changed
    :raises WarehouseError: if the address can't be read, or holds a password or another secret
    """

    def __init__(self, url: str, *, drop_views: bool = False) -> None:
        try:
            self._options = conninfo_to_dict(url)
        except psycopg.Error:
            # Not the error itself: it may quote a part of a password.
            raise WarehouseError("The address can't be read. It is postgresql://user@host:port/database.") from None
        if told := [name for name in _SECRETS if self._options.get(name)]:
            where = (
                "set PGPASSWORD, or write it into ~/.pgpass"
                if "password" in told
                else f"write {' and '.join(told)} into ~/.pg_service.conf, and name the entry in PGSERVICE"
            )
            raise WarehouseError(
                "The address holds a password, which other users of this machine see in the list of processes. Leave "
                f"it out of the address, and {where}."
            )
        self.url = url
        self._drop_views = drop_views

    @staticmethod
    def takes(address: str) -> bool:
        """Tell whether an address is one of PostgreSQL."""
        return address.startswith(_SCHEMES)

    def environment(self) -> dict[str, str]:
        """Return libpq's variables that say what the address does, `sslmode` too, for a program that takes no address.

        `PGHOST`, `PGPORT`, `PGUSER` and `PGDATABASE` are always there, as libpq itself would fill them in; an empty
        `PGHOST` is the local socket.

        :raises WarehouseError: if the address names a service, which holds the others
        """
        if self._options.get("service"):
            raise WarehouseError(
                "The address names a service, which this command can't look into. Set PGSERVICE, and leave it out of "
                "the address: TO=postgresql://."
            )
        found = {}
        for option in Conninfo.get_defaults():
            name, variable = option.keyword.decode(), (option.envvar or b"").decode()
            value = self._options.get(name)
            if value is None and name in {"host", "port", "user", "dbname"}:
                value = (option.val or b"").decode()
            if variable and value is not None:
                found[variable] = str(value)
        found["PGDATABASE"] = found["PGDATABASE"] or found["PGUSER"]
        return found

    def reach(self) -> None:
        """Connect.

        :raises WarehouseError: if that fails
        """
        with _transaction(self.url):
            pass

    def check(self) -> None:
        """Connect, and make the schema unless it is there.

        :raises WarehouseError: if that fails
        """
        with _transaction(self.url) as connection:
            _ensure_schema(connection)

    def copy(
        self, database: Path, tables: Sequence[str], *, span: Span | None = None, tell: Tell = print
    ) -> dict[str, int]:
        """Make tables hold what those of a DuckDB file do. Who reads them sees the former rows until all are copied.

        Columns are added, replaced if their type has changed, and dropped if they are gone; who reads such a table has
        to wait. Views stay, and so do indexes and grants.

        :param database: the file; not open anywhere else
        :param span: replace only this part of the tables, and rows with the same keys; the file holds no other
        :param tell: takes a line for whoever watches
        :return: how many rows of each table were copied
        :raises WarehouseError: if anything fails; nothing is changed then
        """
        with (
            _transaction(self.url) as connection,
            duckdb.connect(str(database), read_only=True) as source,
            connection.cursor() as cursor,
        ):
            source.execute("SET TimeZone = 'UTC'")
            cursor.execute(_SETTINGS)
            _ensure_schema(connection)
            return {table: self._copy_table(source, cursor, table, span, tell) for table in tables}

    def newest(self, table: str) -> datetime | None:
        """Tell when the newest row of a table was read from the API; None if it has no row.

        :raises WarehouseError: if there is no such table, or PostgreSQL can't be reached
        """
        with _transaction(self.url) as connection:
            ((time,),) = connection.execute(f"SELECT max({LOADED_AT}) FROM {name_of(table)}").fetchall()
        return time.astimezone(UTC) if time else None

    def _copy_table(
        self, source: duckdb.DuckDBPyConnection, cursor: psycopg.Cursor[Any], table: str, span: Span | None, tell: Tell
    ) -> int:
        columns = {row[0]: row[1] for row in source.execute(f"DESCRIBE {name_of(table)}").fetchall()}
        self._fit(cursor, table, columns, tell)
        # Another sync waits here, and those who read don't.
        cursor.execute(f"LOCK TABLE {name_of(table)} IN SHARE ROW EXCLUSIVE MODE")
        if not span:
            cursor.execute(f"DELETE FROM {name_of(table)}")
            count = _send(source, cursor, table, name_of(table), columns)
        else:
            names = ", ".join(map(quoted, columns))
            cursor.execute(
                f"CREATE TEMP TABLE part ON COMMIT DROP AS SELECT {names} FROM {name_of(table)} WITH NO DATA"
            )
            count = _send(source, cursor, table, "part", columns)
            cursor.execute(
                f"DELETE FROM {name_of(table)} WHERE {quoted(span.column)} >= %s AND {quoted(span.column)} < %s",
                (span.start, span.end),
            )
            key = quoted(span.key)
            cursor.execute(f"DELETE FROM {name_of(table)} AS t USING part WHERE t.{key} = part.{key}")
            cursor.execute(f"INSERT INTO {name_of(table)} ({names}) SELECT {names} FROM part")
            cursor.execute("DROP TABLE part")
        _tell_of_nul(source, table, columns, tell)
        return count

    def _fit(self, cursor: psycopg.Cursor[Any], table: str, columns: dict[str, str], tell: Tell) -> None:
        """Make a table have these columns; what it holds in others doesn't matter."""
        wanted = {name: _TYPES.get(kind, "text") for name, kind in columns.items()}
        definitions = ", ".join(f"{quoted(name)} {kind}" for name, kind in wanted.items())
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {name_of(table)} ({definitions})")
        present = dict(cursor.execute(_COLUMNS_OF, (name_of(table),)).fetchall())
        for name, kind in present.items():
            if wanted.get(name) != kind:
                self._drop_column(cursor, table, name, kind, wanted.get(name), tell)
        # Not IF NOT EXISTS: readers would have to wait even if it does.
        for name, kind in wanted.items():
            if present.get(name) != kind:
                cursor.execute(f"ALTER TABLE {name_of(table)} ADD COLUMN {quoted(name)} {kind}")

    def _drop_column(
        self, cursor: psycopg.Cursor[Any], table: str, name: str, former: str, kind: str | None, tell: Tell
    ) -> None:
        drop = f"ALTER TABLE {name_of(table)} DROP COLUMN {quoted(name)}"
        try:
            with cursor.connection.transaction():
                cursor.execute(drop)
        except errors.DependentObjectsStillExist as error:
            users = "; ".join((error.diag.message_detail or "").splitlines())
            if kind is None:
                tell(f"{table}.{name} is gone, but stays as an empty column, because it is used: {users}")
            elif self._drop_views:
                tell(f"{table}.{name} was {former} and is {kind} now. Dropped: {users}")
                cursor.execute(f"{drop} CASCADE")
            else:
                raise WarehouseError(
                    f"The type of {table}.{name} was {former} and is {kind} now, which PostgreSQL doesn't allow as "
                    f"long as it is used: {users}. Drop that and sync again, or set DROP_VIEWS=1, which drops it for "
                    "you. Then create it again; dbt does so by itself."
                ) from error


@contextmanager
def _transaction(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Connect for one transaction, of which an error of PostgreSQL or DuckDB makes a `WarehouseError`."""
    try:
        connection = psycopg.connect(url, connect_timeout=30, application_name="source-commonroom")
    except psycopg.Error as error:
        raise WarehouseError(
            f"PostgreSQL can't be reached: {_first_line(error)}. Check the address, and PGPASSWORD."
        ) from error
    try:
        with connection:
            yield connection
    except psycopg.Error as error:
        raise WarehouseError(f"PostgreSQL refused, and holds what it held before: {_first_line(error)}.") from error
    except duckdb.Error as error:
        raise WarehouseError(f"PostgreSQL holds what it held before. {_first_line(error)}.") from error


def _ensure_schema(connection: psycopg.Connection[Any]) -> None:
    # Not IF NOT EXISTS: that takes the right to create one even if it is there.
    if connection.execute("SELECT to_regnamespace(%s)", (SCHEMA,)).fetchone() == (None,):
        connection.execute(f"CREATE SCHEMA {SCHEMA}")


def _send(
    source: duckdb.DuckDBPyConnection, cursor: psycopg.Cursor[Any], table: str, target: str, columns: dict[str, str]
) -> int:
    """Copy the rows of a table of the file into a table of PostgreSQL that has its columns; return how many."""
    # As text, which is exact in both, and needs no objects of Python for it.
    texts = [_WITHOUT_NUL.get(kind, "{0}").format(f"CAST({quoted(name)} AS VARCHAR)") for name, kind in columns.items()]
    rows = source.execute(f"SELECT {', '.join(texts)} FROM {name_of(table)}")
    with cursor.copy(f"COPY {target} ({', '.join(map(quoted, columns))}) FROM STDIN") as copy:
        while some := rows.fetchmany(_BATCH):
            for row in some:
                copy.write_row(row)
    return int(cursor.rowcount)


def _tell_of_nul(source: duckdb.DuckDBPyConnection, table: str, columns: dict[str, str], tell: Tell) -> None:
    tests = {
        name: _HAS_NUL[kind].format(f"CAST({quoted(name)} AS VARCHAR)")
        for name, kind in columns.items()
        if kind in _HAS_NUL
    }
    counts = ", ".join(f"count(*) FILTER ({test})" for test in tests.values())
    found = source.execute(f"SELECT {counts} FROM {name_of(table)}").fetchone() or ()
    if told := ", ".join(f"{name} ({count:,})" for name, count in zip(tests, found, strict=True) if count):
        tell(f"{table}: NUL, which PostgreSQL doesn't have, became U+FFFD in values of {told}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
