"""Build dbt's models in the warehouse that `make sync` loaded, and test them: `python -m scripts.models`.

The warehouse is the DuckDB file, or what the environment variable ``TO`` names. It runs with the interpreter that has
dbt, and shows a line for each model as it is built, and for each test that fails.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "output"
PROJECT = ROOT / "dbt"
SECRETS = ROOT / "secrets" / "config.json"
CLOUDS = {"snowflake", "bigquery"}


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
    except ValueError as error:
        sys.exit(f"ERROR: {error}")
    if target == "duckdb" and not arguments.database.exists():
        sys.exit(f"ERROR: There is no {arguments.database}. `make sync` makes it.")
    if target == "duckdb" and arguments.unless_fresh and is_fresh(arguments.database):
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


def synced() -> Path:
    """Tell the file that `make sync` loads."""
    return OUTPUT / ("workspace.duckdb" if SECRETS.exists() else "sandbox.duckdb")


def where(address: str, database: Path) -> tuple[str, Mapping[str, str]]:
    """Tell dbt's target for a warehouse, and what its profile reads from the environment.

    :param address: ``duckdb``, ``postgresql://…``, ``snowflake`` or ``bigquery``; no password stands in it
    :raises ValueError: if it is none of them
    """
    quiet = {"DO_NOT_TRACK": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "False"}
    if address == "duckdb":
        return "duckdb", quiet | {"COMMONROOM_DUCKDB": str(database.absolute())}
    if urlsplit(address).scheme in {"postgresql", "postgres"}:
        from psycopg2.extensions import parse_dsn  # noqa: PLC0415  # of dbt-postgres

        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
        told = parse_dsn(address)
        if told.get("password"):
            raise ValueError(
                "The address holds a password. Leave it out, and set PGPASSWORD, or write it into ~/.pgpass."
            )
        return "postgres", quiet | {variable: told[name] for name, variable in names.items() if told.get(name)}
    if address in CLOUDS:
        return address, quiet
    # Not the address itself: it may hold a password.
    raise ValueError(
        f"The models are for TO=duckdb, postgresql://user@host:port/database, {', '.join(sorted(CLOUDS))}."
    )


def is_fresh(database: Path) -> bool:
    """Tell whether the models were built after the last sync."""
    import duckdb  # noqa: PLC0415  # of dbt-duckdb

    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            loaded, built = connection.execute(
                "SELECT (SELECT max(last_updated) FROM commonroom._airbyte_state)::TIMESTAMPTZ, "
                "(SELECT max(built_at) FROM analytics.sync_status)::TIMESTAMPTZ"
            ).fetchone() or (None, None)
        except duckdb.CatalogException:
            return False
    return bool(loaded and built and loaded <= built)


def build(options: list[str], name: str) -> None:
    """Run `dbt build`, and end this program with its exit code if anything fails."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415  # takes seconds

    print(f"==> Building dbt's models in {name}", flush=True)
    progress = Progress()
    result = dbtRunner(callbacks=[progress]).invoke(["--log-level", "none", "build", *options])
    print(f"==> {progress}", flush=True)
    if not result.success:
        if result.exception:
            print(result.exception)
        sys.exit(1)


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
            message = " ".join(str(result.message or "").split())
            print(f"    {status.upper()}: {node.node_name}. {message}", flush=True)

    def __str__(self) -> str:
        """Count what was built, and tell how it ended."""
        of = {"model": "models", "snapshot": "snapshots", "test": "tests", "unit_test": "unit tests"}
        built = ", ".join(f"{self.kinds[kind]} {name}" for kind, name in of.items() if self.kinds[kind])
        bad = {status: count for status, count in self.outcomes.items() if status not in {"success", "pass"}}
        return f"{built or 'nothing'}: " + (", ".join(f"{n} {status}" for status, n in bad.items()) or "all well")


if __name__ == "__main__":
    main()
