"""Typed columns: one name for each field whatever its label, and values that fit or become null."""

import copy
import re
import unicodedata
from dataclasses import replace
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from source_commonroom.api.exact_json import Notes, dumps, loads
from source_commonroom.records.columns import (
    Column,
    columns_from,
    columns_of,
    custom_cols,
    make_filler,
    slug_of,
    words_of,
)

Definition = dict[str, Any]
TYPES = ("string", "integer", "number", "date-time", "boolean", "json")

# What `loads` returns is what a record may hold.
SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    SCALARS | st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
# Few letters and few ids, so that labels collide with each other and with the names that are made of them.
LABELS = st.text("Ax5 _🔥cf1", max_size=6) | st.sampled_from(["fields", "cf 1", "A 1", "a_1_1", "cf_x", "é", "e\u0301"])
IDS = st.integers(0, 15).map("cf_{}".format) | st.sampled_from(
    ["cf_01", "cf_", "cf_1_1", "CF_1", "12", "é", "cf_" + "9" * 30]
)
DEFINITIONS = st.lists(
    st.fixed_dictionaries(
        {"id": IDS}, optional={"name": LABELS | st.none(), "valueType": st.text(), "description": st.text() | JSON}
    ),
    max_size=10,
)


def field(number: int, label: Any = "", value_type: str = "string", **more: Any) -> Definition:
    return {"id": f"cf_{number}", "name": label, "valueType": value_type, **more}


def names(*definitions: Definition, mode: Literal["label", "id", "none"] = "label") -> list[str]:
    return [column.name for column in columns_of(definitions, mode)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Deal size", "deal_size"),
        ("  Deal--size (€)! ", "deal_size"),
        ("2nd_owner", "2nd_owner"),
        ("Größe", "grosse"),
        ("e\u0301te\u0301", "ete"),
        ("Регион", "region"),
        ("Объект", "obekt"),
        ("顧客", "guke"),
        ("हिन्दी", "hindi"),
        ("が", "ga"),
        ("か\u3099", "ga"),
        ("soft\u00adhyphen", "softhyphen"),
        ("½ off", "1_2_off"),
        ("Health ❤️ score", "health_score"),
        ("🔥", ""),
        ("€ + $", ""),
        ("\ufe0f\u200d", ""),
        ("", ""),
    ],
)
def test_given_any_script_when_named_then_letters_and_digits_stay_in_ascii(text: str, expected: str) -> None:
    assert words_of(text) == expected


def test_given_a_label_that_no_other_field_has_then_it_is_the_name() -> None:
    assert names(field(12, "Deal size"), field(13, "Tier")) == ["custom_deal_size", "custom_tier"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({12: "Deal size", 31: "deal-size "}, ["custom_deal_size_12", "custom_deal_size_31"]),
        ({12: "🔥", 13: "", 14: None, 15: 5}, ["custom_cf_12", "custom_cf_13", "custom_cf_14", "custom_cf_15"]),
        # A label that is the name that another field has, or would have if its label weren't unique.
        (
            {12: "Deal size", 31: "Deal size", 40: "Deal size 12"},
            ["custom_deal_size_12", "custom_deal_size_31", "custom_deal_size_12_40"],
        ),
        ({12: "Deal size", 40: "Deal size 12"}, ["custom_deal_size", "custom_deal_size_12_40"]),
        ({5: "🔥", 9: "cf 5"}, ["custom_cf_5", "custom_cf_5_9"]),
        ({5: "cf 5", 9: "cf 7"}, ["custom_cf_5", "custom_cf_7"]),
        # What `customFields` is in snake_case.
        ({9: "Fields"}, ["custom_fields_9"]),
        ({9: "a" * 200}, ["custom_" + "a" * 40]),
        ({8: "a" * 200, 9: "a" * 40 + "b"}, ["custom_" + "a" * 40 + "_8", "custom_" + "a" * 40 + "_9"]),
    ],
)
def test_given_labels_that_collide_when_named_then_each_name_tells_its_field(
    labels: dict[int, Any], expected: list[str]
) -> None:
    assert names(*(field(number, label) for number, label in labels.items())) == expected


@given(definitions=DEFINITIONS, mode=st.sampled_from(["label", "id"]), seed=st.integers())
def test_given_any_definitions_then_names_are_unique_short_and_independent_of_the_order(
    definitions: list[Definition], mode: Literal["label", "id"], seed: int
) -> None:
    columns = columns_of(definitions, mode)

    assert {column.field for column in columns} == {definition["id"] for definition in definitions}
    assert len({column.name for column in columns}) == len(columns)
    assert all(len(column.name) <= 63 and re.fullmatch("custom(_[a-z0-9]+)+", column.name) for column in columns)
    Random(seed).shuffle(definitions)
    assert columns_of(definitions, mode) == columns


