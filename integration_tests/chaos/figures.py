"""Figures: what a schedule did."""

from __future__ import annotations

from collections import Counter

Figures = Counter[str]
"""Counts by name. Those of several schedules add up."""

ORDER = (
    "schedules",
    "runs",
    "runs that failed",
    "failed by changes alone",
    "with rows held back",
    "with rows unservable",
    "with counts that fail",
    "SIGKILL",
    "SIGTERM",
    "requests",
    "faults",
    "rate limited",
    "cursors expired",
    "changes",
    "rows that had been read",
    "changes left out",
    "records",
    "violations",
)


def describe(figures: Figures) -> list[str]:
    """Write figures as lines: those of schedules, if some were played, even if they are 0, and then all others."""
    names = [*(ORDER if figures["schedules"] else ()), *sorted(figures.keys() - set(ORDER))]
    return [f"{name:>24} {figures[name]:>9,}" for name in names]
