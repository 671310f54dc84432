"""Every endpoint of the sandbox: all its records in its own shape, what it requires, its filters, its refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airbyte_cdk.sources.declarative.schema import JsonFileSchemaLoader
from jsonschema import Draft7Validator

from integration_tests.sandbox import DEFAULT_TOKEN, ENDPOINTS, Api, Fault, Workspace
from integration_tests.sandbox.endpoints import endpoint_at
from integration_tests.sandbox.messages import Call, is_at
from integration_tests.sandbox.vocabulary import LOCATION_TYPES
from integration_tests.test_sandbox import call, flat, ids, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from integration_tests.sandbox import Endpoint

    Record = dict[str, Any]

SCHEMA_FILE = "./source_commonroom/schemas/{{ parameters['name'] }}.json"  # as in the manifest
STREAM_OF = {"api_token": "api_token_status"}
"""The stream of a collection, if it isn't of the same name."""

# What a record of the workspace tells beside the columns that the API answers: what the API was asked by.
ASKED_BY = {"objects": "objectTypeId", "locations": "locationType", "segment_statuses": "segmentId"}

EVERY_ENDPOINT = pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=lambda endpoint: endpoint.path)


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    """A workspace that no test changes."""
    return Workspace.generate()


@pytest.fixture
def api(workspace: Workspace) -> Api:
    return Api(workspace)


def partitions(endpoint: Endpoint, workspace: Workspace) -> list[tuple[str, dict[str, str]]]:
    """List the paths, each with the parameters required, that bring all records of an endpoint together."""
    if "{id}" in endpoint.path:
        return [(endpoint.path.replace("{id}", row["id"][2:]), {}) for row in workspace.records("segments")]
    if endpoint.required == ("locationType",):
        return [(endpoint.path, {"locationType": kind}) for kind in LOCATION_TYPES]
    if endpoint.required == ("objectTypeId",):
        return [(endpoint.path, {"objectTypeId": row["id"]}) for row in workspace.records("object_types")]
    return [(endpoint.path, {})]


def read(api: Api, endpoint: Endpoint) -> list[Record]:
    """Read all records of an endpoint with all columns."""
    columns = [*endpoint.on_request, *(["cf_*"] if endpoint.custom_fields_of else [])]
    rows: list[Record] = []
    for path, required in partitions(endpoint, api.workspace):
        params = {**required, **({"cols": ",".join(columns)} if columns else {})}
        if endpoint.paged:
            rows += flat(walk(api, path, {**params, "limit": "200"}))
        else:
            rows += unwrapped(endpoint, json.loads(call(api, path, **params).body))
    return rows


def unwrapped(endpoint: Endpoint, content: Any) -> list[Record]:
    """Take the records out of the shape that the API documents for the endpoint."""
    if endpoint.path == "/v2/api-token-status":
        return [content]
    if endpoint.path == "/v1/tags":
        assert content.keys() == {"labels"}
        return list(content["labels"])
    if endpoint.path.startswith("/v1/"):
        assert isinstance(content, list)
        return content
    assert content.keys() == {"success", "data"}
    assert content["success"] is True
    return [content["data"]] if endpoint.path == "/v2/me" else list(content["data"])


def schema_of(endpoint: Endpoint) -> Mapping[str, Any]:
    name = STREAM_OF.get(endpoint.collection, endpoint.collection)
    return JsonFileSchemaLoader(config={}, parameters={"name": name}, file_path=SCHEMA_FILE).get_json_schema()


# Answers


@EVERY_ENDPOINT
def test_every_endpoint_answers_all_its_records(api: Api, endpoint: Endpoint) -> None:
    beside = ASKED_BY.get(endpoint.collection)
    key = "jti" if endpoint.collection == "api_token" else "id"
    expected = [
        {column: value for column, value in record.items() if column != beside}
        for record in api.workspace.records(endpoint.collection)
    ]
    rows = read(api, endpoint)
    assert len(rows) == len(expected) > 0
    assert {row[key]: row for row in rows} == {record[key]: record for record in expected}


@EVERY_ENDPOINT
def test_every_record_fits_the_schema_that_the_connector_ships(api: Api, endpoint: Endpoint) -> None:
    schema = schema_of(endpoint)
    validator = Draft7Validator(schema)
    for row in read(api, endpoint):
        validator.validate(row)
        assert set(row) <= set(schema["properties"])


@EVERY_ENDPOINT
def test_an_endpoint_of_an_empty_workspace_answers(endpoint: Endpoint) -> None:
    of_one = {"/v2/api-token-status", "/v2/me"}
    assert len(read(Api(Workspace.of()), endpoint)) == (endpoint.path in of_one)