@given(text=LABELS | st.text())
def test_given_any_label_then_its_slug_is_a_name_and_stays_one_however_it_is_typed(text: str) -> None:
    slug = slug_of(text)

    assert re.fullmatch("([a-z0-9]+(_[a-z0-9]+)*)?", slug)
    assert len(slug) <= 40
    assert slug_of(slug) == slug
    assert slug == slug_of(f" {text}!") == slug_of(unicodedata.normalize("NFD", text))


@given(
    definitions=DEFINITIONS,
    others=st.lists(st.integers(1000, 9999).map(lambda i: field(i, f"unrelated {i} so")), max_size=3),
)
def test_given_unrelated_fields_that_appear_then_no_name_changes(
    definitions: list[Definition], others: list[Definition]
) -> None:
    before = {column.field: column.name for column in columns_of(definitions, "label")}
    after = {column.field: column.name for column in columns_of([*others, *definitions], "label")}

    assert before.items() <= after.items()


@given(definitions=st.lists(JSON | st.dictionaries(st.sampled_from(["id", "name", "valueType", "description"]), JSON)))
def test_given_malformed_definitions_then_those_without_an_id_are_left_out(definitions: list[Any]) -> None:
    whole = [row for row in definitions if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"]]

    assert {column.field for column in columns_of(definitions, "label")} == {row["id"] for row in whole}


def test_given_mode_id_then_names_are_ids_and_given_none_then_there_are_no_columns() -> None:
    definitions = (field(12, "Deal size"), field(9, "Tier"))

    assert names(*definitions, mode="id") == ["custom_cf_9", "custom_cf_12"]
    assert names(*definitions, mode="none") == []


@pytest.mark.parametrize(
    ("value_type", "kind"),
    [
        ("string", {"type": ["null", "string"]}),
        ("url", {"type": ["null", "string"]}),
        ("int", {"type": ["null", "integer"]}),
        ("number", {"type": ["null", "number"]}),
        (
            "date",
            {"type": ["null", "string"], "format": "date-time", "airbyte_type": "timestamp_with_timezone"},
        ),
        ("boolean", {"type": ["null", "boolean"]}),
        ("enum", {"type": ["null", "string"]}),
    ],
)
def test_given_a_type_of_values_then_the_schema_says_it_and_names_the_field(
    value_type: str, kind: dict[str, Any]
) -> None:
    (column,) = columns_of([field(12, "Tier", value_type, description="How dear it is.")], "label")

    assert column.schema() == {
        **kind,
        "description": "Custom field “Tier” (cf_12). How dear it is.",
        "customFieldId": "cf_12",
    }
    assert (column.type == "json") == (value_type == "enum")
    assert column.value_type == value_type


@given(definitions=DEFINITIONS)
def test_given_the_schema_of_columns_then_they_are_found_in_it_again(definitions: list[Definition]) -> None:
    columns = columns_of(definitions, "label")
    properties = {"id": {"type": ["null", "string"]}, "customFields": {"type": "object"}, "odd": True}

    found = columns_from(properties | {column.name: column.schema() for column in columns})

    assert found == [
        replace(column, value_type="", type="string" if column.type == "json" else column.type) for column in columns
    ]


DAY = "2024-01-05"
UNUSABLE = object()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", "text ", "text "),
        ("string", "", ""),
        ("string", 12, "12"),
        ("string", True, "true"),
        ("string", ["a", 1], '["a",1]'),
        ("string", 10**30, "1" + "0" * 30),
        ("string", ["a", 10**30], '["a",1' + "0" * 30 + "]"),
        ("string", {"a": None}, '{"a":null}'),
        ("json", "Python", "Python"),
        ("json", ["Python", "Go"], '["Python","Go"]'),
        ("integer", 2**63 - 1, 2**63 - 1),
        ("integer", -(2**63), -(2**63)),
        ("integer", 2**63, UNUSABLE),
        ("integer", -(2**63) - 1, UNUSABLE),
        ("integer", [2**63], UNUSABLE),
        ("integer", 12.0, 12),
        ("integer", 12.5, UNUSABLE),
        ("integer", 1e300, UNUSABLE),
        ("integer", " -12 ", -12),
        ("integer", "12.0", 12),
        ("integer", "9223372036854775807", 2**63 - 1),
        ("integer", "9223372036854775808", UNUSABLE),
        ("integer", "-9223372036854775809", UNUSABLE),
        ("integer", "9" * 5000, UNUSABLE),
        ("integer", "1_000", UNUSABLE),
        ("integer", "twelve", UNUSABLE),
        ("integer", "", UNUSABLE),
        ("integer", True, UNUSABLE),
        ("integer", [7], 7),
        ("integer", ["7"], 7),
        ("integer", [7, 8], UNUSABLE),
        ("integer", [], None),
        ("integer", [None], None),
        ("integer", {"value": 7}, UNUSABLE),
        ("number", 0.1, 0.1),
        ("number", 3, 3),
        ("number", 2**63, 2.0**63),
        ("number", [10**30], 1e30),
        ("number", "-1.5e3", -1500.0),
        ("number", "9223372036854775808", 9223372036854775808.0),
        ("number", "1e999", UNUSABLE),
        ("number", "nan", UNUSABLE),
        ("number", False, UNUSABLE),
        ("number", [0.5], 0.5),
        ("date-time", f"{DAY}T10:00:00.000Z", f"{DAY}T10:00:00.000Z"),
        ("date-time", f"{DAY}T10:00:00+09:00", f"{DAY}T10:00:00+09:00"),
        ("date-time", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("date-time", DAY, f"{DAY}T00:00:00Z"),
        ("date-time", f"{DAY}T10:00:00", f"{DAY}T10:00:00Z"),
        ("date-time", f"{DAY} 10:00:00+02:00", f"{DAY}T08:00:00Z"),
        ("date-time", "0001-01-01 00:00:00+02:00", UNUSABLE),
        ("date-time", "2024-02-30T00:00:00Z", UNUSABLE),
        ("date-time", "next week", UNUSABLE),
        ("date-time", "", UNUSABLE),
        ("date-time", 1704448800, UNUSABLE),
        ("date-time", [DAY], f"{DAY}T00:00:00Z"),
        ("date-time", [DAY, DAY], UNUSABLE),
        ("boolean", False, False),
        ("boolean", " True", True),
        ("boolean", "no", UNUSABLE),
        ("boolean", 1, UNUSABLE),
        ("boolean", [True], True),
        *((kind, None, None) for kind in TYPES),
    ],
)
def test_given_a_value_when_filled_then_it_fits_its_column_or_is_null_and_named(
    kind: Any, value: Any, expected: Any
) -> None:
    record = {"id": "c_1", "customFields": {"cf_1": {"type": "any", "value": value}}}
    before = copy.deepcopy(record)

    nulled = make_filler([Column("custom_a", "cf_1", kind)])(record)

    filled = record.pop("custom_a")
    assert (filled, type(filled)) == ((None, type(None)) if expected is UNUSABLE else (expected, type(expected)))
    assert list(nulled) == (["custom_a"] if expected is UNUSABLE else [])
    assert record == before


