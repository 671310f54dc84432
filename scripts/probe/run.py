"""A run: all checks in their order, up to its end, or until it is stopped."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.probe.answers import MOST_QUESTIONS, MOST_REQUESTS, EndedError, OutOfRequestsError
from scripts.probe.checks import CHECKS, Check, answers, lists
from scripts.probe.findings import Finding, UntoldError, Verdict, untold
from scripts.probe.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.probe.answers import Answer, Client, Question


_FOR_THE_LATE = 6
"""So many questions are left to the checks that run last."""
_CONFIRMED = 3
"""So many times at most, what would break a row is asked again: each time another answer that shows it."""
_ENDED = "the run ended before"


@dataclass
class Outcome:
    """What a run found."""

    survey: Survey
    findings: dict[str, Finding] = field(default_factory=dict)
    """By row; one for each, also if the run was stopped."""
    ended_early: str = ""
    """Why, if it was."""
    seconds: float = 0.0


def probe(client: Client, *, provoke: bool = False, told: Callable[[Check], None] = lambda _: None) -> Outcome:
    """Run all checks; stopped by Ctrl-C, or by an API that answers nothing of use, it returns what it has.

    :param provoke: whether to send so many requests at once that a 429 is answered
    :param told: called before each check
    """
    outcome = Outcome(Survey(client))
    started = time.monotonic()
    try:
        _run(outcome, provoke=provoke, told=told)
    except EndedError as error:
        outcome.ended_early = str(error)
        _look_back(outcome)
    except KeyboardInterrupt:
        outcome.ended_early = "stopped by hand"
    for row, finding in outcome.findings.items():
        # Those that were seen, and not asked again any more.
        if outcome.ended_early and finding.verdict is Verdict.BROKEN and finding.seen_in:
            outcome.findings[row] = untold(f"seen once: {finding.evidence}", "the run ended before it was asked again")
    outcome.seconds = time.monotonic() - started
    rest = untold(_ENDED)
    outcome.findings = {check.row: outcome.findings.get(check.row, rest) for check in CHECKS}
    return outcome


def _run(outcome: Outcome, *, provoke: bool, told: Callable[[Check], None]) -> None:
    # First what time has to pass for.
    for begin in (answers.open_token_status, lists.open_cursor, lists.remember_highest):
        _unless_it_fails(outcome, begin)
    client = outcome.survey.client
    for late in (False, True):
        client.most_questions = MOST_QUESTIONS - (0 if late else _FOR_THE_LATE)
        if late and provoke:
            _unless_it_fails(outcome, answers.provoke)
        for check in CHECKS:
            if check.late is late:
                told(check)
                outcome.findings[check.row] = _once(outcome, check)
    client.most_repeats = MOST_REQUESTS - client.questions
    for check in CHECKS:
        if outcome.findings[check.row].verdict is Verdict.BROKEN:
            told(check)
            outcome.findings[check.row] = _confirmed(outcome, check)


def _unless_it_fails(outcome: Outcome, begin: Callable[[Survey], None]) -> None:
    try:
        begin(outcome.survey)
    except EndedError:
        raise
    except Exception:  # noqa: BLE001  # the check that builds on it says so
        return


def _look_back(outcome: Outcome) -> None:
    """Let the checks that only look at what was answered say what doesn't hold, also after a run that ended early.

    What holds of answers that are of no use tells nothing.
    """
    outcome.survey.client.close(_ENDED)
    for check in CHECKS:
        if check.looks_back and (finding := _once(outcome, check)).verdict is Verdict.BROKEN:
            outcome.findings[check.row] = finding


def _confirmed(outcome: Outcome, check: Check) -> Finding:
    """Ask again what would break a row; it doesn't hold only if that is seen again.

    One answer may be odd because the API, or what stands before it, is disturbed just then.
    """
    finding = first = outcome.findings[check.row]
    survey, seen = outcome.survey, f"seen once: {first.evidence}"
    asked: set[Question] = set()
    if not finding.seen_in:
        return finding
    for _ in range(_CONFIRMED):
        try:
            for answer in finding.seen_in[0]:
                if answer.question not in asked:
                    asked.add(survey.client.repeat(answer, answers.MADE_UP_TOKEN).question)
        except OutOfRequestsError as error:
            return replace(untold(seen, f"it can't be asked again: {error}"), short_of_requests=True)
        survey.forget()
        finding = _once(outcome, check)
        if finding.verdict is not Verdict.BROKEN:
            break
        if not finding.seen_in or any(asked.issuperset(map(_question, group)) for group in finding.seen_in):
            return replace(finding, seen_in=())
    return untold("it wasn't so when it was asked again", seen)


def _question(answer: Answer) -> Question:
    return answer.question


def _once(outcome: Outcome, check: Check) -> Finding:
    try:
        return check.run(outcome.survey)
    except UntoldError as error:
        return untold(str(error))
    except OutOfRequestsError as error:
        return replace(untold(str(error)), short_of_requests=True)
    except EndedError:
        raise
    except Exception as error:  # noqa: BLE001  # an answer that no one foresaw costs one row, and not the report
        place = traceback.extract_tb(error.__traceback__)[-1]
        return untold(f"its check failed: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}")
