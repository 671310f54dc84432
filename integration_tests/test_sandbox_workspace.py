"""The generated workspace: the same for its seed, related throughout, and full of what goes wrong elsewhere."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from integration_tests.sandbox import ENDPOINTS, Api, Workspace
from integration_tests.sandbox.generate import Sizes, generate
from integration_tests.sandbox.people import PERSONAL_LABEL
from integration_tests.test_sandbox import ids
from integration_tests.test_sandbox_endpoints import read
from unit_tests.parity import assert_same

if TYPE_CHECKING:
    Record = dict[str, Any]

REQUIRED_COLUMNS = {
    "contacts": {"id", "name"},
    "organizations": {"id", "name", "primaryDomain"},
    "activities": {"id", "type", "activityTime"},
    "segments": {"id", "name", "entityType"},
    "tags": {"id", "name"},
    "custom_fields": {"id", "name", "entityTypes", "keyField", "valueType"},
    "activity_types": {"id", "displayName"},
    "activity_categories": {"id", "name", "value"},
    "activity_sentiment": {"id", "name"},
    "lead_scores": {"id", "name", "enabled", "entityType", "isPrimaryScore"},
    "locations": {"id", "name", "type", "locationType"},
    "topics": {"id", "name"},
    "providers": {"id", "name", "serviceName"},
    "object_types": {"id", "name"},
    "objects": {"id", "name", "objectTypeId"},
    "object_memberships": {"id", "segmentId", "objectId"},
    "website_visits": {"id", "visitTime", "url"},
    "prospector_contacts": {"id", "name"},
    "prospector_companies": {"id", "name"},
    "industries": {"id", "code", "name"},
    "tech_stack_products": {"id", "product", "vendor"},
    "me": {"id", "communityId", "name", "role"},
    "api_token": {"jti", "communityName", "communityId"},
    "contact_custom_fields": {"id", "name", "type", "multivalue"},
    "segment_statuses": {"id", "name", "segmentId"},
    "user_defined_tags": {"id", "name", "entityTypes", "createdAt"},
}
PREFIXES = {
    "contacts": "c",
    "organizations": "o",
    "activities": "a",
    "segments": "s",
    "tags": "l",
    "custom_fields": "cf",
    "activity_categories": "l",
    "activity_sentiment": "l",
    "lead_scores": "ls",
    "topics": "tp",
    "providers": "sig",
    "object_types": "cot",
    "objects": "co",
    "prospector_contacts": "pc",
    "industries": "naics",
    "tech_stack_products": "p",
    "me": "c",
}
# Those whose ids are of another form, or whose form isn't documented.
WITHOUT_PREFIX = {
    "activity_types",
    "locations",
    "object_memberships",
    "website_visits",
    "prospector_companies",
    "api_token",
    "contact_custom_fields",
    "segment_statuses",
    "user_defined_tags",
}
PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "url": str,
    "int": int,
    "number": (int, float),
    "date": str,
    "boolean": bool,
    "geo": dict,
    "list": list,
}
DOCUMENTED_TYPES = {"string", "url", "int", "number", "date", "boolean"}
OWNERS = ("contact", "organization", "cot_31", "cot_32")
# Where people's values stand, by the names of columns; free texts mention people too.
PERSONAL_COLUMNS = {"fullName", "primaryEmail", "phoneNumbers", "profiles", "avatarUrl", "loginEmail", "linkedInHandle"}
FREE_TEXTS = {"content", "sparkSummary", "recentSparkSummaries"}


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    """A workspace that no test changes."""
    return Workspace.generate()


def test_every_collection_is_made_and_tested_here() -> None:
    endpoints, here = "integration_tests/sandbox/endpoints.py", "integration_tests/test_sandbox_workspace.py"
    # The memberships of objects are behind the parameter segmentId.
    served = {endpoint.collection for endpoint in ENDPOINTS.values()} | {"object_memberships"}
    made = {*generate(1, Sizes(**{field.name: 1 for field in fields(Sizes)})), "api_token"}
    assert_same(endpoints, served, "integration_tests/sandbox/generate.py", made)
    assert_same(endpoints, served, f"REQUIRED_COLUMNS of {here}", REQUIRED_COLUMNS)
    assert_same(endpoints, served, f"PREFIXES or WITHOUT_PREFIX of {here}", PREFIXES.keys() | WITHOUT_PREFIX)


@pytest.mark.parametrize("collection", REQUIRED_COLUMNS)
def test_every_record_has_the_required_columns(workspace: Workspace, collection: str) -> None:
    records = workspace.records(collection)
    assert records, f"integration_tests/sandbox/generate.py makes no {collection}"
    assert all(REQUIRED_COLUMNS[collection] <= record.keys() for record in records)


@pytest.mark.parametrize(("collection", "prefix"), PREFIXES.items())
def test_ids_have_the_documented_prefix(workspace: Workspace, collection: str, prefix: str) -> None:
    assert all(re.fullmatch(rf"{prefix}_[0-9]+", record_id) for record_id in ids(workspace.records(collection)))


def test_the_seed_decides_the_workspace(workspace: Workspace) -> None:
    again, other = Workspace.generate(), Workspace.generate(seed=2)
    assert all(again.records(name) == workspace.records(name) for name in REQUIRED_COLUMNS)
    assert other.records("contacts") != workspace.records("contacts")
    assert other.records("prospector_companies") != workspace.records("prospector_companies")


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_a_small_workspace_can_be_generated_and_read(size: int) -> None:
    sizes = [field.name for field in fields(Sizes)]
    workspace = Workspace.generate(**dict.fromkeys(sizes, size))
    assert {name: len(workspace.records(name)) for name in sizes} == dict.fromkeys(sizes, size)
    for endpoint in ENDPOINTS.values():
        assert len(read(Api(workspace), endpoint)) == len(workspace.records(endpoint.collection))


def test_a_workspace_of_few_contacts_has_something_of_everything() -> None:
    workspace = Workspace.generate(contacts=5, organizations=2, activities=9)
    assert [name for name in REQUIRED_COLUMNS if not workspace.records(name)] == []
    assert workspace.personal_values()


def test_the_workspace_holds_what_goes_wrong_elsewhere(workspace: Workspace) -> None:
    times = sorted(row["activityTime"] for row in workspace.records("activities"))
    values = [v for row in workspace.records("contacts") for v in row.get("customFields", {}).values()]
    contents = [row.get("content", "absent") for row in workspace.records("activities")]
    assert (times[0], times[-1]) == ("2024-06-30T12:00:00.000Z", "2026-06-30T12:00:00.000Z")
    assert any(times[end - 1] == times[end] for end in range(200, len(times), 200))
    assert any(time.endswith("T00:00:00.000Z") for time in times)
    assert any(value["type"] == "int" and value["value"] > 2**53 for value in values)
    assert {None, "", "absent"} <= set(contents)
    assert max(len(content or "") for content in contents) == 20_000
    type_names = [row["name"] for row in workspace.records("object_types")]
    assert len(type_names) > len(set(type_names))
    assert not all(row["id"].rpartition("_")[2].isdecimal() for row in workspace.records("website_visits"))
    assert {row.get("description", "absent") is None for row in workspace.records("prospector_companies")} == {
        True,
        False,
    }


# Relations


def test_the_relations_hold(workspace: Workspace) -> None:
    known = {name: set(ids(workspace.records(name))) for name in REQUIRED_COLUMNS if name != "api_token"}
    contacts, organizations = workspace.records("contacts"), workspace.records("organizations")
    activities, visits = workspace.records("activities"), workspace.records("website_visits")

    def targets(rows: list[Record], column: str) -> set[Any]:
        return {row[column] for row in rows if column in row}

    assert targets(activities, "contactId") <= known["contacts"]
    assert targets(activities, "providerId") <= known["providers"]
    assert targets(activities, "type") <= known["activity_types"]
    assert targets(activities, "sentiment") - {None} == targets(workspace.records("activity_sentiment"), "name")
    assert targets(visits, "contactId") <= known["contacts"]
    assert targets(visits, "organizationId") <= known["organizations"]
    assert {a["id"] for row in contacts for a in row["recentActivities"]} <= known["activities"]
    assert {tag for row in [*contacts, *organizations] for tag in row.get("tags", ())} <= known["tags"]
    for rows, kind in ((contacts, "contact"), (organizations, "organization")):
        scores = {f"ls_{score['scoreId']}" for row in rows for score in row.get("leadScores", ())}
        assert scores == {row["id"] for row in workspace.records("lead_scores") if row["entityType"] == kind}
    assert targets(workspace.records("objects"), "objectTypeId") < known["object_types"]
    assert targets(workspace.records("custom_fields"), "objectTypeId") < known["object_types"]
    assert targets(workspace.records("segment_statuses"), "segmentId") < known["segments"]
    (me,) = workspace.records("me")
    assert me["id"] in known["contacts"]
    assert set(ids(me["segments"])) <= known["segments"]


def test_what_is_embedded_equals_what_it_is_of(workspace: Workspace) -> None:
    contacts = {row["id"]: row for row in workspace.records("contacts")}
    segments = {row["id"]: row for row in workspace.records("segments")}
    objects = {row["id"]: row for row in workspace.records("objects")}
    types = {row["id"]: row["name"] for row in workspace.records("object_types")}
    activities = {row["id"]: row for row in workspace.records("activities")}
    for contact in contacts.values():
        for segment in contact["segments"]:
            assert segment.items() <= segments[segment["id"]].items()
        for link in contact["connectedCustomObjects"]:
            assert link["name"] == objects[link["id"]]["name"]
            assert link["objectType"] == types[objects[link["id"]]["objectTypeId"]]
        for activity in contact["recentActivities"]:
            assert activity.items() <= activities[activity["id"]].items()
    tops = [(row["primaryDomain"], top) for row in workspace.records("organizations") for top in row["topContacts"]]
    assert tops
    for domain, top in tops:
        assert contacts[top["id"]].get("companyWebsite") == domain
        assert top.items() <= contacts[top["id"]].items()


def test_segments_are_of_every_kind_large_empty_and_counted(workspace: Workspace) -> None:
    members = [row["segmentId"] for row in workspace.segment_members()]
    kinds: dict[str, list[int]] = {}
    for segment in workspace.records("segments"):
        kinds.setdefault(segment["entityType"], []).append(members.count(segment["id"]))
        assert segment["entityType"] == "organization" or segment["entityCount"] == members.count(segment["id"])
    assert max(kinds["contact"]) > 300
    assert max(kinds["object"]) > 200
    assert min(kinds["contact"]) == 0
    assert max(kinds["organization"]) == 0
    several = [row["memberId"] for row in workspace.segment_members()]
    assert {len(row["segments"]) for row in workspace.records("contacts")} == {0, 1, 2, 3}
    assert any(several.count(record_id) > 1 for record_id in ids(workspace.records("objects")))


def test_v1_tells_the_same_custom_fields_and_tags(workspace: Workspace) -> None:
    definitions = {row["id"]: row for row in workspace.records("custom_fields")}
    tags = {row["id"]: row for row in workspace.records("tags")}
    in_v1 = workspace.records("contact_custom_fields")
    assert all(definitions[f"cf_{row['id']}"]["name"] == row["name"] for row in in_v1)
    assert {f"cf_{row['id']}" for row in in_v1} == {
        row["id"] for row in definitions.values() if "contact" in row["entityTypes"]
    }
    assert {row["type"] == "enum" for row in in_v1 if "values" in row} == {True}
    assert {row["multivalue"] for row in in_v1} == {True, False}
    assert all(tags[f"l_{row['id']}"]["name"] == row["name"] for row in workspace.records("user_defined_tags"))


# Custom fields


def owned_by(workspace: Workspace, owner: str) -> list[Record]:
    return [
        row for row in workspace.records("custom_fields") if owner in (*row["entityTypes"], row.get("objectTypeId"))
    ]


def bearers(workspace: Workspace, owner: str) -> list[Record]:
    if owner.startswith("cot_"):
        return [row for row in workspace.records("objects") if row["objectTypeId"] == owner]
    return workspace.records(f"{owner}s")


@pytest.mark.parametrize("owner", OWNERS)
def test_labels_of_custom_fields_make_trouble(workspace: Workspace, owner: str) -> None:
    definitions = owned_by(workspace, owner)
    labels = [row["name"] for row in definitions]
    slugs = {re.sub(r"\W+", "_", label.lower()) for label in labels}
    assert {row["valueType"] for row in definitions} == {*DOCUMENTED_TYPES, "geo", "list"}
    assert len(labels) > len(set(labels)) > len(slugs)
    assert {"Deal size", "deal-size", "Бюджет", "💎", "Work e-mail", "Phone number", "Name"} <= set(labels)
    assert owner != "contact" or len(definitions) >= 20


@pytest.mark.parametrize("owner", OWNERS)
def test_values_of_custom_fields_are_of_their_type_and_often_missing(workspace: Workspace, owner: str) -> None:
    definitions = {row["id"]: row for row in owned_by(workspace, owner)}
    records = bearers(workspace, owner)
    counts = dict.fromkeys(definitions, 0)
    for record in records:
        for field_id, value in record["customFields"].items():
            declared = definitions[field_id]["valueType"]
            assert value["type"] == declared
            assert isinstance(value["value"], PYTHON_TYPES[declared])
            assert declared == "boolean" or not isinstance(value["value"], bool)
            counts[field_id] += 1
    assert all(0 < count < len(records) for count in counts.values())


# Personal data


def without_people(value: Any, personal_fields: set[str], *, in_person: bool) -> Any:
    """Leave out what identifies people: their columns and names, the free texts, the custom fields of such labels."""
    if isinstance(value, list):
        return [without_people(item, personal_fields, in_person=in_person) for item in value]
    if not isinstance(value, dict):
        return value
    left_out = {*(PERSONAL_COLUMNS | FREE_TEXTS), *personal_fields, *(["name"] if in_person else [])}
    return {
        key: without_people(item, personal_fields, in_person=key == "topContacts")
        for key, item in value.items()
        if key not in left_out
    }


def test_personal_values_stand_in_the_columns_of_people_and_nowhere_else() -> None:
    workspace = Workspace.generate(contacts=120, organizations=60, activities=400, prospector_contacts=60)
    personal = workspace.personal_values()
    labelled = {row["id"] for row in workspace.records("custom_fields") if PERSONAL_LABEL.search(row["name"])}
    everything, rest = [], []
    for collection in REQUIRED_COLUMNS:
        people = collection in {"contacts", "prospector_contacts", "me"}
        for row in workspace.records(collection):
            samples = {"sampleValues"} if row.get("id") in labelled else set()
            everything.append(row)
            rest.append(without_people(row, labelled | samples, in_person=people))
    whole, impersonal = json.dumps(everything, ensure_ascii=False), json.dumps(rest, ensure_ascii=False)
    written = {json.dumps(text, ensure_ascii=False)[1:-1] for text in personal}
    assert len(personal) > 500
    assert [text for text in written if text not in whole] == []
    assert [text for text in written if text in impersonal] == []


def test_one_person_stands_in_several_places(workspace: Workspace) -> None:
    personal = workspace.personal_values()
    contacts = workspace.records("contacts")
    (me,) = workspace.records("me")
    emails = {row["primaryEmail"] for row in contacts if row.get("primaryEmail")}
    columns = {row["id"] for row in workspace.records("custom_fields") if row["name"] == "Work e-mail"}
    for collection in ("contacts", "organizations", "objects"):
        values = [value for row in workspace.records(collection) for value in row["customFields"].items()]
        assert emails & {value["value"] for field_id, value in values if field_id in columns}
    tops = [top for row in workspace.records("organizations") for top in row["topContacts"]]
    assert emails & {top.get("primaryEmail") for top in tops}
    assert {row.get("fullName") for row in contacts} & {
        row.get("fullName") for row in workspace.records("prospector_contacts")
    } - {None}
    texts = " ".join(row.get("content") or "" for row in workspace.records("activities"))
    assert any(email in texts for email in emails)
    recent = " ".join(a.get("content") or "" for row in contacts for a in row["recentActivities"])
    assert any(email in recent for email in emails)
    assert {me["loginEmail"], me["profiles"][0]["handle"], *emails} <= personal
    assert any(value.startswith("https://www.linkedin.com/in/") for value in personal)
    assert any(value.startswith("https://avatars.example/") for value in personal)
    assert any(value.startswith("+49 151 ") for value in personal)
