"""Custom fields as typed columns: their names, their types, and their values.

Why not YAML: ``DynamicSchemaLoader`` names a column by the field's label as it is, so that equal labels are one column,
and ends the whole discover at a type that it doesn't know; and its transformations cost some 80 µs a record and column.

Nothing here reads or writes: definitions, schemas, and records are arguments.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, TypeAlias

from anyascii import anyascii

from source_commonroom.api.exact_json import dumps
from source_commonroom.records.values import MisfitError, as_boolean, as_integer, as_number, as_timestamp

Mode: TypeAlias = Literal["label", "id", "none"]
Kind: TypeAlias = Literal["string", "integer", "number", "date-time", "boolean", "json"]

# By `valueType`; any other is json.
_TYPES: Mapping[str, Kind] = {
    "string": "string",
    "url": "string",
    "int": "integer",
    "number": "number",
    "date": "date-time",
    "boolean": "boolean",
}
_SCHEMAS: Mapping[Kind, Mapping[str, str]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "date-time": {"type": "string", "format": "date-time", "airbyte_type": "timestamp_with_timezone"},
    "boolean": {"type": "boolean"},
    "json": {"type": "string"},
}

# With "custom_", "_", and 15 digits it makes the 63 characters to which Postgres cuts a name; others take more.
_LONGEST_SLUG = 40
_FIELD_ID = re.compile(r"cf_([0-9]{1,15})")
# To a tool that turns camelCase into snake_case, `customFields` is custom_fields.
_RESERVED = "fields"
# Beyond, the list might make the URL longer than a gateway takes.
_MOST_COLS = 200


@dataclass(frozen=True)
class Column:
    """A typed column for a custom field.

    :param field: the field's id, ``cf_<number>``
    :param type: what the column holds; ``json`` is text as well, of a field whose ``valueType`` isn't known
    :param description: the field's label, its id, and its own description
    :param value_type: the definition's ``valueType``, to name in a warning; empty if there is none
    """

    name: str
    field: str
    type: Kind
    description: str = ""
    value_type: str = ""

    def schema(self) -> dict[str, Any]:
        """Return the column's JSON schema; ``customFieldId`` names the field, whatever its label by then."""
        kind = dict(_SCHEMAS[self.type])
        return {
            **kind,
            "type": ["null", kind["type"]],
            "description": self.description,
            "customFieldId": self.field,
        }


def columns_of(definitions: Iterable[Any], mode: Mode) -> list[Column]:
    """Return a column for each custom field, in the order of their ids.

    In mode ``label`` a field may have three names: ``custom_<slug>``, ``custom_<slug>_<number>``, and
    ``custom_cf_<number>``. It gets the first if no other field may have the same, else the second, and the third
    if its label has no letter and no digit. So names are unique whatever the labels, and a field's name depends on
    fields that claim it and on no others. In mode ``id`` each gets the third.

    No name is longer than 63 characters. An id that isn't ``cf_<number>`` gets a number made of its hash.

    :param definitions: the answer of ``/custom-fields``; what has no id is left out
    :param mode: ``custom_field_columns`` of the configuration
    """
    if mode == "none":
        return []
    fields = _by_id(definitions)
    slugs = {key: slug_of(_text(definition, "name")) if mode == "label" else "" for key, definition in fields.items()}
    claims = Counter([_RESERVED])
    for key, slug in slugs.items():
        claims.update({slug, f"{slug}_{_number_of(key)}", f"cf_{_number_of(key)}"})
    columns = []
    for key, definition in fields.items():
        slug, value_type = slugs[key], _text(definition, "valueType")
        name = slug if slug and claims[slug] == 1 else f"{slug or 'cf'}_{_number_of(key)}"
        columns.append(
            Column(f"custom_{name}", key, _TYPES.get(value_type, "json"), _describe(key, definition), value_type)
        )
    return columns


