"""Values that don't fit their columns: null, and named; of every stream, by the rows of streams.py."""

import copy
import json
from collections import Counter
from typing import Any

import pytest
import requests_mock
from airbyte_cdk.models import AirbyteMessageSerializer, AirbyteStreamStatus
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from integration_tests.sandbox import Api, Traits, Workspace
from source_commonroom.api.exact_json import Notes, dumps, loads
from source_commonroom.output.pages import PageMessage
from source_commonroom.records.values import ChangedRecord, make_fitter
from unit_tests.conftest import API_URL, Discover, Read, read_in_process
from unit_tests.streams import STREAMS, Stream, by_key, catalog, complete, nulled_of, selecting

ALL_STREAMS = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
SCHEMAS: dict[str, dict[str, Any]] = {
    **{kind: {"type": ["null", kind]} for kind in ("string", "integer", "number", "boolean", "array", "object")},
    "date-time": {"type": ["null", "string"], "format": "date-time"},
}
MISFIT = object()
SAME = object()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", "", SAME),
        ("string", "a", SAME),
        ("string", 5, "5"),
        ("string", 1.5, "1.5"),
        ("string", True, "true"),
        ("string", 10**30, str(10**30)),
        ("string", {"a": 1}, MISFIT),
        ("string", ["a"], MISFIT),
        ("integer", 2**63 - 1, SAME),
        ("integer", -(2**63), SAME),
        ("integer", 2**63, MISFIT),
        ("integer", 5.0, 5),
        ("integer", " 5 ", 5),
        ("integer", "9007199254740993.0", 9007199254740993),
        ("integer", "00000000000000009007199254740993", 9007199254740993),
        ("integer", "9223372036854775808", MISFIT),
        ("integer", "1e999999999", MISFIT),
        ("integer", 5.5, MISFIT),
        ("integer", "51-200", MISFIT),
        ("integer", "", MISFIT),
        ("integer", True, MISFIT),
        ("integer", [5], MISFIT),
        ("number", 1.5, SAME),
        ("number", 5, SAME),
        ("number", 2**70, float(2**70)),
        ("number", "1e3", 1000.0),
        ("number", "nan", MISFIT),
        ("number", "$5", MISFIT),
        ("boolean", False, SAME),
        ("boolean", "TRUE", True),
        ("boolean", "yes", MISFIT),
        ("boolean", 1, MISFIT),
        ("array", [], SAME),
        ("array", [{"a": 1}], SAME),
        ("array", "a", MISFIT),
        ("array", {}, MISFIT),
        ("object", {}, SAME),
        ("object", [], MISFIT),
        ("object", '{"a":1}', MISFIT),
        ("date-time", "2026-05-01T10:11:12.345Z", SAME),
        ("date-time", "2026-05-01T10:11:12+02:00", SAME),
        ("date-time", "2026-05-01T10:11:12.123456789Z", SAME),
        ("date-time", "2026-05-01 10:11:12", "2026-05-01T10:11:12Z"),
        ("date-time", "2026-05-01T10:11:12+0200", "2026-05-01T08:11:12Z"),
        ("date-time", "20260501T101112Z", "2026-05-01T10:11:12Z"),
        ("date-time", "2026-05-01", "2026-05-01T00:00:00Z"),
        ("date-time", "2026-05-01t10:11:12z", "2026-05-01T10:11:12Z"),
        ("date-time", "2026-05-01 10:11:12 UTC", "2026-05-01T10:11:12Z"),
        ("date-time", "9999-12-31T23:59:59-14:00", MISFIT),
        ("date-time", "0001-01-01T00:00:00+14:00", MISFIT),
        ("date-time", "", MISFIT),
        ("date-time", "0000-00-00T00:00:00.000Z", MISFIT),
        ("date-time", "2026-02-30T00:00:00Z", MISFIT),
        ("date-time", "2026-05-01T25:00:00Z", MISFIT),
        ("date-time", "2026-05-01T10:11:12Z\n", "2026-05-01T10:11:12Z"),
        ("date-time", "yesterday", MISFIT),
        ("date-time", 1777630272, MISFIT),
        ("date-time", {"iso": "2026-05-01T10:11:12Z"}, MISFIT),
    ],
)
# Among values that fit, whichever comes first.
@pytest.mark.parametrize("place", [0, 2])
def test_given_a_value_when_held_then_it_fits_its_column_or_is_null_and_named(
    kind: str, value: Any, expected: Any, place: int
) -> None:
    fitting: Any = {"string": "b", "integer": 7, "number": 2.5, "boolean": True, "array": [1], "object": {"b": 1}}
    others = {**fitting, "date-time": "2025-01-01T00:00:00.000Z"}[kind]
    records: list[dict[str, Any]] = [{"a": others}, {"a": None}, {"b": 1}]
    records.insert(place, {"a": value})
    before = copy.deepcopy(records)

    misfits, _ = make_fitter({"a": SCHEMAS[kind]})(records)

    held = records[place]["a"]
    wanted = {MISFIT: None, SAME: value}[expected] if expected in (MISFIT, SAME) else expected
    assert (held, type(held)) == (wanted, type(wanted))
    assert misfits == ([(place, "a")] if expected is MISFIT else [])
    assert [*records[:place], *records[place + 1 :]] == [*before[:place], *before[place + 1 :]]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
    | st.dates().map(str),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=3), parts, max_size=3),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(st.sampled_from(sorted(SCHEMAS)), JSON), max_size=5))
