"""Draw the README's picture of a full run: what each contender takes beside the floor, and of CPU for a record.

`make bench-full` runs all scenarios and draws it; `python -m benchmarks.picture` draws it again. Both figures are of
the scenario `rate`, the one of full size. A run that lacks a contender, that failed, or whose commit isn't known is
refused: the picture shows what was measured side by side, or nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.bench import Row, Run, rows_of
from benchmarks.contenders import CONTENDERS
from benchmarks.plot import svg

RESULTS = Path(__file__).parent / "results"
NAME = "side-by-side.svg"
SUBJECT = "connector"
METRICS = ("over_floor", "cpu_per_record")


def main() -> None:
    """Draw the picture of the results in a folder, and print its figures as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder that a full run wrote")
    folder: Path = parser.parse_args().results
    try:
        measured = json.loads((folder / "rate.json").read_text(encoding="utf-8"))
        rows = complete(measured)
    except (OSError, ValueError) as error:
        sys.exit(f"No picture: {error}. Measure all contenders side by side: make bench-full")
    (folder / NAME).write_text(picture(measured, rows), encoding="utf-8")
    lines = ["| contender | wall / floor | CPU µs a record |", "| --- | ---: | ---: |"]
    lines += [f"| {row.case} | {row.over_floor:.2f} | {row.cpu_per_record:.0f} |" for row in rows]
    sys.stdout.write("\n".join([*lines, "", f"==> Drew {folder / NAME}", ""]))


def complete(measured: dict[str, Any]) -> list[Row]:
    """Return the rows of all contenders, in their order.

    :param measured: the content of ``rate.json``
    :raises ValueError: if a contender is missing or failed, or it was measured on files that no commit has
    """
    rows = {row.case: row for row in rows_of([Run(**run) for run in measured["runs"]])}
    if missing := [name for name in CONTENDERS if name not in rows]:
        raise ValueError(f"rate.json has no {', '.join(missing)}")
    if failed := [row.case for row in rows.values() if row.problems]:
        raise ValueError(f"{', '.join(failed)} failed")
    if not measured["versions"]["commit"] or measured["versions"]["commit"].endswith("-dirty"):
        raise ValueError("it was measured on files that are in no commit")
    return [rows[name] for name in CONTENDERS]


def picture(measured: dict[str, Any], rows: list[Row]) -> str:
    """Return the picture, with a line below it that says what was measured, where, and when."""
    site, machine = measured["site"], measured["machine"]
    records = site["contacts"] + site["organizations"] + site["activities"]
    size = f"{records:,} records, {site['requests_per_second']} requests/s, {site['latency']:g} ms"
    run = f"{machine['cores']} cores; median of {measured['rounds']}; {measured['date'][:10]}"
    note = f"{size}; {run}, {measured['versions']['commit']}"
    return svg("Side by side: 1.00 is what the rate limit allows", note, rows, METRICS, SUBJECT)


if __name__ == "__main__":
    main()
