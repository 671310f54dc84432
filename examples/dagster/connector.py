"""The connector, read by PyAirbyte, and the warehouse that its tables go to."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg

from scripts.warehouses.duckdb_file import DuckDBFile
from scripts.warehouses.postgres import Postgres
from scripts.warehouses.tables import SCHEMA, Span

# Read when airbyte is imported: a local executable needs no registry.
os.environ.setdefault("AIRBYTE_OFFLINE_MODE", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("NO_LIVE_PROGRESS", "1")


class Warehouse(dg.ConfigurableResource):
    """Where the tables are: `postgresql://user@host:port/database`, or the path of a DuckDB file."""

    address: str

    def open(self) -> Postgres | DuckDBFile:
        """Return it; both have a method `copy`."""
        return Postgres(self.address) if "://" in self.address else DuckDBFile(Path(self.address))


class Connector(dg.ConfigurableResource):
    """Reads streams of a workspace."""

    executable: str
    """`source-commonroom`, in whatever environment it is."""
    config: str
    """The file with its configuration."""
    side_by_side: int
    """How many reads share the token; the limit of the pool is the same."""

    def load(
        self,
        warehouse: Warehouse,
        streams: Sequence[str],
        tell: Callable[[str], None],
        span: Span | None = None,
        **options: Any,
    ) -> dict[str, int]:
        """Read streams in full, and replace their tables, or the span of them.

        Nothing is kept between two calls, so that one that ends early is called again, wherever there is room. The
        tables change all at once, and only if all streams were complete.

        :param span: what of the tables is replaced
        :param options: more of the configuration, such as `start_date`
        :return: how many rows each stream has
        """
        import airbyte as ab  # noqa: PLC0415  # takes seconds, which only the steps need
        from airbyte.caches import DuckDBCache  # noqa: PLC0415

        config = json.loads(Path(self.config).read_text())
        rate = config.get("requests_per_second", 20) / self.side_by_side
        config |= {"requests_per_second": max(rate, 1), **options}
        with TemporaryDirectory(prefix="commonroom-") as folder:
            source = ab.get_source("source-commonroom", config=config, local_executable=self.executable)
            database = Path(folder) / "loaded.duckdb"
            with DuckDBCache(db_path=database, schema_name=SCHEMA, cache_dir=Path(folder)) as cache:
                source.read(cache, streams=list(streams), write_strategy="replace", force_full_refresh=True)
            return warehouse.open().copy(database, streams, span=span, tell=tell)
