"""Values that fit the types which their columns declare: what doesn't is null, and named.

A destination that casts fails the whole load for one value: ``"51-200"`` in an integer, ``""`` in a timestamp, an
object in a text. What says the same in the column's type is written in it; all else becomes null, and stands in the
record's ``meta.changes``, as the Airbyte protocol has it.

Why not YAML: the CDK's ``TypeTransformer`` takes records one by one, leaves what it can't cast as it is, and names
nothing. Here the names and types of a record are looked at as one, and the values of few columns one by one: some 2 µs
a record.
Pinned by unit_tests/test_values.py.
"""

import re
from array import array
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from source_commonroom.api.exact_json import dumps

# So many forms of records are remembered, each the names of its fields and their types.
_MOST_FORMS = 1024


class MisfitError(ValueError):
    """The value can't be written in its column's type."""


class ChangedRecord(dict[str, Any]):
    """A record of which the connector made some values null."""

    __slots__ = ("nulled",)

    def __init__(self, record: Mapping[str, Any], nulled: Sequence[str]) -> None:
        super().__init__(record)
        self.nulled = nulled


class PageChanges(NamedTuple):
    """What was changed in a page so that it fits its columns."""

    misfits: list[tuple[int, str]]
    """Values that are null now: the place of the record in its page, and the column's name."""
    left_out: Counter[str]
    """Fields that were left out, by name: how many records had each."""


def make_fitter(
    properties: Mapping[str, Any], more: Iterable[str] = (), keys: Collection[str] = ()
) -> Callable[[list[dict[str, Any]]], PageChanges]:
    """Return what makes the records of a page fit a schema, in place, and reports what didn't.

    An undocumented field whose name differs from a column's by case alone is left out: a destination that folds case
    would write it into that column.

    :param properties: ``properties`` of the stream's JSON schema; what they don't name is left as it is
    :param more: the names of columns that are filled later; a field that is called so is left out, too
    :param keys: the columns of text that identify records: other values are written as JSON, and never null
    """
    kinds = {name: "key" if name in keys else kind_of(node) for name, node in properties.items()}
    folded = {name.casefold() for name in (*kinds, *more)}

    @lru_cache(maxsize=_MOST_FORMS)
    def inspect_form(names: tuple[str, ...], types: tuple[type, ...]) -> tuple[list[str], list[str]]:
        """Return the columns of a record that have to be looked into, and its fields that are to be left out."""
        doubtful = [name for name, native in zip(names, types, strict=True) if _is_doubtful(kinds.get(name), native)]
        return doubtful, [name for name in names if name not in kinds and name.casefold() in folded]

    def fit_page(records: list[dict[str, Any]]) -> PageChanges:
        # Names and types tell most of a record, and many records have the same ones. To look at each combination once
        # costs a fraction of looking at each value.
        looked_into = [
            inspect_form(*form) for form in {(tuple(record), tuple(map(type, record.values()))) for record in records}
        ]
        left_out: Counter[str] = Counter()
        for name in sorted({name for _, names in looked_into for name in names}):
            left_out[name] = sum(name in record for record in records)
            for record in records:
                record.pop(name, None)
        doubtful = {name for names, _ in looked_into for name in names}
        misfits = []
        for name in [name for name in kinds if name in doubtful]:
            for place, value in _FITS[kinds[name]]([record.get(name) for record in records]):
                records[place][name] = value
                if value is None:
                    misfits.append((place, name))
        return PageChanges(misfits, left_out)

    return fit_page


def _is_doubtful(kind: str | None, native: type) -> bool:
    """Tell whether values of a native type may not fit a column of a kind as they are."""
    return kind is not None and kind != "any" and native is not type(None) and native is not _NATIVES.get(kind)


def kind_of(node: Mapping[str, Any]) -> str:
    """Return what a column declares: a JSON type, ``date-time``, or ``any`` if it names none, or several."""
    if node.get("format") == "date-time":
        return "date-time"
    declared = node.get("type") or ()
    types = [name for name in ([declared] if isinstance(declared, str) else declared) if name != "null"]
    return types[0] if len(types) == 1 else "any"


Changes = Iterable[tuple[int, Any]]
"""What becomes of values that don't fit as they are: their places among those of a page, and None, or what fits."""


def _one_by_one(native: type, fit: Callable[[Any], Any]) -> Callable[[Sequence[Any]], Changes]:
    """Return what lets values of a type pass, and null; and fits others one by one."""
    passes = {native, type(None)}
    return lambda values: _fitted(values, passes, fit)


def _fitted(values: Sequence[Any], passes: set[type], fit: Callable[[Any], Any]) -> Changes:
    for place, value in enumerate(values):
        if type(value) not in passes:
            try:
                fitted = fit(value)
            except MisfitError:
                fitted = None
            if fitted is not value:
                yield place, fitted


