"""Findings: what a check says of its row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.probe.answers import Answer

    Groups = tuple[tuple[Answer, ...], ...]


ENOUGH_RECORDS = 50
"""So many records it takes to tell of all records."""
_TOO_LITTLE = "too little to tell:"


class Verdict(StrEnum):
    """What can be said of a row."""

    HOLDS = "holds"
    BROKEN = "doesn't hold"
    UNTOLD = "can't be told here"


@dataclass(frozen=True)
class Mistake:
    """Something that isn't as assumed."""

    text: str
    seen_in: Groups = ()
    """The groups of answers that show it. It counts only if it is seen again when the questions of one are asked again.

    Empty if answers at different times show it already.
    """


@dataclass(frozen=True)
class Finding:
    """A verdict, and the evidence in numbers, forms, statuses and documented names; or the reason why there is none."""

    verdict: Verdict
    evidence: str
    seen_in: Groups = ()
    """What its mistakes are seen in."""
    short_of_requests: bool = False
    """Whether it can't be told because no request was left."""


class UntoldError(Exception):
    """A row can't be told here; the text is the reason."""


def mistake(text: str, *seen_in: Answer) -> Mistake:
    """Name something that isn't as assumed, and the answers each of which shows it."""
    return Mistake(text, tuple((answer,) for answer in seen_in))


def mistake_of_all(text: str, *seen_in: Answer) -> Mistake:
    """Name something that isn't as assumed, and the answers that show it together."""
    return Mistake(text, (seen_in,))


def holds(*evidence: str) -> Finding:
    """Say that a row holds."""
    return Finding(Verdict.HOLDS, _sentence(evidence))


def broken(text: str, *evidence: str, seen_in: Groups = ()) -> Finding:
    """Say that a row doesn't hold."""
    return Finding(Verdict.BROKEN, _sentence((text, *evidence)), seen_in)


def untold(*reason: str) -> Finding:
    """Say that a row can't be told here."""
    return Finding(Verdict.UNTOLD, _sentence(reason))


def judged(mistakes: Sequence[Mistake], *evidence: str, unsure: Sequence[str] = ()) -> Finding:
    """Say that a row holds, unless there are mistakes; they stand before the evidence.

    :param unsure: what wasn't answered, or not so that it tells anything, or is too little; then it doesn't hold yet
    """
    if mistakes:
        # However little was seen, it was enough for these.
        texts = [each.text for each in mistakes] + [each for each in unsure if not each.startswith(_TOO_LITTLE)]
        return broken(*texts, *evidence, seen_in=tuple(group for each in mistakes for group in each.seen_in))
    return untold(*unsure, *evidence) if unsure else holds(*evidence)


def too_little(seen: int, wanted: int, what: str) -> list[str]:
    """Say that there is too little of something to tell by; nothing if there is enough."""
    return [f"{_TOO_LITTLE} {seen} of at least {wanted} {what}"] if seen < wanted else []


def _sentence(parts: Sequence[str]) -> str:
    return "; ".join(part for part in parts if part)
