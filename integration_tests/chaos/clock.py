"""The clock of a schedule: the real one, or one on which days pass between two runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """Tells the time in the workspace.

    Where days pass between runs, they have passed before the last of them, so that the connector's own clock, which is
    the real one, is never behind; `end_date` tells it to stop at this one, or the `Date` of the API.

    :param ahead: by how much it is ahead of the real one at last
    """

    def __init__(self, days: float, runs: int, ahead: timedelta = timedelta()) -> None:
        self.gap = timedelta(days=days)
        self._behind = self.gap * runs - ahead

    def now(self) -> datetime:
        """Tell the time."""
        return datetime.now(UTC) - self._behind

    def seconds(self) -> float:
        """Tell the time as the API's clock does."""
        return self.now().timestamp()

    def pass_days(self) -> None:
        """Let pass the time between two runs."""
        self._behind -= self.gap
