"""`make sync` into DuckDB and PostgreSQL: every stream, twice, with changes between, and what may go wrong there."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from integration_tests import connector as process
from integration_tests import load
from integration_tests.conftest import Serve
from integration_tests.fork_server import Forked, Interpreter
from integration_tests.pipeline.databases import Database, Held, held_in
from integration_tests.pyairbyte import (
    PROGRAM,
    PYAIRBYTE,
    listening_postgres,
    psql,
    psql_words,
    run_program,
    sync_words,
)
from integration_tests.sandbox import Api, Sandbox, Workspace
from integration_tests.sandbox.messages import iso
from unit_tests.streams import STREAMS, complete

pytestmark = pytest.mark.pipeline

TYPES = {
    "string": ("VARCHAR", "text"),
    "integer": ("BIGINT", "bigint"),
    "number": ("DECIMAL(38,9)", "numeric(38,9)"),
    "boolean": ("BOOLEAN", "boolean"),
    # PyAirbyte leaves out the zone; the times are UTC.
    "timestamp_with_timezone": ("TIMESTAMP", "timestamp with time zone"),
    "object": ("JSON", "jsonb"),
    "array": ("JSON", "jsonb"),
}
DUCKDB, POSTGRES = range(2)
PASSWORD = "p@ss/w:rd %41"


@dataclass
class Syncing:
    """A warehouse, and syncs of one sandbox into it."""

    folder: Path
    connector: Path
    interpreter: Interpreter
    postgres: Database | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def point_to(self, sandbox: Sandbox) -> None:
        """Write the configuration."""
        config = {"api_token": sandbox.token, "api_url": sandbox.api_url, "requests_per_second": 1000}
        (self.folder / "config.json").write_text(json.dumps(config))

    def words(self, to: str | None = None) -> list[str]:
        """Return the words of a sync."""
        to = to or (self.postgres.address if self.postgres else "duckdb")
        return sync_words(self.folder, "--config", self.folder / "config.json", "--to", to, connector=self.connector)

    def run(self, to: str | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Sync, and return how it ended."""
        return run_program(self.words(to), self.interpreter, {**self.environment, **environment})

    def sync(self, **environment: str) -> str:
        """Sync, which has to succeed, and return what it prints."""
        ended = self.run(**environment)
        assert ended.returncode == 0, (ended.stdout + ended.stderr).decode()
        return ended.stdout.decode()

    def held(self, **environment: str) -> Held:
        """Return what the warehouse holds."""
        address = self.postgres.address if self.postgres else str(self.folder / "workspace.duckdb")
        return held_in(address, self.interpreter, **environment)


