"""One list of streams: the manifest, the schemas, the stream table, the sandbox and the docs name the same ones."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from airbyte_cdk.sources.streams.http.error_handlers.response_models import ResponseAction

from integration_tests.sandbox import ENDPOINTS
from source_commonroom import SourceCommonroom
from source_commonroom.api.errors import FAILURES
from source_commonroom.table import load_manifest
from unit_tests.streams import STREAMS

ROOT = Path(__file__).resolve().parent.parent
NAMES = {stream.name for stream in STREAMS}
MANIFEST = load_manifest()
PROPERTIES: dict[str, Any] = MANIFEST["spec"]["connection_specification"]["properties"]
# The columns of custom fields would have to be asked for.
CONFIG = {"api_token": "consistency-test", "custom_field_columns": "none"}
USER_PAGE = (ROOT / "docs/integrations/sources/commonroom.md").read_text()
README = (ROOT / "README.md").read_text()


def test_the_manifest_has_the_streams_of_the_table() -> None:
    assert {stream["$parameters"]["name"] for stream in MANIFEST["streams"]} == NAMES


def test_every_stream_has_a_schema_and_every_schema_a_stream() -> None:
    assert {path.stem for path in (ROOT / "source_commonroom/schemas").glob("*.json")} == NAMES


def test_every_shared_schema_is_referred_to() -> None:
    schemas = ROOT / "source_commonroom/schemas"
    text = "".join(path.read_text() for path in schemas.rglob("*.json"))
    unused = [path.name for path in (schemas / "shared").glob("*.json") if f'"{path.name}' not in text]
    assert unused == []


def test_the_sandbox_serves_every_stream() -> None:
    # The others are made of what several endpoints answer.
    own = [stream for stream in STREAMS if stream.records is None]
    assert {stream.path for stream in own} == set(ENDPOINTS)
    for stream in own:
        endpoint = ENDPOINTS[stream.path]
        assert endpoint.collection == stream.collection
        assert endpoint.paged == stream.paged
        assert set(endpoint.on_request) == stream.columns - {"cf_*"}
        assert bool(endpoint.custom_fields_of) == ("cf_*" in stream.columns)


def test_every_column_that_is_asked_for_is_in_the_schema() -> None:
    schemas = {stream.name: stream.get_json_schema() for stream in SourceCommonroom(config=CONFIG).streams(CONFIG)}
    for stream in STREAMS:
        asked_for = {"customFields" if column == "cf_*" else column for column in stream.columns}
        assert asked_for <= set(schemas[stream.name]["properties"]), stream.name


def walk(schema: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    nodes = [(f"{path}.{name}", node) for name, node in schema.get("properties", {}).items()]
    if "items" in schema:
        nodes += walk(schema["items"], f"{path}[]")
    return nodes + [deeper for name, node in list(nodes) for deeper in walk(node, name)]


@pytest.mark.parametrize("stream", sorted(NAMES))
def test_every_property_has_a_description_and_may_be_null(stream: str) -> None:
    (schema,) = [s.get_json_schema() for s in SourceCommonroom(config=CONFIG).streams(CONFIG) if s.name == stream]
    assert schema["additionalProperties"] is True
    for path, node in walk(dict(schema), stream):
        assert node.get("description"), path
        assert node["type"][0] == "null", path


@pytest.mark.parametrize("page", [USER_PAGE, README], ids=["user page", "README"])
def test_the_docs_have_a_row_for_every_stream_and_every_property(page: str) -> None:
    first_cells = set(re.findall(r"^\| *`([^`]+)` *\|", page, re.MULTILINE))
    assert first_cells >= NAMES
    assert set(PROPERTIES) <= first_cells


def test_the_table_of_errors_in_the_docs_is_that_of_the_code() -> None:
    again = {
        ResponseAction.RETRY: "for 10 minutes",
        ResponseAction.RATE_LIMITED: "until it passes",
        ResponseAction.FAIL: "no",
    }
    table = USER_PAGE.partition("### Errors\n")[2].partition("\n### ")[0]
    documented = [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in table.splitlines() if line.startswith("| `")]
    assert [(name, *cells) for name, _, *cells, _ in documented] == [
        (f"`{row.name}`", row.means, again[row.action], f"`{row.failure_type.value}`") for row in FAILURES
    ]
    for _, met, *_ in documented:
        assert met


def test_the_table_of_errors_in_the_docs_names_the_statuses_of_the_code() -> None:
    table = USER_PAGE.partition("### Errors\n")[2].partition("\n### ")[0]
    for row in FAILURES:
        if not isinstance(row.statuses, range):
            met = re.search(rf"^\| `{row.name}` \| ([^|]*) \|", table, re.MULTILINE)
            assert met
            assert {str(status) for status in row.statuses} <= set(re.findall(r"\b[1-5]\d\d\b", met[1])), row.name


def test_every_property_of_the_configuration_has_what_a_form_needs() -> None:
    assert sorted(node["order"] for node in PROPERTIES.values()) == list(range(len(PROPERTIES)))
    for name, node in PROPERTIES.items():
        assert node["title"], name
        assert node["description"], name


def test_the_version_is_one() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    metadata = yaml.safe_load((ROOT / "metadata.yaml").read_text())["data"]
    assert metadata["dockerImageTag"] == version
    assert re.search(rf"^## \[?{re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert f"| {version} " in USER_PAGE


def test_the_acceptance_config_names_files_that_exist() -> None:
    text = (ROOT / "acceptance-test-config.yml").read_text()
    for path in re.findall(r"^ +(?:- )?\w+_path: (\S+)$", text, re.MULTILINE):
        assert (ROOT / path).exists(), path
    assert yaml.safe_load(text)["connector_image"].split(":")[0] == "airbyte/source-commonroom"


def test_the_commands_stand_first_in_the_readme() -> None:
    commands = re.findall(r"```(?:bash|shell|sh)\n(.*?)```", README, re.DOTALL)
    assert [command.strip() for command in commands[:2]] == ["make sync", "make test"]


def test_the_sample_catalog_names_streams_that_exist() -> None:
    sample = json.loads((ROOT / "integration_tests/configured_catalog.json").read_text())
    assert {entry["stream"]["name"] for entry in sample["streams"]} <= NAMES


def test_every_test_that_the_code_names_is_there() -> None:
    code = [*(ROOT / "source_commonroom").rglob("*.py"), ROOT / "source_commonroom/manifest.yaml"]
    # A long name stands on a line of its own, in a comment or a docstring.
    text = " ".join(re.sub(r"\n\s*(?:# )?", " ", path.read_text()) for path in code)
    tests = [path for folder in ("unit_tests", "integration_tests") for path in (ROOT / folder).rglob("test_*.py")]
    there = {name for path in tests for name in re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE)}
    files = {str(path.relative_to(ROOT)) for path in tests}

    assert set(re.findall(r"\btest_(?:given|when|the)_\w+", text)) <= there
    assert set(re.findall(r"(?:unit_tests|integration_tests)/test_\w+\.py", text)) <= files
