"""Custom fields as typed columns, and the streams of one type of objects each: from discover to the records."""

from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.sandbox import Api, Fault, Workspace
from source_commonroom.object_streams import name_streams, type_of
from unit_tests.conftest import Discover, Read
from unit_tests.streams import selecting

Record = dict[str, Any]


def definition(number: int, name: str, kind: str, **more: Any) -> Record:
    return {"id": f"cf_{number}", "name": name, "entityTypes": ["contact"], "valueType": kind, **more}


def contact(number: int, **values: tuple[str, Any]) -> Record:
    fields = {field: {"type": kind, "value": value} for field, (kind, value) in values.items()}
    return {"id": f"c_{number}", "name": f"Contact {number}", "customFields": fields}


DEFINITIONS = [
    definition(1, "Deal size", "number", description="In euros."),
    definition(2, "deal-size", "int"),
    definition(3, "Бюджет", "int"),
    definition(4, "🔥", "boolean"),
    definition(5, "Renewal", "date"),
    definition(6, "Site", "url"),
    definition(7, "Position", "geo"),
    definition(8, "Plan", "string"),
]
VALUES: dict[str, tuple[str, Any]] = {
    "cf_1": ("number", 12.5),
    "cf_2": ("int", 3),
    "cf_3": ("int", 4_000_000_000),
    "cf_4": ("boolean", False),
    "cf_5": ("date", "2026-03-01T00:00:00.000Z"),
    "cf_6": ("url", "https://a.example"),
    "cf_7": ("geo", {"lat": 1, "lon": 2}),
    "cf_8": ("string", "free"),
}


@pytest.fixture
def fields() -> Api:
    return Api(Workspace.of(contacts=[contact(1, **VALUES), contact(2)], custom_fields=DEFINITIONS))


def custom(columns: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if name.startswith("custom_")}


BY_LABEL = {
    "custom_deal_size_1": 12.5,
    "custom_deal_size_2": 3,
    "custom_byudzhet": 4_000_000_000,
    "custom_cf_4": False,
    "custom_renewal": "2026-03-01T00:00:00.000Z",
    "custom_site": "https://a.example",
    "custom_position": '{"lat":1,"lon":2}',
    "custom_plan": "free",
}
BY_ID = {f"custom_{field}": value for field, value in zip(VALUES, BY_LABEL.values(), strict=True)}


@pytest.mark.parametrize(("mode", "columns"), [("label", BY_LABEL), ("id", BY_ID), ("none", {})])
def test_given_a_mode_when_discovered_and_read_then_the_columns_are_named_and_filled_by_it(
    mode: str, columns: Record, fields: Api, discover: Discover, read: Read
) -> None:
    contacts = discover(fields, custom_field_columns=mode)["contacts"]
    output = read(fields, configured=selecting(contacts), custom_field_columns=mode)

    assert set(custom(contacts.json_schema["properties"])) == set(columns)
    full, empty = sorted(output.records("contacts"), key=lambda record: str(record["id"]))
    assert custom(full) == columns
    assert custom(empty) == {}
    assert full["customFields"] == contact(1, **VALUES)["customFields"]
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE


def test_when_discovered_then_columns_have_types_and_tell_their_field(fields: Api, discover: Discover) -> None:
    properties = discover(fields)["contacts"].json_schema["properties"]

    types = {name: (node["type"][1], node.get("format")) for name, node in custom(properties).items()}
    assert types == {
        "custom_deal_size_1": ("number", None),
        "custom_deal_size_2": ("integer", None),
        "custom_byudzhet": ("integer", None),
        "custom_cf_4": ("boolean", None),
        "custom_renewal": ("string", "date-time"),
        "custom_site": ("string", None),
        "custom_position": ("string", None),
        "custom_plan": ("string", None),
    }
    for word in ("Deal size", "cf_1", "In euros."):
        assert word in properties["custom_deal_size_1"]["description"]


def test_given_a_type_that_is_not_known_when_discovered_then_it_warns(
    fields: Api, discover: Discover, caplog: pytest.LogCaptureFixture
) -> None:
    discover(fields)

    assert [record.levelname for record in caplog.records if "(geo)" in record.getMessage()] == ["WARNING"]


