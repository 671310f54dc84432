"""Personal data: none of it survives, whatever a record holds; what isn't personal stays as it is."""

import copy
import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from airbyte_cdk.sources.declarative.schema import JsonFileSchemaLoader
from hypothesis import given
from hypothesis import strategies as st

from source_commonroom.config import Pii
from source_commonroom.records.columns import Column, columns_of, make_filler
from source_commonroom.records.privacy import (
    SHAPES,
    Rule,
    Shape,
    is_personal_definition,
    make_cleaner,
    non_personal_fields,
)
from unit_tests.parity import assert_same

SCHEMAS = Path(__file__).parent.parent / "source_commonroom/schemas"
FILES = sorted(path.stem for path in SCHEMAS.glob("*.json"))
# One that only one of them has is named by the first test; the others would only stumble over it.
STREAMS = [name for name in FILES if name in SHAPES]
MODES: list[Pii] = ["hash", "drop"]
SALT = "test-salt"
IMPERSONAL = {"cf_1", "cf_2"}
SECRET = "Jane Doe"
HASH = re.compile(r"[0-9a-f]{64}")


def hashed(text: str, salt: str = SALT) -> str:
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()


def clean(record: Any, stream: str = "contacts", mode: Pii = "hash", salt: str = SALT, **more: Any) -> Any:
    cleaned = copy.deepcopy(record)
    cleaner = make_cleaner(stream, mode, salt, **more)
    assert cleaner
    cleaner(cleaned)
    return cleaned


# The shapes and the schemas.


