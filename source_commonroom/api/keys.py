"""Keys: what identifies a record, and sets of them in little memory."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST_DIGITS = 18
# So many records a set may hold.
_PART = 2**16


class Keys:
    """A set of records in 8 bytes each, where a ``set`` takes ten times as much. It doesn't change."""

    def __init__(self, arrays: Sequence["array[int]"]) -> None:
        # In parts, because each is a set, and then a list, of Python's integers for a short time.
        self._parts = [array("q", sorted(set().union(*part))) for part in _parts_of(arrays)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[int]:
        for part in self._parts:
            yield from part

    def __contains__(self, key: int) -> bool:
        part = self._parts[key % len(self._parts)]
        place = bisect_left(part, key)
        return place < len(part) and part[place] == key

    def has(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a record is one of them."""
        return hash_of(row) in self


def distinct(arrays: Sequence["array[int]"]) -> tuple[int, int]:
    """Return how many keys there are, each counted once, and their sum."""
    # In parts, because a set takes ten times the memory.
    number = total = 0
    for part in _parts_of(arrays):
        keys: set[int] = set().union(*part)
        number += len(keys)
        total += sum(keys)
        del keys
    return number, total


def _parts_of(arrays: Sequence["array[int]"]) -> Sequence[Sequence["array[int]"]]:
    """Deal keys out to parts of bounded size, by their remainder."""
    number = sum(map(len, arrays))
    if number < _PART:
        return [arrays]
    parts = [array("q") for _ in range(1 + number // _PART)]
    for keys in arrays:
        for key in keys:
            parts[key % len(parts)].append(key)
    return [[part] for part in parts]


def number_of(row: Mapping[str, Any]) -> int | None:
    """Return the number in a record's prefixed id: 12 for ``c_12``."""
    record_id = row.get("id")
    digits = record_id.rpartition("_")[2] if isinstance(record_id, str) else ""
    # Python makes no number of thousands of digits.
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS else None


def key_of(row: Mapping[str, Any]) -> Any:
    """Return what identifies a record, the number in its id if there is one: that takes half the memory."""
    number = number_of(row)
    return _id_of(row) if number is None else number


def hash_of(row: Mapping[str, Any]) -> int:
    """Return 64 bits of what identifies a record."""
    return hash(_id_of(row))


def hashes_of(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return 64 bits of each record of a page, see :func:`hash_of`."""
    ids: list[Any] = [row.get("id") for row in rows]
    # Most pages, in half the time.
    return list(map(hash, ids)) if set(map(type, ids)) <= {str, int} else list(map(hash_of, rows))


def _id_of(row: Mapping[str, Any]) -> str | int:
    """Return a record's id, or the whole record as text if it has no valid one."""
    record_id = row.get("id")
    return record_id if isinstance(record_id, str | int) else repr(row)