def test_given_fields_that_are_absent_unknown_or_not_selected_when_filled_then_there_is_no_column() -> None:
    record: dict[str, Any] = {"customFields": {"cf_2": {"type": "string", "value": "a"}}}

    nulled = make_filler([Column("custom_a", "cf_1", "string")])(record)

    assert record == {"customFields": {"cf_2": {"type": "string", "value": "a"}}}
    assert not nulled


@given(
    values=st.dictionaries(st.sampled_from(["cf_0", "cf_1", "cf_2", "cf_3", "cf_4", "cf_5", "cf_6"]), JSON)
    | st.dictionaries(
        st.sampled_from(["cf_0", "cf_1", "cf_2", "cf_3", "cf_4", "cf_5"]), st.fixed_dictionaries({"value": JSON})
    )
    | JSON
)
def test_given_whatever_json_when_filled_then_columns_hold_what_their_schema_says(values: Any) -> None:
    columns = [Column(f"custom_{number}", f"cf_{number}", kind) for number, kind in enumerate(TYPES)]  # type: ignore[arg-type]
    record: dict[str, Any] = {"customFields": copy.deepcopy(values)}

    nulled = make_filler(columns)(record)

    schema = {"properties": {column.name: column.schema() for column in columns}}
    Draft7Validator(schema).validate(record)
    assert all(record[name] is None for name in nulled)
    assert loads(dumps(record)) == (record, Notes())
    assert record["customFields"] == values


@pytest.mark.parametrize(
    ("selected", "known", "whole_map", "expected"),
    [
        ([], 9, False, []),
        ([], 0, False, []),
        ([], 9, True, ["cf_*"]),
        (["cf_1", "cf_2"], 4, False, ["cf_1", "cf_2"]),
        (["cf_1", "cf_2"], 4, True, ["cf_*"]),
        (["cf_1", "cf_2"], 3, False, ["cf_*"]),
        (["cf_1"], 0, False, ["cf_1"]),
        (["cf_1", "odd,id"], 9, False, ["cf_*"]),
        ([f"cf_{number}" for number in range(201)], 0, False, ["cf_*"]),
    ],
)
def test_given_selected_columns_then_their_fields_are_asked_for_or_all(
    selected: list[str], known: int, *, whole_map: bool, expected: list[str]
) -> None:
    columns = [Column(f"custom_{field_id}", field_id, "string") for field_id in selected]

    assert custom_cols(columns, known, whole_map=whole_map) == expected
