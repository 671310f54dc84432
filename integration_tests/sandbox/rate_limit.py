"""The rate limit: so many requests of a token per interval of one second, and the API's way to say so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor
from threading import Lock

from integration_tests.sandbox.messages import Answer, iso, json_answer

INTERVAL_SECONDS = 1


@dataclass(frozen=True)
class Admission:
    """The verdict on a request: how many more its token has in this interval; below 0, it was one too many."""

    limit: int
    remaining: int
    wait: float
    """Seconds until the next interval."""

    @property
    def granted(self) -> bool:
        """Whether the request may pass."""
        return self.remaining >= 0

    @property
    def headers(self) -> dict[str, str]:
        """The headers that every answer carries."""
        return {"X-RateLimit-Limit": str(self.limit), "X-RateLimit-Remaining": str(max(self.remaining, 0))}


class RateLimit:
    """Counts the requests of each token in fixed intervals of some seconds, refused ones included."""

    def __init__(self, limit: int, interval: int = INTERVAL_SECONDS) -> None:
        self.limit = limit
        self.interval = interval
        self._lock = Lock()
        self._counts: dict[str | None, tuple[int, int]] = {}

    def admit(self, authorization: str | None, now: float) -> Admission:
        """Count a request and tell whether it may pass."""
        interval = floor(now / self.interval)
        with self._lock:
            counted, used = self._counts.get(authorization, (interval, 0))
            used = used + 1 if counted == interval else 1
            self._counts[authorization] = (interval, used)
        return Admission(self.limit, self.limit - used, (interval + 1) * self.interval - now)


def too_many_requests(limit: int, now: float, wait: float, interval: int = INTERVAL_SECONDS) -> Answer:
    """Answer 429. `Retry-After` is a date-time in ISO 8601, against RFC 9110, as the provider documents it."""
    reset = now + wait
    retry_after = datetime.fromtimestamp(ceil(reset * 1000) / 1000, UTC)
    body = {
        "reason": "Rate limit exceeded",
        "rateLimit": {
            "intervalLimit": limit,
            "intervalRemaining": 0,
            "intervalResetSeconds": interval,
            "waitMs": ceil(wait * 1000),
        },
    }
    headers = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(ceil(reset)),
        "Retry-After": iso(retry_after),
    }
    return json_answer(429, body, headers)
