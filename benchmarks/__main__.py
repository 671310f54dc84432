"""Measure the connector beside its peers: `python -m benchmarks`, or `make bench`; README.md tells the rest."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path

from benchmarks.bench import Bench, Row, rows_of, say
from benchmarks.contenders import CONTENDERS
from benchmarks.plot import svg
from benchmarks.report import findings_text, machine, table, write_json
from benchmarks.scenarios import SCENARIOS, Plan, Scenario
from benchmarks.site import Site

RESULTS = Path(__file__).parent / "results"
DEFAULT = "cpu"
ALL = "all"


def main() -> None:
    """Run the scenarios that the command line names; exit with 1 if a run failed."""
    options = _options()
    names = list(SCENARIOS) if ALL in options.scenario else options.scenario or [DEFAULT]
    options.results.mkdir(parents=True, exist_ok=True)
    outcomes = [_run(SCENARIOS[name], options) for name in names]
    sys.exit(not all(outcomes))


def _options(arguments: list[str] | None = None) -> argparse.Namespace:
    scenarios = "\n".join(f"  {scenario.name:12} {scenario.shows}" for scenario in SCENARIOS.values())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"scenarios:\n{scenarios}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        choices=[*SCENARIOS, ALL],
        help=f"may be repeated (default: {DEFAULT})",
    )
    for collection in ("contacts", "organizations", "activities"):
        parser.add_argument(f"--{collection}", type=int, metavar="N", help="in place of the scenario's number")
    parser.add_argument("--latency", type=float, metavar="MS", help="milliseconds before an answer")
    parser.add_argument("--jitter", type=float, metavar="F", help="the latency varies by this fraction of it")
    parser.add_argument("--requests-per-second", type=int, metavar="N", help="the rate limit of the API")
    parser.add_argument("--runs", type=int, metavar="N", help="rounds, each of which runs every contender once")
    parser.add_argument(
        "--peers",
        type=_peers,
        default=list(CONTENDERS),
        metavar="NAMES",
        help=f"contenders of the scenarios side by side (default: {','.join(CONTENDERS)})",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON and the plot go")
    return parser.parse_args(arguments)


def _peers(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(CONTENDERS):
        raise argparse.ArgumentTypeError(f"no such contender: {', '.join(sorted(unknown))}")
    return names


def _run(scenario: Scenario, options: argparse.Namespace) -> bool:
    """Run a scenario, print it and write it down; tell whether every run was what it should be."""
    given = {field.name: getattr(options, field.name, None) for field in fields(Site)}
    site = replace(scenario.site, **{name: value for name, value in given.items() if value is not None})
    plan = Plan(site, options.runs or scenario.runs, options.peers)
    say(f"==> {scenario.name}: {scenario.shows}")
    with Bench() as bench:
        rows = rows_of(scenario.execute(bench, plan))
    findings = scenario.judge({row.case: row for row in rows})
    _print(scenario, rows, findings_text(findings))
    write_json(options.results / f"{scenario.name}.json", scenario, plan, rows, findings)
    note = f"{machine()['cores']} cores; median of {plan.runs}; {_described(site)}"
    (options.results / f"{scenario.name}.svg").write_text(
        svg(f"{scenario.name}: {scenario.shows}", note, rows, scenario.plots, scenario.subject), encoding="utf-8"
    )
    return not any(row.problems for row in rows)


def _print(scenario: Scenario, rows: list[Row], findings: str) -> None:
    problems = [f"FAILED {row.case}: {problem}" for row in rows for problem in row.problems]
    sys.stdout.write("\n".join([f"\n{scenario.name}: {scenario.shows}\n", table(rows), "", findings, *problems]) + "\n")
    sys.stdout.flush()


def _described(site: Site) -> str:
    """Describe a site in half a line."""
    parts = [f"{site.contacts:,} contacts, {site.organizations:,} organizations, {site.activities:,} activities"]
    if site.latency:
        parts.append(f"{site.latency:g} ms" + (f" ± {site.jitter:.0%}" if site.jitter else ""))
    if site.requests_per_second:
        parts.append(f"{site.requests_per_second} requests/s")
    return ", ".join(parts)


if __name__ == "__main__":
    main()
