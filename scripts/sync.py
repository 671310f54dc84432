"""Load a Common Room workspace into a warehouse through PyAirbyte, and show what arrived.

The workspace is that of ``secrets/config.json``, or if there is none the sandbox's, which this script starts and
stops. The warehouse is a DuckDB file, unless the environment variable ``TO`` names another one; see `warehouses/`.
``make sync`` runs it with PyAirbyte's own interpreter; the connector has an environment of its own, as it would have
with any Airbyte.
"""

import argparse
import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.warehouses.addresses import Warehouse, open_warehouse
from scripts.warehouses.tables import SCHEMA, WarehouseError

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "output"
SECRETS = ROOT / "secrets" / "config.json"
INCREMENTAL = {"activities"}
# A stream that is there as long as its type of custom objects is.
OBJECTS = re.compile(r"object_.*_[0-9]+")

# Read when airbyte is imported. Offline: a local executable needs no registry; and all its files stay in output/.
os.environ.setdefault("AIRBYTE_OFFLINE_MODE", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("NO_LIVE_PROGRESS", "1")
for variable in ("AIRBYTE_PROJECT_DIR", "AIRBYTE_CACHE_ROOT", "AIRBYTE_LOGGING_ROOT", "AIRBYTE_TEMP_DIR"):
    os.environ.setdefault(variable, str(OUTPUT / "pyairbyte"))


def main() -> None:
    """Sync once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connector", type=Path, required=True, help="the source-commonroom executable")
    parser.add_argument("--sandbox-python", type=Path, required=True, help="an interpreter that can run the sandbox")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the DuckDB file goes (default: output/)")
    parser.add_argument(
        "--to", default=os.environ.get("TO") or "duckdb", help="the warehouse (default: $TO, or duckdb)"
    )
    parser.add_argument("--config", type=Path, default=SECRETS, help="the workspace (default: secrets/config.json)")
    parser.add_argument("--sandbox", action="store_true", help="sync the sandbox, whatever is in secrets/")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "pyairbyte").mkdir(parents=True, exist_ok=True)
    real = arguments.config.exists() and not arguments.sandbox
    try:
        warehouse = open_warehouse(arguments.to, arguments.output / ("workspace.duckdb" if real else "sandbox.duckdb"))
        warehouse.check()
    except WarehouseError as error:
        sys.exit(f"ERROR: {error}")
    with contextlib.ExitStack() as stack:
        if real:
            config = json.loads(arguments.config.read_text())
            print(f"==> Syncing the workspace of {arguments.config}")
        else:
            config = stack.enter_context(serve_sandbox(arguments.sandbox_python))
            print(
                f"==> Syncing the sandbox at {config['api_url']}; {SECRETS.relative_to(ROOT)} would be a real workspace"
            )
        with explained(warehouse):
            sync(arguments.connector.absolute(), config, warehouse)


@contextlib.contextmanager
def explained(warehouse: Warehouse) -> Iterator[None]:
    """If the sync fails, end this program with the reason, and with what the tables hold then."""
    import airbyte as ab  # noqa: PLC0415  # takes seconds, and reads the environment set above
    from airbyte.shared.sql_processor import SQLRuntimeError  # noqa: PLC0415
    from sqlalchemy import exc  # noqa: PLC0415  # PyAirbyte's

    held = f"A table that wasn't loaded holds what it held before, in {warehouse.name}."
    try:
        yield
    except ab.exceptions.AirbyteConnectorCheckFailedError as error:
        reason = (error.context or {}).get("failure_reason") or error.log_text or error.get_message()
        sys.exit(f"ERROR: The check of the configuration failed: {reason}")
    except ab.exceptions.AirbyteConnectorFailedError as error:
        log = f" The connector's log is {error.log_file}." if error.log_file else ""
        sys.exit(f"ERROR: The sync failed, for the reasons above. {held}{log}")
    except exc.DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        if "lock" in reason:
            sys.exit(f"ERROR: Another process has the file open, such as a sync; wait for its end. {reason}")
        sys.exit(f"ERROR: The warehouse refused what was read: {reason}. {held}")
    except SQLRuntimeError as error:
        # It quotes the whole statement, too.
        reason = next((line.strip() for line in str(error).splitlines() if "Error: " in line), "see PyAirbyte's log")
        sys.exit(f"ERROR: The warehouse refused what was read: {reason}. {held}")


@contextlib.contextmanager
def serve_sandbox(python: Path) -> Iterator[dict[str, Any]]:
    """Run the sandbox as a process; yield the configuration for it."""
    command = [str(python.absolute()), "-m", "integration_tests.sandbox", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        try:
            # The sandbox prints its configuration once it serves.
            config = next((line for line in process.stdout if line.startswith("Config: ")), None)
            if config is None:
                sys.exit("The sandbox didn't start; its output stands above.")
            yield json.loads(config.removeprefix("Config: "))
        finally:
            process.terminate()


class Progress(logging.Handler):
    """Prints what the connector says of its streams while it runs, and keeps each stream's duration.

    PyAirbyte hands the connector's log to the logger ``airbyte.<name>``, and shows progress of its own in a notebook
    or a live terminal only.
    """

    _READ = re.compile(r"Read (\d+) records from (\S+) stream in (\S+) seconds")
    _REFUSED = re.compile(r"(\S+): Common Room refused access to ")

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        self.records: Counter[str] = Counter()
        self.refused: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line for each stream that has been read, and for each warning or error; and note what they tell."""
        message = record.getMessage()
        if refused := self._REFUSED.match(message):
            self.refused.add(refused[1])
        if read := self._READ.match(message):
            stream = read[2]
            self.records[stream], self.seconds[stream] = int(read[1]), float(read[3])
            print(f"    {stream}: {self.records[stream]:,} records", flush=True)
        elif record.levelno >= logging.WARNING:
            print(f"    {record.levelname}: {message.splitlines()[0]}", flush=True)


def sync(connector: Path, config: dict[str, Any], warehouse: Warehouse) -> None:
    """Read all streams into a warehouse, and print what it holds then."""
    # Google's libraries, which PyAirbyte brings, warn of Python versions two years ahead.
    warnings.filterwarnings("ignore", category=FutureWarning)
    import airbyte as ab  # noqa: PLC0415  # takes seconds, and reads the environment set above

    source = ab.get_source("source-commonroom", config=config, local_executable=connector)
    progress = Progress()
    logging.getLogger(f"airbyte.{source.name}").addHandler(progress)
    source.check()
    streams = source.get_available_streams()
    cache = warehouse.cache()
    print("==> Reading; activities only since the last run, if there was one")
    try:
        result = _load(source, cache, streams, progress)
    except ab.exceptions.AirbyteConnectorFailedError:
        if not progress.refused:
            raise
        # A stream that the token may not read fails the whole read, as it should if no one watches. Here someone
        # does.
        print(f"==> Once more, without what this token may not read: {', '.join(sorted(progress.refused))}")
        result = _load(source, cache, [stream for stream in streams if stream not in progress.refused], progress)
    tables = sorted(cache.streams)
    gone = [table for table in tables if OBJECTS.fullmatch(table) and table not in streams]
    _empty(cache, gone)
    print(f"==> {sum(progress.records.values()):,} records read. Loaded:\n")
    _print_table(result, cache, progress)
    if gone:
        print(f"\n    Emptied, because their types of custom objects are gone: {', '.join(gone)}")
    # PyAirbyte's hold on a DuckDB file.
    cache.close()
    try:
        warehouse.finish(tables)
    except WarehouseError as error:
        sys.exit(f"ERROR: {error}")
    print(f"\nIn {warehouse.name} now. Query it, for example:")
    print(f"    {warehouse.example()}")


def _load(source: Any, cache: Any, streams: list[str], progress: Progress) -> dict[str, Any]:
    """Load streams: activities are merged, and all others, which are read in full, replace what was there.

    :return: the datasets, by stream
    """
    full = [stream for stream in streams if stream not in INCREMENTAL]
    loaded = source.read(cache=cache, streams=full, write_strategy="replace", force_full_refresh=True)
    # Only those of which the connector said so.
    _empty(cache, [stream for stream in full if progress.records.get(stream) == 0])
    datasets = {stream: loaded[stream] for stream in full}
    if incremental := [stream for stream in streams if stream in INCREMENTAL]:
        merged = source.read(cache=cache, streams=incremental, write_strategy="merge")
        datasets |= {stream: merged[stream] for stream in incremental}
    return datasets


def _empty(cache: Any, streams: list[str]) -> None:
    """Empty the tables of streams that have no record any more: PyAirbyte replaces nothing with nothing."""
    from sqlalchemy import delete, table  # noqa: PLC0415  # PyAirbyte's

    with cache.get_sql_engine().begin() as connection:
        for stream in streams:
            connection.execute(delete(table(stream, schema=SCHEMA)))


def _print_table(result: dict[str, Any], cache: Any, progress: Progress) -> None:
    from sqlalchemy import func, literal_column, select, table  # noqa: PLC0415  # PyAirbyte's

    rows = [("stream", "rows", "columns", "seconds")]
    with cache.get_sql_engine().connect() as connection:
        for stream in sorted(result):
            # Not the table of the dataset: to look at its columns takes SQLAlchemy a fifth of a second each.
            loaded = table(stream, schema=SCHEMA)
            count = connection.execute(select(func.count()).select_from(loaded)).scalar_one()
            names = connection.execute(select(literal_column("*")).select_from(loaded).limit(0)).keys()
            columns = [name for name in names if not name.startswith("_airbyte_")]
            rows.append((stream, f"{count:,}", str(len(columns)), f"{progress.seconds.get(stream, 0):.1f}"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(
            "    " + row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        )


if __name__ == "__main__":
    main()
