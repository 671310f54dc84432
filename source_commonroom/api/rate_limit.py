"""The rate limit: one budget for all that uses a token, and what a 429 says."""

import hashlib
import logging
import math
import threading
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache

import orjson
import requests

logger = logging.getLogger("airbyte")

# Common Room counts in intervals of a second. A trifle more, because its clock and ours don't run quite alike.
_INTERVAL = 1.002
# If others spend from the same limit: the share of the rate to go down to, and how much of it to regain a second.
_SLOWER = 0.75
_RECOVERY = 0.05
# How long nothing but 429 may be answered, in seconds.
PATIENCE = 600.0
# How long to wait without a log line: a long silence looks like the end of the sync.
_LOG_INTERVAL = 30.0


class RateLimitLastsError(requests.RequestException):
    """No request gets through, and waiting on wouldn't help. The text says since when."""


def wait_of(response: requests.Response) -> float | None:
    """Return the seconds that a 429 asks to wait.

    They stand in its body's ``rateLimit.waitMs``, or end at ``X-RateLimit-Reset``, a time of the server's clock, or
    at ``Retry-After``. None if this is no 429, or one that doesn't say, or that says something implausible.

    Why not YAML: ``WaitTimeFromHeader`` doesn't read an ISO 8601 ``Retry-After`` (with a regex it
    reads the year as seconds), and ``WaitTimeFromResponse`` has no alternative if the body is cut off.
    Pinned by test_given_a_429_when_read_then_it_waits_what_the_api_says.
    """
    if response.status_code != requests.codes.too_many_requests:
        return None
    try:
        wait_ms = orjson.loads(response.content)["rateLimit"]["waitMs"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        wait_ms = None
    # A bool is an int in Python. JSON has no NaN and no infinity, and orjson reads none.
    is_number = isinstance(wait_ms, int | float) and not isinstance(wait_ms, bool)
    if is_number and (wait := _plausible(wait_ms / 1000)) is not None:
        return wait
    reset = _number(response.headers.get("X-RateLimit-Reset"))
    wait = None if reset is None else _plausible(reset - _now_at(response))
    return retry_after_of(response) if wait is None else wait


def retry_after_of(response: requests.Response) -> float | None:
    """Return the seconds that ``Retry-After`` asks to wait: a number of them, an HTTP date, or an ISO 8601 date-time.

    None if it isn't there, can't be read, or is implausible, see :func:`_plausible`.
    """
    value = response.headers.get("Retry-After", "").strip()
    if (seconds := _number(value)) is not None:
        return _plausible(seconds)
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            reset_at = read(value)
            at = reset_at if reset_at.tzinfo else reset_at.replace(tzinfo=UTC)
            return _plausible(at.timestamp() - _now_at(response))
        except (ValueError, TypeError, OverflowError):
            continue
    return None


def _plausible(seconds: float) -> float | None:
    """Return the seconds that an answer asks to wait; None if they aren't positive, or more than ``PATIENCE``.

    Then the answer counts as one that doesn't say: so long a wait counts something else than seconds, or ends by
    another clock. The same holds for ``Retry-After`` of other errors than a 429.
    """
    return seconds if 0 < seconds <= PATIENCE else None


def _now_at(response: requests.Response) -> float:
    """Return the server's time, or ours if the answer doesn't contain it."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return time.time()


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    # "nan" and "inf" are numbers to Python.
    return number if math.isfinite(number) else None


class RequestBudget:
    """Spends so many requests a second, evenly, over all threads and streams.

    Why not ``api_budget`` in YAML: a ``FixedWindowCallRatePolicy`` sleeps for ten days once it is spent, because Common
    Room sends a reset header only with a 429; a ``MovingWindowCallRatePolicy`` takes whole numbers, sends each
    second's requests in one burst, and never slows down for other programs that use the same token.

    If the API has nothing left although we alone can't have used it up, another program uses the token too: the rate
    falls by a quarter, at most once a second, and recovers within seconds once there is room again. Pinned by
    unit_tests/test_rate_limit.py.

    :param patience: how long nothing but 429 may be answered, in seconds
    """

    def __init__(self, requests_per_second: float, patience: float = PATIENCE) -> None:
        self._gap = _INTERVAL / requests_per_second
        self._patience = patience
        self._lock = threading.Lock()
        self._next = 0.0
        self._held_until = 0.0
        self._departures: deque[float] = deque()
        self._pace = 1.0
        self._slowed_at = 0.0
        self._limited_since: float | None = None
        self._last_logged_at = 0.0
        self._failing_since: float | None = None

    @staticmethod
    def now() -> float:
        """Return the time that this budget goes by."""
        return time.monotonic()

    def served(self) -> None:
        """Learn that a request was served."""
        self._failing_since = None

    def failing_since(self, now: float) -> float:
        """Learn that a request has failed now; return when the first one did of all since one was served.

        All streams wait for one outage together, and not each for its own.
        """
        since = self._failing_since
        if since is None:
            since = self._failing_since = now
        return since

    def acquire(self) -> None:
        """Return when it is this request's turn; in the order of the calls.

        :raises RateLimitLastsError: if the API's rate limit would let it through too late
        """
        with self._lock:
            turn = self._reserve()
        while True:
            self.wait(turn - time.monotonic())
            with self._lock:
                if turn >= self._held_until:
                    self._departures.append(turn)
                    return
                # A 429 arrived while this one waited: back in line.
                turn = self._reserve()

    def wait(self, seconds: float, limited_since: float | None = None) -> None:
        """Wait, and log often enough what is waited for.

        :param limited_since: before a request that was answered 429 is sent again, when it was answered so first, by
            ``time.monotonic``; others may get through meanwhile
        :raises RateLimitLastsError: if the API's rate limit would let it through too late
        """
        while seconds > 0:
            nap = min(seconds, self._log_wait_if_due(seconds, limited_since))
            time.sleep(nap)
            seconds -= nap

    def _log_wait_if_due(self, seconds: float, limited_since: float | None) -> float:
        """Log what is waited for, if that is due, and return the seconds until it is due again."""
        now = time.monotonic()
        with self._lock:
            # A turn that is far because many are in line is no rate limit.
            wait = self._held_until - now if limited_since is None else seconds
            starts = [start for start in (limited_since, self._limited_since) if start is not None]
            if not starts or wait <= 0:
                return _LOG_INTERVAL
            waited = now - min(starts)
            if waited + wait > self._patience:
                minutes, rest = divmod(self._patience, 60)
                raise RateLimitLastsError(
                    f"{waited:.0f} s of waiting didn't help, the next try would follow in {wait:.0f} s, and the "
                    f"connector waits no longer than {f'{rest:.0f} s' if rest else f'{minutes:.0f} minutes'}"
                )
            silent = min(waited, now - self._last_logged_at)
            # A trifle less, because clocks round.
            if silent < _LOG_INTERVAL - 0.1:
                return _LOG_INTERVAL - silent
            self._last_logged_at = now
        logger.info(
            "Waiting for the API's rate limit since %s, for %.0f s: it answers 429. The next request follows in "
            "%.0f s. If none gets through within %.0f minutes, the stream that waits ends as incomplete.",
            (datetime.now(UTC) - timedelta(seconds=waited)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            waited,
            wait,
            self._patience / 60,
        )
        return _LOG_INTERVAL

    def _reserve(self) -> float:
        now = time.monotonic()
        turn = max(now, self._next, self._held_until)
        self._next = turn + self._gap / self._pace_at(now)
        return turn

    def _pace_at(self, now: float) -> float:
        return min(1.0, self._pace + _RECOVERY * (now - self._slowed_at))

    def learn_from(self, response: requests.Response) -> None:
        """Learn from an answer: what a 429 asks to wait, and whether others spend from the same limit."""
        now = time.monotonic()
        limited = response.status_code == requests.codes.too_many_requests
        limit = _number(response.headers.get("X-RateLimit-Limit"))
        spent = _number(response.headers.get("X-RateLimit-Remaining")) == 0
        with self._lock:
            # In the interval up to our last request, and not up to now: while it waits nothing leaves.
            while self._departures and self._departures[0] <= self._departures[-1] - _INTERVAL:
                self._departures.popleft()
            ours = len(self._departures)
            if limited:
                self._held_until = max(self._held_until, now + (wait_of(response) or 0.0))
                if self._limited_since is None:
                    self._limited_since = now
            elif now >= self._held_until:
                # What is answered before that had left before the 429.
                self._limited_since = None
            elif self._limited_since is not None and now - response.elapsed.total_seconds() > self._limited_since:
                # Or together with one that was answered 429 sooner: something gets through.
                self._limited_since = now
            # If we filled the interval ourselves, a 429 only means that two clocks disagree by a request.
            if (limited or spent) and (limit is None or ours < limit - 1):
                self._slow_down(now)

    def _slow_down(self, now: float) -> None:
        if now - self._slowed_at >= _INTERVAL:
            self._pace = self._pace_at(now) * _SLOWER
            self._slowed_at = now


def budget_of(authorization: str, requests_per_second: float, patience: float = PATIENCE) -> RequestBudget:
    """Return the one budget of a token in this process; the API counts by token, whatever the stream.

    :param authorization: identifies the token; only its hash is kept
    :param patience: as :class:`RequestBudget`; a command has one for all of its requests
    """
    return _budget_of(key_of(authorization), requests_per_second, patience)


def key_of(authorization: str) -> bytes:
    """Return a hash that identifies a token."""
    return hashlib.sha256(authorization.encode()).digest()


@cache
def _budget_of(token_hash: bytes, requests_per_second: float, patience: float) -> RequestBudget:  # noqa: ARG001  # a key of the cache
    return RequestBudget(requests_per_second, patience)


def forget_budgets() -> None:
    """Start anew, as a new process would."""
    _budget_of.cache_clear()
