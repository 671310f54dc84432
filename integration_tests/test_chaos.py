"""Chaos: what a warehouse holds after faults, kills and changes is what the workspace holds. See `chaos/`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from integration_tests.chaos import Schedule, play
from integration_tests.chaos.schedule import ALWAYS, Run
from integration_tests.chaos.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Records = list[dict[str, Any]]

# `make chaos` plays many, and `make chaos SEED=7` plays one again.
SCHEDULES = range(int(os.environ.get("CHAOS_SCHEDULES", "4")))
SEEDS = [int(os.environ["CHAOS_SEED"])] if "CHAOS_SEED" in os.environ else SCHEDULES


@pytest.mark.parametrize("seed", SEEDS)
def test_given_a_schedule_of_trouble_when_played_then_the_warehouse_holds_what_the_workspace_holds(
    seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    schedule = Schedule.of(seed)

    figures, violations = play(schedule, tmp_path)

    record_property("figures", dict(figures))
    assert not violations, "\n".join([*violations, f"To play it again: make chaos SEED={seed}", str(schedule)])


def test_a_seed_decides_a_schedule() -> None:
    assert Schedule.of(7) == Schedule.of(7)
    assert len({Schedule.of(seed).streams for seed in range(20)}) > 10


@pytest.mark.parametrize(
    ("arriving", "found"),
    [
        (lambda rows: rows[:-1], {"contacts: 1 of 80 records are missing", "activities: 1 of 600 records are missing"}),
        (lambda rows: [*rows[:-1], {**rows[-1], "content": "x"}], {"activities: 1 records are none that ever were"}),
        (lambda rows: [*rows, {**rows[0], "id": "a_1"}], {"contacts: 1 records too many", "activities: 1 records are"}),
    ],
    ids=["loses", "changes", "invents"],
)
def test_given_a_warehouse_that_fails_when_a_schedule_is_played_then_it_is_found(
    arriving: Callable[[Records], Records], found: set[str], tmp_path: Path
) -> None:
    class Failing(Warehouse):
        def arriving(self, rows: Records) -> Records:
            return arriving(rows)

    sizes = {"contacts": 80, "organizations": 1, "activities": 600}
    schedule = replace(Schedule.of(1), sizes=sizes, streams=ALWAYS, runs=(Run(),))

    _, violations = play(schedule, tmp_path, Failing())

    assert all(any(text in violation for violation in violations) for text in found), violations
