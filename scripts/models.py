"""Build dbt's models in the warehouse that `make sync` loaded, and test them: `python -m scripts.models`.

The warehouse is the DuckDB file, or what the environment variable ``TO`` names. It runs with the interpreter that has
dbt, and shows a line for each model as it is built, and for each test that fails.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.warehouses.addresses import ByWayOfDuckDB, Cloud, open_warehouse
from scripts.warehouses.postgres import Postgres
from scripts.warehouses.tables import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "output"
PROJECT = ROOT / "dbt"
SECRETS = ROOT / "secrets" / "config.json"
MARTS = os.environ.get("DBT_SCHEMA") or "analytics"
"""The schema of the marts, as the profile has it."""
BUILT = "All models were built, and their tests passed."


def main() -> None:
    """Build once."""
    parser = argparse.ArgumentParser(prog="python -m scripts.models", description=__doc__)
    parser.add_argument("command", nargs="?", default="build", choices=["build", "docs"], help="(default: build)")
    parser.add_argument(
        "--to", default=os.environ.get("TO") or "duckdb", help="the warehouse (default: $TO, or duckdb)"
    )
    parser.add_argument("--database", type=Path, default=synced(), help="the DuckDB file (default: %(default)s)")
    parser.add_argument("--unless-fresh", action="store_true", help="build only if a sync came after the last build")
    parser.add_argument("--vars", default="{}", help="dbt's variables, as YAML")
    arguments = parser.parse_args()
    try:
        target, environment = where(arguments.to, arguments.database)
        if target == "postgres":
            # Here, because dbt says it less well.
            Postgres(arguments.to).reach()
        fresh = target == "duckdb" and is_fresh(arguments.database)
    except WarehouseError as error:
        sys.exit(f"ERROR: {error}")
    if arguments.unless_fresh and fresh:
        print(f"==> The models in {arguments.database.name} are as new as the last sync")
        return
    # dbt reads its settings as it is imported.
    os.environ.update(environment)
    options = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target", target]
    options += ["--target-path", str(OUTPUT / "dbt"), "--log-path", str(OUTPUT / "dbt"), "--vars", arguments.vars]
    if arguments.command == "docs":
        write_docs(options)
    else:
        build(options, arguments.database.name if target == "duckdb" else target)
        if target == "duckdb":
            mark_as_built(arguments.database)


def synced() -> Path:
    """Tell the file that `make sync` loads."""
    return OUTPUT / ("workspace.duckdb" if SECRETS.exists() else "sandbox.duckdb")


def where(address: str, database: Path) -> tuple[str, Mapping[str, str]]:
    """Tell dbt's target for a warehouse, and what its profile reads from the environment.

    :param address: ``duckdb``, ``postgresql://…``, ``snowflake``, ``bigquery`` or ``motherduck``
    :raises WarehouseError: if it is none of them, holds a password, or the environment lacks what it needs
    """
    quiet = {"DO_NOT_TRACK": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "False"}
    warehouse = open_warehouse(address, database)
    if isinstance(warehouse, Cloud):
        return warehouse.kind, quiet
    if isinstance(warehouse, ByWayOfDuckDB):
        return "postgres", quiet | warehouse.postgres.environment()
    return "duckdb", quiet | {"COMMONROOM_DUCKDB": str(database.absolute())}


@contextmanager
def opened(database: Path, *, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB file.

    :raises WarehouseError: if there is none, or another process writes to it
    """
    import duckdb  # noqa: PLC0415  # of dbt-duckdb

    if not database.exists():
        raise WarehouseError(f"There is no {database}. `make sync` makes it.")
    try:
        connection = duckdb.connect(str(database), read_only=read_only)
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        advice = (
            "Another process has it open, such as a sync; wait for its end."
            if "lock" in reason
            else "If it is none of DuckDB's, move it away; `make sync` makes another one."
        )
        raise WarehouseError(f"{database} can't be opened. {advice} DuckDB says: {reason}") from error
    with connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def is_fresh(database: Path) -> bool:
    """Tell whether the models were built, without a failure, after the last sync.

    :raises WarehouseError: if the file can't be opened
    """
    import duckdb  # noqa: PLC0415  # of dbt-duckdb

    with opened(database) as connection:
        try:
            ((loaded,),) = connection.execute(
                "SELECT max(last_updated)::TIMESTAMPTZ FROM commonroom._airbyte_state"
            ).fetchall()
            ((built,),) = connection.table(f"{MARTS}.sync_status").aggregate("max(built_at)::TIMESTAMPTZ").fetchall()
            ((comment,),) = connection.execute(
                "SELECT comment FROM duckdb_tables() WHERE table_name = 'sync_status' AND schema_name = ?", [MARTS]
            ).fetchall()
        except duckdb.CatalogException:
            return False
    return bool(loaded and built and loaded <= built and comment == BUILT)