def test_given_whatever_json_when_held_then_columns_hold_what_their_schema_says(records: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(records)

    misfits, _ = make_fitter(SCHEMAS)(records)

    for record, was in zip(records, before, strict=True):
        Draft7Validator({"properties": SCHEMAS}).validate(record)
        assert loads(dumps(record)) == (record, Notes())
        assert record.keys() == was.keys()
    nulled = {
        (place, name)
        for place, (record, was) in enumerate(zip(records, before, strict=True))
        for name in was
        if was[name] is not None and record[name] is None
    }
    assert sorted(misfits) == sorted(nulled)


@ALL_STREAMS
def test_given_misfits_in_a_stream_when_read_then_it_is_complete_and_they_are_null(
    stream: Stream, generated: Workspace, read: Read
) -> None:
    api = Api(generated, traits=Traits(misfits=True))

    output = read(api, stream.name)

    assert output.status(stream.name) == AirbyteStreamStatus.COMPLETE
    assert output.exit_code == 0
    wanted = [without_spoilt(stream, record) for record in complete(stream, generated)]
    assert by_key(stream, output.records(stream.name)) == wanted
    columns = {
        name for record in complete(stream, generated) for name in nulled_of(stream, record) if record[name] is not None
    }
    for column in columns:
        assert any(f"values of {column} don't fit its type" in text for text in output.warnings()), column


def without_spoilt(stream: Stream, record: dict[str, Any]) -> dict[str, Any]:
    nulled = nulled_of(stream, record)
    return {name: None if name in nulled else value for name, value in record.items()}


def test_given_misfits_on_many_pages_when_read_then_each_column_is_named_once_with_a_summary(read: Read) -> None:
    contacts = [{"id": f"c_{number}", "title": {"a": number}, "url": ["b"]} for number in range(1, 501)]

    output = read(Api(Workspace.of(contacts=contacts)), "contacts", walk_from_both_ends=False)

    for column in ("title", "url"):
        first, summary = (text for text in output.warnings() if f"values of {column}" in text)
        assert "meta.changes" in first
        assert f"2 more pages hold values of {column} that don't fit its type, 300 of them" in summary
    assert "b" not in {word for text in output.warnings() for word in text.split()}


def test_given_a_page_with_misfits_when_serialized_then_their_records_name_them() -> None:
    whole: dict[str, Any] = {"id": "c_1", "title": "CEO"}

    page = PageMessage("contacts", [whole, ChangedRecord({"id": "c_2", "title": None}, ["title", "url"]), whole])

    first, second, third = (json.loads(line)["record"] for line in page.lines.splitlines())
    assert "meta" not in first
    assert third == first
    assert second["data"] == {"id": "c_2", "title": None}
    assert second["meta"] == {
        "changes": [
            {"field": "title", "change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"},
            {"field": "url", "change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"},
        ]
    }
    message = AirbyteMessageSerializer.load(json.loads(page.lines.splitlines()[1]))
    assert message.record
    assert message.record.meta


def test_given_a_custom_field_whose_value_does_not_fit_when_read_then_it_is_named_beside_fixed_columns(
    discover: Discover, read: Read
) -> None:
    fields = [{"id": "cf_1", "name": "Seats", "entityTypes": ["contact"], "valueType": "int"}]
    contact = {"id": "c_1", "title": {}, "customFields": {"cf_1": {"type": "int", "value": "many"}}}
    api = Api(Workspace.of(contacts=[contact], custom_fields=fields))

    output = read(api, configured=selecting(discover(api)["contacts"]))

    assert output.records("contacts") == [{**contact, "title": None, "custom_seats": None}]
    assert any("values of custom_seats don't fit its type" in text for text in output.warnings())


def test_given_ids_that_are_no_whole_numbers_where_they_should_be_when_read_then_it_says_that_records_have_none(
    network: requests_mock.Mocker, config: dict[str, Any]
) -> None:
    rows = [{"id": "cf_1", "name": "A"}, {"id": 2.5, "name": "B"}, {"id": "3", "name": "C"}]
    network.get(f"{API_URL}/v1/members/customFields", json=rows)

    output = read_in_process(config, catalog("contact_custom_fields"))

    assert [record.get("id") for record in output.records("contact_custom_fields")] == [None, None, 3]
    assert any("2 records of a page have no id" in text for text in output.warnings())


@pytest.mark.parametrize("pii", ["keep", "drop"])
def test_given_an_undocumented_field_that_a_destination_takes_for_a_column_when_read_then_it_is_left_out(
    pii: str, network: requests_mock.Mocker, config: dict[str, Any]
) -> None:
    rows = [{"id": "t_1", "ID": "t_9", "name": "A"}, {"id": "t_2", "Name": "B", "nAMe": "C", "extra": 1, "name": "D"}]
    network.get(f"{API_URL}/v2/topics", json={"data": rows, "meta": {"nextCursor": None, "recordCount": 2}})

    output = read_in_process({**config, "pii": {"mode": pii}}, catalog("topics"))

    extra = {"extra": 1} if pii == "keep" else {}
    assert output.records("topics") == [{"id": "t_1", "name": "A"}, {"id": "t_2", "name": "D", **extra}]
    for name in ("ID", "Name", "nAMe"):
        assert any(f"a field {name} that isn't documented" in text for text in output.warnings())


NAMES = st.sampled_from(["id", "ID", "name", "Straße", "STRASSE", "x", "custom_a", "Custom_A"])


@given(st.lists(st.dictionaries(NAMES, st.none())))
def test_given_whatever_names_when_held_then_only_those_that_a_column_has_in_another_case_are_left_out(
    records: list[dict[str, Any]],
) -> None:
    before = copy.deepcopy(records)

    _, left_out = make_fitter(dict.fromkeys(("id", "name", "Straße"), SCHEMAS["string"]), ["custom_a"])(records)

    folds = {"ID", "STRASSE", "Custom_A", "custom_a"}
    assert records == [{name: None for name in record if name not in folds} for record in before]
    assert left_out == Counter(name for record in before for name in record if name in folds)


def test_given_ids_that_are_no_text_when_read_then_records_stay_apart(
    network: requests_mock.Mocker, config: dict[str, Any]
) -> None:
    data = [{"id": {"a": 1}}, {"id": {"b": 2}}, {"id": 7}, {"id": None}, {"name": "A"}]
    network.get(f"{API_URL}/v2/topics", json={"data": data, "meta": {"nextCursor": None, "recordCount": 5}})

    output = read_in_process(config, catalog("topics"))

    assert [row.get("id") for row in output.records("topics")] == ['{"a":1}', '{"b":2}', "7", None, None]
    assert any("2 records of a page have no id" in text for text in output.warnings())


def test_given_names_of_keys_that_may_be_personal_when_they_repeat_then_they_are_not_named(
    network: requests_mock.Mocker, config: dict[str, Any]
) -> None:
    text = '{"data":[{"id":"t_1","name":{"jane@corp.com":1,"jane@corp.com":2}}],"meta":{"nextCursor":null}}'
    network.get(f"{API_URL}/v2/topics", text=text)

    output = read_in_process({**config, "pii": {"mode": "drop"}}, catalog("topics"))

    assert any("keys that repeat in one object (1 times)" in text for text in output.warnings())
    assert not any("jane" in text for text in output.warnings())


SEATS = {"id": "cf_1", "name": "Seats", "entityTypes": ["contact"], "valueType": "int"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"cf_1": None}, []),
        ({"cf_1": {"type": "int"}}, []),
        ({"cf_1": {"type": "int", "value": None}}, []),
        ({"cf_1": {"type": "int", "value": "many"}}, ["custom_seats"]),
        ({"cf_1": "many"}, ["custom_seats"]),
        ("many", ["customFields", "custom_seats"]),
    ],
)
@pytest.mark.parametrize("pii", ["keep", "drop"])
def test_given_custom_fields_of_any_form_when_shaped_then_what_was_lost_is_named(
    pii: str, values: Any, named: list[str], discover: Discover, read: Read
) -> None:
    api = Api(Workspace.of(contacts=[{"id": "c_1", "customFields": values}], custom_fields=[SEATS]))
    found = discover(api)["contacts"]

    output = read(api, configured=selecting(found), pii={"mode": pii})

    warnings = [text for text in output.warnings() if "fit its type" in text]
    assert [text.split()[3] for text in warnings] == sorted(named)
    are_held = pii == "keep" and "customFields" not in named
    assert all(("customFields holds them" in text) == are_held for text in warnings)


def test_given_records_of_as_many_forms_as_there_are_records_when_held_then_each_is_looked_at() -> None:
    hold = make_fitter({"id": SCHEMAS["string"], "a": SCHEMAS["integer"], "b": SCHEMAS["boolean"]})
    pages = [[{"id": "c_1", f"x{page}_{n}": n, "a": "many", "b": n % 2 == 0} for n in range(200)] for page in range(12)]
    pages += pages[:1]

    held = [hold([dict(record) for record in records]).misfits for records in pages]

    assert held == [[(place, "a") for place in range(200)]] * 13


def test_given_a_field_called_as_a_column_that_is_filled_later_when_held_then_it_is_left_out() -> None:
    records: list[dict[str, Any]] = [{"id": "c_1", "custom_seats": "many"}]

    _, left_out = make_fitter({"id": SCHEMAS["string"]}, ["custom_seats"])(records)

    assert records == [{"id": "c_1"}]
    assert left_out == {"custom_seats": 1}