def test_locations_come_by_their_type_and_the_most_popular_first(api: Api) -> None:
    for kind in LOCATION_TYPES:
        pages = walk(api, "/v2/locations", {"locationType": kind, "limit": "100"})
        assert {row["type"] for row in flat(pages)} == {kind}
        assert len(pages) == (3 if kind == "city" else 1)
    countries = [row["country"] for row in flat(walk(api, "/v2/locations", {"locationType": "country"}))]
    homes = [(row.get("location") or {}).get("country") for row in api.workspace.records("contacts")]
    assert countries == sorted(countries, key=homes.count, reverse=True)


def test_topics_come_by_their_names(api: Api) -> None:
    names = [row["name"] for row in flat(walk(api, "/v2/topics"))]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("path", "query", "column"),
    [
        ("/v2/topics", "S", "name"),
        ("/v2/industries", "glass", "name"),
        ("/v2/tech-stack-products", "POSTGRES", "product"),
    ],
)
def test_a_query_matches_names(api: Api, path: str, query: str, column: str) -> None:
    found = [row[column] for row in flat(walk(api, path, {"query": query}))]
    everything = [row[column] for row in api.workspace.records(ENDPOINTS[path].collection)]
    matches = str.startswith if path == "/v2/topics" else str.__contains__
    assert sorted(found) == sorted(name for name in everything if matches(name.casefold(), query.casefold()))
    assert 0 < len(found) < len(everything)


def test_an_object_answers_custom_fields_of_its_type_only(api: Api) -> None:
    definitions = api.workspace.records("custom_fields")
    serials = {row["objectTypeId"]: row["id"] for row in definitions if row["name"] == "Serial"}
    own, other = serials["cot_31"], serials["cot_1007"]
    contacts_own = next(row["id"] for row in definitions if row["entityTypes"] == ["contact"])
    rows = json.loads(call(api, "/v2/objects", objectTypeId="cot_31", cols=own).body)["data"]
    assert {field for row in rows for field in row["customFields"]} == {own}
    for wrong in (other, contacts_own):
        assert call(api, "/v2/objects", objectTypeId="cot_31", cols=wrong).status == 400


# Filters


@pytest.mark.parametrize(
    ("path", "name", "collection"),
    [
        ("/v2/contacts", "segmentId", "segments"),
        ("/v2/contacts", "organizationId", "organizations"),
        ("/v2/activities", "organizationId", "organizations"),
        ("/v2/website-visits", "contactId", "contacts"),
        ("/v2/website-visits", "organizationId", "organizations"),
    ],
)
def test_filters_follow_the_relations(api: Api, path: str, name: str, collection: str) -> None:
    groups = [ids(flat(walk(api, path, {name: group}))) for group in ids(api.workspace.records(collection))]
    everything = set(ids(api.workspace.records(ENDPOINTS[path].collection)))
    assert any(groups)
    assert all(set(group) < everything for group in groups)
    assert not json.loads(call(api, path, **{name: f"{name[0]}_1"}).body)["data"]


def test_segments_tell_their_members_by_contacts_and_by_objects_of_each_type(api: Api) -> None:
    found = {
        (segment["id"], row["id"], kind, row["name"])
        for segment in api.workspace.records("segments")
        for kind, path, required in (
            ("contact", "/v2/contacts", {}),
            *(("object", "/v2/objects", {"objectTypeId": row["id"]}) for row in api.workspace.records("object_types")),
        )
        for row in flat(walk(api, path, {**required, "segmentId": segment["id"], "limit": "200"}))
    }
    expected = [tuple(row.values()) for row in api.workspace.segment_members()]
    assert len(found) == len(expected) == len(set(expected))
    assert found == set(expected)


def test_a_member_that_is_removed_leaves_the_segment() -> None:
    workspace = Workspace.of(
        segments=[{"id": "s_1", "name": "A", "entityType": "object"}],
        objects=[{"id": f"co_{number}", "name": "x", "objectTypeId": "cot_1"} for number in (1, 2)],
        object_memberships=[
            {"id": f"s_1/co_{number}", "segmentId": "s_1", "objectId": f"co_{number}"} for number in (1, 2)
        ],
    )
    members = {"objectTypeId": "cot_1", "segmentId": "s_1"}
    assert ids(flat(walk(Api(workspace), "/v2/objects", members))) == ["co_1", "co_2"]
    workspace.delete("object_memberships", "s_1/co_1")
    assert ids(flat(walk(Api(workspace), "/v2/objects", members))) == ["co_2"]
    workspace.delete("objects", "co_2")
    assert workspace.segment_members() == []
    assert flat(walk(Api(workspace), "/v2/objects", members)) == []


