"""What is documented of a record: its columns and their types, out of the connector's schemas."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from airbyte_cdk.sources.declarative.schema import JsonFileSchemaLoader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


@cache
def properties(stream: str) -> Mapping[str, Any]:
    """Return the columns of a stream, as JSON schemas."""
    path = f"./source_commonroom/schemas/{stream}.json"
    schema = JsonFileSchemaLoader(config={}, parameters={"name": stream}, file_path=path).get_json_schema()
    found: Mapping[str, Any] = schema["properties"]
    return found


def misfits(stream: str, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of values whose type isn't the documented one."""
    for path, value, schema in _values(record, properties(stream), ""):
        if schema is not None and not _fits(value, schema):
            yield path


def unknown(stream: str, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of fields that aren't documented."""
    for path, _, schema in _values(record, properties(stream), ""):
        if schema is None:
            yield path


def timestamps(stream: str, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of columns that are timestamps."""
    for _, value, schema in _values(record, properties(stream), ""):
        if isinstance(value, str) and schema is not None and schema.get("format") == TIMESTAMP:
            yield value


def _values(
    record: Mapping[str, Any], columns: Mapping[str, Any], above: str
) -> Iterator[tuple[str, Any, Mapping[str, Any] | None]]:
    """Yield the path, the value and the schema of each field, also of nested ones; no schema if it isn't documented."""
    for name, value in record.items():
        path, schema = f"{above}{name}", columns.get(name)
        yield path, value, schema
        if schema is not None and name != _MAP:
            inner = schema.get("items", {}) if isinstance(value, list) else schema
            if nested := inner.get("properties"):
                for entry in value if isinstance(value, list) else [value]:
                    if isinstance(entry, dict):
                        yield from _values(entry, nested, f"{path}[]." if isinstance(value, list) else f"{path}.")


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, bool):
        return not kinds or "boolean" in kinds
    # A number without a fraction is whole in JSON schema, however it is written.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return not kinds or any(isinstance(value, _TYPES[kind]) for kind in kinds if kind != "boolean")
