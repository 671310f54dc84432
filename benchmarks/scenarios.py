"""The scenarios: what is run in each, and what has to come out.

A scenario is a site, a way to run, and findings: the figures that the project promises, each with its bound.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.bench import Case, new_folder
from benchmarks.contenders import CONNECTOR, CONTENDERS, Contender, connector_config
from benchmarks.outputs import Interrupted, airbyte
from benchmarks.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.bench import Bench, Row, Run
    from benchmarks.emulator import Traffic
    from benchmarks.job import Job


@dataclass(frozen=True)
class Finding:
    """A figure that answers a scenario's question; it is good up to `bound`."""

    text: str
    value: float
    bound: float

    @property
    def good(self) -> bool:
        """Whether it keeps within its bound."""
        return self.value <= self.bound


@dataclass(frozen=True)
class Plan:
    """What a scenario is to be run with: its site, perhaps resized, how often, and which contenders."""

    site: Site
    runs: int
    peers: Sequence[str]


@dataclass(frozen=True)
class Scenario:
    """A scenario by its parts."""

    name: str
    shows: str
    site: Site
    execute: Callable[[Bench, Plan], list[Run]]
    judge: Callable[[dict[str, Row]], list[Finding]]
    """Draws the findings out of the rows by case; a case that wasn't run gives none."""
    subject: str
    """The case that it is about; the plot shows it in colour."""
    plots: tuple[str, ...]
    """The metrics of the plot: names of `report.COLUMNS`."""
    runs: int = 3


# side by side: rate, cpu


def _side_by_side(bench: Bench, plan: Plan) -> list[Run]:
    return bench.in_turn([Case(name, CONTENDERS[name], plan.site) for name in plan.peers], plan.runs)


def _judge_rate(rows: dict[str, Row]) -> list[Finding]:
    row = rows.get("connector")
    if row is None or row.over_floor is None:
        return []
    return [
        Finding("wall / floor of the connector", row.over_floor, 1.12),
        Finding("share of 429 among its answers", row.median("rate_limited") / row.median("requests"), 0.02),
    ]


def _judge_cpu(rows: dict[str, Row]) -> list[Finding]:
    ours, theirs = (rows[name].cpu_per_record if name in rows else None for name in ("connector", "dlt"))
    return [Finding("CPU per record, connector / dlt (aim: 0.5)", ours / theirs, 1.0)] if ours and theirs else []


# both-ends

BOTH, ONE = "both ends", "one end"


def _both_ends(bench: Bench, plan: Plan) -> list[Run]:
    cases = [
        Case(name, CONTENDERS["connector"], plan.site, ("contacts",), {"walk_from_both_ends": both})
        for name, both in ((BOTH, True), (ONE, False))
    ]
    return bench.in_turn(cases, plan.runs)


def _judge_both_ends(rows: dict[str, Row]) -> list[Finding]:
    return [Finding("wall, both ends / one end", rows[BOTH].median("wall") / rows[ONE].median("wall"), 0.65)]


# columns

COLUMNS, NO_COLUMNS = "25 typed columns", "none"


def _columns(bench: Bench, plan: Plan) -> list[Run]:
    cases = [
        Case(name, CONTENDERS["connector"], plan.site, ("contacts",), {"custom_field_columns": mode})
        for name, mode in ((COLUMNS, "label"), (NO_COLUMNS, "none"))
    ]
    return bench.in_turn(cases, plan.runs)


def _judge_columns(rows: dict[str, Row]) -> list[Finding]:
    ratio = rows[COLUMNS].median("cpu") / rows[NO_COLUMNS].median("cpu")
    return [Finding("CPU, typed columns for custom fields / none", ratio, 1.3)]


# memory

GROWTH = 10
SMALL, LARGE = "small", f"{GROWTH} times as large"


def _memory(bench: Bench, plan: Plan) -> list[Run]:
    site = plan.site
    large = replace(
        site,
        contacts=site.contacts * GROWTH,
        organizations=site.organizations * GROWTH,
        activities=site.activities * GROWTH,
    )
    cases = [Case(name, CONTENDERS["connector"], sized) for name, sized in ((SMALL, site), (LARGE, large))]
    return bench.in_turn(cases, plan.runs)


def _judge_memory(rows: dict[str, Row]) -> list[Finding]:
    ratio = rows[LARGE].median("peak_mb") / rows[SMALL].median("peak_mb")
    return [Finding(f"peak memory, {LARGE} / {SMALL}", ratio, 1.25)]


# resume

KILLED_AFTER = 0.6
KILLED, RESUMED = "killed", "resumed"


def _resume(bench: Bench, plan: Plan) -> list[Run]:
    """Kill a run by SIGKILL after a part of its pages, and run once more from the last state that it had printed."""
    streams = ("activities",)
    enough = KILLED_AFTER * plan.site.requests_needed(streams)
    resumed = Case(RESUMED, CONTENDERS["connector"], plan.site, streams, whole=False)
    killed = replace(resumed, name=KILLED, exit_code=-signal.SIGKILL)

    def is_enough(traffic: Traffic) -> bool:
        return traffic.pages >= enough

    runs = []
    for _ in range(plan.runs):
        with new_folder() as first, new_folder() as second:
            before = bench.run(killed, first, kill_when=is_enough)
            known = Interrupted.read(first)
            after = bench.run(resumed, second, state=known.states)
            ids = {record_id for _, record_id in airbyte(second)}
        size = plan.site.activities
        facts = {
            "read again": after.records / size,
            "missing": float(size - len(ids | known.all_ids)),
            "missing, only what the state covers": float(size - len(ids | known.stated_ids)),
            "delivered before": before.records / size,
        }
        runs += [before, replace(after, facts=facts)]
    return runs


