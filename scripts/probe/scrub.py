"""Scrubbing: every value of the workspace becomes another one of the same form, the same one each time.

What stays as it is: null, booleans, keys at the place where they are documented and those of records that are plain
words, the words that the API documents for a few columns, and the punctuation and length of texts. Ids keep their
prefix, if it is documented, their number of digits and their order; timestamps keep their order, and how they are
written.

What is nested in something that isn't documented, and the map of custom fields, have keys that the workspace may make.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from scripts.probe import documented
from scripts.probe.forms import PLAIN_KEY, PREFIXES, TYPE_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

_MOST_DIGITS = 18
"""An id of more is a text: no range of Python's holds its numbers."""
_ID = re.compile(f"([A-Za-z]+)_([0-9]{{1,{_MOST_DIGITS}}})")
_NUMBER = re.compile(f"[0-9]{{1,{_MOST_DIGITS}}}")
_TIMESTAMP = re.compile(
    r"(?P<second>\d{4}-\d\d-\d\d(?:(?P<mark>[T ])\d\d:\d\d:\d\d)?)"
    r"(?:(?P<point>[.,])(?P<fraction>\d{1,18}))?(?P<zone>Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENTITIES = ("contact", "organization", "object", "activity", "member", "company")
_DOCUMENTED: Mapping[str, frozenset[str]] = {
    "entityType": frozenset(_ENTITIES),
    "entityTypes": frozenset(_ENTITIES),
    "valueType": frozenset(TYPE_WORDS),
    "type": frozenset({*TYPE_WORDS, "city", "country", "country_region", "world_region"}),
    "status": frozenset({"ok", "failure", "not-found", "forbidden"}),
}
"""By key, the words that are the API's own, or are what any API would call a type."""
_COUNT = "recordCount"
_OWN_PARAMETERS = ("limit", "sort", "direction", "locationType", "notAParameter")
_OWN_COLUMNS = frozenset({"recordCount", "cf_*", "notAColumn"})
"""Those whose values are none of the workspace's."""
_FOREIGN_LETTERS, _FOREIGN_SIGNS, _FOREIGN_MARKS = "äöüéñжлюשの語", "☀☂★♪✓🎈", "\u0300\u0301\u0302\u0308"
_LARGEST = 2**63 - 1
_TRIES = 1000
_ENVELOPE: documented.Keys = {
    **documented.REFUSAL,
    "data": {},
    "labels": {},
    "meta": {"nextCursor": {}, "recordCount": {}},
}
_ROWS, _MAP = ("data", "labels"), "customFields"
_ENTRY = frozenset({"type", "value", "values", "name", "id"})
"""The keys of a custom field in a record."""
_DAYS = (400, 4000)


class Scrubber:
    """Replaces values; what they are replaced by depends on a key that is thrown away afterwards.

    All that is to be scrubbed is named beforehand, because new ids have to keep the order of all.
    """

    def __init__(self, content: Iterable[Any], key: bytes) -> None:
        self._key = key
        self._texts: dict[str, str] = {}
        self._taken: set[str] = set()
        draw = self._draw("timestamps")
        self._shift = timedelta(days=draw.randint(*_DAYS), seconds=draw.randrange(86_400))
        parts = list(content)
        self._numbers = self._renumbered({number for part in parts for number in _ids(part)})
        self._fractions = self._redrawn({written for part in parts for written in _fractions(part)})

    def body(self, body: Any, path: str, *, ok: bool) -> Any:
        """Return the body of an answer, scrubbed: its records, and what is around them.

        :param path: below the address of the API, ids left out: it says which keys are documented where
        :param ok: whether it was answered 200, and so may hold records
        """
        known = documented.keys_at(path)
        match body:
            case _ if not ok:
                return self._part(body, "", _ENVELOPE)
            case list():
                return [self._record(row, known) for row in body]
            case dict() if any(name in body for name in (*_ROWS, "success", "error")):
                return {
                    self._known(name, _ENVELOPE): self._rows(part, known)
                    if name in _ROWS
                    else self._part(part, name, _ENVELOPE.get(name))
                    for name, part in body.items()
                }
            case _:
                return self._record(body, known)

    def _rows(self, found: Any, known: documented.Keys) -> Any:
        return [self._record(row, known) for row in found] if isinstance(found, list) else self._record(found, known)

    def _record(self, record: Any, known: documented.Keys) -> Any:
        if not isinstance(record, dict):
            return self._part(record, "", None)
        return {self._key_of(name, known): self._part(part, name, known.get(name)) for name, part in record.items()}

    def _part(self, value: Any, key: str, known: documented.Keys | None) -> Any:
        """Return a part of an answer, scrubbed.

        :param key: the one that the part stands at
        :param known: the keys that are documented in it; None if it isn't documented at all, so that its keys may be
            the workspace's
        """
        match value:
            case dict() if known is None:
                return {self.text(name): self._part(part, "", None) for name, part in value.items()}
            case dict() if key == _MAP:
                return {self.text(name): self._entry(part) for name, part in value.items()}
            case dict():
                inside = known or {}
                return {
                    self._known(name, inside): self._part(part, name, inside.get(name)) for name, part in value.items()
                }
            case list():
                return [self._part(part, key, known) for part in value]
            case _:
                return self._value(value, "" if known is None and not _is_id(key) else key)

    def _entry(self, entry: Any) -> Any:
        """Return the value of a custom field beside its type."""
        if not isinstance(entry, dict):
            return self._part(entry, "", None)
        return {
            self._known(name, _ENTRY): self._part(
                part, "type" if name == "type" else "", {} if name == "type" else None
            )
            for name, part in entry.items()
        }

    def _value(self, value: Any, key: str) -> Any:
        match value:
            case str():
                return value if value in _DOCUMENTED.get(key, ()) else self.text(value, key)
            case int() | float() if not isinstance(value, bool) and key != _COUNT:
                is_id = isinstance(value, int) and _is_id(key) and value in self._numbers
                return self._numbers[int(value)] if is_id else self._number(value)
            case _:
                return value

    def params(self, params: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters of a request, scrubbed as the bodies are."""
        return {name: value if name in _OWN_PARAMETERS else self._param(name, value) for name, value in params.items()}

    def path(self, path: str, ids: Mapping[str, str]) -> str:
        """Return the path of a request with other ids in it."""
        return path.format(**{name: quote(self.text(value, "id"), safe="") for name, value in ids.items()})

    def text(self, text: str, key: str = "") -> str:
        """Return another text of the same form."""
        if found := _ID.fullmatch(text):
            return self._id(found)
        if _is_id(key) and _NUMBER.fullmatch(text) and int(text) in self._numbers:
            return str(self._numbers[int(text)])
        return self._timestamp(text) or self._kept(text)

    def _param(self, name: str, value: str) -> str:
        if name == "cols":
            known = documented.columns() | _OWN_COLUMNS
            return ",".join(self._known(column, known) for column in value.split(","))
        return value if value in _DOCUMENTED.get(name, ()) else self.text(value)

    def _key_of(self, name: str, known: documented.Keys) -> str:
        """Return the name of a field of a record; the API's own, if it is documented or a plain word."""
        return name if name in known or PLAIN_KEY.fullmatch(name) else self.text(name)

    def _known(self, name: str, known: Container[str]) -> str:
        return name if name in known else self.text(name)

    def _id(self, found: re.Match[str]) -> str:
        prefix = found[1] if found[1] in PREFIXES else self._kept(found[1])
        return f"{prefix}_{self._numbers.get(int(found[2]), 0):0{len(found[2])}}"

    def _timestamp(self, text: str) -> str:
        """Return a timestamp shifted, written as it was, also its fraction; empty if the text is none."""
        if not (found := _TIMESTAMP.fullmatch(text)):
            return ""
        written, fraction = found["second"], found["fraction"]
        try:
            moved = _moved(datetime.fromisoformat(written).replace(tzinfo=UTC), self._shift)
        except ValueError:
            # No day of the calendar.
            return ""
        new = moved.replace(tzinfo=None).isoformat(sep=found["mark"] or "T")[: len(written)]
        if fraction:
            new += found["point"] + self._fractions.get((written, fraction), "0" * len(fraction))
        return new + (found["zone"] or "")

    def _kept(self, text: str) -> str:
        """Return a text in the place of another, the same one each time, and none that stands for two."""
        if text not in self._texts:
            draw = self._draw(text)
            tries = (_scrambled(text, draw) for _ in range(_TRIES))
            # So many short ones that none is left: a longer one.
            new = next((new for new in tries if new not in self._taken), _scrambled(f"{text}xxxx", draw))
            self._taken.add(new)
            self._texts[text] = new
        return self._texts[text]

    def _number(self, value: Any) -> Any:
        """Return a number of as many digits."""
        # Not `repr`, which fails of a whole number of thousands of digits.
        text = repr(value) if isinstance(value, float) or abs(value) < 10**_MOST_DIGITS else "9" * _MOST_DIGITS
        mantissa, mark, exponent = text.partition("e")
        draw = self._draw(text)
        digits = [str(draw.randint(1, 9)) if each in "123456789" else each for each in mantissa]
        new = "".join(digits) + mark + exponent
        return float(new) if isinstance(value, float) else max(-_LARGEST, min(_LARGEST, int(new)))

    def _draw(self, what: str) -> Random:
        return Random(hmac.digest(self._key, what.encode("utf-8", "surrogatepass"), hashlib.sha256))  # noqa: S311  # the key is secret

    def _renumbered(self, numbers: set[int]) -> dict[int, int]:
        """Return new numbers of ids: of as many digits, in the same order."""
        new: dict[int, int] = {}
        draw = self._draw("ids")
        for length in sorted({len(str(number)) for number in numbers}):
            old = sorted(number for number in numbers if len(str(number)) == length)
            room = range(10 ** (length - 1) if length > 1 else 0, 10**length)
            new |= dict(zip(old, sorted(draw.sample(room, len(old))), strict=True))
        return new

    def _redrawn(self, written: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Return new fractions of seconds, in the same order within each second; none becomes none."""
        new: dict[tuple[str, str], str] = {}
        by_second: dict[tuple[str, int], list[str]] = {}
        for second, fraction in sorted(written):
            if fraction.strip("0"):
                by_second.setdefault((second, len(fraction)), []).append(fraction)
        for (second, length), old in by_second.items():
            drawn = sorted(self._draw(f"{second} {length}").sample(range(1, 10**length), len(old)))
            new |= {(second, fraction): f"{number:0{length}}" for fraction, number in zip(old, drawn, strict=True)}
        return new


def _fractions(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the seconds and fractions of all timestamps."""
    match value:
        case dict():
            for part in value.values():
                yield from _fractions(part)
        case list():
            for part in value:
                yield from _fractions(part)
        case str() if (found := _TIMESTAMP.fullmatch(value)) and found["fraction"]:
            yield found["second"], found["fraction"]


def _ids(value: Any, key: str = "") -> Iterator[int]:
    """Yield the numbers of all ids."""
    match value:
        case dict():
            for name, part in value.items():
                yield from _ids(name)
                yield from _ids(part, name)
        case list():
            for part in value:
                yield from _ids(part, key)
        case str() if found := _ID.fullmatch(value):
            yield int(found[2])
        case str() if _is_id(key) and _NUMBER.fullmatch(value):
            yield int(value)
        case int() if _is_id(key) and 0 <= value < 10**_MOST_DIGITS:
            yield value


def _moved(timestamp: datetime, by: timedelta) -> datetime:
    """Return an earlier timestamp; of the first years of the calendar, a later one."""
    try:
        return timestamp - by
    except OverflowError:
        return timestamp + by


def _is_id(key: str) -> bool:
    return key == "id" or key.endswith("Id")


def _scrambled(text: str, draw: Random) -> str:
    """Return a text with other letters and digits, each of its kind; an address keeps its scheme, a visit its `w_`."""
    start = next((start for start in ("https://", "http://", "w_") if text.startswith(start)), "")
    small, large = (
        ("abcdef", "ABCDEF") if _UUID.fullmatch(text) else ("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    )

    def other(character: str) -> str:
        if character.isascii():
            kinds: tuple[tuple[Callable[[str], bool], str], ...] = (
                (str.islower, small),
                (str.isupper, large),
                (str.isdigit, "0123456789"),
            )
            return next((draw.choice(letters) for is_kind, letters in kinds if is_kind(character)), character)
        if character.isalnum():
            return draw.choice(_FOREIGN_LETTERS)
        # Marks, signs and emoji, and what belongs to none of these; punctuation and spaces stay.
        kind = unicodedata.category(character)[0]
        return draw.choice(_FOREIGN_MARKS if kind == "M" else _FOREIGN_SIGNS) if kind in "MSC" else character

    return start + "".join(map(other, text[len(start) :]))
