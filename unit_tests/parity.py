"""Compares what two files say, and tells which of them lacks what."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any


def assert_same(one: str, there: Collection[str], other: str, here: Collection[str]) -> None:
    """Fail unless two places name the same things; the message says what which place lacks."""
    found = [*_lacking(one, there, other, here), *_lacking(other, here, one, there)]
    assert not found, "\n".join(found)


def _lacking(one: str, there: Collection[str], other: str, here: Collection[str]) -> Iterator[str]:
    if lacking := sorted(set(there) - set(here)):
        yield f"in {one}, not in {other}: {', '.join(lacking)}"


def assert_equal(one: str, there: Mapping[str, Any], other: str, here: Mapping[str, Any]) -> None:
    """Fail unless two places name the same things and say the same of each."""
    assert_same(one, there, other, here)
    found = [
        f"{name}: {one} says {said!r}, {other} says {here[name]!r}"
        for name, said in there.items()
        if said != here[name]
    ]
    assert not found, "\n".join(found)
