"""The README's first command: the real PyAirbyte, into a real DuckDB file.

The first sync starts its interpreter, and the console script `source-commonroom`. All others are forked, see
`pyairbyte.py`. What arrives in which warehouse is tested in `pipeline/`.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from integration_tests import load
from integration_tests.conftest import RunCommand, Serve
from integration_tests.fork_server import Interpreter
from integration_tests.pyairbyte import PYAIRBYTE, ROOT, run_program, sync_words
from integration_tests.sandbox import Api, Traits, Workspace
from integration_tests.sandbox.messages import iso
from unit_tests.streams import STREAMS, complete, nulled_of

Sync = Callable[..., str]
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


ROWS = """
import duckdb, json, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
tables = {}
for name in ("contacts", "tags", "activities"):
    found = connection.sql(f"select * from commonroom.{name}")
    tables[name] = [dict(zip(found.columns, row)) for row in found.fetchall()]
print(json.dumps(tables, default=str))
"""


QUERY = """
import duckdb, json, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
connection.sql("use workspace.commonroom")
print(json.dumps([row[0] for row in connection.sql(sys.argv[2]).fetchall()]))
"""


def sync(output: Path, *options: str | Path, connector: Path, interpreter: Interpreter | None = None) -> str:
    """Run what `make sync` runs; start its interpreter if none is given."""
    words = sync_words(output, *options, connector=connector)
    if interpreter:
        process = run_program(words, interpreter)
    else:
        process = subprocess.run([PYAIRBYTE, "-m", *words], cwd=ROOT, capture_output=True, check=False)
    assert process.returncode == 0, (process.stdout + process.stderr).decode()
    return process.stdout.decode()


@pytest.fixture
def sync_forked(tmp_path: Path, connector: Path, pyairbyte: Interpreter) -> Sync:
    return partial(sync, tmp_path, connector=connector, interpreter=pyairbyte)


def test_when_synced_twice_then_the_file_holds_every_record_of_the_sandbox_once(
    tmp_path: Path, sync_forked: Sync, generated: Workspace
) -> None:
    sync(tmp_path, "--sandbox", connector=Path(sys.executable).with_name("source-commonroom"))
    shown = sync_forked("--sandbox")

    keys = json.dumps([(stream.name, stream.primary_key) for stream in STREAMS])
    found = json.loads(
        subprocess.run(
            [PYAIRBYTE, "-c", COUNT, tmp_path / "sandbox.duckdb", keys], capture_output=True, text=True, check=True
        ).stdout
    )
    query = shlex.split(shown.splitlines()[-1])
    assert "c_" in subprocess.run(query, capture_output=True, encoding="utf-8", check=True).stdout
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
    tmp_path: Path, sync_forked: Sync, serve: Serve, generated: Workspace
) -> None:
    sandbox = serve(Api(generated, forbidden={"/v2/prospector-contacts"}))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"api_token": sandbox.token, "api_url": sandbox.api_url}))

    shown = sync_forked("--config", config)

    assert "without what this token may not read: prospector_contacts" in shown
    assert any(line.split()[:2] == ["contacts", "640"] for line in shown.splitlines())


def test_given_deletions_a_renamed_label_and_a_changed_type_when_synced_again_then_the_tables_are_the_workspaces(
    tmp_path: Path, sync_forked: Sync, serve: Serve
) -> None:
    def field(name: str, kind: str) -> dict[str, Any]:
        return {"id": "cf_1", "name": name, "type": kind, "valueType": kind, "entityTypes": ["contact"]}

    def contact(number: int, value: Any) -> dict[str, Any]:
        values = {"cf_1": {"type": "string", "value": value}}
        return {"id": f"c_{number}", "fullName": f"Contact {number}", "customFields": values}

    workspace = Workspace.of(
        contacts=[contact(number, number) for number in (1, 2, 3)],
        tags=[{"id": "l_1", "name": "VIP", "entityTypes": []}, {"id": "l_2", "name": "Lead", "entityTypes": []}],
        activities=[{"id": "a_1", "activityTime": "2026-01-01T00:00:00.000Z"}],
        custom_fields=[field("Deal size", "int")],
    )
    sandbox = serve(Api(workspace))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"api_token": sandbox.token, "api_url": sandbox.api_url}))
    sync_forked("--config", config)
    first = tables(tmp_path)
    for collection, row in (("contacts", "c_2"), ("tags", "l_1"), ("tags", "l_2"), ("custom_fields", "cf_1")):
        workspace.delete(collection, row)
    workspace.insert("custom_fields", field("Size of deal", "string"))
    for number in (1, 3):
        workspace.delete("contacts", f"c_{number}")
        workspace.insert("contacts", contact(number, f"about {number}"))
    workspace.insert("activities", {"id": "a_2", "activityTime": iso(datetime.now(UTC) - timedelta(hours=1))})

    shown = sync_forked("--config", config)

    second = tables(tmp_path)
    assert {row["id"]: row["custom_deal_size"] for row in first["contacts"]} == {"c_1": 1, "c_2": 2, "c_3": 3}
    assert {row["id"]: row["custom_size_of_deal"] for row in second["contacts"]} == {"c_1": "about 1", "c_3": "about 3"}
    assert "custom_deal_size" not in second["contacts"][0]
    assert [len(found["tags"]) for found in (first, second)] == [2, 0]
    assert any(line.split()[:2] == ["tags", "0"] for line in shown.splitlines())
    assert sorted(row["id"] for row in second["activities"]) == ["a_1", "a_2"]


def test_given_deleted_activities_when_synced_again_then_the_query_of_the_reference_finds_them_and_no_others(
    tmp_path: Path, sync_forked: Sync, serve: Serve
) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(days=5 + number) for number in range(200)]
    rows = [{"id": f"a_{number}", "activityTime": iso(time)} for number, time in enumerate(times)]
    workspace = Workspace.of(activities=rows)
    sandbox = serve(Api(workspace))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"api_token": sandbox.token, "api_url": sandbox.api_url}))
    sync_forked("--config", config)
    for number in (20, 70, 71):
        workspace.delete("activities", f"a_{number}")
    begun = datetime.now(UTC)
    sync_forked("--config", config)

    page = (ROOT / "docs/integrations/sources/commonroom/commonroom-reference.md").read_text()
    (query,) = (text for text in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "_airbyte_extracted_at" in text)
    # The whole history is one span here.
    filled = iter([iso(times[-1] - timedelta(days=1)), iso(now - timedelta(days=4)), iso(begun)])
    query = re.sub(r"'[0-9TZ:-]+'", lambda _: f"'{next(filled)}'", query)
    process = subprocess.run(
        [PYAIRBYTE, "-c", QUERY, tmp_path / "workspace.duckdb", query], capture_output=True, check=True
    )
    assert sorted(json.loads(process.stdout)) == ["a_20", "a_70", "a_71"]


@pytest.mark.parametrize("destination", ["duckdb", "postgres"])
def test_given_misfits_in_each_stream_when_loaded_then_they_are_null_and_all_else_is_there(
    destination: str, tmp_path: Path, serve: Serve, postgres: str, connector: Path, pyairbyte: Interpreter
) -> None:
    workspace = loadable(Workspace.generate(contacts=120, organizations=60, activities=240))
    misfit = spoil_a_custom_field_of_each_type(workspace)
    sandbox = serve(Api(workspace, traits=Traits(misfits=True)))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"api_token": sandbox.token, "api_url": sandbox.api_url}))

    words = [load.__file__, destination, str(connector), str(config), str(tmp_path)]
    process = run_program(words, pyairbyte, {"PGHOST": postgres})

    assert process.returncode == 0, process.stderr.decode()
    loaded: dict[str, list[dict[str, Any]]] = json.loads(process.stdout.splitlines()[-1])
    for stream in STREAMS:
        wanted = complete(stream, workspace)
        key = [name.lower() for name in stream.primary_key]
        rows = sorted(loaded[stream.name], key=lambda row: [str(row[name]) for name in key])
        assert len(rows) == len(wanted), stream.name
        for row, record in zip(rows, wanted, strict=True):
            nulled = nulled_of(stream, record)
            there = {name for name, value in record.items() if value is not None and name not in nulled}
            assert {name for name in record if row[name.lower()] is not None} == there, (stream.name, row)
    (row,) = (row for row in loaded["contacts"] if row["id"] == misfit["id"])
    columns = [name for name in row if name.startswith("custom_") and row[name] is None]
    assert len(columns) >= len(misfit["customFields"])


def loadable(workspace: Workspace) -> Workspace:
    """Take out what PyAirbyte can't load into PostgreSQL; the reference says so."""
    for stream in STREAMS:
        for record in workspace.records(stream.collection):
            text = json.dumps(record)
            fine = re.sub(r"(?<=: )-?[0-9]{17,}(?=[,}])", "7", text.replace("\\u0000", ""))
            if fine != text:
                workspace.replace(stream.collection, json.loads(fine))
    return workspace