def leaves(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """List what holds no further properties, each with its path."""
    if "items" in schema:
        yield from leaves(schema["items"], f"{path}[]")
    elif "properties" in schema:
        for name, node in schema["properties"].items():
            yield from leaves(node, f"{path}.{name}")
    else:
        yield path, schema


def rules(shape: Shape, path: str = "") -> Iterator[tuple[str, Rule]]:
    if isinstance(shape, Mapping):
        for name, part in shape.items():
            yield from rules(part, f"{path}.{name}")
    elif isinstance(shape, Rule):
        yield path, shape
    else:
        yield from rules(shape[0], f"{path}[]")


def load(stream: str) -> Mapping[str, Any]:
    path = "./source_commonroom/schemas/{{ parameters['name'] }}.json"  # as in the manifest
    return JsonFileSchemaLoader(config={}, parameters={"name": stream}, file_path=path).get_json_schema()


def test_every_stream_has_a_shape_and_every_shape_a_schema() -> None:
    assert_same("source_commonroom/schemas", FILES, "SHAPES of source_commonroom/records/privacy.py", SHAPES)


@pytest.mark.parametrize("stream", STREAMS)
def test_the_shape_of_a_stream_names_every_property_of_its_schema_and_no_other(stream: str) -> None:
    schema, shape = dict(leaves(load(stream))), dict(rules(SHAPES[stream]))

    wholes = [path for path, rule in shape.items() if rule is Rule.DROP and path not in schema]
    within = {path for path in schema for whole in wholes if path.startswith(f"{whole}[]")}
    file = f"source_commonroom/schemas/{stream}.json"
    assert_same(file, schema.keys() - within, f"SHAPES[{stream!r}] of privacy.py", shape.keys() - wholes)
    assert bool(within) == bool(wholes)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_hash_stands_only_in_columns_of_plain_text(stream: str) -> None:
    shape = dict(rules(SHAPES[stream]))

    for path, node in leaves(load(stream)):
        if shape.get(path) is Rule.TEXT:
            assert "string" in node["type"], path
            assert "format" not in node, path


# What is personal, said once more: a rule that is weakened by mistake is told here.
PERSONAL = {
    "activities": {"content", "url"},
    "contacts": {
        "name",
        "fullName",
        "primaryEmail",
        "phoneNumbers[].value",
        "profiles[].value",
        "avatarUrl",
        "jobHistory",
        "connectedCustomObjects[].name",
        "recentWebPages[].url",
        "recentActivities[].content",
        "recentActivities[].url",
        "activateMessage.title",
        "activateMessage.message",
        "sparkSummary",
        "recentSparkSummaries[]",
        "customFields",
    },
    "me": {"name", "loginEmail", "profiles[].handle"},
    "objects": {"name", "recordKey", "customFields"},
    "prospector_contacts": {"name", "fullName", "linkedInHandle", "avatarUrl"},
    "segment_members": {"memberName"},
    "website_visits": {"url"},
}
PERSONAL["organizations"] = {
    "customFields",
    "researchResults[].answer",
    "recentJobOpenings[].jobDescription",
    "recentNews[].title",
    "recentNews[].articleSentence",
    "recentNews[].url",
    *(f"topContacts[].{path}" for path in PERSONAL["contacts"]),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_what_is_personal_in_a_stream(stream: str) -> None:
    found = {path.removeprefix(".") for path, rule in rules(SHAPES[stream]) if rule is not Rule.KEEP}

    personal = PERSONAL.get(stream, set())
    assert_same(f"SHAPES[{stream!r}] of privacy.py", found, "PERSONAL of unit_tests/test_privacy.py", personal)


# Cleaning.

CONTACT: dict[str, Any] = {
    "id": "c_12",
    "name": "Jane Doe",
    "avatarUrl": "https://avatars.example/jane.png",
    "fullName": " Jane Doe ",
    "primaryEmail": " Jane@Example.com",
    "phoneNumbers": [{"type": "work", "value": "+49 151 1"}],
    "title": "CTO",
    "companyName": None,
    "location": {"city": "Berlin", "country": "Germany"},
    "connectedCustomObjects": [{"id": "co_1", "name": "Deal of Jane", "objectType": "Deal"}],
    "jobHistory": [{"company": "Acme", "title": "CTO", "startDate": "2020-01", "endDate": None}],
    "leadScores": [{"scoreId": 1, "score": 0.5, "percentile": 99}],
    "recentWebPages": [{"url": "https://docs.example/start?email=jane%40example.com#top", "numVisits": 3}],
    "recentActivities": [{"id": "a_1", "content": "I am Jane", "url": "https://x.example/jane/1", "replyCount": 2}],
    "activateMessage": {"title": "Hello Jane", "message": None},
    "recentSparkSummaries": ["Jane asks", "Jane answers"],
    "tags": ["l_1", "l_2"],
    "customFields": {
        "cf_1": {"type": "string", "value": "gold"},
        "cf_2": {"type": "string", "value": "JANE@example.com"},
        "cf_3": {"type": "string", "value": "jane@example.com"},
        "cf_4": {"type": "int", "value": 491511},
        "cf_5": {"type": "date", "value": "1990-01-05T00:00:00.000Z"},
        "cf_6": {"type": "string", "value": ["Jane Doe", 7]},
    },
}
CLEAN: dict[str, Any] = {
    **CONTACT,
    "name": hashed("Jane Doe"),
    "avatarUrl": None,
    "fullName": hashed("Jane Doe"),
    "primaryEmail": hashed("jane@example.com"),
    "phoneNumbers": [{"type": "work", "value": hashed("+49 151 1")}],
    "connectedCustomObjects": [{"id": "co_1", "name": hashed("Deal of Jane"), "objectType": "Deal"}],
    "jobHistory": None,
    "recentWebPages": [{"url": "https://docs.example/start", "numVisits": 3}],
    "recentActivities": [{"id": "a_1", "content": hashed("I am Jane"), "url": None, "replyCount": 2}],
    "activateMessage": {"title": hashed("Hello Jane"), "message": None},
    "recentSparkSummaries": [hashed("Jane asks"), hashed("Jane answers")],
    "customFields": {
        "cf_1": {"type": "string", "value": "gold"},
        "cf_2": {"type": "string", "value": hashed("jane@example.com")},
        "cf_3": {"type": "string", "value": hashed("jane@example.com")},
        "cf_4": {"type": "int", "value": None},
        "cf_5": {"type": "date", "value": None},
        "cf_6": {"type": "string", "value": [hashed("Jane Doe"), None]},
    },
}


def test_given_hash_when_cleaned_then_texts_are_hashed_and_all_else_that_is_personal_is_null() -> None:
    assert clean(CONTACT, non_personal=IMPERSONAL) == CLEAN


def test_given_drop_when_cleaned_then_what_would_be_hashed_is_null() -> None:
    def without_hashes(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_hashes(part) for key, part in value.items()}
        if isinstance(value, list):
            parts = [without_hashes(part) for part in value]
            return None if value and parts.count(None) == len(parts) else parts
        return None if isinstance(value, str) and HASH.fullmatch(value) else value

    assert clean(CONTACT, mode="drop", non_personal=IMPERSONAL) == without_hashes(CLEAN)


def test_given_keep_then_there_is_nothing_to_do() -> None:
    assert make_cleaner("contacts", "keep", SALT) is None


def test_given_no_salt_or_an_unknown_stream_then_it_is_refused() -> None:
    with pytest.raises(ValueError, match="salt"):
        make_cleaner("contacts", "hash", "")
    with pytest.raises(LookupError):
        make_cleaner("pages", "drop")


@pytest.mark.parametrize(
    ("stream", "record", "path"),
    [
        ("contacts", {"primaryEmail": "JANE@Example.com "}, ["primaryEmail"]),
        ("contacts", {"profiles": [{"type": "email", "value": "jane@example.com"}]}, ["profiles", 0, "value"]),
        ("contacts", {"customFields": {"cf_9": {"value": "jane@example.com\n"}}}, ["customFields", "cf_9", "value"]),
        ("organizations", {"topContacts": [{"primaryEmail": "jane@example.com"}]}, ["topContacts", 0, "primaryEmail"]),
        ("me", {"loginEmail": "Jane@example.com"}, ["loginEmail"]),
        ("objects", {"recordKey": "jane@EXAMPLE.com"}, ["recordKey"]),
        ("object_deal_31", {"name": "jane@example.com"}, ["name"]),
        ("segment_members", {"memberName": "Jane@Example.com"}, ["memberName"]),
        # Nothing is personal but an address.
        ("providers", {"name": "Jane@example.com"}, ["name"]),
        (
            "custom_fields",
            {"name": "Tier", "sampleValues": [{"value": "jane@example.com"}]},
            ["sampleValues", 0, "value"],
        ),
    ],
)
def test_given_an_address_when_hashed_then_it_joins_wherever_it_stands(
    stream: str, record: dict[str, Any], path: list[Any]
) -> None:
    found: Any = clean(record, stream)
    for step in path:
        found = found[step]

    assert found == hashed("jane@example.com")


@pytest.mark.parametrize("mode", MODES)
def test_given_a_link_that_holds_an_address_when_cleaned_then_it_is_dropped_since_no_hash_is_a_link(mode: Pii) -> None:
    profiles = [{"url": "https://crm.example/jane@example.com"}, {"url": "https://medium.example/@acme"}]

    assert clean({"profiles": profiles}, "organizations", mode) == {"profiles": [{"url": None}, profiles[1]]}


@given(text=st.text(min_size=1), salt=st.text(min_size=1), other=st.text(min_size=1))
def test_given_a_text_when_hashed_then_the_hash_depends_on_it_and_on_the_salt_alone(
    text: str, salt: str, other: str
) -> None:
    value = clean({"name": text}, salt=salt)["name"]

    assert value == clean({"name": f" {text}\n"}, salt=salt)["name"]
    assert (value is None) == (not text.strip())
    assert value is None or HASH.fullmatch(value)
    if value and salt.rstrip("\0") != other.rstrip("\0"):  # an HMAC key is padded with zeros
        assert value != clean({"name": text}, salt=other)["name"]


@pytest.mark.parametrize("mode", MODES)
def test_given_typed_columns_when_cleaned_then_each_holds_its_type_and_nothing_personal(mode: Pii) -> None:
    definitions = [
        {"id": "cf_1", "name": "Tier", "valueType": "string"},
        {"id": "cf_2", "name": "Contact e-mail", "valueType": "string"},
        {"id": "cf_3", "name": "Phone", "valueType": "int"},
        {"id": "cf_4", "name": "ARR", "valueType": "number"},
        {"id": "cf_5", "name": "Birthday", "valueType": "date"},
        {"id": "cf_6", "name": "Owner", "valueType": "enum"},
    ]
    columns = columns_of(definitions, "label")
    values = ["gold", "Jane@Example.com", 491511, 1.5, "1990-01-05T00:00:00Z", "Jane Doe"]
    record: dict[str, Any] = {
        "customFields": {f"cf_{number}": {"type": "?", "value": value} for number, value in enumerate(values, 1)}
    }
    make_filler(columns)(record)

    cleaned = clean(record, mode=mode, non_personal=non_personal_fields(definitions), columns=columns)

    del cleaned["customFields"]
    assert cleaned == {
        "custom_tier": "gold",
        "custom_contact_e_mail": hashed("jane@example.com") if mode == "hash" else None,
        "custom_phone": None,
        "custom_arr": 1.5,
        "custom_birthday": None,
        "custom_owner": hashed("Jane Doe") if mode == "hash" else None,
    }


def test_given_a_column_that_is_in_no_definition_then_it_is_personal() -> None:
    columns = [Column("custom_tier", "cf_9", "string"), Column("custom_age", "cf_8", "integer")]

    cleaned = clean({"custom_tier": "gold", "custom_age": 7}, non_personal=IMPERSONAL, columns=columns)

    assert cleaned == {"custom_tier": hashed("gold"), "custom_age": None}


@pytest.mark.parametrize("mode", MODES)
def test_given_fields_that_nobody_knows_when_cleaned_then_they_are_removed_and_counted(mode: Pii) -> None:
    removed: Counter[str] = Counter()
    record = {
        "id": "c_1",
        "pronouns": "she",
        "location": {"city": "Berlin", "street": "Am Tor 1"},
        "customFields": {"cf_1": {"type": "string", "value": "gold", "by": "Jane"}, "Jane Doe": {"value": 1}},
    }

    cleaned = clean(record, mode=mode, non_personal=IMPERSONAL, removed=removed)

    assert cleaned == {
        "id": "c_1",
        "location": {"city": "Berlin"},
        "customFields": {"cf_1": {"type": "string", "value": "gold"}},
    }
    assert removed == {"contacts": 4}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://docs.example/start", "https://docs.example/start"),
        ("https://docs.example/start?user=jane#me", "https://docs.example/start"),
        ("https://docs.example/users/jane@example.com", None),
        ("https://docs.example/users/jane%40example.com", None),
        ("https://jane:secret@docs.example/", None),
        (None, None),
        (7, None),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_given_a_visited_page_when_cleaned_then_only_its_address_stays(url: Any, expected: Any, mode: Pii) -> None:
    assert clean({"url": url}, "website_visits", mode) == {"url": expected}


@pytest.mark.parametrize(
    ("stream", "key", "values"),
    [
        ("custom_fields", "sampleValues", [{"type": "string", "value": "gold"}]),
        ("contact_custom_fields", "values", ["gold", "silver"]),
    ],
)
def test_given_values_of_a_custom_field_in_its_definition_then_they_stay_only_if_it_is_not_personal(
    stream: str, key: str, values: Any
) -> None:
    tier, owner = {"name": "Tier", key: values}, {"name": "Owner", key: values}

    assert clean(tier, stream) == tier
    assert clean(owner, stream) == {"name": "Owner", key: None}


# Whatever a record holds.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
# Each of them holds the secret; none is a text, as which it could be kept if nothing is personal.
FORMS: list[Any] = [
    {SECRET: 1},
    {"value": SECRET},
    {"type": [SECRET], "url": {SECRET: SECRET}},
    [{SECRET: SECRET}],
    [[SECRET]],
    [{"value": [[SECRET]], "id": {"id": SECRET}}],
]


def paths_of(shape: Shape) -> Iterator[tuple[list[str], Shape]]:
    """List the paths of a shape, those of its inner nodes too, with what belongs there; "" is an element of a list."""
    if isinstance(shape, Mapping):
        parts: list[tuple[str, Shape]] = list(shape.items())
    else:
        parts = [] if isinstance(shape, Rule) else [("", shape[0])]
    for name, part in parts:
        yield [name], part
        for path, deeper in paths_of(part):
            yield [name, *path], deeper


def record_with(value: Any, path: list[str]) -> Any:
    for name in reversed(path):
        value = {name: value} if name else [value]
    return value


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stream", STREAMS)
def test_given_a_secret_anywhere_when_cleaned_then_it_survives_only_as_a_text_where_none_is_personal(
    stream: str, mode: Pii
) -> None:
    for path, shape in paths_of(SHAPES[stream]):
        texts: list[Any] = [] if shape in (Rule.KEEP, [Rule.KEEP]) else [f"https://docs.example/?q={SECRET}"]
        texts += [] if not texts or shape is Rule.PAGE else [SECRET, [SECRET]]
        for form in [*FORMS, *texts]:
            cleaned = clean(record_with(form, path), stream, mode, non_personal=IMPERSONAL)
            assert SECRET not in orjson.dumps(cleaned).decode(), (path, form)


@given(stream=st.sampled_from(STREAMS), mode=st.sampled_from(MODES), data=st.data())
def test_given_whatever_json_when_cleaned_then_only_known_fields_stay_and_cleaning_again_changes_nothing(
    stream: str, mode: Pii, data: st.DataObject
) -> None:
    record = data.draw(st.dictionaries(st.sampled_from(sorted(SHAPES[stream])) | st.text(), JSON))

    cleaned = clean(record, stream, mode, non_personal=IMPERSONAL)

    assert cleaned.keys() <= record.keys() & SHAPES[stream].keys()
    if mode == "drop":
        assert clean(cleaned, stream, mode, non_personal=IMPERSONAL) == cleaned


@given(value=JSON, field_id=st.sampled_from(["cf_1", "cf_3", "cf_jane"]), mode=st.sampled_from(MODES))
def test_given_whatever_json_in_custom_fields_when_cleaned_then_personal_ones_hold_hashes_or_nothing(
    value: Any, field_id: str, mode: Pii
) -> None:
    for entry in (value, {"type": "string", "value": value}, {"type": value, "value": SECRET}):
        cleaned = clean({"customFields": {field_id: entry}}, mode=mode, non_personal=IMPERSONAL)["customFields"]

        assert cleaned.keys() <= {"cf_1", "cf_3"}
        for found in filter(None, [cleaned.get("cf_3")]):
            values = found["value"] if isinstance(found["value"], list) else [found["value"]]
            assert all(found is None or (mode == "hash" and HASH.fullmatch(found)) for found in values)


def impersonal_records(shape: Shape) -> st.SearchStrategy[Any]:
    if isinstance(shape, Mapping):
        kept = [name for name, part in shape.items() if part not in (Rule.TEXT, Rule.DROP, Rule.PAGE, [Rule.TEXT])]
        return st.fixed_dictionaries({}, optional={name: impersonal_records(shape[name]) for name in kept})
    if not isinstance(shape, Rule):
        return st.none() | st.lists(impersonal_records(shape[0]), max_size=2)
    if shape is Rule.FIELDS:
        entry = st.fixed_dictionaries(
            {"type": st.just("string"), "value": IMPERSONAL_VALUES | st.lists(IMPERSONAL_VALUES)}
        )
        return st.dictionaries(st.sampled_from(sorted(IMPERSONAL)), entry)
    return IMPERSONAL_VALUES


IMPERSONAL_VALUES = st.none() | st.booleans() | st.integers() | st.text().filter(lambda text: "@" not in text)
IMPERSONAL_RECORDS = {stream: impersonal_records(shape) for stream, shape in SHAPES.items()}


@given(stream=st.sampled_from(STREAMS), mode=st.sampled_from(MODES), data=st.data())
def test_given_nothing_personal_when_cleaned_then_nothing_changes(stream: str, mode: Pii, data: st.DataObject) -> None:
    record = data.draw(IMPERSONAL_RECORDS[stream])
    if stream in {"custom_fields", "contact_custom_fields"}:
        record |= {"name": "Tier"}

    assert clean(record, stream, mode, non_personal=IMPERSONAL) == record


# Records that are as they should be, with personal data wherever it may stand.

# No word of them stands in what is no personal value.
PEOPLE = ["Jane Doe", " jane@example.com", "JANE@example.com", "+49 151 1", "Привет, Jane"]
PAGES = ["https://docs.example/start", "https://docs.example/start?q=Jane", "https://docs.example/jane@example.com"]
REST = st.none() | st.booleans() | st.integers() | st.text("abc é0-", max_size=4)
PERSONAL_TEXTS = st.none() | st.sampled_from(PEOPLE)


def records_of(shape: Shape) -> st.SearchStrategy[Any]:
    """Draw a record of a shape, or a part of one."""
    if isinstance(shape, Mapping):
        return st.fixed_dictionaries({}, optional={name: records_of(part) for name, part in shape.items()})
    if not isinstance(shape, Rule):
        return st.none() | st.lists(records_of(shape[0]), max_size=2)
    if shape is Rule.FIELDS:
        entry = st.fixed_dictionaries({"type": st.just("string"), "value": REST})
        personal = st.fixed_dictionaries({"type": st.just("string"), "value": PERSONAL_TEXTS})
        return st.fixed_dictionaries({}, optional={"cf_1": entry, "cf_2": entry, "cf_3": personal, "cf_4": personal})
    if shape is Rule.DROP:
        return PERSONAL_TEXTS | st.lists(PERSONAL_TEXTS, max_size=2)
    return {Rule.KEEP: REST, Rule.TEXT: PERSONAL_TEXTS, Rule.PAGE: st.none() | st.sampled_from(PAGES)}[shape]


RECORDS = {stream: records_of(shape) for stream, shape in SHAPES.items()}


CUSTOM_SHAPE: Shape = {
    f"cf_{number}": {"type": Rule.KEEP, "value": Rule.KEEP if number < 3 else Rule.TEXT} for number in range(1, 5)
}


def leaves_of(before: Any, after: Any, shape: Shape) -> Iterator[tuple[Any, Any, Shape]]:
    """Walk a record and what became of it, side by side: nothing is moved, added, or left out."""
    if shape is Rule.FIELDS:
        shape = CUSTOM_SHAPE
    if isinstance(before, dict) and isinstance(shape, Mapping):
        assert after.keys() == before.keys()
        for name in before:
            yield from leaves_of(before[name], after[name], shape[name])
    elif isinstance(before, list) and isinstance(shape, Sequence):
        assert len(after) == len(before)
        for part, cleaned in zip(before, after, strict=True):
            yield from leaves_of(part, cleaned, shape[0])
    else:
        yield before, after, shape


@given(stream=st.sampled_from(STREAMS), mode=st.sampled_from(MODES), data=st.data())
def test_given_any_record_when_cleaned_then_nothing_personal_survives_and_all_else_stays_in_its_place(
    stream: str, mode: Pii, data: st.DataObject
) -> None:
    record = data.draw(RECORDS[stream])
    if stream in {"custom_fields", "contact_custom_fields"}:
        record |= {"name": "Tier"}

    cleaned = clean(record, stream, mode, non_personal=IMPERSONAL)

    assert not re.search("jane|doe|привет", json.dumps(cleaned, ensure_ascii=False), re.IGNORECASE)
    for before, after, shape in leaves_of(record, cleaned, SHAPES[stream]):
        if shape is Rule.KEEP:
            assert (after, type(after)) == (before, type(before))
        elif shape is Rule.TEXT and before and mode == "hash":
            # Equal hashes of equal texts, wherever they stand.
            assert after == hashed(before.strip().lower() if "@" in before else before)
        else:
            assert after == (PAGES[0] if shape is Rule.PAGE and before in PAGES[:2] else None)


# Custom fields.


@pytest.mark.parametrize(
    ("personal", "value_type", "labels"),
    [
        (True, "string", "E-mail|workEmail|Correo|Эл. почта|メール|이메일"),
        (True, "string", "Name|First name|user_name|contactName|Vorname|Prénom|Nombre|ФИО|氏名|이름"),
        (True, "string", "Phone|Mobile|Cell no.|Telefon|Téléphone|Телефон|電話|WhatsApp"),
        (True, "string", "Owner|Created by|LinkedIn|X handle|Bio|Notes|Street address|Birthday|🔥|  "),
        (True, "url", "LinkedIn URL|Avatar"),
        (True, "enum", "Account manager"),
        (True, "int", "Phone|Passport"),
        (True, "date", "Birthday|Date of birth|Geburtsdatum|生年月日 誕生日"),
        (False, "string", "Tier|Plan|Region|Регион|User type|Tournament|顧客ランク"),
        (False, "url", "Homepage"),
        (False, "int", "E-mails sent|Employees|Notes"),
        (False, "number", "ARR (USD)"),
        (False, "date", "Renewal date|Last e-mail|契約日"),
        (False, "boolean", "E-mail opt-in|Phone verified|🔥"),
    ],
)
def test_a_custom_field_is_personal_by_its_label_and_its_type(personal: bool, value_type: str, labels: str) -> None:  # noqa: FBT001
    for label in labels.split("|"):
        assert is_personal_definition({"name": label, "valueType": value_type}) == personal, label
        assert is_personal_definition({"name": label, "type": value_type}) == personal, label


def test_a_custom_field_is_personal_by_its_description() -> None:
    definition = {"id": "cf_1", "name": "Champion ID", "valueType": "string", "description": "Their work e-mail."}

    assert is_personal_definition(definition)
    assert not is_personal_definition({**definition, "name": "Key", "description": "Of the contact."})


@given(definitions=st.lists(JSON | st.dictionaries(st.sampled_from(["id", "name", "valueType", "description"]), JSON)))
def test_given_malformed_definitions_then_no_field_without_a_label_is_impersonal(definitions: list[Any]) -> None:
    labelled = {
        row["id"]
        for row in definitions
        if isinstance(row, dict) and isinstance(row.get("id"), str) and isinstance(row.get("name"), str)
    }
    booleans = {row["id"] for row in definitions if isinstance(row, dict) and row.get("valueType") == "boolean"}

    assert non_personal_fields(definitions) <= labelled | booleans


def test_given_an_id_that_repeats_then_it_is_impersonal_only_if_all_say_so() -> None:
    tier, phone = {"id": "cf_1", "name": "Tier"}, {"id": "cf_1", "name": "Phone"}

    assert non_personal_fields([tier, {"id": "cf_2", "name": "Plan"}]) == {"cf_1", "cf_2"}
    assert non_personal_fields([tier, phone]) == non_personal_fields([phone, tier]) == set()
