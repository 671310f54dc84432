"""Chaos: what a warehouse holds after faults, kills and changes is what the workspace holds. See `chaos/`."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from integration_tests.chaos import Schedule, play
from integration_tests.chaos.avoid import Avoidance
from integration_tests.chaos.schedule import ALWAYS, Run
from integration_tests.chaos.style import Style
from integration_tests.chaos.warehouse import Warehouse
from integration_tests.sandbox import Fault, Traits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Records = list[dict[str, Any]]

# These few have every style between them. `make chaos` plays many, with STYLES=new or STYLES=former those of one set
# alone, and `make chaos SEED=7` plays one again.
FEW = (15, 51, 60, 135)
DRAW = {"new": Schedule.of, "former": Schedule.former}
STYLES = os.environ.get("CHAOS_STYLES", "new former").split()


def seeds(styles: str) -> list[int]:
    """List what is to be played of the schedules with a style, or of those without."""
    if styles not in STYLES:
        return []
    if "CHAOS_SEED" in os.environ:
        return [int(os.environ["CHAOS_SEED"])]
    if f"CHAOS_{styles.upper()}" in os.environ:
        return list(range(int(os.environ[f"CHAOS_{styles.upper()}"])))
    return list(FEW) if styles == "new" else []


@pytest.mark.parametrize(("styles", "seed"), [(styles, seed) for styles in DRAW for seed in seeds(styles)])
def test_given_a_schedule_of_trouble_when_played_then_the_warehouse_holds_what_the_workspace_holds(
    styles: str, seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    schedule = DRAW[styles](seed)

    figures, violations = play(schedule, tmp_path)

    record_property("figures", dict(figures))
    again = f"To play it again: make chaos SEED={seed} STYLES={styles}"
    assert not violations, "\n".join([*violations, again, str(schedule)])


def test_a_seed_decides_a_schedule() -> None:
    assert Schedule.of(7) == Schedule.of(7)
    assert len({Schedule.of(seed).streams for seed in range(20)}) > 10


def test_a_style_is_drawn_apart_from_all_else() -> None:
    for seed in range(20):
        former, styled = Schedule.former(seed), Schedule.of(seed)
        drawn = ("sizes", "streams", "config", "lookback_days", "days", "grain", "latency", "requests_per_second")
        assert {name: getattr(former, name) for name in drawn} == {name: getattr(styled, name) for name in drawn}
        assert former.style == Style()
        assert len(former.runs) == len(styled.runs)
        for run in former.runs:
            assert replace(run, unservable={}, counts_fail=False, spares_counts=False, rows_go=False) == run


def test_the_few_schedules_have_every_style_and_each_is_common_among_many() -> None:
    def labels(seeds: Iterable[int]) -> Counter[str]:
        return Counter(label for seed in seeds for label in Schedule.of(seed).labels())

    many = labels(range(300))
    assert labels(FEW).keys() == many.keys()
    assert min(many.values()) >= 20, many
    assert 85 < many["offset cursors"] < 115
    last = [Schedule.of(seed).runs[-1] for seed in range(300)]
    assert all(replace(run, counts_fail=False).only_changes and not run.changes for run in last)


OFFSETS = Style(cursors="offset")
UNCOUNTED = Style(cursors="offset", traits=Traits(uncounted=("/v2/activities", "/v2/contacts")))
FAULTY = Run(faults=(Fault("server_error_500"),))


@pytest.mark.parametrize(
    ("style", "run", "collection", "rows", "comes_and_goes"),
    [
        (Style(cursors="keyset"), FAULTY, "activities", 5_000, (True, True)),
        (OFFSETS, Run(), "contacts", 5_000, (True, True)),
        (OFFSETS, Run(), "activities", 5_000, (True, False)),
        (OFFSETS, Run(rows_go=True), "activities", 5_000, (False, True)),
        (OFFSETS, Run(rows_go=True), "website_visits", 5_000, (False, True)),
        (OFFSETS, replace(FAULTY, rows_go=True), "contacts", 5_000, (False, False)),
        (OFFSETS, replace(FAULTY, spares_counts=True), "contacts", 5_000, (True, True)),
        (UNCOUNTED, Run(rows_go=True), "contacts", 600, (False, True)),
        (UNCOUNTED, Run(), "contacts", 600, (True, False)),
        (UNCOUNTED, Run(rows_go=True), "contacts", 601, (False, False)),
        (UNCOUNTED, Run(rows_go=True), "activities", 10, (False, False)),
        (UNCOUNTED, Run(), "organizations", 5_000, (True, True)),
        (Style(cursors="offset", failing_counts=0.0), Run(rows_go=True), "contacts", 5_000, (True, True)),
        (Style(cursors="offset", failing_counts=0.0), Run(counts_fail=True), "contacts", 5_000, (True, False)),
        (Style(cursors="offset", traits=Traits(text_sorted_ids=True)), Run(), "contacts", 5_000, (True, False)),
    ],
)
def test_only_changes_that_leave_no_trace_are_left_out(
    style: Style, run: Run, collection: str, rows: int, comes_and_goes: tuple[bool, bool]
) -> None:
    assert style.cursors is not None
    schedule = replace(Schedule.of(1), streams=ALWAYS, cursor_style=style.cursors, style=style)
    avoidance = Avoidance(schedule, run)
    assert (avoidance.may_come(collection), avoidance.may_go(collection, rows)) == comes_and_goes


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
    schedule = replace(Schedule.former(1), sizes=sizes, streams=ALWAYS, runs=(Run(),))

    _, violations = play(schedule, tmp_path, Failing())

    assert all(any(text in violation for violation in violations) for text in found), violations