def _judge_resume(rows: dict[str, Row]) -> list[Finding]:
    row = rows[RESUMED]
    return [
        Finding("share of the records that the second run reads", row.fact("read again"), 0.75),
        Finding("records missing in the union of both runs", max(run.facts["missing"] for run in row.runs), 0),
        Finding(
            "records missing, of the first run only what precedes its last state",
            max(run.facts["missing, only what the state covers"] for run in row.runs),
            0,
        ),
    ]


# incremental

FIRST, SECOND = "first sync", "second sync"


def _incremental(bench: Bench, plan: Plan) -> list[Run]:
    """Sync, and sync again from the state, with nothing new in between."""
    streams = ("activities",)
    first = Case(FIRST, CONTENDERS["connector"], plan.site, streams)
    second = replace(first, name=SECOND, whole=False)
    runs = []
    for _ in range(plan.runs):
        with new_folder() as one, new_folder() as other:
            runs.append(bench.run(first, one))
            runs.append(bench.run(second, other, state=Interrupted.read(one).states))
    return runs


def _judge_incremental(rows: dict[str, Row]) -> list[Finding]:
    row = rows[SECOND]
    # The history is counted as a whole, and an eighth of its spans one by one.
    alone = max(max(run.activity_counts - 1, 0) for run in row.runs)
    requests = max(run.requests_of.get("/v2/activities", 0) for run in row.runs) - alone
    return [
        Finding("requests for activities, but for counts of single spans", requests, 3),
        Finding("counts of single spans", alone, 16),
        Finding("wall of the second sync, in seconds", row.median("wall"), 5),
    ]


# startup

SPEC, IMPORT, CHECK = "spec", "import of the CDK's entry point", "check"


def _check_command(job: Job) -> list[str]:
    return [CONNECTOR, "check", "--config", job.write("config", connector_config(job))]


def _startup(bench: Bench, plan: Plan) -> list[Run]:
    cases = [
        Case(SPEC, Contender(SPEC, lambda _: [CONNECTOR, "spec"])),
        Case(IMPORT, Contender(IMPORT, lambda _: [sys.executable, "-c", "import airbyte_cdk.entrypoint"])),
        Case(CHECK, Contender(CHECK, _check_command), plan.site),
    ]
    return bench.in_turn(cases, plan.runs)


def _judge_startup(rows: dict[str, Row]) -> list[Finding]:
    return [Finding("wall, spec / import", rows[SPEC].median("wall") / rows[IMPORT].median("wall"), 1.5)]


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "cpu",
            "CPU per record, side by side, with nothing to wait for",
            Site(contacts=4_000, organizations=1_000, activities=40_000),
            _side_by_side,
            _judge_cpu,
            "connector",
            ("cpu_per_record", "wall", "peak_mb"),
        ),
        Scenario(
            "rate",
            "how close a sync comes to what the rate limit allows, side by side",
            Site(
                contacts=8_000,
                organizations=3_000,
                activities=240_000,
                years=10,
                burst=0.5,
                latency=200,
                jitter=0.3,
                requests_per_second=20,
            ),
            _side_by_side,
            _judge_rate,
            "connector",
            ("over_floor", "cpu_per_record", "rate_limited"),
        ),
        Scenario(
            "both-ends",
            "a list that has one cursor, walked from both ends and from one",
            Site(contacts=30_000, organizations=50, activities=0, latency=200),
            _both_ends,
            _judge_both_ends,
            BOTH,
            ("wall",),
        ),
        Scenario(
            "columns",
            "typed columns for custom fields, and none",
            Site(contacts=20_000, organizations=50, activities=0),
            _columns,
            _judge_columns,
            COLUMNS,
            ("cpu_per_record",),
        ),
        Scenario(
            "memory",
            f"peak memory as the workspace grows by {GROWTH}",
            Site(contacts=3_000, organizations=1_000, activities=14_000),
            _memory,
            _judge_memory,
            LARGE,
            ("peak_mb",),
        ),
        Scenario(
            "resume",
            f"what is read again after kill -9 at {KILLED_AFTER:.0%} of the pages",
            Site(contacts=50, organizations=50, activities=40_000, latency=60),
            _resume,
            _judge_resume,
            RESUMED,
            ("records",),
        ),
        Scenario(
            "incremental",
            "a second sync with nothing new",
            Site(contacts=50, organizations=50, activities=20_000, latency=200),
            _incremental,
            _judge_incremental,
            SECOND,
            ("wall", "requests"),
        ),
        Scenario(
            "startup",
            "what spec and check cost before they begin",
            Site(contacts=50, organizations=50, activities=50),
            _startup,
            _judge_startup,
            SPEC,
            ("wall",),
            runs=7,
        ),
    )
}
