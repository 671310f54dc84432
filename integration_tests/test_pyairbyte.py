"""The README's first command: the real PyAirbyte, into a real DuckDB file."""

import json
import subprocess
import sys
from pathlib import Path

from integration_tests.conftest import Serve
from integration_tests.sandbox import Api, Workspace
from unit_tests.streams import STREAMS, complete

ROOT = Path(__file__).resolve().parent.parent
PYAIRBYTE = ROOT / ".venv-pyairbyte" / "bin" / "python"
COUNT = """
import duckdb, json, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
types = {f"{table}.{column}": kind for table, column, kind in connection.sql(
    "select table_name, column_name, data_type from information_schema.columns where table_schema = 'commonroom'"
).fetchall()}
counts = {name: connection.sql(f"select count(*), count(distinct ({', '.join(key)})) from commonroom.{name}").fetchone()
          for name, key in json.loads(sys.argv[2])}
print(json.dumps({"counts": counts, "types": types}))
"""


def sync(output: Path, *options: str | Path) -> str:
    connector = Path(sys.executable).with_name("source-commonroom")
    command: list[str | Path] = [PYAIRBYTE, "scripts/sync.py", "--output", output, *options]
    command += ["--connector", connector, "--sandbox-python", sys.executable]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_when_synced_twice_then_the_file_holds_every_record_of_the_sandbox_once(
    tmp_path: Path, generated: Workspace
) -> None:
    sync(tmp_path, "--sandbox")
    shown = sync(tmp_path, "--sandbox")

    keys = json.dumps([(stream.name, stream.primary_key) for stream in STREAMS])
    found = json.loads(
        subprocess.run(
            [PYAIRBYTE, "-c", COUNT, tmp_path / "sandbox.duckdb", keys], capture_output=True, text=True, check=True
        ).stdout
    )
    for stream in STREAMS:
        rows = len(complete(stream, generated))
        assert found["counts"][stream.name] == [rows, rows]
        assert any(line.split()[:2] == [stream.name, f"{rows:,}"] for line in shown.splitlines()), stream.name
    assert found["types"]["activities.activitytime"].startswith("TIMESTAMP")
    assert found["types"]["activities.isuserinitiated"] == "BOOLEAN"
    assert found["types"]["organizations.employees"] == "BIGINT"
    # Custom fields are typed columns, and no text. PyAirbyte makes a decimal of every number.
    assert found["types"]["contacts.custom_id"] == "BIGINT"
    assert found["types"]["contacts.custom_arr_usd"] == "DECIMAL(38,9)"
    assert found["types"]["contacts.custom_champion"] == "BOOLEAN"
    assert found["types"]["contacts.custom_signed_on"].startswith("TIMESTAMP")
    assert found["types"]["object_deal_31.objecttypeid"] == "VARCHAR"


def test_given_a_stream_that_the_token_may_not_read_when_synced_then_the_others_are_loaded(
    tmp_path: Path, serve: Serve, generated: Workspace
) -> None:
    sandbox = serve(Api(generated, forbidden={"/v2/prospector-contacts"}))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"api_token": sandbox.token, "api_url": sandbox.api_url}))

    shown = sync(tmp_path, "--config", config)

    assert "without what this token may not read: prospector_contacts" in shown
    assert any(line.split()[:2] == ["contacts", "640"] for line in shown.splitlines())
