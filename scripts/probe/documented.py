"""What is documented of a record: its columns and their types, out of the connector's schemas."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from airbyte_cdk.sources.declarative.schema import JsonFileSchemaLoader

from source_commonroom.table import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMESTAMP = "date-time"
_MAP = "customFields"
"""A map whose keys the workspace makes; its values are checked by their definitions."""
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


Path = tuple[str, ...]
"""The keys down to a value: never one text, since a key may hold any character. Those of a list end in `[]`."""
Keys = Mapping[str, "Keys"]
"""Keys, and for each those that are nested in it."""
REFUSAL: Keys = {
    "success": {},
    "error": {"code": {}, "message": {}},
    "status": {},
    "reason": {},
    "errors": {},
    "docs": {},
    "rateLimit": {"intervalLimit": {}, "intervalRemaining": {}, "intervalResetSeconds": {}, "waitMs": {}},
}
"""The keys of a refusal's body, of both versions."""


@cache
def properties(stream: str) -> Mapping[str, Any]:
    """Return the columns of a stream, as JSON schemas."""
    path = f"./source_commonroom/schemas/{stream}.json"
    schema = JsonFileSchemaLoader(config={}, parameters={"name": stream}, file_path=path).get_json_schema()
    found: Mapping[str, Any] = schema["properties"]
    return found


@cache
def keys_at(path: str) -> Keys:
    """Return the keys of the records that a path of the API answers, each with those that are nested in it."""
    found: dict[str, Keys] = {}
    for row in rows().values():
        if row.path == path:
            found |= _keys(properties(row.name))
    return found


@cache
def columns() -> frozenset[str]:
    """Return the columns that `cols` may ask for, of all lists."""
    return frozenset(column for row in rows().values() for column in row.cols.split(",") if column)


def _keys(found: Mapping[str, Any]) -> Keys:
    return {
        key: _keys(schema.get("properties") or schema.get("items", {}).get("properties", {}))
        for key, schema in found.items()
    }


def misfits(stream: str, record: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the paths of values whose type isn't the documented one."""
    for path, value, schema in _values(record, properties(stream), ()):
        if schema is not None and not _fits(value, schema):
            yield path


def unknown(stream: str, record: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the paths of fields that aren't documented."""
    for path, _, schema in _values(record, properties(stream), ()):
        if schema is None:
            yield path


def timestamps(stream: str, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of columns that are timestamps."""
    for _, value, schema in _values(record, properties(stream), ()):
        if isinstance(value, str) and schema is not None and schema.get("format") == TIMESTAMP:
            yield value


def _values(
    record: Mapping[str, Any], columns: Mapping[str, Any], above: Path
) -> Iterator[tuple[Path, Any, Mapping[str, Any] | None]]:
    """Yield the path, the value and the schema of each field, also of nested ones; no schema if it isn't documented."""
    for name, value in record.items():
        path, schema = (*above, name), columns.get(name)
        yield path, value, schema
        if schema is not None and name != _MAP:
            inner = schema.get("items", {}) if isinstance(value, list) else schema
            if nested := inner.get("properties"):
                for entry in value if isinstance(value, list) else [value]:
                    if isinstance(entry, dict):
                        yield from _values(entry, nested, (*above, f"{name}[]") if isinstance(value, list) else path)


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, bool):
        return not kinds or "boolean" in kinds
    # A number without a fraction is whole in JSON schema, however it is written.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return not kinds or any(isinstance(value, _TYPES[kind]) for kind in kinds if kind != "boolean")