def mark_as_built(database: Path) -> None:
    """Note in the file that all was built; the next build takes the note away, as it makes the table anew."""
    with opened(database, read_only=False) as connection:
        connection.execute(f"COMMENT ON TABLE {MARTS}.sync_status IS '{BUILT}'")


def build(options: list[str], name: str) -> None:
    """Run `dbt build`, and end this program with its exit code if anything fails."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415  # takes seconds

    print(f"==> Building dbt's models in {name}", flush=True)
    progress = Progress()
    result = dbtRunner(callbacks=[progress]).invoke(["--log-level", "none", "build", *options])
    if result.exception and not progress.outcomes:
        sys.exit(f"ERROR: dbt built nothing: {result.exception}")
    print(f"==> {progress}", flush=True)
    if not result.success:
        sys.exit(f"ERROR: {result.exception}" if result.exception else 1)


def write_docs(options: list[str]) -> None:
    """Write dbt's documentation as one page."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415  # takes seconds

    if not dbtRunner().invoke(["--quiet", "docs", "generate", "--static", *options]).success:
        sys.exit(1)
    page = OUTPUT / "models.html"
    (OUTPUT / "dbt" / "static_index.html").replace(page)
    print(f"==> Wrote {page}")


class Progress:
    """Shows what `dbt build` has done, by its events."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self._warned: set[str] = set()

    def __call__(self, event: Any) -> None:
        """Take an event; that of a finished node is shown, and each warning once."""
        if event.info.name == "JinjaLogWarning" and event.data.msg not in self._warned:
            self._warned.add(event.data.msg)
            print(f"    WARNING: {' '.join(event.data.msg.split())}", flush=True)
        if event.info.name != "NodeFinished":
            return
        node, result = event.data.node_info, event.data.run_result
        status = str(node.node_status)
        self.kinds[str(node.resource_type)] += 1
        self.outcomes[status] += 1
        if node.resource_type in {"model", "snapshot"} and status == "success":
            print(f"    {node.node_name} ({result.execution_time:.1f} s)", flush=True)
        elif status not in {"success", "pass", "skipped"}:
            lines = [line.strip() for line in str(result.message or "").strip().splitlines()]
            # The first line names the model, if there are more; what is the same for all models is told once.
            message = " ".join(lines)
            reason = " ".join(lines[1:2]) or message
            if status == "error" and reason in self._warned:
                message = "The same."
            self._warned.add(reason)
            print(f"    {status.upper()}: {node.node_name}. {message}", flush=True)

    def __str__(self) -> str:
        """Count what was built, and tell how it ended."""
        of = {"model": "models", "snapshot": "snapshots", "test": "tests", "unit_test": "unit tests"}
        built = ", ".join(f"{self.kinds[kind]} {name}" for kind, name in of.items() if self.kinds[kind])
        bad = {status: count for status, count in self.outcomes.items() if status not in {"success", "pass"}}
        return f"{built or 'nothing'}: " + (", ".join(f"{n} {status}" for status, n in bad.items()) or "all well")


if __name__ == "__main__":
    main()