@pytest.fixture
def protected() -> Iterator[Database]:
    """Make a database of a role that needs a password, in a server that listens on a port."""
    rules = "local all postgres trust\nhost all guarded 127.0.0.1/32 scram-sha-256\n"
    with listening_postgres(rules) as (folder, port):
        admin = f"postgresql:///postgres?user=postgres&host={folder}&port={port}"
        psql(admin, f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
        psql(admin, "CREATE DATABASE safe OWNER guarded")
        yield Database(f"postgresql://guarded@127.0.0.1:{port}/", "safe")


@pytest.fixture
def duckdb_syncs(tmp_path: Path, connector: Path, pyairbyte: Interpreter) -> Syncing:
    return Syncing(tmp_path, connector, pyairbyte)


@pytest.fixture
def postgres_syncs(tmp_path: Path, connector: Path, pyairbyte: Interpreter, database: Database) -> Syncing:
    return Syncing(tmp_path, connector, pyairbyte, database)


@pytest.fixture(params=["duckdb", "postgresql"])
def syncs(request: pytest.FixtureRequest) -> Syncing:
    name = "duckdb_syncs" if request.param == "duckdb" else "postgres_syncs"
    found: Syncing = request.getfixturevalue(name)
    return found


def test_when_synced_twice_then_each_stream_has_every_record_once_with_its_values_and_types(
    syncs: Syncing, serve: Serve, generated: Workspace, tmp_path: Path
) -> None:
    sandbox = serve(Api(generated))
    syncs.point_to(sandbox)
    syncs.sync()
    shown = syncs.sync()

    config = json.loads((syncs.folder / "config.json").read_text())
    (catalog,) = [message.catalog for message in process.run(tmp_path, "discover", config).messages if message.catalog]
    schemas = {stream.name: stream.json_schema["properties"] for stream in catalog.streams}
    told = "activities: NUL, which PostgreSQL doesn't have, became U+FFFD in values of content ("
    assert (told in shown) == bool(syncs.postgres)
    held = syncs.held()
    assert set(held) == set(schemas)
    for stream in STREAMS:
        wanted, rows = complete(stream, generated), held[stream.name]["rows"]
        properties = {**dict.fromkeys(wanted[0]), **schemas[stream.name]}
        types = {name.lower(): TYPES[kind_of(schema)] for name, schema in schemas[stream.name].items()}
        which = POSTGRES if syncs.postgres else DUCKDB
        assert held[stream.name]["types"] == {name: both[which] for name, both in types.items()}, stream.name
        by_key = {tuple(row[name.lower()] for name in stream.primary_key): row for row in rows}
        assert len(by_key) == len(rows) == len(wanted), stream.name
        assert any(line.split()[:2] == [stream.name, f"{len(rows):,}"] for line in shown.splitlines()), stream.name
        for record in wanted:
            row = by_key[tuple(str(record[name]) for name in stream.primary_key)]
            for name in set(properties) & set(record):
                found = read(row[name.lower()], kind_of(schemas[stream.name][name]))
                expected = read_json(record[name], kind_of(schemas[stream.name][name]), nul=not syncs.postgres)
                assert found == expected, (stream.name, name, row)


def kind_of(schema: dict[str, Any]) -> str:
    """Return which of `TYPES` a column's schema is."""
    if "airbyte_type" in schema and schema["airbyte_type"] in TYPES:
        return str(schema["airbyte_type"])
    (kind,) = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"]) - {"null"}
    return str(kind)


def read(text: str | None, kind: str) -> Any:
    """Return the value that a warehouse's text stands for."""
    if text is None or kind == "string":
        return text
    if kind == "timestamp_with_timezone":
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    if kind == "number":
        return Decimal(text)
    return json.loads(text, parse_float=Decimal)


def read_json(value: Any, kind: str, *, nul: bool) -> Any:
    """Return the value of a record's column as a warehouse has it; without NUL characters unless it has them."""
    text = json.dumps(value)
    value = json.loads(text if nul else text.replace("\\u0000", "\\ufffd"), parse_float=Decimal)
    if value is not None and kind == "timestamp_with_timezone":
        return datetime.fromisoformat(value)
    if value is not None and kind == "number":
        return round(Decimal(value), 9)
    return value


def contact(number: int, **values: Any) -> dict[str, Any]:
    """Make a contact with values of custom fields."""
    fields = {name: {"type": "string", "value": value} for name, value in values.items()}
    return {"id": f"c_{number}", "fullName": f"Contact {number}", "customFields": fields}


def definition(number: int, name: str, kind: str) -> dict[str, Any]:
    """Define a custom field."""
    return {"id": f"cf_{number}", "name": name, "type": kind, "valueType": kind, "entityTypes": ["contact"]}


def replace_all(workspace: Workspace, collection: str, records: list[dict[str, Any]]) -> None:
    for record in list(workspace.records(collection)):
        workspace.delete(collection, record["id"])
    for record in records:
        workspace.insert(collection, record)


@pytest.fixture
def small() -> Workspace:
    """Make a workspace of a few records, and of custom fields to which each change happens."""
    return Workspace.of(
        contacts=[
            contact(number, cf_1=str(number), cf_2=f"0{number}139", cf_3=str(number), cf_4=f"2026-01-0{number}")
            for number in (1, 2, 3)
        ],
        tags=[{"id": "l_1", "name": "VIP", "entityTypes": []}, {"id": "l_2", "name": "Lead", "entityTypes": []}],
        activities=[{"id": "a_1", "activityTime": "2026-01-01T00:00:00.000Z"}],
        custom_fields=[
            definition(1, "Stays", "int"),
            definition(2, "Zip code", "string"),
            definition(3, "Score", "int"),
            definition(4, "Signed at", "string"),
        ],
        object_types=[{"id": "cot_31", "name": "Deal"}],
        objects=[{"id": "co_1", "objectTypeId": "cot_31", "name": "One"}],
    )


def change(workspace: Workspace) -> None:
    """Let one custom field of `small` stay, rename one, give one another type, remove one, and add one; and delete."""
    replace_all(
        workspace,
        "custom_fields",
        [
            definition(1, "Stays", "int"),
            definition(2, "Postal code", "string"),
            definition(3, "Score", "string"),
            definition(5, "Added", "boolean"),
        ],
    )
    replace_all(
        workspace,
        "contacts",
        [contact(number, cf_1=str(number), cf_2="00501", cf_3="A+", cf_5="true") for number in (1, 3)],
    )
    replace_all(workspace, "tags", [])
    replace_all(workspace, "objects", [])
    replace_all(workspace, "object_types", [])
    workspace.insert("activities", {"id": "a_2", "activityTime": iso(datetime.now(UTC) - timedelta(hours=1))})


def custom_columns(held: Held) -> dict[str, str]:
    return {name: kind for name, kind in held["contacts"]["types"].items() if name.startswith("custom_")}


def rows_by_id(held: Held, table: str, *columns: str) -> dict[str, tuple[Any, ...]]:
    return {row["id"]: tuple(row[name] for name in columns) for row in held[table]["rows"]}


def test_given_changed_fields_and_deletions_when_synced_again_then_the_tables_are_the_workspaces(
    syncs: Syncing, serve: Serve, small: Workspace
) -> None:
    syncs.point_to(serve(Api(small)))
    syncs.sync()
    first = syncs.held()
    change(small)
    shown = syncs.sync()
    second = syncs.held()

    which = POSTGRES if syncs.postgres else DUCKDB
    integer, text, boolean = (TYPES[kind][which] for kind in ("integer", "string", "boolean"))
    names = ("custom_stays", "custom_zip_code", "custom_score", "custom_signed_at")
    assert custom_columns(first) == dict(zip(names, (integer, text, integer, text), strict=True))
    assert rows_by_id(first, "contacts", *names) == {
        f"c_{number}": (str(number), f"0{number}139", str(number), f"2026-01-0{number}") for number in (1, 2, 3)
    }
    names = ("custom_stays", "custom_postal_code", "custom_score", "custom_added")
    assert custom_columns(second) == dict(zip(names, (integer, text, text, boolean), strict=True))
    assert rows_by_id(second, "contacts", *names) == {
        f"c_{number}": (str(number), "00501", "A+", "true") for number in (1, 3)
    }
    assert [len(found["tags"]["rows"]) for found in (first, second)] == [2, 0]
    assert set(rows_by_id(second, "activities")) == {"a_1", "a_2"}
    # The stream of a type of custom objects is gone with its type.
    assert [len(found["object_deal_31"]["rows"]) for found in (first, second)] == [1, 0]
    assert "Emptied, because their types of custom objects are gone: object_deal_31" in shown


def test_given_views_when_synced_again_then_they_stay_and_show_the_new_rows(
    postgres_syncs: Syncing, database: Database, serve: Serve, small: Workspace
) -> None:
    postgres_syncs.point_to(serve(Api(small)))
    postgres_syncs.sync()
    database.execute("CREATE VIEW people AS SELECT id, fullname, custom_signed_at FROM commonroom.contacts")
    change(small)

    shown = postgres_syncs.sync()

    assert database.execute("SELECT * FROM people ORDER BY id") == "c_1|Contact 1|\nc_3|Contact 3|\n"
    assert "contacts.custom_signed_at is gone, but stays as an empty column, because it is used: view people" in shown


def test_given_a_view_on_a_column_whose_type_changed_when_synced_then_it_fails_and_changes_nothing_unless_told_to(
    postgres_syncs: Syncing, database: Database, serve: Serve, small: Workspace
) -> None:
    postgres_syncs.point_to(serve(Api(small)))
    postgres_syncs.sync()
    before = postgres_syncs.held()
    database.execute("CREATE VIEW scores AS SELECT id, custom_score FROM commonroom.contacts")
    change(small)

    ended = postgres_syncs.run()

    assert ended.returncode == 1
    assert "The type of contacts.custom_score was bigint and is text now" in ended.stderr.decode()
    assert "view scores depends on column custom_score" in ended.stderr.decode()
    assert postgres_syncs.held() == before

    shown = postgres_syncs.sync(DROP_VIEWS="1")

    assert "contacts.custom_score was bigint and is text now. Dropped: view scores" in shown
    assert rows_by_id(postgres_syncs.held(), "contacts", "custom_score") == {"c_1": ("A+",), "c_3": ("A+",)}


def test_given_a_sync_that_is_killed_while_it_copies_then_readers_see_the_former_rows_and_another_sync_copies_all(
    postgres_syncs: Syncing, database: Database, serve: Serve, small: Workspace, tmp_path: Path
) -> None:
    postgres_syncs.point_to(serve(Api(small)))
    postgres_syncs.sync()
    before = postgres_syncs.held()
    small.delete("contacts", "c_2")
    small.delete("tags", "l_1")
    # Holds up the copy at a table that comes after others.
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(psql_words(database.address), **pipes) as holder:
        assert holder.stdin
        assert holder.stdout
        holder.stdin.write("BEGIN; LOCK TABLE commonroom.tags IN SHARE ROW EXCLUSIVE MODE; SELECT 'held';\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "held\n"
        with (tmp_path / "killed").open("wb") as file:
            words = ["-c", PROGRAM, *postgres_syncs.words()]
            killed = Forked(words, file.fileno(), file.fileno(), None, postgres_syncs.interpreter)
        until(lambda: backends(database, "wait_event_type = 'Lock'") == 1, (tmp_path / "killed").read_text)

        assert postgres_syncs.held() == before

        killed.kill()
        assert killed.wait() == -signal.SIGKILL
        # The server notices, though it waits for another one.
        until(lambda: backends(database, "true") == 0, (tmp_path / "killed").read_text)
        holder.stdin.close()
    assert postgres_syncs.held() == before

    postgres_syncs.sync()

    assert set(rows_by_id(postgres_syncs.held(), "contacts")) == {"c_1", "c_3"}
    assert set(rows_by_id(postgres_syncs.held(), "tags")) == {"l_2"}


def backends(database: Database, condition: str) -> int:
    """Count what syncs are doing in PostgreSQL."""
    syncs = f"FROM pg_stat_activity WHERE application_name = 'source-commonroom' AND datname = '{database.name}'"
    return int(database.execute(f"SELECT count(*) {syncs} AND {condition}"))


def until(condition: Callable[[], bool], show: Callable[[], str]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, show()
        time.sleep(0.05)


def test_given_a_password_when_synced_then_it_comes_from_the_environment_and_stands_in_no_process_list_or_output(
    protected: Database, tmp_path: Path, connector: Path, pyairbyte: Interpreter, serve: Serve, small: Workspace
) -> None:
    syncs = Syncing(tmp_path, connector, pyairbyte, protected)
    syncs.point_to(serve(Api(small)))
    wrong = syncs.run(PGPASSWORD="wrong")
    assert wrong.returncode == 1
    assert "PostgreSQL can't be reached" in wrong.stderr.decode()
    assert "password authentication failed" in wrong.stderr.decode()
    assert b"==> Syncing" not in wrong.stdout

    environment = {**os.environ, "TO": protected.address, "PGPASSWORD": PASSWORD}
    words = [arguments for arguments in syncs.words() if arguments not in {"--to", protected.address}]
    seen: set[str] = set()
    with (
        (tmp_path / "out").open("wb") as out,
        subprocess.Popen(
            [PYAIRBYTE, "-m", *words], cwd=process.MAIN.parent, env=environment, stdout=out, stderr=out
        ) as sync,
    ):
        while sync.poll() is None:
            seen |= command_lines()
            time.sleep(0.02)

    shown = (tmp_path / "out").read_text()
    assert sync.returncode == 0, shown
    assert any("scripts.sync" in line for line in seen)
    assert not [line for line in seen if PASSWORD in line]
    assert PASSWORD not in shown
    assert len(syncs.held(PGPASSWORD=PASSWORD)["contacts"]["rows"]) == 3


def command_lines() -> set[str]:
    """List the command lines of all processes."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("postgresql://someone:hunter2@localhost/db", "The address holds a password"),
        ("postgresql://someone:hun ter2@localhost/db", "The address can't be read"),
        ("postgresql://someone@localhost:1/db", "PostgreSQL can't be reached"),
        ("redshift", "TO is one of duckdb, postgresql://user@host:port/database, snowflake, bigquery, motherduck."),
        (
            "snowflake",
            "set in the environment: SNOWFLAKE_USER, SNOWFLAKE_WAREHOUSE, SNOWFLAKE_DATABASE, SNOWFLAKE_ROLE.",
        ),
        ("bigquery", "set in the environment: GOOGLE_CLOUD_PROJECT."),
        ("motherduck", "set in the environment: MOTHERDUCK_DATABASE, MOTHERDUCK_TOKEN."),
    ],
)
def test_given_a_warehouse_that_cannot_be_had_when_synced_then_the_first_line_says_why_and_nothing_is_read(
    to: str, message: str, duckdb_syncs: Syncing
) -> None:
    ended = duckdb_syncs.run(to, SNOWFLAKE_ACCOUNT="an-account")

    assert ended.returncode == 1
    assert ended.stderr.decode().startswith("ERROR: ")
    assert message in ended.stderr.decode()
    assert "hun" not in ended.stderr.decode()
    assert ended.stdout == b""


def test_given_a_list_that_is_not_complete_when_synced_then_no_table_changes_and_the_last_line_says_why(
    duckdb_syncs: Syncing, serve: Serve, small: Workspace
) -> None:
    api = Api(small)
    duckdb_syncs.point_to(serve(api))
    duckdb_syncs.sync()
    before = duckdb_syncs.held()
    api.withheld = {"/v2/contacts": 0.9}

    ended = duckdb_syncs.run()

    assert ended.returncode == 1
    assert "ERROR: contacts: the API counted" in ended.stdout.decode()
    assert "ERROR: The sync failed, for the reasons above." in ended.stderr.decode()
    assert "Traceback" not in ended.stderr.decode()
    assert duckdb_syncs.held() == before


def test_given_a_token_that_is_refused_when_synced_then_the_error_says_so(
    duckdb_syncs: Syncing, serve: Serve, small: Workspace
) -> None:
    api = Api(small)
    duckdb_syncs.point_to(serve(api))
    api.token = "another"

    ended = duckdb_syncs.run()

    assert ended.returncode == 1
    assert "ERROR: The check of the configuration failed: " in ended.stderr.decode()
    assert "token" in ended.stderr.decode()
    assert "Traceback" not in ended.stderr.decode()


def test_given_a_number_that_the_warehouse_cannot_hold_when_synced_then_the_error_names_it(
    duckdb_syncs: Syncing, serve: Serve, small: Workspace
) -> None:
    replace_all(small, "custom_fields", [definition(1, "Large", "number")])
    replace_all(small, "contacts", [contact(1, cf_1=1.5e308)])
    duckdb_syncs.point_to(serve(Api(small)))

    ended = duckdb_syncs.run()

    assert ended.returncode == 1
    assert "ERROR: The warehouse refused what was read: " in ended.stderr.decode()
    assert "1.5e308" in ended.stderr.decode()
    assert "Traceback" not in ended.stderr.decode()


def test_given_a_file_that_another_sync_has_open_when_synced_then_the_error_says_so(
    duckdb_syncs: Syncing, serve: Serve, small: Workspace
) -> None:
    duckdb_syncs.point_to(serve(Api(small)))
    duckdb_syncs.sync()
    database = duckdb_syncs.folder / "workspace.duckdb"
    hold = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([PYAIRBYTE, "-c", hold, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        ended = duckdb_syncs.run()
        holder.communicate()

    assert ended.returncode == 1
    assert "ERROR: Another process has the file open" in ended.stderr.decode()
    assert "Traceback" not in ended.stderr.decode()


ACCEPTS = """
import airbyte.caches, json
from scripts.warehouses.addresses import CACHES
print(json.dumps({name: [
    option.argument for option in options
    if option.argument not in {field.alias or key for key, field in getattr(airbyte.caches, kind).model_fields.items()}
] for name, (kind, options) in CACHES.items()}))
"""


def test_given_another_warehouse_then_pyairbytes_cache_of_it_has_every_option(
    tmp_path: Path, pyairbyte: Interpreter
) -> None:
    (tmp_path / "accepts.py").write_text(ACCEPTS)

    ended = run_program([str(tmp_path / "accepts.py")], pyairbyte, {"PYTHONPATH": str(process.MAIN.parent)})

    assert json.loads(ended.stdout) == {"snowflake": [], "bigquery": [], "motherduck": []}


def test_pyairbytes_own_cache_of_postgresql_changes_values(
    tmp_path: Path, connector: Path, pyairbyte: Interpreter, serve: Serve, small: Workspace, postgres: str
) -> None:
    """It is why a sync goes by way of DuckDB. If this fails, PyAirbyte may have mended it."""
    syncs = Syncing(tmp_path, connector, pyairbyte)
    syncs.point_to(serve(Api(small)))
    words = [load.__file__, "postgres", str(connector), str(tmp_path / "config.json"), str(tmp_path)]

    ended = run_program(words, pyairbyte, {"PGHOST": postgres})

    (row,) = (row for row in json.loads(ended.stdout.splitlines()[-1])["contacts"] if row["id"] == "c_1")
    assert row["custom_zip_code"] == "1139"
    assert row["custom_signed_at"] == "2026-01-01 00:00:00"
