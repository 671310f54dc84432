"""A run: all checks in their order, up to its end, or until it is stopped."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.probe.answers import MOST_REQUESTS, EndedError, OutOfRequestsError
from scripts.probe.checks import CHECKS, Check, answers, lists
from scripts.probe.findings import Finding, UntoldError, untold
from scripts.probe.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.probe.answers import Client


_FOR_THE_LATE = 6
"""So many requests are left to the checks that run last."""


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
    except KeyboardInterrupt:
        outcome.ended_early = "stopped by hand"
    outcome.seconds = time.monotonic() - started
    rest = untold("the run ended before")
    outcome.findings = {check.row: outcome.findings.get(check.row, rest) for check in CHECKS}
    return outcome


def _run(outcome: Outcome, *, provoke: bool, told: Callable[[Check], None]) -> None:
    # First what time has to pass for.
    for begin in (answers.open_token_status, lists.open_cursor, lists.remember_highest):
        _unless_it_fails(outcome, begin)
    client = outcome.survey.client
    for late in (False, True):
        client.most = MOST_REQUESTS - (0 if late else _FOR_THE_LATE)
        if late and provoke:
            _unless_it_fails(outcome, answers.provoke)
        for check in CHECKS:
            if check.late is late:
                told(check)
                outcome.findings[check.row] = _finding(outcome, check)


def _unless_it_fails(outcome: Outcome, begin: Callable[[Survey], None]) -> None:
    try:
        begin(outcome.survey)
    except EndedError:
        raise
    except Exception:  # noqa: BLE001  # the check that builds on it says so
        return


def _finding(outcome: Outcome, check: Check) -> Finding:
    try:
        return check.run(outcome.survey)
    except (UntoldError, OutOfRequestsError) as error:
        return untold(str(error))
    except EndedError:
        raise
    except Exception as error:  # noqa: BLE001  # an answer that no one foresaw costs one row, and not the report
        place = traceback.extract_tb(error.__traceback__)[-1]
        return untold(f"its check failed: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}")
