"""The schemas against what the API documents by openapi.py: nothing is missing, nothing made up, no type other."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from airbyte_cdk.sources.declarative.schema import JsonFileSchemaLoader

from unit_tests.openapi import ENDPOINTS, RECORDS_AT, matching, page_of
from unit_tests.parity import assert_equal, assert_same
from unit_tests.streams import BY_NAME

SCHEMA_FILE = "./source_commonroom/schemas/{{ parameters['name'] }}.json"  # as in the manifest
STREAMS = sorted(path.stem for path in (Path(__file__).parent.parent / "source_commonroom/schemas").glob("*.json"))

# What no endpoint answers.
ADDED = {
    "objects": {"objectTypeId": "string"},
    "segment_statuses": {"segmentId": "string"},
    "segment_members": dict.fromkeys(("segmentId", "memberId", "memberType", "memberName"), "string"),
}


class Different(NamedTuple):
    """A type that is another one in the schema than in openapi.py, and why."""

    stream: str
    path: str
    documented: str
    here: str
    reason: str


# Every other `number` stays one, counts too: in an integer column a fraction would be lost.
DIFFERENT = (
    Different("contact_custom_fields", "id", "number", "integer", "An id is no fraction, and floats don't join."),
    Different("segment_statuses", "id", "number", "integer", "An id is no fraction, and floats don't join."),
    Different(
        "custom_fields",
        "sampleValues[].value",
        "boolean | integer | number | string | string date-time | string uri",
        "boolean | number | string",
        "Every number includes every integer, and a format would have to hold for all texts.",
    ),
)


def documented(stream: str) -> dict[str, str]:
    """Look up the properties of a stream's records in openapi.py."""
    if stream == "segment_members":  # Made of contacts and objects.
        return {}
    assert stream in BY_NAME, f"{stream} has a schema, and no row in unit_tests/streams.py"
    (endpoint,) = matching(BY_NAME[stream].path)
    records = RECORDS_AT[page_of(endpoint)]
    return {path.removeprefix(records): kind for path, kind in ENDPOINTS[endpoint].items() if path.startswith(records)}


def without_maps(properties: Mapping[str, str]) -> dict[str, str]:
    """Make each map a bare object: its keys are those of one workspace, and a schema is the same for all."""
    return {re.sub(r"\.\*.*", "", path): "object" if ".*" in path else kind for path, kind in properties.items()}


def load(stream: str) -> Mapping[str, Any]:
    return JsonFileSchemaLoader(config={}, parameters={"name": stream}, file_path=SCHEMA_FILE).get_json_schema()


def nodes(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """List what a schema holds, each with its path in the notation of openapi.py, the root left out."""
    inner = [(f"{path}.{name}".removeprefix("."), node) for name, node in schema.get("properties", {}).items()]
    if "items" in schema:
        inner.append((f"{path}[]", schema["items"]))
    for place, node in inner:
        yield place, node
        yield from nodes(node, place)


def kind_of(node: Mapping[str, Any]) -> str:
    """Write a node's type and format as openapi.py does, less the null that each may be."""
    types = sorted(node["type"][1:])
    return " ".join([" | ".join(types), *([node["format"]] if "format" in node else [])])


@pytest.mark.parametrize("stream", STREAMS)
def test_a_schema_is_what_the_api_documents_and_what_the_connector_adds(stream: str) -> None:
    expected = without_maps(documented(stream)) | ADDED.get(stream, {})
    expected |= {different.path: different.here for different in DIFFERENT if different.stream == stream}

    leaves = {
        path: kind_of(node) for path, node in nodes(load(stream)) if not node.get("properties") and "items" not in node
    }

    assert_equal("unit_tests/openapi.py", expected, f"source_commonroom/schemas/{stream}.json", leaves)


@pytest.mark.parametrize("stream", STREAMS)
def test_everything_in_a_schema_may_be_null_and_what_holds_more_says_so(stream: str) -> None:
    for path, node in nodes(load(stream)):
        assert node["type"][0] == "null", path
        if "properties" in node:
            assert kind_of(node) == "object", path
            assert node.get("additionalProperties") is True, path
        if "items" in node:
            assert kind_of(node) == "array", path
        assert node.get("airbyte_type") == ("timestamp_with_timezone" if node.get("format") == "date-time" else None), (
            path
        )


@pytest.mark.parametrize("different", DIFFERENT, ids=lambda different: f"{different.stream}.{different.path}")
def test_a_type_that_differs_is_still_documented_otherwise(different: Different) -> None:
    assert documented(different.stream)[different.path] == different.documented != different.here


def test_what_the_connector_adds_is_documented_nowhere() -> None:
    for stream, added in ADDED.items():
        assert not added.keys() & documented(stream).keys(), stream


def test_every_endpoint_that_is_documented_has_a_schema() -> None:
    read = {endpoint for stream in STREAMS if stream in BY_NAME for endpoint in matching(BY_NAME[stream].path)}
    assert_same("unit_tests/openapi.py", ENDPOINTS, "source_commonroom/schemas, by unit_tests/streams.py", read)
