"""Scrubbing: every value of the workspace becomes another one of the same form, the same one each time.

What stays as it is: null, booleans, keys that are plain words, the words that the API documents for a few columns, and
the punctuation and length of texts. Ids keep their prefix, if it is documented, their number of digits and their order;
timestamps keep their order, and how they are written.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from scripts.probe.forms import PREFIXES, TYPE_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_ID = re.compile(r"([A-Za-z]+)_([0-9]+)")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)([T ]\d\d:\d\d:\d\d)?((?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LETTERS = re.compile("[A-Za-z]{1,40}")
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
"""Those whose values are none of the workspace's."""
_FOREIGN_LETTERS = "äöüéñжлюשの語"
_LARGEST = 2**63 - 1
_TRIES = 1000
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
        self._numbers = self._renumbered({number for part in content for number in _ids(part)})

    def body(self, value: Any, key: str = "") -> Any:
        """Return the body of an answer, or a part of it, scrubbed.

        :param key: the one that the part stands at
        """
        match value:
            case dict():
                return {self._key_of(name): self.body(part, name) for name, part in value.items()}
            case list():
                return [self.body(part, key) for part in value]
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

    def path(self, path: str) -> str:
        """Return the path of a request with another id in it."""
        return re.sub(r"(?<=/)[0-9]+(?=/)", lambda found: str(self._numbers.get(int(found[0]), found[0])), path)

    def text(self, text: str, key: str = "") -> str:
        """Return another text of the same form."""
        if found := _ID.fullmatch(text):
            return self._id(found)
        if _is_id(key) and text.isdecimal() and int(text) in self._numbers:
            return str(self._numbers[int(text)])
        return self._timestamp(text) or self._kept(text)

    def _param(self, name: str, value: str) -> str:
        if name == "cols":
            return ",".join(self.text(column) if _ID.fullmatch(column) else column for column in value.split(","))
        return value if value in _DOCUMENTED.get(name, ()) else self.text(value)

    def _key_of(self, name: str) -> str:
        return name if _LETTERS.fullmatch(name) else self.text(name)

    def _id(self, found: re.Match[str]) -> str:
        prefix = found[1] if found[1] in PREFIXES else self._kept(found[1])
        return f"{prefix}_{self._numbers.get(int(found[2]), 0):0{len(found[2])}}"

    def _timestamp(self, text: str) -> str:
        """Return a timestamp shifted, written as it was, also its fraction; empty if the text is none."""
        if not (found := _TIMESTAMP.fullmatch(text)):
            return ""
        written = found[1] + (found[2] or "")
        try:
            moved = _moved(datetime.fromisoformat(written).replace(tzinfo=UTC), self._shift)
        except ValueError:
            # No day of the calendar.
            return ""
        return moved.replace(tzinfo=None).isoformat(sep=found[2][0] if found[2] else "T")[: len(written)] + found[3]

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
        text = repr(value)
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
        case str() if _is_id(key) and value.isdecimal():
            yield int(value)
        case int() if _is_id(key) and value >= 0:
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
        return draw.choice(_FOREIGN_LETTERS) if character.isalnum() else character

    return start + "".join(map(other, text[len(start) :]))
