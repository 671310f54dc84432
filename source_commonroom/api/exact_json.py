"""Exact JSON: values exactly as a document has them, and notes of those that can't be kept so.

orjson reads four times as fast as the standard library, but changes values silently: integers beyond 64 bits become
floats, and of keys that repeat it keeps the last. And it refuses a lone surrogate, as JavaScript leaves one when it
cuts emoji, so that one such text would hold back all pages after it. So the value is serialized again: if that equals
the document, byte for byte, nothing was changed. That takes 0.3 to 2 µs a record. If a server formats JSON otherwise,
two counts
show as much, in some 6 to 15 µs; in all other cases the standard library reads the document. Pinned by
unit_tests/test_exact_json.py.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

# An escape, whole, so that the next one begins where it ends: a surrogate pair, a lone surrogate, or any other.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)

# Digits become 0, what can stand before a number a comma, and a minus stays.
_SHAPE = bytes(
    ord("0" if byte in b"0123456789" else "," if byte in b":,[ \t\r\n" else "-" if byte == ord("-") else "x")
    for byte in range(256)
)
# All positive integers of 19 digits fit 64 bits, and all negative ones of 18.
_LONG_NUMBERS = (b"," + b"0" * 20, b",-" + b"0" * 19)

_MOST_NAMES = 5
_LONGEST_NAME = 40


# The depth that orjson can write; recursion is safe with it.
DEEPEST = 254


class TooDeepError(ValueError):
    """Lists and objects are nested more deeply than ``DEEPEST``."""


@dataclass
class Notes:
    """What a document contains that no destination could hold, and so can't be kept as it is."""

    repeated: Counter[str] = field(default_factory=Counter)
    """How often a key repeats in one object, by key. The last value counts, as for other readers of JSON."""
    numbers: int = 0
    """How many numbers are beyond the range of 64-bit floats, some 1.8e308. They are null."""
    halves: int = 0
    """How many surrogates stand alone. Each becomes U+FFFD, the replacement character."""

    def __bool__(self) -> bool:
        """Tell whether there is anything to say."""
        return bool(self.repeated or self.numbers or self.halves)

    @property
    def number(self) -> int:
        """How many values it is."""
        return self.repeated.total() + self.numbers + self.halves

    def sentences(self, *, names_keys: bool = True) -> Iterator[str]:
        """Say it, with no value of the text.

        :param names_keys: whether to name keys, which may be personal, too
        """
        if self.repeated:
            names = [name[:_LONGEST_NAME] for name in sorted(self.repeated)]
            more = ", …" if len(names) > _MOST_NAMES else ""
            named = f": {', '.join(names[:_MOST_NAMES])}{more}" if names_keys else ""
            yield (
                f"keys that repeat in one object ({self.repeated.total()} times{named}), of which the last one counts"
            )
        if self.numbers:
            yield f"numbers too large for any column ({self.numbers}), which are null"
        if self.halves:
            yield f"halves of characters ({self.halves}), which are U+FFFD"


def loads(text: bytes) -> tuple[Any, Notes]:
    """Return the value of a JSON text, and what of it couldn't be kept.

    Integers of any size that a float could hold are exact. Numbers with a fraction or an exponent are 64-bit floats, as
    for JavaScript.

    :param text: JSON in UTF-8
    :raises orjson.JSONDecodeError: if it isn't JSON, as NaN and Infinity aren't
    :raises TooDeepError: if lists and objects are nested so deep that they couldn't be written again
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # It refuses halves of characters and numbers that are too large; what else it refuses isn't JSON.
        try:
            value, notes = _loads_exactly(text, halves=True)
        except (ValueError, RecursionError):
            raise error from None
        _check_depth(value)
        return value, notes
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise TooDeepError from None
    if written == text or _differs_in_spelling_alone(text, written):
        return value, Notes()
    return _loads_exactly(text, halves=False)


def dumps(value: Any, *, sort_keys: bool = False) -> bytes:
    """Return a value as JSON in UTF-8, with integers of any size, which orjson refuses.

    :param value: what :func:`loads` returned, or was made of it
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort_keys else None)
    except orjson.JSONEncodeError:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys)
        return text.encode()


def dumps_each(values: Sequence[Any]) -> list[bytes]:
    """Return each value as :func:`dumps` does, in less time."""
    try:
        return list(map(orjson.dumps, values))
    except orjson.JSONEncodeError:
        return list(map(dumps, values))


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [part for whole in level for part in _parts(whole)]
        if not level:
            return
    raise TooDeepError


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _differs_in_spelling_alone(text: bytes, written: bytes) -> bool:
    """Tell whether a text surely says what was written of it, if with blanks, escapes, or numbers of other form.

    A key that repeats is a text less in what was written; and an integer beyond 64 bits has many digits.
    """
    shape = text.translate(_SHAPE)
    long = any(number in shape or shape.startswith(number[1:]) for number in _LONG_NUMBERS)
    return not long and _count_texts(text) == _count_texts(written)


def _count_texts(text: bytes) -> int:
    """Return how many quotes begin or end a text."""
    text = text.replace(b"\\\\", b"")
    return text.count(b'"') - text.count(b'\\"')


def _loads_exactly(content: bytes, *, halves: bool) -> tuple[Any, Notes]:
    """Return the same as :func:`loads`; ``halves`` tells whether there may be halves of characters."""
    notes = Notes()

    def whole_character(escape: re.Match[str]) -> str:
        if escape[1] is None:
            return escape[0]
        notes.halves += 1
        return "\\ufffd"

    def whole_number(digits: str) -> int | None:
        return None if fraction(digits) is None else int(digits)

    def fraction(digits: str) -> float | None:
        number = float(digits)
        if abs(number) != float("inf"):
            return number
        notes.numbers += 1
        return None

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            notes.repeated.update(Counter(name for name, _ in pairs) - Counter(made.keys()))
        return made

    def refuse(name: str) -> None:
        raise ValueError(f"{name} isn't JSON")

    text = content.decode()
    value = json.loads(
        _ESCAPE.sub(whole_character, text) if halves else text,
        object_pairs_hook=unique,
        parse_int=whole_number,
        parse_float=fraction,
        parse_constant=refuse,
    )
    return value, notes
