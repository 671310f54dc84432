"""The figures as a table for people and as JSON for everything else."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import PEER_PYTHON
from benchmarks.emulator import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.bench import Row
    from benchmarks.scenarios import Finding, Plan, Scenario

PACKAGES = ("airbyte-source-commonroom", "airbyte-cdk", "orjson", "requests", "uvicorn")
PEER_PACKAGES = ("dlt", "singer-sdk", "httpx", "orjson")
# All but what the scenarios write.
RESULTS = ":(exclude)benchmarks/results"


@dataclass(frozen=True)
class Column:
    """A column of the table, and a panel of the plot."""

    title: str
    value: Callable[[Row], float | None]
    form: str

    def text(self, row: Row) -> str:
        """Write a row's value; a dash if it has none."""
        value = self.value(row)
        return "-" if value is None else format(value, self.form)


COLUMNS = {
    "wall": Column("wall s", lambda row: row.median("wall"), ".2f"),
    "over_floor": Column("wall / floor", lambda row: row.over_floor, ".2f"),
    "cpu": Column("CPU s", lambda row: row.median("cpu"), ".2f"),
    "cpu_per_record": Column("CPU µs a record", lambda row: row.cpu_per_record, ".0f"),
    "peak_mb": Column("peak MB", lambda row: row.median("peak_mb"), ".0f"),
    "records": Column("records", lambda row: row.median("records"), ",.0f"),
    "requests": Column("requests", lambda row: row.median("requests"), ",.0f"),
    "rate_limited": Column("429s", lambda row: row.median("rate_limited"), ",.0f"),
    "in_flight": Column("in flight", lambda row: row.median("in_flight"), ".0f"),
}


def table(rows: Sequence[Row]) -> str:
    """Write the rows as a Markdown table, aligned for a terminal too."""
    cells = [["contender", *(column.title for column in COLUMNS.values())]]
    cells += [[row.case, *(column.text(row) for column in COLUMNS.values())] for row in rows]
    widths = [max(len(line[place]) for line in cells) for place in range(len(cells[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    aligned = [
        [text.ljust(width) if place == 0 else text.rjust(width) for place, (text, width) in enumerate(pairs)]
        for pairs in (list(zip(line, widths, strict=True)) for line in cells)
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [aligned[0], rule, *aligned[1:]])


def findings_text(findings: Sequence[Finding]) -> str:
    """Write the findings, a line each."""
    return "\n".join(
        f"{'ok  ' if finding.good else 'MISS'} {finding.text}: {finding.value:.3g} (at most {finding.bound:g})"
        for finding in findings
    )


def write_json(path: Path, scenario: Scenario, plan: Plan, rows: Sequence[Row], findings: Sequence[Finding]) -> None:
    """Write all that was measured, every run of it."""
    content = {
        "scenario": scenario.name,
        "shows": scenario.shows,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "site": asdict(plan.site),
        "rounds": plan.runs,
        "medians": [
            {"case": row.case, **{name: column.value(row) for name, column in COLUMNS.items()}} for row in rows
        ],
        "findings": [{**asdict(finding), "good": finding.good} for finding in findings],
        "runs": [asdict(run) for row in rows for run in row.runs],
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Describe the machine, and how busy it is."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "system": platform.platform(),
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
    }


def versions() -> dict[str, Any]:
    """Tell the versions of what was measured."""
    return {
        "python": platform.python_version(),
        "commit": commit_of(ROOT),
        "connector": {name: version(name) for name in PACKAGES},
        "peers": _peer_versions(),
    }


def commit_of(root: Path) -> str:
    """Return the short hash of a working tree's commit, with `-dirty` if files that are measured differ from it.

    The results don't count: each scenario writes its own, and the next one would be measured on changed files. Empty if
    it is no working tree.
    """
    commit = _output(["git", "describe", "--always", "--exclude=*"], root).strip()
    is_clean = not _output(["git", "status", "--porcelain", "--untracked-files=no", "--", ".", RESULTS], root)
    return commit if is_clean else f"{commit}-dirty"


def _peer_versions() -> dict[str, str]:
    script = "import importlib.metadata, sys; print(*map(importlib.metadata.version, sys.argv[1:]))"
    found = _output([str(PEER_PYTHON), "-c", script, *PEER_PACKAGES]).split() if PEER_PYTHON.exists() else []
    return dict(zip(PEER_PACKAGES, found, strict=False))


def _output(command: list[str], folder: Path = ROOT) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
