"""Copies of a DuckDB file into another one and into PostgreSQL: a part of a table, and several copies at once."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from integration_tests.fork_server import Interpreter
from integration_tests.pipeline.databases import Database, held_in
from integration_tests.pyairbyte import PYAIRBYTE, ROOT

pytestmark = pytest.mark.pipeline

# Each runs with PyAirbyte's interpreter: `make` writes a file, `warehouse` copies it to wherever the test says.
BEGIN = """
import json, subprocess, sys, threading
from pathlib import Path
import duckdb
from scripts.warehouses.duckdb_file import DuckDBFile
from scripts.warehouses.postgres import Postgres
from scripts.warehouses.tables import Span
folder, address = Path(sys.argv[1]), sys.argv[2]
warehouse = Postgres(address) if "://" in address else DuckDBFile(Path(address))
def make(name, rows, columns=""):
    with duckdb.connect(str(folder / name)) as file:
        file.execute("CREATE SCHEMA commonroom")
        file.execute(f"CREATE TABLE commonroom.activities (id VARCHAR, activitytime TIMESTAMP, name VARCHAR{columns})")
        file.executemany(f"INSERT INTO commonroom.activities VALUES ({', '.join('?' * len(rows[0]))})", rows)
    return folder / name
"""


def run(body: str, folder: Path, address: str) -> str:
    """Run statements after `BEGIN`, and return what they print."""
    words: list[str | Path] = [PYAIRBYTE, "-c", BEGIN + body, folder, address]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return str(ended.stdout)


@pytest.fixture(params=["duckdb", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "duckdb":
        return str(tmp_path / "warehouse.duckdb")
    database: Database = request.getfixturevalue("database")
    return database.address


MONTH = """
whole = make("whole", [
    ("a", "2026-01-31 23:59:59.999", "January"), ("b", "2026-02-01", "deleted"), ("c", "2026-02-28", "changed"),
    ("d", "2026-01-05", "moved"), ("e", "2026-03-01", "March"),
])
month = make("month", [
    ("c", "2026-02-28", "new", 1), ("d", "2026-02-05", "new", 2), ("f", "2026-02-01", "new", None),
], ", added BIGINT")
first = warehouse.copy(whole, ["activities"])
february = Span("activitytime", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")
second = warehouse.copy(month, ["activities"], span=february)
print(json.dumps([first, second]))
"""


def test_given_a_month_when_copied_then_it_replaces_that_month_and_the_same_records_elsewhere(
    address: str, tmp_path: Path, pyairbyte: Interpreter
) -> None:
    printed = run(MONTH, tmp_path, address)

    assert json.loads(printed) == [{"activities": 5}, {"activities": 3}]
    rows = held_in(address, pyairbyte)["activities"]["rows"]
    assert sorted((row["id"], row["name"], row["added"]) for row in rows) == [
        ("a", "January", None),
        ("c", "new", "1"),
        ("d", "new", "2"),
        ("e", "March", None),
        ("f", "new", None),
    ]


AT_ONCE = """
file = make("file", [(str(number), "2026-01-01", "x") for number in range(2000)])
failed = []
def copy():
    try:
        for _ in range(2):
            assert warehouse.copy(file, ["activities"], span=span) == {"activities": 2000}
    except BaseException as error:
        failed.append(error)
for span in (None, Span("activitytime", "2026-01-01", "2026-02-01")):
    warehouse.copy(file, ["activities"])
    threads = [threading.Thread(target=copy) for _ in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(failed)
"""


def test_given_several_copies_at_once_into_postgresql_then_each_row_is_there_once(
    database: Database, tmp_path: Path
) -> None:
    printed = run(AT_ONCE, tmp_path, database.address)

    assert printed == "[]\n"
    assert database.execute("SELECT count(*), count(DISTINCT id) FROM commonroom.activities") == "2000|2000\n"


BUSY = """
file = make("file", [("a", "2026-01-01", "x")])
waiting = folder / "waiting"
hold = '''
import sys, time, duckdb
from pathlib import Path
with duckdb.connect(sys.argv[1]):
    print("held", flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.05)
'''
told = []
def tell(line):
    told.append(line)
    waiting.touch()
with subprocess.Popen([sys.executable, "-c", hold, address, waiting], stdout=subprocess.PIPE, text=True) as holder:
    holder.stdout.readline()
    counts = warehouse.copy(file, ["activities"], tell=tell)
print(json.dumps([told, counts]))
"""


def test_given_a_file_that_another_process_has_open_when_copied_into_then_it_waits_and_says_so(tmp_path: Path) -> None:
    path = str(tmp_path / "warehouse.duckdb")

    told, counts = json.loads(run(BUSY, tmp_path, path))

    assert told == [f"Waiting for {path}, which another process has open"]
    assert counts == {"activities": 1}


FAILING = """
file = make("file", [("a", "2026-01-01", "x")])
warehouse.copy(file, ["activities"])
with duckdb.connect(str(file)) as other:
    other.execute("DELETE FROM commonroom.activities")
try:
    warehouse.copy(file, ["activities", "missing"])
except Exception as error:
    print(type(error).__name__, "what it held before" in str(error))
"""


def test_given_a_table_that_fails_when_copied_then_no_table_is_changed(
    address: str, tmp_path: Path, pyairbyte: Interpreter
) -> None:
    printed = run(FAILING, tmp_path, address)

    assert printed == "WarehouseError True\n"
    held: dict[str, Any] = held_in(address, pyairbyte)
    assert len(held["activities"]["rows"]) == 1