def test_given_fields_that_change_after_discover_when_read_then_it_goes_on(
    fields: Api, discover: Discover, read: Read
) -> None:
    contacts = discover(fields)["contacts"]
    fields.workspace.replace("custom_fields", definition(8, "Tier", "string"))
    fields.workspace.delete("custom_fields", "cf_6")
    fields.workspace.insert("custom_fields", definition(9, "New", "string"))
    values = {**VALUES, "cf_9": ("string", "new")}
    fields.workspace.replace("contacts", contact(1, **{name: values[name] for name in values if name != "cf_6"}))

    (record,) = [row for row in read(fields, configured=selecting(contacts)).records("contacts") if row["id"] == "c_1"]

    # The renamed one still fills the column that the destination has.
    assert custom(record) == {name: value for name, value in BY_LABEL.items() if name != "custom_site"}
    assert record["customFields"]["cf_9"]["value"] == "new"


def test_given_a_field_that_is_gone_when_only_columns_are_selected_then_it_is_not_asked_for(
    fields: Api, discover: Discover, read: Read
) -> None:
    contacts = discover(fields)["contacts"]
    fields.workspace.delete("custom_fields", "cf_6")
    fields.log.clear()

    output = read(fields, configured=selecting(contacts, "id", "custom_site", "custom_plan"))

    assert {request.params.get("cols") for request in fields.log.pages("/v2/contacts")} == {"cf_8"}
    assert output.exit_code == 0


def test_given_a_value_that_does_not_fit_when_read_then_it_is_null_and_a_warning_names_the_column(
    discover: Discover, read: Read
) -> None:
    api = Api(
        Workspace.of(
            contacts=[contact(1, cf_2=("string", "Katze")), contact(2, cf_2=("string", "Hund"))],
            custom_fields=DEFINITIONS,
        )
    )

    output = read(api, configured=selecting(discover(api)["contacts"]))

    assert [record.get("custom_deal_size_2") for record in output.records("contacts")] == [None, None]
    (warning,) = [text for text in output.warnings() if "custom_deal_size_2" in text]
    assert "Katze" not in warning
    assert output.exit_code == 0


@pytest.mark.parametrize("stream", ["contacts", "organizations"])
def test_given_definitions_that_fail_when_discovered_then_it_fails_and_says_why(
    stream: str, fields: Api, discover: Discover
) -> None:
    of = stream.removesuffix("s")
    fields.faults.add(Fault("forbidden_403", path="/v2/custom-fields", when=lambda call: call["entityType"] == of))

    with pytest.raises(AirbyteTracedException) as raised:
        discover(fields)

    assert raised.value.failure_type == FailureType.config_error
    assert str(raised.value.message).startswith(f"{stream}: the columns for custom fields can't be named")
    assert "Custom Field Columns" in str(raised.value.message)


def test_given_no_columns_wanted_when_discovered_then_definitions_that_fail_do_not_matter(
    fields: Api, discover: Discover
) -> None:
    fields.forbidden.add("/v2/custom-fields")

    assert "contacts" in discover(fields, custom_field_columns="none")


TYPES = [
    {"id": "cot_3", "name": "Deal", "assocs": []},
    {"id": "cot_12", "name": "Deal", "assocs": []},
    {"id": "cot_5", "name": "🔥", "assocs": []},
]


@pytest.fixture
def typed() -> Api:
    of_objects = {"entityTypes": ["object"]}
    return Api(
        Workspace.of(
            object_types=TYPES,
            objects=[
                {
                    "id": f"co_{number}",
                    "name": f"Object {number}",
                    "objectTypeId": type_id,
                    "recordKey": f"key {number}",
                    "customFields": {field: {"type": "int", "value": number}},
                }
                for number, type_id, field in ((1, "cot_3", "cf_1"), (2, "cot_12", "cf_2"), (3, "cot_12", "cf_2"))
            ],
            custom_fields=[
                definition(1, "Worth", "int", objectTypeId="cot_3") | of_objects,
                definition(2, "Worth", "int", objectTypeId="cot_12") | of_objects,
            ],
        )
    )


