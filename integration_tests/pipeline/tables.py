"""What the tests ask of warehouses, as a program of the interpreter that has dbt; it has their clients too.

`dump WAREHOUSE SCHEMA…` prints all rows of all tables of schemas as JSON. `copy FILE NAMES GENERATION` appends the
connector's tables of a DuckDB file to those in PostgreSQL, as one of Airbyte's destinations has them: columns are named
as the API names them, times have a zone, and each sync of a stream has a number. WAREHOUSE is a DuckDB file, or
`postgres`, which is where the environment says.
"""

import json
import sys
from typing import Any

import duckdb
import psycopg2
from psycopg2.extras import execute_values

SCHEMA = "commonroom"
TYPES = {
    "VARCHAR": "text",
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "TIMESTAMP": "timestamptz",
    "JSON": "jsonb",
    "DECIMAL(38,9)": "numeric(38,9)",
}


def dump(warehouse: str, schemas: list[str]) -> None:
    """Print what a warehouse holds."""
    listing = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema LIKE '{}%'"
    held: dict[str, list[dict[str, Any]]] = {}
    connection: Any = psycopg2.connect("") if warehouse == "postgres" else duckdb.connect(warehouse, read_only=True)
    cursor = connection.cursor()
    for prefix in schemas:
        cursor.execute(listing.format(prefix))
        for schema, table in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{schema}"."{table}"')
            names = [column[0] for column in cursor.description]
            held[table] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    connection.close()
    json.dump(held, sys.stdout, default=str)


def copy(file: str, names: str, generation: str) -> None:
    """Append the tables of a file."""
    spelling: dict[str, str] = {name.lower(): name for name in json.loads(names)}
    with duckdb.connect(file, read_only=True) as source, psycopg2.connect("") as target, target.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}; SET TimeZone = 'UTC'")
        for (table,) in source.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'commonroom' "
            "AND NOT starts_with(table_name, '_')"
        ).fetchall():
            columns = {row[0]: row[1] for row in source.execute(f'DESCRIBE {SCHEMA}."{table}"').fetchall()}
            kinds = {spelling.get(name, name): TYPES[kind] for name, kind in columns.items()}
            kinds["_airbyte_generation_id"] = "bigint"
            cursor.execute(
                f'CREATE TABLE IF NOT EXISTS {SCHEMA}."{table}" ('
                + ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
                + ")"
            )
            texts = ", ".join(f'CAST("{name}" AS VARCHAR)' for name in columns)
            rows = [
                (*(without_nul(value) for value in row), generation)
                for row in source.execute(f'SELECT {texts} FROM {SCHEMA}."{table}"').fetchall()
            ]
            columns_told = ", ".join(f'"{name}"' for name in kinds)
            casts = ", ".join(f"%s::{kind}" for kind in kinds.values())
            execute_values(
                cursor,
                f'INSERT INTO {SCHEMA}."{table}" ({columns_told}) VALUES %s',
                rows,
                template=f"({casts})",
                page_size=1_000,
            )


def without_nul(text: str | None) -> str | None:
    """Replace what PostgreSQL can't hold."""
    return text.replace("\x00", "\ufffd").replace("\\u0000", "\\ufffd") if text else text


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "dump":
        dump(arguments[0], arguments[1:])
    else:
        copy(*arguments)