def _by_id(definitions: Iterable[Any]) -> dict[str, Mapping[str, Any]]:
    """Return the definitions by id, in its order, whatever the answer's; of an id that repeats, always the same one."""
    found = [row for row in definitions if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"]]
    # Numbers in numeric order: a longer one is a larger one.
    found.sort(key=lambda row: dumps(row, sort_keys=True))
    found.sort(key=lambda row: (len(_number_of(row["id"])), _number_of(row["id"])))
    return {row["id"]: row for row in found}


def _number_of(field_id: str) -> str:
    match = _FIELD_ID.fullmatch(field_id)
    # Without "_", as numbers are: the last part of a name identifies the field.
    return match[1] if match else "x" + sha256(field_id.encode("utf-8", "surrogatepass")).hexdigest()[:14]


def _text(definition: Mapping[str, Any], key: str) -> str:
    text = definition.get(key)
    return text if isinstance(text, str) else ""


def slug_of(label: str) -> str:
    """Return the words of a label, cut to 40 characters."""
    return words_of(label)[:_LONGEST_SLUG].rstrip("_")


def _describe(field_id: str, definition: Mapping[str, Any]) -> str:
    label, own = _text(definition, "name").strip(), _text(definition, "description").strip()
    about = f"Custom field “{label}” ({field_id})." if label else f"Custom field {field_id}."
    return f"{about} {own}".strip()


def words_of(text: str) -> str:
    """Return a text in lower-case ASCII letters, digits, and single ``_`` between them; empty if it has neither.

    Letters of all scripts are transliterated. Symbols and emoji are not, because ``anyascii`` would spell them out.
    """
    letters = "".join(map(_letter, unicodedata.normalize("NFC", text)))
    # anyascii writes soft signs and glottal stops as quotes; they don't part a word.
    ascii_letters = re.sub("['`]", "", anyascii(letters)).lower()
    return re.sub("[^a-z0-9]+", "_", ascii_letters).strip("_")


def _letter(character: str) -> str:
    if character.isalnum():
        return character
    category = unicodedata.category(character)
    if category[0] == "M":  # an accent, or a vowel of an Indic script
        return character
    return "" if category == "Cf" else " "  # a joiner or a soft hyphen stands within a word


def columns_from(properties: Mapping[str, Any]) -> list[Column]:
    """Return the columns that a stream's schema holds, so that a read needs no definitions.

    A type that was ``json`` is ``string`` now: both contain text, and are filled alike.

    :param properties: ``properties`` of the JSON schema in a configured catalog
    """
    return [
        Column(name, node["customFieldId"], _type_of(node), str(node.get("description", "")))
        for name, node in properties.items()
        if isinstance(node, Mapping) and isinstance(node.get("customFieldId"), str)
    ]


def _type_of(node: Mapping[str, Any]) -> Kind:
    if node.get("format") == "date-time":
        return "date-time"
    kinds: list[Kind] = ["integer", "number", "boolean"]
    return next((kind for kind in kinds if kind in (node.get("type") or ())), "string")


def custom_cols(selected: Sequence[Column], known: int, *, whole_map: bool) -> list[str]:
    """Return what to ask for in ``cols``: each selected field, or ``cf_*``, which makes ``customFields`` complete.

    It is ``cf_*`` if the map is selected itself; if more than half of the fields are, so that the answer is less than
    twice as large as it need be; if more than 200 are; and if an id isn't ``cf_<number>``.

    :param selected: the typed columns that the configured catalog selects
    :param known: how many custom fields there are; 0 if that isn't known
    :param whole_map: whether it selects ``customFields``
    """
    most = bool(known) and 2 * len(selected) > known
    odd = any(not _FIELD_ID.fullmatch(column.field) for column in selected)
    if whole_map or most or odd or len(selected) > _MOST_COLS:
        return ["cf_*"]
    return [column.field for column in selected]


def make_filler(columns: Iterable[Column]) -> Callable[[dict[str, Any]], Sequence[str]]:
    """Return what adds the typed columns to a record, in place, out of its ``customFields``, which stay as they are.

    It returns the names of those whose value didn't fit, and is null. A field that the record doesn't carry stays
    absent, as any column that the API leaves out; a destination makes it null, and nothing is cheaper.

    A list, which only fields with several values could have, is text in JSON if the column is text; else its
    one element counts.

    :param columns: at most one for each field
    """
    # By field: the column, the type whose values fit as they are, and what makes others fit.
    targets = {column.field: (column.name, *_FITTING[column.type]) for column in columns}
    find = targets.get

    def fill(record: dict[str, Any]) -> Sequence[str]:
        values = record.get("customFields")
        if type(values) is not dict:
            return ()
        nulled: Sequence[str] = ()
        for field_id, entry in values.items():
            target = find(field_id)
            if target is None:
                continue
            name, native, fit = target
            try:
                value = None if entry is None else entry.get("value")
                record[name] = value if type(value) is native or value is None else fit(value)
            except (MisfitError, AttributeError):
                record[name] = None
                nulled = (*nulled, name)
        return nulled

    return fill


def _only(fit: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what fits a value, or the one element of a list."""

    def fit_one(value: Any) -> Any:
        if type(value) is not list:
            return fit(value)
        if len(value) > 1:
            raise MisfitError
        return fit(value[0]) if value and value[0] is not None else None

    return fit_one


def _as_any_text(value: Any) -> str:
    return value if type(value) is str else dumps(value).decode()


def _small_or(fit: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what returns an integer of 64 bits at once, as most are, and fits all else as given."""
    return lambda value: value if type(value) is int and -(2**63) <= value < 2**63 else fit(value)


_FITTING: Mapping[Kind, tuple[type | None, Callable[[Any], Any]]] = {
    "string": (str, _as_any_text),
    # Not int as it is: it may be beyond 64 bits.
    "integer": (None, _small_or(_only(as_integer))),
    "number": (float, _only(as_number)),
    "date-time": (None, _only(as_timestamp)),
    "boolean": (bool, _only(as_boolean)),
    "json": (str, _as_any_text),
}