# Paths with an id


@pytest.mark.parametrize("segment", ["8", "s_9", "009", "", "9/9", "{id}", "abc", "9%20"])
def test_the_statuses_of_a_segment_that_is_not_there_are_not_there(api: Api, segment: str) -> None:
    answer = api.answer(Call("GET", f"/v1/segments/{segment}/status", "", f"Bearer {DEFAULT_TOKEN}"))
    assert answer.status == 404
    assert json.loads(answer.body) == {"status": "not-found"}


def test_a_segment_tells_its_own_statuses(api: Api) -> None:
    numbers = [row["id"].removeprefix("s_") for row in api.workspace.records("segments")]
    of_segments = [json.loads(call(api, f"/v1/segments/{number}/status").body) for number in numbers]
    assert [] in of_segments
    assert max(map(len, of_segments)) > 2
    assert all(row.keys() == {"id", "name"} for rows in of_segments for row in rows)


def test_a_path_with_an_id_stands_for_all(api: Api) -> None:
    api.faults.add(Fault("bad_gateway_502", path="/v1/segments/{id}/status", times=1))
    assert [call(api, f"/v1/segments/{number}/status").status for number in ("9", "15")] == [502, 200]
    assert [request.path[-9:] for request in api.log.of("/v1/segments/{id}/status")] == ["/9/status", "15/status"]
    assert api.log.of("/v1/segments/9/status") == api.log.of("/v1/segments/{id}/status")[:1]
    assert endpoint_at("/v1/segments/9/status") is ENDPOINTS["/v1/segments/{id}/status"]
    assert not is_at("/v1/segments/{id}/status", "/v1/segments/9/status/")


# Refusals


@EVERY_ENDPOINT
def test_any_endpoint_can_be_forbidden_and_no_other_is(workspace: Workspace, endpoint: Endpoint) -> None:
    api = Api(workspace, forbidden={endpoint.path})
    for other in ENDPOINTS.values():
        path, required = partitions(other, workspace)[0]
        answer = call(api, path, **required)
        assert answer.status == (403 if other is endpoint else 200)
        if other is endpoint:
            v1 = path.startswith("/v1/")
            assert json.loads(answer.body) == ({"reason": "Token not valid"} if v1 else {"status": "forbidden"})


@pytest.mark.parametrize("path", [path for path in ENDPOINTS if path.startswith("/v1/")])
def test_v1_refuses_in_its_own_words(api: Api, path: str) -> None:
    there = path.replace("{id}", "9")
    token = f"Bearer {DEFAULT_TOKEN}"
    assert json.loads(api.answer(Call("GET", there, "", "Bearer wrong")).body) == {"reason": "Token not valid"}
    assert api.answer(Call("POST", there, "", token)).status == 405
    for query in ("limit=200", "cols=id", "destinationSourceId=1"):
        answer = api.answer(Call("GET", there, query, token))
        assert answer.status == 400
        assert json.loads(answer.body).keys() == {"reason", "docs"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("data_null", [None, {"labels": None}]),
        ("data_object", [{}, {"labels": {}}]),
        ("forbidden_403", [{"reason": "Token not valid"}] * 2),
        ("success_false", [{"status": "failure", "reason": "something went wrong"}] * 2),
    ],
)
def test_faults_take_the_shape_of_v1(api: Api, kind: str, expected: list[Any]) -> None:
    api.faults.add(Fault(kind))
    assert [json.loads(call(api, path).body) for path in ("/v1/members/customFields", "/v1/tags")] == expected


def test_rows_that_are_no_records_get_into_bare_lists(api: Api) -> None:
    api.faults.add(Fault("empty_rows"))
    for rows in (
        json.loads(call(api, "/v1/members/customFields").body),
        json.loads(call(api, "/v1/tags").body)["labels"],
    ):
        assert (rows[0], rows[1], rows[-1]) == ({}, None, 5)


@pytest.mark.parametrize("kind", ["malformed_nan", "malformed_utf8"])
def test_a_bare_list_is_malformed_inside(api: Api, kind: str) -> None:
    api.faults.add(Fault(kind))
    body = call(api, "/v1/members/customFields").body
    assert (body[:1], body[-1:]) == (b"[", b"]")
    assert b'"extra"' not in body
