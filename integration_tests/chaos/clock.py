"""The clock of a schedule: the real one, or one on which days pass between two runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """Tells the time in the workspace.

    Where days pass between runs, they have passed before the last of them, so that the connector's own clock, which is
    the real one, is never behind; `end_date` tells it to stop at this one.
    """

    def __init__(self, days: float, runs: int) -> None:
        self.gap = timedelta(days=days)
        self._behind = self.gap * runs

    def now(self) -> datetime:
        """Tell the time."""
        return datetime.now(UTC) - self._behind

    def pass_days(self) -> None:
        """Let pass the time between two runs."""
        self._behind -= self.gap
