"""One list of streams: all places that name the streams name the same ones, and say the same of each.

They are the manifest, the schemas, the rows of unit_tests/streams.py, what the API documents by unit_tests/openapi.py,
the sandbox, and the schedules of chaos. That the docs name them, too, is tested in unit_tests/test_docs.py.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration_tests.chaos.schedule import ALWAYS, LISTS
from integration_tests.sandbox import ENDPOINTS
from integration_tests.sandbox.endpoints import Body, bare_list, bare_record, envelope, envelope_of_one, labelled
from source_commonroom import SourceCommonroom
from source_commonroom.table import load_manifest, rows
from unit_tests import openapi
from unit_tests.parity import assert_equal, assert_same
from unit_tests.streams import STREAMS

ROOT = Path(__file__).resolve().parent.parent
NAMES = {stream.name for stream in STREAMS}
MANIFEST = load_manifest()
PROPERTIES: dict[str, Any] = MANIFEST["spec"]["connection_specification"]["properties"]
# How these tests name what they compare.
MANIFEST_FILE, STREAMS_FILE, OPENAPI_FILE = "manifest.yaml", "unit_tests/streams.py", "unit_tests/openapi.py"
SCHEMAS_FOLDER, SANDBOX_FILE = "source_commonroom/schemas", "integration_tests/sandbox/endpoints.py"
# What a body of the sandbox is; a paged one is `data` of the envelope, too.
SANDBOX_PAGES: dict[Body, str] = {
    envelope: "list",
    envelope_of_one: "object",
    bare_record: "bare",
    bare_list: "bare_list",
    labelled: "labels",
}
# Each is read in the same way as one of the streams that chaos plays, and has no relation that it could hurt.
NEVER_PLAYED = {
    "activity_categories",
    "activity_sentiment",
    "lead_scores",
    "providers",
    "object_types",
    "industries",
    "tech_stack_products",
    "contact_custom_fields",
    "api_token_status",
}
# The columns of custom fields would have to be asked for.
CONFIG = {"api_token": "consistency-test", "custom_field_columns": "none"}


def test_the_manifest_has_the_streams_that_are_tested() -> None:
    assert_same(MANIFEST_FILE, rows(), STREAMS_FILE, NAMES)


def test_every_stream_has_a_schema_and_every_schema_a_stream() -> None:
    files = {path.stem for path in (ROOT / SCHEMAS_FOLDER).glob("*.json")}
    assert_same(MANIFEST_FILE, rows(), SCHEMAS_FOLDER, files)


def test_every_shared_schema_is_referred_to() -> None:
    schemas = ROOT / "source_commonroom/schemas"
    text = "".join(path.read_text() for path in schemas.rglob("*.json"))
    unused = [path.name for path in (schemas / "shared").glob("*.json") if f'"{path.name}' not in text]
    assert unused == []


def test_the_sandbox_serves_every_stream() -> None:
    # The others are made of what several endpoints answer.
    own = {stream.path: stream for stream in STREAMS if stream.records is None}
    assert_same(STREAMS_FILE, own, SANDBOX_FILE, ENDPOINTS)
    assert_same(OPENAPI_FILE, openapi.ENDPOINTS, SANDBOX_FILE, ENDPOINTS)
    assert_equal(
        STREAMS_FILE,
        {
            path: (stream.collection, stream.paged, sorted(stream.columns - {"cf_*"}), "cf_*" in stream.columns)
            for path, stream in own.items()
        },
        SANDBOX_FILE,
        {
            path: (row.collection, row.paged, sorted(row.on_request), bool(row.custom_fields_of))
            for path, row in ENDPOINTS.items()
        },
    )


def test_pages_are_of_the_kind_that_the_api_documents_and_counted_where_it_counts() -> None:
    documented = {}
    for stream in STREAMS:
        endpoints = openapi.matching(stream.path)
        # What is read by time is counted by its windows, and not as a list.
        counted = openapi.counts(*endpoints) and not stream.cursor_field
        documented[stream.name] = {"page": openapi.page_of(*endpoints), "counts": counted}
    said = {name: {"page": row.page, "counts": row.counts} for name, row in rows().items()}
    assert_equal(OPENAPI_FILE, documented, MANIFEST_FILE, said)


def test_the_sandbox_serves_pages_of_the_kind_that_the_api_documents_and_counts_where_it_counts() -> None:
    # It always sends a cursor, though the API's description doesn't always require one.
    documented = {
        path: {"page": openapi.page_of(path).replace("paged_open", "paged"), "counts": openapi.counts(path)}
        for path in openapi.ENDPOINTS
    }
    served = {
        path: {"page": "paged" if row.paged else SANDBOX_PAGES[row.body], "counts": row.counts}
        for path, row in ENDPOINTS.items()
    }
    assert_equal(OPENAPI_FILE, documented, SANDBOX_FILE, served)


def test_chaos_plays_every_stream_but_those_that_are_named_here() -> None:
    played = {*ALWAYS, *LISTS}
    assert not played & NEVER_PLAYED
    assert_same(
        STREAMS_FILE,
        NAMES,
        "LISTS of integration_tests/chaos/schedule.py or NEVER_PLAYED of unit_tests/test_consistency.py",
        played | NEVER_PLAYED,
    )


def test_every_column_that_is_asked_for_is_in_the_schema() -> None:
    schemas = {stream.name: stream.get_json_schema() for stream in SourceCommonroom(config=CONFIG).streams(CONFIG)}
    for stream in STREAMS:
        asked_for = {"customFields" if column == "cf_*" else column for column in stream.columns}
        there = set(schemas[stream.name]["properties"]) if stream.name in schemas else set()
        assert_same(STREAMS_FILE, asked_for, f"{SCHEMAS_FOLDER}/{stream.name}.json", asked_for & there)


def walk(schema: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    nodes = [(f"{path}.{name}", node) for name, node in schema.get("properties", {}).items()]
    if "items" in schema:
        nodes += walk(schema["items"], f"{path}[]")
    return nodes + [deeper for name, node in list(nodes) for deeper in walk(node, name)]


@pytest.mark.parametrize("stream", sorted(NAMES))
def test_every_property_has_a_description_and_may_be_null(stream: str) -> None:
    schemas = {each.name: each for each in SourceCommonroom(config=CONFIG).streams(CONFIG)}
    assert stream in schemas, f"{stream} stands in {STREAMS_FILE}, and not in {MANIFEST_FILE}"
    schema = schemas[stream].get_json_schema()
    assert schema["additionalProperties"] is True
    for path, node in walk(dict(schema), stream):
        assert node.get("description"), path
        assert node["type"][0] == "null", path


def test_the_streams_that_are_suggested_exist() -> None:
    metadata = yaml.safe_load((ROOT / "metadata.yaml").read_text())["data"]
    suggested = set(metadata["suggestedStreams"]["streams"])
    assert_same("metadata.yaml", suggested, MANIFEST_FILE, suggested & rows().keys())


def test_every_property_of_the_configuration_has_what_a_form_needs() -> None:
    assert sorted(node["order"] for node in PROPERTIES.values()) == list(range(len(PROPERTIES)))
    for name, node in PROPERTIES.items():
        assert node["title"], name
        assert node["description"], name


ACCEPTANCE_TESTS = ("acceptance-test-config.yml", "integration_tests/standard_tests.yml")


@pytest.mark.parametrize("name", ACCEPTANCE_TESTS)
def test_the_acceptance_config_names_files_that_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    for path in re.findall(r"^ +(?:- )?\w+_path: (\S+)$", text, re.MULTILINE):
        assert (ROOT / path).exists(), path
    assert yaml.safe_load(text)["connector_image"].split(":")[0] == "airbyte/source-commonroom"


def test_the_acceptance_tests_that_need_no_api_have_the_sections_of_those_that_do() -> None:
    sections = [set(yaml.safe_load((ROOT / name).read_text())["acceptance_tests"]) for name in ACCEPTANCE_TESTS]
    assert sections[0] == sections[1]


def test_the_sample_catalog_names_streams_that_exist() -> None:
    sample = json.loads((ROOT / "integration_tests/configured_catalog.json").read_text())
    named = {entry["stream"]["name"] for entry in sample["streams"]}
    assert_same("integration_tests/configured_catalog.json", named, MANIFEST_FILE, named & rows().keys())