def test_given_types_of_objects_when_discovered_then_each_has_a_stream_with_columns_of_its_own(
    typed: Api, discover: Discover
) -> None:
    found = discover(typed)

    names = [name for name in found if name.startswith("object_") and name != "object_types"]
    assert names == ["object_deal_3", "object_deal_12", "object_type_5"]
    assert set(custom(found["object_deal_3"].json_schema["properties"])) == {"custom_worth"}
    assert set(custom(found["objects"].json_schema["properties"])) == {"custom_worth_1", "custom_worth_2"}
    assert found["object_deal_3"].source_defined_primary_key == [["id"]]


@pytest.mark.parametrize("number", [7, 10**17])
def test_given_types_with_long_names_when_named_then_a_prefix_of_25_characters_leaves_them_apart_in_postgres(
    number: int,
) -> None:
    types = [{"id": f"cot_{number + more}", "name": "Quarterly business reviews of key accounts"} for more in range(3)]

    names = [name for name, _ in name_streams(types)]

    assert len({f"{'p' * 25}{name}"[:63] for name in names}) == 3
    assert all(name.startswith("object_quarterly") for name in names)
    assert [type_of(name) for name in names] == [row["id"] for row in types]
    # A connection made before keeps the name that it has.
    assert type_of(f"object_quarterly_business_reviews_of_key_accounts_{number}") == f"cot_{number}"


def test_when_discovered_then_it_costs_a_request_for_each_type_of_entity_and_one(
    typed: Api, discover: Discover
) -> None:
    discover(typed)

    assert len(typed.log.requests) == len(["contact", "organization", *TYPES]) + 1


def test_when_objects_are_read_then_each_record_has_its_type_and_its_columns(
    typed: Api, discover: Discover, read: Read
) -> None:
    found = discover(typed)

    one = read(typed, configured=selecting(found["object_deal_12"])).records("object_deal_12")
    every = read(typed, configured=selecting(found["objects"])).records("objects")

    assert [(row["id"], row["objectTypeId"], row["custom_worth"]) for row in one] == [
        ("co_2", "cot_12", 2),
        ("co_3", "cot_12", 3),
    ]
    assert {row["id"]: custom(row) for row in every} == {
        "co_1": {"custom_worth_1": 1},
        "co_2": {"custom_worth_2": 2},
        "co_3": {"custom_worth_2": 3},
    }


def test_given_a_type_that_is_gone_when_read_then_its_stream_is_incomplete_and_says_so(
    typed: Api, discover: Discover, read: Read
) -> None:
    found = discover(typed)
    typed.workspace.delete("object_types", "cot_3")
    configured = selecting(found["object_deal_3"])
    configured.streams += selecting(found["object_deal_12"]).streams

    output = read(typed, configured=configured)

    assert output.status("object_deal_3") == AirbyteStreamStatus.INCOMPLETE
    assert output.status("object_deal_12") == AirbyteStreamStatus.COMPLETE
    (error,) = output.errors("object_deal_3")
    assert "doesn't exist any more" in str(error.message)
    assert error.failure_type == FailureType.config_error
    assert output.exit_code == 1


def test_given_a_stream_that_the_connector_does_not_know_when_read_then_it_is_incomplete_and_says_so(
    typed: Api, discover: Discover, read: Read
) -> None:
    found = discover(typed)
    configured = selecting(found["tags"])
    configured.streams[0].stream.name = "hashtags"

    output = read(typed, configured=configured)

    assert output.status("hashtags") == AirbyteStreamStatus.INCOMPLETE
    (error,) = output.errors("hashtags")
    assert str(error.message).startswith("hashtags: ")
    assert "no such stream" in str(error.message)
    assert output.exit_code == 1


@pytest.mark.parametrize("kind", ["forbidden_403", "server_error_500"])
def test_given_types_that_cannot_be_listed_when_discovered_then_only_their_streams_are_absent(
    kind: str, typed: Api, discover: Discover, caplog: pytest.LogCaptureFixture
) -> None:
    typed.faults.add(Fault(kind, path="/v2/object-types"))

    found = discover(typed)

    assert "contacts" in found
    assert "objects" in found
    assert [name for name in found if name.startswith("object_")] == ["object_types"]
    assert any("can't be listed" in record.getMessage() for record in caplog.records if record.levelname == "WARNING")
