"""The README's picture of the benchmarks: of all contenders, measured side by side, or none."""

import subprocess
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench import Run
from benchmarks.contenders import CONTENDERS
from benchmarks.picture import complete, picture
from benchmarks.report import commit_of

RUNS = [
    Run(name, wall=60.0 + place, cpu=10.0 * (place + 1), peak_mb=1.0, exit_code=0, records=251_000, floor=60.0)
    for place, name in enumerate(CONTENDERS)
]


def measured(runs: list[Run], commit: str = "abc1234") -> dict[str, Any]:
    return {
        "runs": [asdict(run) for run in runs],
        "versions": {"commit": commit},
        "machine": {"cores": 2},
        "rounds": 1,
        "date": "2026-11-28T12:00:00+00:00",
        "site": {
            "contacts": 8000,
            "organizations": 3000,
            "activities": 240000,
            "requests_per_second": 20,
            "latency": 200.0,
        },
    }


def test_given_all_contenders_when_drawn_then_each_has_a_bar_in_both_panels_and_its_figures() -> None:
    results = measured(RUNS)
    root = ET.fromstring(picture(results, complete(results)))  # noqa: S314  # our own

    bars = [each.get("class") for each in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(bars) == 2 * len(CONTENDERS)
    assert bars.count("bar subject") == 2
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [texts.count(name) for name in CONTENDERS] == [2] * len(CONTENDERS)
    # 61 s of 60, and 20 s of CPU for 251,000 records.
    assert {"1.02", "80"} <= set(texts)
    assert "251,000 records, 20 requests/s, 200 ms; 2 cores; median of 1; 2026-11-28, abc1234" in texts


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        (measured(RUNS[:-1]), f"has no {list(CONTENDERS)[-1]}"),
        (measured([replace(RUNS[0], problem="exit code 1, not 0"), *RUNS[1:]]), "connector failed"),
        (measured(RUNS, "abc1234-dirty"), "in no commit"),
        (measured(RUNS, ""), "in no commit"),
    ],
    ids=["a contender is missing", "a run failed", "files that changed", "no commit"],
)
def test_given_a_run_that_is_not_whole_when_drawn_then_it_is_refused(results: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        complete(results)


def test_given_results_that_a_scenario_wrote_when_the_next_one_is_measured_then_its_files_are_those_of_the_commit(
    tmp_path: Path,
) -> None:
    def git(*command: str) -> None:
        by = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        subprocess.run(["git", *by, *command], cwd=tmp_path, check=True, capture_output=True)  # noqa: S607

    results, measured_file = tmp_path / "benchmarks/results/cpu.json", tmp_path / "main.py"
    results.parent.mkdir(parents=True)
    results.write_text("before")
    measured_file.write_text("before")
    assert commit_of(tmp_path) == ""
    git("init")
    git("add", ".")
    git("commit", "--message", "Begin")

    results.write_text("after")
    assert not commit_of(tmp_path).endswith("-dirty")
    measured_file.write_text("after")
    assert commit_of(tmp_path).endswith("-dirty")
