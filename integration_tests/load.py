"""Load every stream of a workspace into a destination, as a program of PyAirbyte's interpreter.

Prints the rows of all tables as JSON, without PyAirbyte's own columns. PostgreSQL is where ``PGHOST`` says.
"""

import argparse
import json
import os
import warnings
from pathlib import Path
from typing import Any

OFFLINE = {"AIRBYTE_OFFLINE_MODE": "1", "DO_NOT_TRACK": "1", "NO_LIVE_PROGRESS": "1"}
SCHEMA = "commonroom"
FOLDERS = ("AIRBYTE_PROJECT_DIR", "AIRBYTE_CACHE_ROOT", "AIRBYTE_LOGGING_ROOT", "AIRBYTE_TEMP_DIR")


def main() -> None:
    """Load once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("destination", choices=["duckdb", "postgres"])
    parser.add_argument("connector", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    os.environ.update(OFFLINE)
    os.environ.update(dict.fromkeys(FOLDERS, str(arguments.folder)))
    warnings.filterwarnings("ignore")
    import airbyte as ab  # noqa: PLC0415  # reads the environment set above
    from sqlalchemy import literal_column, select, table  # noqa: PLC0415  # PyAirbyte's

    config = json.loads(arguments.config.read_text())
    source = ab.get_source("source-commonroom", config=config, local_executable=arguments.connector)
    source.select_all_streams()
    cache = _postgres() if arguments.destination == "postgres" else _duckdb(arguments.folder)
    result = source.read(cache=cache, force_full_refresh=True)
    tables = {}
    with cache.get_sql_engine().connect() as connection:
        for stream in result:
            # Not the table of the dataset: to look at its columns takes SQLAlchemy a fifth of a second each.
            loaded = table(stream, schema=SCHEMA)
            rows = connection.execute(select(literal_column("*")).select_from(loaded)).mappings()
            tables[stream] = [
                {name: value for name, value in row.items() if not name.startswith("_airbyte_")} for row in rows
            ]
    print(json.dumps(tables, default=str))


def _duckdb(folder: Path) -> Any:
    from airbyte.caches import DuckDBCache  # noqa: PLC0415

    return DuckDBCache(db_path=folder / "loaded.duckdb", schema_name=SCHEMA)


def _postgres() -> Any:
    from airbyte.caches import PostgresCache  # noqa: PLC0415

    # It listens on a socket alone, which PyAirbyte's address has no place for, but the environment has.
    return PostgresCache(
        host="", port=5432, username="postgres", password="none", database="postgres", schema_name=SCHEMA
    )


if __name__ == "__main__":
    main()
