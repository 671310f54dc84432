"""What the emulated API is like in a scenario: how large its workspace is, how slow and how strict it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from integration_tests.sandbox.generate import END

STREAMS = ("contacts", "organizations", "activities")
PAGE_SIZE = 200
GENERATED_YEARS = 2
"""Over how many years the sandbox's generator spreads the activities."""


@dataclass(frozen=True)
class Site:
    """A workspace and the server in front of it."""

    contacts: int
    organizations: int
    activities: int
    years: float | None = None
    """Over how many years the activities spread; None leaves them to the generator."""
    burst: float = 0.0
    """Which part of the activities falls into one hour; only with `years`."""
    latency: float = 0.0
    """Milliseconds before an answer."""
    jitter: float = 0.0
    """The latency varies by this fraction of it."""
    requests_per_second: int | None = None
    """Above it the answer is 429; None is no limit."""

    @property
    def start_date(self) -> str:
        """A date not later than any activity's, for who has to name one."""
        return f"{END - timedelta(days=365 * (self.years or GENERATED_YEARS)):%Y-%m-%dT00:00:00Z}"

    def size(self, stream: str) -> int:
        """Tell how many records a stream has."""
        return int(getattr(self, stream))

    def requests_needed(self, streams: tuple[str, ...]) -> int:
        """Tell how many requests the streams cost if it is known in advance how many pages there are."""
        return sum(max(1, ceil(self.size(stream) / PAGE_SIZE)) for stream in streams)

    def floor(self, streams: tuple[str, ...]) -> float | None:
        """Tell the seconds that the rate limit takes at least; None if there is no limit."""
        return self.requests_per_second and self.requests_needed(streams) / self.requests_per_second
