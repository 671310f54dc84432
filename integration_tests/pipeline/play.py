"""Two syncs of a sandbox with changes between, and dbt's models built after each, on DuckDB and PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from integration_tests.connector import MAIN
from integration_tests.pipeline.truth import Truth
from integration_tests.pyairbyte import PYAIRBYTE, running_postgres
from integration_tests.sandbox import Api, Sandbox, Workspace
from integration_tests.sandbox.messages import iso

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = MAIN.parent
DBT = ROOT / ".venv-pipeline" / "bin"
CONNECTOR = ROOT / ".venv" / "bin" / "source-commonroom"
SCHEMAS = ROOT / "source_commonroom" / "schemas"
TABLES = Path(__file__).with_name("tables.py")
WAREHOUSES = ("duckdb", "postgres")

Rows = list[dict[str, Any]]


@dataclass
class Built:
    """What a build left."""

    shown: str
    tables: dict[str, Rows]
    truth: Truth

    def keyed(self, table: str, *keys: str) -> dict[Any, dict[str, Any]]:
        """Return the rows of a table by their key."""
        rows = {tuple(row[key] for key in keys): row for row in self.tables[table]}
        assert len(rows) == len(self.tables[table])
        return {key[0] if len(key) == 1 else key: row for key, row in rows.items()}


@dataclass
class Play:
    """Two syncs and the builds after each, in both warehouses."""

    first: dict[str, Built]
    second: dict[str, Built]
    changes: dict[str, Any]
    database: Path
    environment: dict[str, str]


@contextmanager
def played(folder: Path) -> Iterator[Play]:
    """Sync, build, change the workspace, sync, build."""
    database = folder / "workspace.duckdb"
    workspace = Workspace.generate()
    # The next sync reads it again, so that it shows whose it is by then.
    late = workspace.records("activities")[0] | {
        "id": "a_990001",
        "activityTime": iso(datetime.now(UTC) - timedelta(hours=1)),
    }
    late["contactId"] = next(row["id"] for row in workspace.records("contacts")[9:] if row.get("profiles"))
    workspace.insert("activities", late)
    with running_postgres() as postgres, Sandbox(Api(workspace)) as sandbox:
        environment = os.environ | {"PGHOST": postgres, "PGUSER": "postgres"}
        config = folder / "config.json"
        config.write_text(json.dumps({"api_token": sandbox.token, "api_url": sandbox.api_url}))
        sync(folder, config)
        copy(database, 1, environment)
        first = {name: build(name, database, environment, Truth(workspace.as_shown())) for name in WAREHOUSES}
        changes = change(workspace, late)
        truth = Truth(workspace, {changes["merged"]["id"]: changes["into"]["id"]}, [changes["deleted"]])
        sync(folder, config)
        copy(database, 2, environment)
        second = {name: build(name, database, environment, truth) for name in WAREHOUSES}
        yield Play(first, second, changes, database, environment)


def sync(folder: Path, config: Path) -> None:
    words = ["--output", folder, "--config", config, "--connector", CONNECTOR, "--sandbox-python", "python"]
    run([PYAIRBYTE, "-m", "scripts.sync", *words])


def copy(database: Path, generation: int, environment: dict[str, str]) -> None:
    """Load PostgreSQL as another destination would, which keeps the rows of the sync before."""
    run([DBT / "python", TABLES, "copy", database, json.dumps(properties()), str(generation)], environment)


def properties() -> list[str]:
    """List the names that the API has for columns."""
    names = set()
    for path in (*SCHEMAS.glob("*.json"), *SCHEMAS.glob("shared/*.json")):
        found = json.loads(path.read_text()).get("properties", {})
        names |= {name for name in found if name != "$ref"}
    return sorted(names)


def build(name: str, database: Path, environment: dict[str, str], truth: Truth) -> Built:
    to = "postgresql:///postgres" if name == "postgres" else "duckdb"
    shown = run([DBT / "python", "-m", "scripts.models", "--to", to, "--database", database], environment)
    return Built(shown, dump(name if name == "postgres" else str(database), environment), truth)


def dump(warehouse: str, environment: dict[str, str]) -> dict[str, Rows]:
    found: dict[str, Rows] = json.loads(run([DBT / "python", TABLES, "dump", warehouse, "analytics"], environment))
    return found


def ended(words: list[Any], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, well or not."""
    return subprocess.run(
        [*map(str, words)], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False
    )


def run(words: list[Any], environment: dict[str, str] | None = None) -> str:
    """Run a command that is to end well, and return what it prints."""
    process = ended(words, environment)
    assert process.returncode == 0, process.stdout[-8_000:] + process.stderr[-4_000:]
    return process.stdout


def change(workspace: Workspace, late: dict[str, Any]) -> dict[str, Any]:
    """Delete a contact, merge two, change a score, and move a contact from one segment to another."""
    contacts = workspace.records("contacts")
    (merged,) = (row for row in contacts if row["id"] == late["contactId"])
    used = {merged["id"], workspace.records("me")[0]["id"]}

    def pick(*columns: str) -> dict[str, Any]:
        found = next(row for row in contacts if row["id"] not in used and all(row.get(column) for column in columns))
        used.add(found["id"])
        return found

    into, deleted, scored, moved = pick("companyWebsite"), pick("companyWebsite"), pick("leadScores"), pick("segments")
    workspace.delete("contacts", merged["id"])
    workspace.delete("contacts", deleted["id"])
    workspace.replace("contacts", into | {"profiles": [*(into.get("profiles") or ()), *merged["profiles"]]})
    workspace.replace("activities", late | {"contactId": into["id"]})
    score, *others = scored["leadScores"]
    workspace.replace("contacts", scored | {"leadScores": [score | {"score": 77.5}, *others]})
    left, *kept = moved["segments"]
    joined = next(
        {"id": row["id"], "name": row["name"]}
        for row in workspace.records("segments")
        if row["entityType"] == "contact" and row["id"] not in {segment["id"] for segment in moved["segments"]}
    )
    workspace.replace("contacts", moved | {"segments": [*kept, joined]})
    return {
        "merged": merged,
        "into": into,
        "deleted": deleted,
        "scored": scored,
        "score": score,
        "moved": moved,
        "left": left,
        "joined": joined,
    }
