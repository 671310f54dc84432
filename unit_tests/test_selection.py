"""Field selection: `cols` holds what the configured catalog selects and nothing else; and contacts of some segments."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType

from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.endpoints import in_segment
from unit_tests.conftest import Discover, Read
from unit_tests.streams import BY_NAME, selecting


def asked_for(api: Api, path: str) -> set[frozenset[str]]:
    """Tell what `cols` held, over all requests; nothing if it wasn't sent."""
    return {frozenset(request.params.get("cols", "").split(",")) - {""} for request in api.log.pages(path)}


COLUMNS = {
    "id only": (["id"], set()),
    "what comes anyway": (["id", "name"], set()),
    "two columns": (["id", "name", "primaryEmail", "tags"], {"primaryEmail", "tags"}),
    "the map": (["id", "customFields"], {"cf_*"}),
    "the map and a column": (["id", "customFields", "custom_website"], {"cf_*"}),
    "a column of a custom field": (["id", "title", "custom_website"], {"title", "cf_107"}),
    "an expensive one": (["id", "sparkSummary"], {"sparkSummary"}),
}


@pytest.mark.parametrize(("selected", "cols"), COLUMNS.values(), ids=COLUMNS)
def test_given_selected_columns_when_read_then_only_they_are_asked_for(
    selected: list[str], cols: set[str], api: Api, discover: Discover, read: Read
) -> None:
    contacts = discover(api)["contacts"]

    output = read(api, configured=selecting(contacts, *selected))

    assert asked_for(api, "/v2/contacts") == {frozenset(cols)}
    records = output.records("contacts")
    assert len(records) == len(api.workspace.records("contacts"))
    if "custom_website" in selected:
        values = {
            row["id"]: row["customFields"]["cf_107"]["value"]
            for row in api.workspace.records("contacts")
            if "cf_107" in row.get("customFields", {})
        }
        assert {row["id"]: row["custom_website"] for row in records if row.get("custom_website")} == {
            key: value for key, value in values.items() if value
        }
    if "customFields" not in selected:
        assert not any("customFields" in row for row in records)


