"""The text of `dbt/`: its columns are those of the connector, its SQL is clean, and other dialects can read it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from integration_tests.pipeline.play import DBT, ROOT, SCHEMAS, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.pipeline

PACKAGE = ROOT / "dbt"
# Nothing is connected to, so that nothing of this is checked.
PROFILES = """
commonroom:
  target: snowflake
  outputs:
    snowflake: {type: snowflake, account: x, user: x, password: x, database: x, warehouse: x, schema: y, threads: 1}
    bigquery: {type: bigquery, method: oauth-secrets, token: x, project: x, dataset: y, threads: 1}
"""
# A rule that finds nothing in these dialects: what is left is what can't be parsed.
SQLFLUFF = "[sqlfluff]\ntemplater = raw\ndialect = {}\nrules = TQ01\nlarge_file_skip_byte_limit = 0\n"


def kind(schema: dict[str, Any]) -> str:
    """Tell the kind of a column as the package names it."""
    if "$ref" in schema:
        return "json"
    types = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    (name,) = types - {"null"} if len(types - {"null"}) == 1 else ("array",)
    if schema.get("format") == "date-time":
        return "timestamp"
    return {"object": "json", "array": "json"}.get(name, name)


def test_the_package_knows_every_column_of_every_stream() -> None:
    text = (PACKAGE / "macros" / "streams.sql").read_text()
    # A dictionary of Jinja that is one of YAML, too.
    known = yaml.safe_load(text[text.index("return(") + len("return(") : text.rindex(") %}")])

    wanted = {}
    for path in SCHEMAS.glob("*.json"):
        properties = json.loads(path.read_text())["properties"]
        if "$ref" in properties:
            shared = SCHEMAS / "shared" / properties["$ref"].split("#")[0].rsplit("/", 1)[-1]
            properties = json.loads(shared.read_text())["properties"]
        wanted[path.stem] = {name: kind(schema) for name, schema in properties.items()}

    assert {stream: about["columns"] for stream, about in known.items()} == wanted


def test_when_linted_then_sqlfluff_finds_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"COMMONROOM_DUCKDB": str(tmp_path / "empty.duckdb")}
    process = subprocess.run(
        [DBT / "sqlfluff", "lint", "models", "tests"],
        cwd=PACKAGE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 0, process.stdout[-4_000:] + process.stderr[-2_000:]


@pytest.mark.parametrize("warehouse", ["snowflake", "bigquery"])
def test_when_compiled_for_a_warehouse_that_is_not_there_then_its_dialect_reads_the_sql(
    warehouse: str, tmp_path: Path
) -> None:
    profiles(tmp_path)
    words = ["compile", "--target", warehouse, "--profiles-dir", tmp_path, "--target-path", tmp_path / "target"]
    compile_offline(words, tmp_path)

    compiled = tmp_path / "target" / "compiled" / "commonroom"
    (compiled / ".sqlfluff").write_text(SQLFLUFF.format(warehouse))
    files = sorted(path for path in compiled.glob("models/*/*.sql") if path.is_file())
    assert len(files) > 50
    process = subprocess.run(
        [DBT / "sqlfluff", "lint", *files], cwd=compiled, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout[-4_000:]


def profiles(folder: Path) -> None:
    (folder / "profiles.yml").write_text(PROFILES)


def compile_offline(words: list[Any], folder: Path) -> None:
    options = ["--no-introspect", "--no-populate-cache", "--project-dir", PACKAGE, "--log-path", folder]
    run([DBT / "dbt", "--quiet", *words, *options, "--vars", "{commonroom_spelling: documented}"])