def spoil_a_custom_field_of_each_type(workspace: Workspace) -> dict[str, Any]:
    """Give a contact values that fit none of its custom fields' types, and return it."""
    kinds = {
        row["valueType"]: row["id"] for row in workspace.records("custom_fields") if row["entityTypes"] == ["contact"]
    }
    spoilt = {kinds[kind]: {"type": kind, "value": {"no": kind}} for kind in ("int", "number", "date", "boolean")}
    contact = {**workspace.records("contacts")[0], "customFields": spoilt}
    workspace.replace("contacts", contact)
    return contact


def test_given_misfits_in_each_stream_when_read_then_each_record_names_them(
    command: RunCommand, serve: Serve, generated: Workspace
) -> None:
    output = command("read", serve(Api(generated, traits=Traits(misfits=True))))

    assert output.exit_code == 0
    for stream in STREAMS:
        records = [
            message.record for message in output.messages if message.record and message.record.stream == stream.name
        ]
        named = {
            tuple(str(record.data[name]) for name in stream.primary_key): {
                change.field for change in record.meta.changes or []
            }
            for record in records
            if record.meta
        }
        wanted = {
            tuple(str(record[name]) for name in stream.primary_key): nulled
            for record in complete(stream, generated)
            if (nulled := {name for name in nulled_of(stream, record) if record[name] is not None})
        }
        assert named == wanted, stream.name


def tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what some tables of a synced workspace hold."""
    process = subprocess.run([PYAIRBYTE, "-c", ROWS, folder / "workspace.duckdb"], capture_output=True, check=True)
    found: dict[str, list[dict[str, Any]]] = json.loads(process.stdout)
    return found
