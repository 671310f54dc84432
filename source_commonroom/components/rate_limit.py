"""The rate limit: one budget for all that uses a token, and what a 429 says."""

import hashlib
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
import requests
from airbyte_cdk.sources.streams.call_rate import AbstractAPIBudget, AbstractCallRatePolicy
from airbyte_cdk.sources.streams.http.error_handlers import BackoffStrategy
from airbyte_cdk.sources.types import Config

# Common Room counts in intervals of a second. A trifle more, because its clock and ours don't run quite alike.
_INTERVAL = 1.002
# Where others spend from the same limit: to this part of the rate, and back by so much of it a second.
_SLOWER = 0.75
_RECOVERY = 0.05


def wait_of(response: requests.Response) -> float | None:
    """Return the seconds that a 429 asks to wait: its body's ``rateLimit.waitMs``, else until ``X-RateLimit-Reset``.

    Its ``Retry-After`` is an ISO 8601 date-time, says the same, and is left alone. None where this is no 429, or one
    that doesn't say.
    """
    if response.status_code != requests.codes.too_many_requests:
        return None
    try:
        wait_ms = orjson.loads(response.content)["rateLimit"]["waitMs"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        wait_ms = None
    if isinstance(wait_ms, int | float) and wait_ms > 0:
        return float(wait_ms) / 1000
    reset = _number(response, "X-RateLimit-Reset")
    return None if reset is None else max(reset - time.time(), 0.0) or None


def _number(response: requests.Response, header: str) -> float | None:
    try:
        return float(response.headers[header])
    except (KeyError, ValueError):
        return None


class RequestBudget(AbstractAPIBudget):
    """Spends so many requests a second, evenly, over all threads and streams.

    Why not ``api_budget`` in YAML: a ``FixedWindowCallRatePolicy`` sleeps for ten days once it is spent, because Common
    Room sends a reset header only with a 429; a ``MovingWindowCallRatePolicy`` takes whole numbers, sends each
    second's requests in one burst, and never slows down for other programs that use the same token.

    Where the API has nothing left although we alone can't have used it up, somebody else uses the token too: the rate
    falls by a quarter, at most once a second, and recovers within seconds once there is room again. Pinned by
    unit_tests/test_rate_limit.py.
    """

    def __init__(self, requests_per_second: float) -> None:
        self._gap = _INTERVAL / requests_per_second
        self._lock = threading.Lock()
        self._next = 0.0
        self._held_until = 0.0
        self._departures: deque[float] = deque()
        self._pace = 1.0
        self._slowed_at = 0.0

    def acquire_call(
        self,
        request: Any,  # noqa: ARG002  # the CDK's signature
        block: bool = True,  # noqa: ARG002, FBT001, FBT002
        timeout: float | None = None,  # noqa: ARG002
    ) -> None:
        """Return when it is this request's turn; first come, first served."""
        with self._lock:
            turn = self._reserve()
        while True:
            wait = turn - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            with self._lock:
                if turn >= self._held_until:
                    self._departures.append(turn)
                    return
                # A 429 came in while this one waited: back in line.
                turn = self._reserve()

    def _reserve(self) -> float:
        now = time.monotonic()
        turn = max(now, self._next, self._held_until)
        self._next = turn + self._gap / self._pace_at(now)
        return turn

    def _pace_at(self, now: float) -> float:
        return min(1.0, self._pace + _RECOVERY * (now - self._slowed_at))

    def update_from_response(self, request: Any, response: Any) -> None:  # noqa: ARG002  # the CDK's signature
        """Learn from an answer: what a 429 asks to wait, and whether others spend from the same limit."""
        now = time.monotonic()
        limited = response.status_code == requests.codes.too_many_requests
        limit = _number(response, "X-RateLimit-Limit")
        spent = _number(response, "X-RateLimit-Remaining") == 0
        with self._lock:
            # In the interval up to our last request, and not up to now: while it waits nothing leaves.
            while self._departures and self._departures[0] <= self._departures[-1] - _INTERVAL:
                self._departures.popleft()
            ours = len(self._departures)
            if limited:
                self._held_until = max(self._held_until, now + (wait_of(response) or 0.0))
            # Where we filled the interval ourselves, a 429 only tells that two clocks disagree by a request.
            if (limited or spent) and (limit is None or ours < limit - 1):
                self._slow_down(now)

    def _slow_down(self, now: float) -> None:
        if now - self._slowed_at >= _INTERVAL:
            self._pace = self._pace_at(now) * _SLOWER
            self._slowed_at = now

    def get_matching_policy(self, request: Any) -> AbstractCallRatePolicy | None:  # noqa: ARG002  # the CDK's signature
        """Return None: there is one budget, whatever the request."""
        return None


def budget_of(authorization: str, requests_per_second: float) -> RequestBudget:
    """Return the one budget of a token in this process; the API counts by token, whatever the stream.

    :param authorization: what tells one token from another; only its hash is kept
    """
    return _budget_of(hashlib.sha256(authorization.encode()).digest(), requests_per_second)


@cache
def _budget_of(token_hash: bytes, requests_per_second: float) -> RequestBudget:  # noqa: ARG001  # a key of the cache
    return RequestBudget(requests_per_second)


def forget_budgets() -> None:
    """Start anew, as a new process would."""
    _budget_of.cache_clear()


@dataclass
class RateLimitBackoff(BackoffStrategy):
    """Waits as long as a 429 says; says nothing of other answers. See :func:`wait_of`.

    Why not YAML: ``WaitTimeFromHeader`` doesn't read an ISO 8601 ``Retry-After`` (and takes the year for seconds where
    a regex is given), and ``WaitTimeFromResponse`` has no other place to look where the body is cut off.
    Pinned by test_given_a_429_when_read_then_it_waits_what_the_api_says.
    """

    config: Config = field(default_factory=dict)

    def backoff_time(
        self,
        response_or_exception: requests.Response | requests.RequestException | None,
        attempt_count: int,  # noqa: ARG002  # the CDK's signature
    ) -> float | None:
        """Return the seconds to wait; None for anything but a 429 that says so."""
        return wait_of(response_or_exception) if isinstance(response_or_exception, requests.Response) else None
