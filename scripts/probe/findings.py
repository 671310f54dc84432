"""Findings: what a check says of its row."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What can be said of a row."""

    HOLDS = "holds"
    BROKEN = "doesn't hold"
    UNTOLD = "can't be told here"


@dataclass(frozen=True)
class Finding:
    """A verdict, and the evidence in numbers, forms, statuses and documented names; or the reason why there is none."""

    verdict: Verdict
    evidence: str


class UntoldError(Exception):
    """A row can't be told here; the text is the reason."""


def holds(*evidence: str) -> Finding:
    """Say that a row holds."""
    return Finding(Verdict.HOLDS, _sentence(evidence))


def broken(*evidence: str) -> Finding:
    """Say that a row doesn't hold."""
    return Finding(Verdict.BROKEN, _sentence(evidence))


def untold(*reason: str) -> Finding:
    """Say that a row can't be told here."""
    return Finding(Verdict.UNTOLD, _sentence(reason))


def judged(mistakes: list[str], *evidence: str, unsure: Sequence[str] = ()) -> Finding:
    """Say that a row holds, unless there are mistakes; they stand before the evidence.

    :param unsure: what wasn't answered, or not so that it tells anything; then it doesn't hold yet
    """
    if mistakes:
        return broken(*mistakes, *unsure, *evidence)
    return untold(*unsure, *evidence) if unsure else holds(*evidence)


def _sentence(parts: tuple[str, ...]) -> str:
    return "; ".join(part for part in parts if part)
