"""`make build`: which warehouse it builds in, and what it says if it can't."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from integration_tests.pipeline.play import DBT, ROOT, run

if TYPE_CHECKING:
    from integration_tests.pipeline.databases import Database

pytestmark = pytest.mark.pipeline

WHERE = """
import json, pathlib, sys
from scripts.models import where
print(json.dumps(where(sys.argv[1], pathlib.Path("workspace.duckdb"))))
"""


def build(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DBT / "python", "-m", "scripts.models", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def where(address: str, **environment: str) -> tuple[str, dict[str, str]]:
    without = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    target, variables = json.loads(run([DBT / "python", "-c", WHERE, address], without | environment))
    return target, variables


def test_given_an_address_of_postgresql_when_built_then_dbt_gets_all_that_it_says() -> None:
    target, variables = where("postgresql://me@db.example:6543/2024?sslmode=verify-full&options=-crole%3Dx")

    assert target == "postgres"
    assert {name: value for name, value in variables.items() if name.startswith("PG")} == {
        "PGHOST": "db.example",
        "PGPORT": "6543",
        "PGUSER": "me",
        "PGDATABASE": "2024",
        "PGSSLMODE": "verify-full",
        "PGOPTIONS": "-crole=x",
    }


def test_given_an_address_that_leaves_things_out_when_built_then_they_are_those_that_a_sync_takes() -> None:
    _, bare = where("postgresql://", PGUSER="me")
    _, told = where("postgresql://", PGUSER="me", PGHOST="db.example", PGPORT="1", PGDATABASE="mine")

    # No host is the local socket.
    assert [bare[name] for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE")] == ["", "5432", "me", "me"]
    assert [told[name] for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE")] == ["db.example", "1", "me", "mine"]


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("postgresql://me:hunter2@localhost/db", "The address holds a password"),
        ("postgresql://me@localhost/db?sslpassword=hunter2", "The address holds a password"),
        ("postgresql://me:hun ter2@localhost/db", "The address"),
        ("postgresql://[me", "The address can't be read"),
        ("postgresql://me@localhost/db?service=hers", "Set PGSERVICE"),
        ("postgresql://me@localhost:1/db", "PostgreSQL can't be reached"),
        ("redshift", "TO is one of duckdb, postgresql://user@host:port/database, snowflake, bigquery, motherduck."),
        ("snowflake", "set in the environment: SNOWFLAKE_USER, SNOWFLAKE_WAREHOUSE"),
        ("bigquery", "set in the environment: GOOGLE_CLOUD_PROJECT."),
        ("motherduck", "set in the environment: MOTHERDUCK_DATABASE, MOTHERDUCK_TOKEN."),
    ],
)
def test_given_a_warehouse_that_cannot_be_had_when_built_then_the_first_line_says_why(to: str, message: str) -> None:
    ended = build("--to", to, SNOWFLAKE_ACCOUNT="an-account")

    assert ended.returncode == 1
    assert ended.stderr.startswith("ERROR: ")
    assert message in ended.stderr
    assert "hun" not in ended.stderr
    assert ended.stdout == ""


def test_given_a_database_without_the_connectors_tables_when_built_then_it_says_so_and_builds_nothing(
    database: Database,
) -> None:
    ended = build("--to", database.address)

    assert ended.returncode == 1
    assert "None of the connector's tables is in" in ended.stdout + ended.stderr
    assert "all well" not in ended.stdout
    assert "stg_commonroom" not in database.execute("SELECT string_agg(table_name, ' ') FROM information_schema.tables")
