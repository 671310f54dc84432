"""Misfits: values of other types than the API's description promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

from integration_tests.sandbox.query import DATE_TIME

if TYPE_CHECKING:
    from integration_tests.sandbox.messages import Record

# What tells one record from another is never spoilt, nor what says how to read others.
SPARED = frozenset({"id", "jti", "entityType", "entityTypes", "assocs", "customFields"})
_SHARE = 5


def is_spoilt(record: Record) -> bool:
    """Tell whether a record is one of those whose values are spoilt: each fifth or so, and always the same."""
    return crc32(str(record.get("id") or record.get("jti")).encode()) % _SHARE == 0


def spoilt(record: Record) -> Record:
    """Return a record whose values are of another type each, whatever its columns; others as they are."""
    if not is_spoilt(record):
        return record
    return {name: value if name in SPARED else misfit_of(value) for name, value in record.items()}


def misfit_of(value: Any) -> Any:
    """Return what doesn't fit a column of a value's type; null as it is."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes"
    if isinstance(value, int | float):
        return "51-200"
    if isinstance(value, list):
        return "a text"
    if isinstance(value, dict):
        return ["a list"]
    return "0000-00-00T00:00:00.000Z" if DATE_TIME.fullmatch(value) else {"text": value}
