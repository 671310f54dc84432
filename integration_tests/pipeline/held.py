"""Print what a warehouse holds, as a program of PyAirbyte's interpreter: types, and rows as text.

Its argument is a DuckDB file or an address of PostgreSQL. PyAirbyte's own tables and columns are left out.
"""

import json
import sys
from typing import Any

import duckdb
import psycopg

SCHEMA = "commonroom"
POSTGRES = """
    SELECT relname, attname, format_type(atttypid, atttypmod) FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid AND relkind = 'r'
    WHERE relnamespace = to_regnamespace(%s) AND attnum > 0 AND NOT attisdropped
"""
DUCKDB = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = ?"


def main() -> None:
    """Print it as JSON."""
    address = sys.argv[1]
    with psycopg.connect(address) if "://" in address else duckdb.connect(address, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        columns = connection.execute(POSTGRES if "://" in address else DUCKDB, (SCHEMA,)).fetchall()
        held: dict[str, Any] = {}
        for table, name, kind in columns:
            if not table.startswith("_airbyte_") and not name.startswith("_airbyte_"):
                held.setdefault(table, {"types": {}})["types"][name] = kind
        for table, found in held.items():
            texts = ", ".join(f'CAST("{name}" AS text)' for name in found["types"])
            rows = connection.execute(f'SELECT {texts} FROM {SCHEMA}."{table}"').fetchall()
            found["rows"] = [dict(zip(found["types"], row, strict=True)) for row in rows]
        print(json.dumps(held))


if __name__ == "__main__":
    main()
