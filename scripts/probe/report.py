"""The report, in Markdown: nothing in it is a value of a record."""

from __future__ import annotations

import platform
from collections import Counter
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from scripts.probe import facts
from scripts.probe.answers import MOST_QUESTIONS, MOST_REPEATS
from scripts.probe.assumptions import assumptions
from scripts.probe.findings import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import date

    from scripts.probe.answers import Answer
    from scripts.probe.run import Outcome

_PREFACE = (
    "No value of a record stands here: only counts, types, lengths, forms, statuses, and names that the API gives to "
    "fields and headers. The rows are those of “What we assume of the API” in CONTRIBUTING.md. A row holds if enough "
    "was seen to tell, and doesn't hold only if what broke it was seen again when it was asked for again."
)
_PACKAGES = ("airbyte-source-commonroom", "airbyte-cdk", "requests")


def summary(outcome: Outcome) -> str:
    """Tell in a line how many rows hold, and what it took."""
    found = Counter(finding.verdict for finding in outcome.findings.values())
    verdicts = ", ".join(f"{found[verdict]} {words}" for verdict, words in _WORDS.items())
    client = outcome.survey.client
    repeats = f", {client.repeats} of them repeats," if client.repeats else ""
    return f"{len(outcome.findings)} rows: {verdicts}; {client.sent} requests{repeats} in {outcome.seconds:.0f} s"


_WORDS = {Verdict.HOLDS: "hold", Verdict.BROKEN: "don't hold", Verdict.UNTOLD: "can't be told here"}


def report(outcome: Outcome, of: str, today: date) -> str:
    """Return the report.

    :param of: what was probed, in words that name neither a host nor a workspace
    """
    answers = outcome.survey.client.answers
    parts = [
        "# Probe of Common Room's API",
        _list(
            [
                f"Of {of}, on {today.isoformat()}",
                ", ".join([*map(_version, _PACKAGES), f"Python {platform.python_version()}"]),
                summary(outcome),
                *([f"**It ended early:** {outcome.ended_early}"] if outcome.ended_early else []),
                *_short_of_requests(outcome),
            ]
        ),
        _PREFACE,
        "## Rows",
        _table(
            ("Row", "We assume", "Verdict", "Evidence"),
            (
                (row, _first_sentence(assumptions()[row].claim), _verdict(found.verdict), found.evidence)
                for row, found in outcome.findings.items()
            ),
        ),
        "## Not as documented",
        _list(
            f"{what}: {_or_failure(partial(_told, find, answers))}"
            for what, find in (("Statuses", facts.statuses), ("Headers", facts.headers), ("Fields", facts.fields))
        ),
        "## Answers",
        _list([f"Time: {facts.times(answers)}", *(line.capitalize() for line in facts.transport(outcome.survey))]),
        "## Columns",
        _or_failure(
            lambda: _table(("Stream", "Column", "In records", "Null", "Forms"), map(_cells, facts.columns(answers)))
        ),
        "## What would need a change",
        _changes(outcome),
        _advice(outcome),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name}, not installed"


def _short_of_requests(outcome: Outcome) -> Iterator[str]:
    """Say which rows were left open because requests ran out, and why they did."""
    rows = [row for row, finding in outcome.findings.items() if finding.short_of_requests]
    if rows and not outcome.ended_early:
        client = outcome.survey.client
        yield (
            f"**Requests ran out** for {', '.join(rows)}: {client.questions} of {MOST_QUESTIONS} questions were asked, "
            f"and {client.repeats} of {MOST_REPEATS} repeats. Run it again when the API is less disturbed."
        )


def _cells(column: facts.Column) -> Sequence[str]:
    there = f"{len(column.values)} of {column.records}"
    return (column.stream, f"`{column.name}`", there, str(column.nulls), column.form)


def _told_any(outcome: Outcome) -> bool:
    return any(finding.verdict is not Verdict.UNTOLD for finding in outcome.findings.values()) and any(
        answer.ok for answer in outcome.survey.client.answers
    )


def _advice(outcome: Outcome) -> str:
    """Tell what to do with the report."""
    if _told_any(outcome):
        return "Paste this report into an issue (“Probe of a workspace”); it is all that is needed."
    first = f" First mend what ended it: {outcome.ended_early}" if outcome.ended_early else ""
    return f"Nothing was read, so nothing was told.{first} Then run it again."


def _told(find: Callable[[Sequence[Answer]], Iterable[str]], answers: Sequence[Answer]) -> str:
    return ", ".join(find(answers)) or "none"


def _or_failure(make: Callable[[], str]) -> str:
    """Return a part of the report; what fails of an answer that no one foresaw costs that part alone."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001  # whatever it is
        return f"its making failed: {type(error).__name__}"


def _changes(outcome: Outcome) -> str:
    rows = [row for row, finding in outcome.findings.items() if finding.verdict is Verdict.BROKEN]
    if not _told_any(outcome):
        return "No row could be told."
    if not rows:
        return "Nothing: every row that could be told holds."
    return _list(
        f"**{row}** {assumptions()[row].claim} *If that is wrong:* {assumptions()[row].if_wrong}" for row in rows
    )


def _verdict(verdict: Verdict) -> str:
    return f"**{verdict}**" if verdict is Verdict.BROKEN else str(verdict)


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".") + "."


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return (
        "\n".join(f"| {line} |" for line in (" | ".join(head), " | ".join("---" for _ in head), *lines))
        if lines
        else "None."
    )
