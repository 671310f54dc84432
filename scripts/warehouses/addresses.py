"""Where a sync goes: a DuckDB file, PostgreSQL, or another warehouse that PyAirbyte has a cache for.

Addresses are given; passwords and keys come from the environment, and stand in no list of processes.
"""

import os
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.warehouses.postgres import Postgres
from scripts.warehouses.tables import SCHEMA, WarehouseError


class Warehouse(ABC):
    """A place for the tables of a sync."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What a person calls it."""

    def check(self) -> None:  # noqa: B027  # most are opened at once, which is check enough
        """Try what can be tried before anything is read.

        :raises WarehouseError: if it can't be reached
        """

    @abstractmethod
    def cache(self) -> Any:
        """Open the cache of PyAirbyte, a `CacheBase`, that it loads into."""

    def finish(self, tables: Sequence[str]) -> None:  # noqa: B027  # most hold everything by then
        """Bring the tables to their place once PyAirbyte has loaded them, and has closed its cache.

        :raises WarehouseError: if that fails
        """

    @abstractmethod
    def example(self) -> str:
        """Return a command that queries it, or a query."""


@dataclass(frozen=True)
class DuckDB(Warehouse):
    """A file, `duckdb`."""

    database: Path

    @property
    def name(self) -> str:
        """What a person calls it."""
        return str(self.database)

    def cache(self) -> Any:
        """Open the file."""
        from airbyte.caches import DuckDBCache  # noqa: PLC0415  # takes seconds

        return DuckDBCache(db_path=str(self.database), schema_name=SCHEMA)

    def example(self) -> str:
        """Return a command for PyAirbyte's interpreter, which has DuckDB."""
        query = f"FROM {SCHEMA}.contacts LIMIT 5"
        return (
            f"{sys.executable} -c \"import duckdb; db = duckdb.connect('{self.database}'); db.sql('{query}').show()\""
        )


@dataclass(frozen=True)
class ByWayOfDuckDB(DuckDB):
    """PostgreSQL, `postgresql://user@host:port/database`: a copy of the file, which keeps the state of the syncs."""

    postgres: Postgres

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.postgres.url

    def check(self) -> None:
        """Connect to it."""
        self.postgres.check()

    def finish(self, tables: Sequence[str]) -> None:
        """Copy the tables."""
        counts = self.postgres.copy(self.database, tables, tell=lambda line: print(f"    {line}"))
        print(f"==> Copied {sum(counts.values()):,} rows of {len(counts)} tables into PostgreSQL")

    def example(self) -> str:
        """Return a command for PostgreSQL's own client."""
        return shlex.join(["psql", self.postgres.url, "-c", f"SELECT * FROM {SCHEMA}.contacts LIMIT 5"])


@dataclass(frozen=True)
class Option:
    """What a cache of PyAirbyte takes, and the variable of the environment that says it."""

    argument: str
    variable: str
    required: bool = True


# The variables are those of each vendor's own tools, as far as they have any.
CACHES: Mapping[str, tuple[str, Sequence[Option]]] = {
    "snowflake": (
        "SnowflakeCache",
        (
            Option("account", "SNOWFLAKE_ACCOUNT"),
            Option("username", "SNOWFLAKE_USER"),
            Option("warehouse", "SNOWFLAKE_WAREHOUSE"),
            Option("database", "SNOWFLAKE_DATABASE"),
            Option("role", "SNOWFLAKE_ROLE"),
            Option("password", "SNOWFLAKE_PASSWORD", required=False),
            Option("private_key_path", "SNOWFLAKE_PRIVATE_KEY_PATH", required=False),
            Option("private_key_passphrase", "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", required=False),
        ),
    ),
    "bigquery": (
        "BigQueryCache",
        (
            Option("project_name", "GOOGLE_CLOUD_PROJECT"),
            Option("credentials_path", "GOOGLE_APPLICATION_CREDENTIALS", required=False),
            Option("dataset_location", "BIGQUERY_LOCATION", required=False),
        ),
    ),
    "motherduck": (
        "MotherDuckCache",
        (Option("database", "MOTHERDUCK_DATABASE"), Option("api_key", "MOTHERDUCK_TOKEN")),
    ),
}


@dataclass(frozen=True)
class Cloud(Warehouse):
    """A warehouse in the cloud that PyAirbyte loads into by itself."""

    kind: str
    arguments: Mapping[str, str]

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.kind

    def cache(self) -> Any:
        """Connect to it."""
        from airbyte import caches  # noqa: PLC0415  # takes seconds

        schema = "dataset_name" if self.kind == "bigquery" else "schema_name"
        cache = getattr(caches, CACHES[self.kind][0])
        return cache(**self.arguments, **{schema: SCHEMA})

    def example(self) -> str:
        """Return a query."""
        return f"SELECT * FROM {SCHEMA}.contacts LIMIT 5"


def open_warehouse(address: str, database: Path, environment: Mapping[str, str] = os.environ) -> Warehouse:
    """Return the warehouse of an address.

    :param address: ``duckdb``, ``postgresql://…``, ``snowflake``, ``bigquery`` or ``motherduck``
    :param database: the DuckDB file, which PostgreSQL needs as well
    :raises WarehouseError: if there is none, or the environment lacks what it needs
    """
    if address == "duckdb":
        return DuckDB(database)
    if Postgres.takes(address):
        return ByWayOfDuckDB(database, Postgres(address, drop_views=environment.get("DROP_VIEWS") == "1"))
    if address not in CACHES:
        # Not the address itself: it may hold a password.
        raise WarehouseError(f"TO is one of duckdb, postgresql://user@host:port/database, {', '.join(CACHES)}.")
    options = CACHES[address][1]
    arguments = {option.argument: value for option in options if (value := environment.get(option.variable))}
    missing = [option.variable for option in options if option.required and option.argument not in arguments]
    if missing:
        raise WarehouseError(f"For TO={address}, set in the environment: {', '.join(missing)}.")
    return Cloud(address, arguments)