def _integers(values: Sequence[Any]) -> Changes:
    if {int, type(None)}.issuperset(map(type, values)):
        try:
            # It takes 64 bits. What it isn't given is null, and 0.
            array("q", filter(None, values))
        except OverflowError:
            pass
        else:
            return ()
    return _fitted(values, {type(None)}, as_integer)


def _timestamps(values: Sequence[Any]) -> Changes:
    passes = {type(None)}
    there = [value for value in values if value is not None]
    return () if _are_timestamps_of_one_form(there) else _fitted(values, passes, as_timestamp)


# Digits become 0.
_FORM = bytes.maketrans(b"123456789", b"000000000")


def _are_timestamps_of_one_form(values: list[Any]) -> bool:
    """Tell whether all values are date-times in UTC, written alike, as they are on nearly all pages."""
    try:
        form = f"{values[0]}\n".encode().translate(_FORM)
        if not (
            _WITH_OFFSET.fullmatch(values[0])
            and values[0].endswith("Z")
            and ("\n".join(values) + "\n").encode().translate(_FORM) == form * len(values)
        ):
            return False
        deque(map(datetime.fromisoformat, values), maxlen=0)
    except IndexError:
        return True
    except (TypeError, ValueError):
        return False
    return True


def as_text(value: Any) -> str:
    """Return a text as it is, and a number or a boolean as JSON writes it.

    :raises MisfitError: for lists and objects, as for null in the functions that follow
    """
    if type(value) is str:
        return value
    if type(value) in (int, float, bool):
        return dumps(value).decode()
    raise MisfitError


_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
_DIGITS = 19


def as_number(value: Any) -> int | float:
    """Return a number, or the one that a text holds; beyond 64 bits as a float."""
    if type(value) is float:
        return value
    text = value.strip() if type(value) is str else ""
    if type(value) is int or re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        whole = int(value)
        # What a bigint couldn't hold is a number still, if not to the last digit.
        return whole if -(2**63) <= whole < 2**63 else float(whole)
    # Not whatever float() takes: "nan", "inf", "1_000", digits of other scripts.
    if _NUMBER.fullmatch(text):
        number = float(text)
        if abs(number) != float("inf"):
            return number
    raise MisfitError


def as_integer(value: Any) -> int:
    """Return a whole number of 64 bits, or the one that a text holds, to the last digit."""
    if type(value) is str:
        return _whole(value.strip())
    number = as_number(value)
    # Not -(2**63) either: as a float it may stand for a lower number.
    if type(number) is float and not (number.is_integer() and -(2**63) < number < 2**63):
        raise MisfitError
    return int(number)


def _whole(text: str) -> int:
    # A float would round it.
    number = Decimal(text) if _NUMBER.fullmatch(text) else Decimal("NaN")
    if not (number.is_finite() and number.adjusted() < _DIGITS and number == number.to_integral_value()):
        raise MisfitError
    if not -(2**63) <= number < 2**63:
        raise MisfitError
    return int(number)


def as_boolean(value: Any) -> bool:
    """Return true or false, or what a text says that is one of these words."""
    if type(value) is bool:
        return value
    words = {"true": True, "false": False}
    text = value.strip().lower() if type(value) is str else ""
    if text not in words:
        raise MisfitError
    return words[text]


_WITH_OFFSET = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def as_timestamp(value: Any) -> str:
    """Return a date-time as it is if it has an offset, as the API documents; else as one, in UTC.

    A day alone is what people enter and what v1 of the API takes; a column of type timestamp with time zone isn't sure
    to take it, so it becomes the start of that day. A number is none: it could be of seconds or of milliseconds.
    """
    # RFC 3339 takes small letters as well.
    text = value.strip().upper().replace(" UTC", "Z") if type(value) is str else ""
    try:
        parsed = datetime.fromisoformat(text)
        parsed = parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)
        if _WITH_OFFSET.fullmatch(text):
            return text
    except (ValueError, OverflowError):
        raise MisfitError from None
    return parsed.replace(tzinfo=None).isoformat() + "Z"


def _refuse(_value: Any) -> None:
    raise MisfitError


# The Python type whose values fit a column as they are; of whole numbers and date-times it doesn't say enough.
_NATIVES = {
    "string": str,
    "key": str,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}
_FITS: Mapping[str, Callable[[Sequence[Any]], Changes]] = {
    "string": _one_by_one(str, as_text),
    "key": _one_by_one(str, lambda value: dumps(value).decode()),
    "integer": _integers,
    "number": _one_by_one(float, as_number),
    "date-time": _timestamps,
    "boolean": _one_by_one(bool, as_boolean),
    "array": _one_by_one(list, _refuse),
    "object": _one_by_one(dict, _refuse),
}
