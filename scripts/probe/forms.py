"""Forms: what is shown in the place of a value. A form tells how a value is written, and nothing of what it says."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from scripts.probe.headers import is_known

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIXES = ("c", "o", "a", "s", "l", "cf", "ls", "sig", "co", "cot", "tp", "pc", "naics", "p", "com", "st", "w")
"""Of ids, as documented."""
VALUE_TYPES = ("string", "url", "int", "number", "date", "boolean")
"""Of custom fields, as documented."""
TYPE_WORDS = (
    "string",
    "text",
    "url",
    "email",
    "phone",
    "int",
    "integer",
    "number",
    "float",
    "decimal",
    "currency",
    "percent",
    "boolean",
    "date",
    "datetime",
    "timestamp",
    "enum",
    "list",
    "array",
    "select",
    "multiselect",
    "geo",
    "location",
    "user",
    "json",
    "object",
)
"""What a type may well be called, so that its name is none of the workspace's words."""

_ID = re.compile(r"([A-Za-z]+)_([0-9]+)")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
PLAIN_KEY = re.compile(r"[a-z][A-Za-z]{0,39}")
"""An API's keys begin with a small letter; names and labels seldom do."""


def forms_of(values: Iterable[Any]) -> str:
    """Tell the forms of some values, the most frequent first, with the range of their lengths."""
    lengths: dict[str, list[int]] = {}
    for value in values:
        form, length = _form(value)
        lengths.setdefault(form, []).append(length)
    ranked = sorted(lengths.items(), key=lambda item: (-len(item[1]), item[0]))
    return ", ".join(_with_range(form, found) for form, found in ranked) or "none"


def counted(number: int, noun: str) -> str:
    """Say how many there are of something, as `1 row` and `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def time_form(text: str) -> str:
    """Tell how a timestamp is written, each digit as 0."""
    return re.sub(r"[0-9]", "0", text) if _TIME.fullmatch(text) else forms_of([text])


def time_forms(texts: Iterable[str]) -> str:
    """Tell how timestamps are written, and how many are written so."""
    found = Counter(map(time_form, texts))
    return ", ".join(f"{form} ({number})" for form, number in found.most_common())


def type_word(word: Any) -> str:
    """Tell the name of a type if it is one that types have, or else its form."""
    return word if isinstance(word, str) and word in TYPE_WORDS else forms_of([word])


def key_form(key: str) -> str:
    """Tell a field of a record, if it is a plain word; or else its form. A path isn't one: its parts are told apart."""
    return key if PLAIN_KEY.fullmatch(key) else forms_of([key])


def header_form(name: str) -> str:
    """Tell the name of a header, if it is a known one; or else its form: a prefix that any may have, and lengths."""
    name = name.lower()
    if is_known(name):
        return name
    prefix = "x-" if name.startswith("x-") else ""
    return prefix + "-".join(
        f"<{len(part)} {'letters' if part.isalpha() else 'characters'}>"
        for part in name.removeprefix(prefix).split("-")
    )


def _form(value: Any) -> tuple[str, int]:
    """Return the form of a value, and what a range of it counts: characters, digits, or entries; 0 for nothing."""
    match value:
        case None | bool():
            return ("null" if value is None else "boolean"), 0
        case int():
            return "whole number of {} digits", len(str(abs(value)))
        case float():
            return "number with a fraction", 0
        case list():
            return "list of {}", len(value)
        case dict():
            return "object of {} keys", len(value)
        case _:
            return _form_of_text(str(value))


def _form_of_text(text: str) -> tuple[str, int]:
    if found := _ID.fullmatch(text):
        prefix = found[1] if found[1] in PREFIXES else "<letters>"
        return f"{prefix}_<{{}} digits>", len(found[2])
    if text.startswith("w_"):
        return "w_<{} characters>", len(text) - 2
    for form, pattern in (("UUID", _UUID), ("date-time", _TIME), ("date", _DAY)):
        if pattern.fullmatch(text):
            return form, 0
    return "string of {} characters", len(text)


def _with_range(form: str, lengths: list[int]) -> str:
    least, most = min(lengths), max(lengths)
    told = form.format(least if least == most else f"{least} to {most}")
    # One of a kind.
    return re.sub(r"(?<![0-9])1 (digit|character|key)s", r"1 \1", told) if most == 1 else told