def test_given_most_columns_of_custom_fields_when_read_then_all_fields_are_asked_for(
    api: Api, discover: Discover, read: Read
) -> None:
    contacts = discover(api)["contacts"]
    columns = [name for name in contacts.json_schema["properties"] if name.startswith("custom_")]

    read(api, configured=selecting(contacts, "id", *columns[: len(columns) * 2 // 3]))

    assert asked_for(api, "/v2/contacts") == {frozenset({"cf_*"})}


def test_given_columns_of_several_types_of_objects_when_read_then_each_type_answers(
    api: Api, discover: Discover, read: Read
) -> None:
    objects = discover(api)["objects"]
    columns = [name for name in objects.json_schema["properties"] if name.startswith("custom_")]

    output = read(api, configured=selecting(objects, "id", columns[0], columns[-1]))

    # The API knows the fields of one type at a time, and refuses others.
    assert asked_for(api, "/v2/objects") == {frozenset({"cf_*"})}
    assert len(output.records("objects")) == len(api.workspace.records("objects"))


def test_given_activities_with_few_columns_when_read_then_only_they_are_asked_for(
    api: Api, discover: Discover, read: Read
) -> None:
    activities = discover(api)["activities"]

    read(api, configured=selecting(activities, "id", "activityTime", "contactId"))

    assert {cols - {"recordCount"} for cols in asked_for(api, "/v2/activities")} == {frozenset({"contactId"})}


def test_given_a_selection_when_read_then_definitions_are_asked_for_only_to_choose_among_fields(
    api: Api, discover: Discover, read: Read
) -> None:
    contacts = discover(api)["contacts"]
    api.log.clear()

    read(api, configured=selecting(contacts))

    assert api.log.of("/v2/custom-fields") == []


def of_segments(workspace: Workspace, *segments: str) -> list[str]:
    belongs = [in_segment(workspace, segment) for segment in segments]
    return sorted(row["id"] for row in workspace.records("contacts") if any(condition(row) for condition in belongs))


def largest(workspace: Workspace) -> list[str]:
    """List the two segments with most contacts."""
    ids = [row["id"] for row in workspace.records("segments") if row["entityType"] == "contact"]
    return sorted(ids, key=lambda segment: len(of_segments(workspace, segment)))[-2:]


@pytest.mark.parametrize("both_ends", [1, 0])
def test_given_segments_when_read_then_their_contacts_come_once_each(both_ends: int, api: Api, read: Read) -> None:
    segments = largest(api.workspace)
    wanted = of_segments(api.workspace, *segments)
    shared = set(of_segments(api.workspace, segments[0])) & set(of_segments(api.workspace, segments[1]))
    assert shared  # else it would show nothing

    output = read(api, "contacts", segment_ids=segments, walk_from_both_ends=bool(both_ends))

    assert sorted(row["id"] for row in output.records("contacts")) == wanted
    assert {request.params["segmentId"] for request in api.log.of("/v2/contacts")} == set(segments)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE


@pytest.mark.parametrize("what", ["missing", "of organizations"])
def test_given_a_segment_that_is_none_of_contacts_when_read_then_it_is_a_config_error_that_names_it(
    what: str, api: Api, read: Read
) -> None:
    of_organizations = {row["id"] for row in api.workspace.records("segments") if row["entityType"] == "organization"}
    wrong = "s_99999" if what == "missing" else min(of_organizations)

    output = read(api, "contacts", "tags", segment_ids=[largest(api.workspace)[0], wrong])

    (error,) = output.errors("contacts")
    assert error.failure_type == FailureType.config_error
    assert wrong in str(error.message)
    assert output.records("contacts") == []
    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    assert output.status("tags") == AirbyteStreamStatus.COMPLETE
    assert output.exit_code == 1


def test_when_members_are_read_then_pages_are_thin(api: Api, read: Read) -> None:
    output = read(api, "segment_members")

    assert asked_for(api, "/v2/contacts") | asked_for(api, "/v2/objects") == {frozenset()}
    assert {record["memberType"] for record in output.records("segment_members")} == {"contact", "object"}


def test_given_types_that_cannot_be_listed_when_members_are_read_then_those_of_contacts_come_and_it_is_incomplete(
    api: Api, read: Read
) -> None:
    api.faults.add(Fault("forbidden_403", path="/v2/object-types"))

    output = read(api, "segment_members")

    assert {record["memberType"] for record in output.records("segment_members")} == {"contact"}
    assert output.status("segment_members") == AirbyteStreamStatus.INCOMPLETE
    assert output.exit_code == 1


FORBIDDEN = {
    "/v2/object-types": ["object_types", "objects", "segment_members"],
    "/v2/prospector-contacts": ["prospector_contacts"],
    "/v2/website-visits": ["website_visits"],
}


def test_given_paths_that_are_forbidden_when_read_then_only_their_streams_are_incomplete_and_a_warning_says_why(
    api: Api, read: Read
) -> None:
    api.forbidden.update(FORBIDDEN)

    output = read(api)

    expected: dict[str, Any] = {stream: path for path, streams in FORBIDDEN.items() for stream in streams}
    incomplete = {name for kind, name in output.order() if kind == "INCOMPLETE"}
    assert incomplete == set(expected)
    for stream, path in expected.items():
        endpoint = path.removeprefix("/v2")
        assert any(
            text.startswith(f"{stream}: ") and endpoint in text and "plan" in text for text in output.warnings()
        ), stream
        (error,) = output.errors(stream)
        assert error.failure_type == FailureType.config_error
    assert output.exit_code == 1


def asks_for(*columns: str) -> Callable[[Mapping[str, str]], bool]:
    return lambda params: not {*columns}.isdisjoint(params.get("cols", "").split(","))


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize(
    ("stream", "columns"),
    [
        ("contacts", ["leadScores"]),
        ("contacts", ["title", "segments"]),
        ("website_visits", ["organizationId"]),
        ("activities", ["content"]),
    ],
)
def test_given_columns_that_the_token_lacks_when_read_then_the_error_names_them_and_nothing_fails_without_them(
    stream: str, columns: list[str], status: int, api: Api, discover: Discover, read: Read
) -> None:
    api.faults.add(Fault("status", status=status, path=BY_NAME[stream].path, when=asks_for(*columns)))
    found = discover(api)[stream]
    api.log.clear()

    output = read(api, configured=selecting(found))

    (error,) = output.errors(stream)
    assert error.failure_type == FailureType.config_error
    named = ", ".join(columns)
    assert error.message.startswith(f"{stream}: Common Room refuses to serve {named} of /{BY_NAME[stream].path[4:]} (")
    assert "Deselect" in error.message
    assert len(api.log.requests) <= 40
    others = [name for name in found.json_schema["properties"] if name not in columns]
    assert read(api, configured=selecting(found, *others)).status(stream) == AirbyteStreamStatus.COMPLETE


@pytest.mark.parametrize(
    ("selected", "refused", "named"),
    [
        (["id", "name", "custom_seats"], "cf_1", "custom_seats"),
        ([], "cf_*", "customFields, all columns custom_…"),
    ],
)
def test_given_custom_fields_that_the_token_lacks_when_read_then_the_error_names_what_can_be_deselected(
    selected: list[str], refused: str, named: str, discover: Discover, read: Read
) -> None:
    fields = [
        {"id": f"cf_{number}", "name": name, "entityTypes": ["contact"], "valueType": "int"}
        for number, name in enumerate(("Seats", "B", "C", "D"), 1)
    ]
    api = Api(Workspace.of(contacts=[{"id": "c_1"}], custom_fields=fields))
    found = discover(api)["contacts"]
    api.faults.add(Fault("status", status=403, when=asks_for(refused)))

    (error,) = read(api, configured=selecting(found, *selected)).errors("contacts")

    assert f"refuses to serve {named} of /contacts" in error.message
