"""HTTP: how often a request is tried, how long it waits in between, and to which host it may go."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from string import Formatter
from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson
import requests
import urllib3
from airbyte_cdk.models import (
    AirbyteMessageSerializer,
    AirbyteStreamStatus,
    AirbyteStreamStatusReason,
    AirbyteStreamStatusReasonType,
    StreamDescriptor,
)
from airbyte_cdk.sources.streams.http.error_handlers.response_models import ResponseAction
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.stream_status_utils import as_airbyte_message

from source_commonroom.api.answers import WatchedAdapter, one_deadline
from source_commonroom.api.errors import (
    FORBIDDEN,
    FORBIDDEN_OR_REJECTED,
    TOKEN_REJECTED,
    Failure,
    RequestFailedError,
    Verdict,
    judge,
)
from source_commonroom.api.rate_limit import PATIENCE, RateLimitLastsError, RequestBudget, budget_of, key_of, wait_of
from source_commonroom.config import PersonalData

logger = logging.getLogger("airbyte")

_API_URL = "https://api.commonroom.io/community"
# The waits before the second try to the sixth are 1, 2, 4, 8 and 16 s, each ± 25 %, so that the workers that one outage
# stopped don't all return at once; later ones are no longer than this, in seconds.
_JITTER = 0.25
_MAX_BACKOFF = 30.0
# How often a failing request is sent again at least; how long a connection may take, and the time between two bytes of
# an answer, in seconds.
_RETRIES = 5
_TIMEOUTS = (10.0, 60.0)
# How long an answer may take in all, in seconds: as long as the largest real page may need on a slow line.
_DEADLINE = 180.0
_QUICK_DEADLINE = 60.0
_INTERACTIVE_DEADLINE = 12.0
# If 429s don't say how long to wait, the waits grow no longer than this, in seconds.
_MAX_RATE_LIMIT_BACKOFF = 64.0
# How long a person may have to wait for a connection, or for the rate limit, in seconds; an answer may take twice that.
_INTERACTIVE_TIMEOUT = 5.0
# The read time-out of a request that has an alternative, in seconds.
_QUICK_TIMEOUT = 20.0
# How long the API's word on a token counts, in seconds: in a long sync it may be revoked.
_TOKEN_STATUS_LIFETIME = 60.0


class OneOriginSession(requests.Session):
    """A session that shows the token to one origin alone, scheme, host and port, and raises what FAILURES knows.

    Why not a plain one: ``requests`` follows a redirect to any host, and to http, and a login page there passes for the
    API's answer. It takes ``Authorization`` off by rules of its own, which a new version may change. Here such an
    answer stays what it is, a redirect, and has a row in ``FAILURES``.
    Pinned by test_given_a_redirect_elsewhere_when_read_then_nothing_is_asked_there.

    :param budget: is asked before each request, and learns from each answer
    """

    def __init__(self, budget: RequestBudget) -> None:
        super().__init__()
        self._budget = budget
        self._environment: dict[tuple[Any, ...], Mapping[str, Any]] = {}

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Return what the environment says of proxies and certificates, looked up once for each origin.

        To look it up for each request would be a fiftieth of a read's CPU.
        """
        asked = (_origin(url), *(proxies or {}).items(), stream, verify, cert)
        if asked not in self._environment:
            self._environment[asked] = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return dict(self._environment[asked])

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Return the answer to a request, or to the last one that redirects lead to.

        :raises requests.RequestException: if there is none, whatever was raised below: the environment's proxies and
            certificates may be anything, and requests doesn't wrap all errors that they cause
        """
        if urlsplit(request.url).scheme == "http":
            # The loopback. A proxy of the environment would see the token as it is.
            # Pinned by test_given_a_proxy_for_http_when_checked_then_it_never_sees_the_token.
            kwargs["proxies"] = {}
        try:
            with one_deadline():
                self._budget.acquire()
                answer = super().send(request, **kwargs)
                self._budget.learn_from(answer)
                return answer
        except requests.RequestException:
            raise
        except (OSError, UnicodeError, urllib3.exceptions.HTTPError) as error:
            raise requests.ConnectionError(error, request=request) from error

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Keep the token: requests would put what ``.netrc`` has for the host in its place.

        Redirects lead nowhere else. Pinned by
        test_given_credentials_in_netrc_when_redirected_then_the_token_is_sent_all_the_same.
        """

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the address to follow; None for an answer that is the last."""
        try:
            target = super().get_redirect_target(resp)
            return target if target and _origin(urljoin(resp.url, target)) == _origin(resp.url) else None
        except ValueError:
            # No address at all; ``FAILURES`` has a row for that.
            return None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    if {"@", "\\"} & set(parts.netloc):
        raise ValueError("an address that two readers could understand in two ways")
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


class TokenStatus:
    """What the API says of a token: asked once, while all other threads wait for the answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failure: Failure | None = None
        self._asked_at = 0.0

    def explain_403(self, ask: Callable[[], Failure]) -> Failure:
        """Return the row that a 403 stands for."""
        with self._lock:
            if self._failure is None or time.monotonic() - self._asked_at > _TOKEN_STATUS_LIFETIME:
                self._failure = ask()
                self._asked_at = time.monotonic()
            return self._failure


@cache
def _token_status_of(budget: RequestBudget, url: str) -> TokenStatus:  # noqa: ARG001  # keys of the cache
    """Return the one status of a token in this process; there is one budget for each token."""
    return TokenStatus()


class ApiClock:
    """What the API's clock showed at its first answer, by the header ``Date``; any thread may ask."""

    def __init__(self) -> None:
        self._first: tuple[datetime, datetime] | None = None

    @property
    def first(self) -> tuple[datetime, datetime] | None:
        """The API's time, to the second, and this machine's at that time; None if no answer contained it."""
        return self._first

    def note(self, answer: requests.Response) -> None:
        """Note the time of an answer, if it is the first one that contains it."""
        if self._first is not None or (date := answer.headers.get("Date")) is None:
            return
        try:
            sent = parsedate_to_datetime(date)
            at = sent.astimezone(UTC) if sent.tzinfo else sent.replace(tzinfo=UTC)
        except (ValueError, TypeError, OverflowError):
            return
        self._first = at, datetime.now(UTC)


class _RateLimitedError(Exception):
    """The API answered 429."""

    def __init__(self, answer: requests.Response) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True, kw_only=True)
class Access:
    """How one command reaches the API: what all of its requests have in common.

    :param api_url: the address of the API, without its version
    :param requests_per_second: what all streams of the token may spend together
    :param keeps_personal_data: whether a debug log may hold what the API answers
    :param patience: how long a request is tried that fails, in seconds
    """

    token: str = field(repr=False)
    api_url: str
    requests_per_second: float
    keeps_personal_data: bool
    patience: float

    @classmethod
    def of(cls, config: Mapping[str, Any], patience: float | None = None) -> "Access":
        """Return how a valid configuration reaches the API."""
        return cls(
            token=config["api_token"].strip(),
            api_url=config.get("api_url", _API_URL).rstrip("/"),
            requests_per_second=float(config.get("requests_per_second", 20)),
            keeps_personal_data=PersonalData.of(config).is_kept,
            patience=PATIENCE if patience is None else patience,
        )

    @property
    def authorization(self) -> str:
        """The header that holds the token."""
        return f"Bearer {self.token}"


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """How often a request is sent, and for how long it is waited.

    :param retries: how often a request that fails is sent again at least, however long that takes
    :param patience: how long it is tried in all, in seconds
    :param tries: how often it is sent at most, whatever the patience; None for no limit
    :param rate_patience: how long nothing but 429 may be answered, in seconds
    :param deadline: how many seconds an answer may take in all
    :param timeouts: those of ``requests``: how long a connection may take, and the time between two bytes
    """

    retries: int
    patience: float
    tries: int | None = None
    rate_patience: float = PATIENCE
    deadline: float = _DEADLINE
    timeouts: tuple[float, float]


class Requester:
    """Sends the requests of one endpoint: waits for the rate limit, retries failures, and ends with a clear message.

    Whatever ends a request is a :class:`RequestFailedError`. It holds no request and no answer, because those hold
    addresses, headers and bodies.

    Why not the CDK's ``HttpClient``: it counts 429s and failures against the same few retries, sleeps a second longer
    than any strategy says, has no jitter, and ends with "Exhausted available request attempts. Please see logs", which
    says neither why nor what to do. Pinned by the tests of unit_tests/test_retries.py.

    :param endpoint: what messages call the endpoint
    :param path: the path of its address, with a field in braces for what a slice says
    :param page: the kind of page that it serves, see :func:`parse_page`
    """

    def __init__(self, access: Access, *, stream: str, endpoint: str, path: str, page: str) -> None:
        self._access = access
        self._labels = {"stream": stream, "endpoint": endpoint}
        self._path = path
        self._page = page
        self.names_a_slice = any(name not in {None, "endpoint"} for _, name, _, _ in Formatter().parse(path))
        """Whether the address names one part of the stream, such as a segment."""
        self.api_clock = ApiClock()
        self.has_short_timeouts = False
        """Whether a person is waiting."""
        self._quick: dict[int, Requester] = {}
        self._warned = False
        self._lock = threading.Lock()
        self._apply_limits(_Limits(retries=_RETRIES, patience=access.patience, timeouts=_TIMEOUTS))

    @property
    def token_key(self) -> bytes:
        """Identifies its token; the token can't be derived from it."""
        return key_of(self._access.authorization)

    def get_url(self, stream_slice: StreamSlice | None = None) -> str:
        """Return the address that a slice is asked for at."""
        named = {**stream_slice.partition, **stream_slice.extra_fields} if stream_slice else {}
        path = self._path.format_map(named) if named else self._path
        return f"{self._access.api_url}/{path}"

    def use_short_timeouts(self, retries: int) -> None:
        """Wait only a few seconds for an answer or for the rate limit from now on: a person is waiting."""
        self.has_short_timeouts = True
        self._apply_limits(
            _Limits(
                retries=retries,
                patience=0.0,
                rate_patience=_INTERACTIVE_TIMEOUT,
                deadline=_INTERACTIVE_DEADLINE,
                timeouts=(_INTERACTIVE_TIMEOUT, 2 * _INTERACTIVE_TIMEOUT),
            )
        )

    def quick(self, tries: int) -> "Requester":
        """Return the same requester, but that it sends a request so often at most, and waits for a shorter time."""
        if tries not in self._quick:
            quick = copy(self)
            quick._apply_limits(  # noqa: SLF001  # of its own kind
                replace(self._limits, tries=tries, deadline=_QUICK_DEADLINE, timeouts=(_TIMEOUTS[0], _QUICK_TIMEOUT))
            )
            self._quick.setdefault(tries, quick)
        return self._quick[tries]

    def _apply_limits(self, limits: _Limits) -> None:
        self._limits = limits
        self._budget = budget_of(self._access.authorization, self._access.requests_per_second, limits.rate_patience)
        self._session = OneOriginSession(self._budget)
        for scheme in ("https://", "http://"):  # ignore-https-check: loopback addresses, for tests
            self._session.mount(scheme, WatchedAdapter(limits.deadline))

    def get(
        self,
        params: Mapping[str, Any],
        stream_slice: StreamSlice | None = None,
        others_are_served: Callable[[], bool] | None = None,
        slow_tries: int | None = None,
    ) -> requests.Response:
        """Return the answer to a GET, a whole page, sent again as often as it takes.

        :param others_are_served: finds out whether other requests are served, so that it isn't an outage: then the
            request fails after the usual tries, before the patience is over
        :param slow_tries: after so many tries that took the API too long it fails as well
        :raises RequestFailedError: if there is no such answer
        """
        request = self._request(self.get_url(stream_slice), params)
        failures = limits = slow = 0
        limited_since: float | None = None
        failing_since: float | None = None
        while True:
            try:
                answer = self._send(request)
            except _RateLimitedError as limited:
                limits += 1
                limited_since = limited_since or self._budget.now()
                self._wait(wait_of(limited.answer) or _backoff(limits, _MAX_RATE_LIMIT_BACKOFF), limited_since)
            except RequestFailedError as error:
                failures += 1
                limits, limited_since = 0, None
                if not error.failure.retried:
                    raise RequestFailedError(error.verdict, self._labels["stream"], failures) from None
                failing_since = failing_since or time.monotonic()
                slow += error.is_too_slow
                since = min(failing_since, self._budget.failing_since(time.monotonic()))
                if slow == slow_tries or self._gives_up(failures, since, others_are_served):
                    raise RequestFailedError(
                        error.verdict, self._labels["stream"], failures, time.monotonic() - failing_since
                    ) from None
                self._sleep(error, failures, failing_since)
            else:
                self._budget.served()
                self.api_clock.note(answer)
                return answer

    def _request(self, url: str, params: Mapping[str, Any] | None = None) -> requests.PreparedRequest:
        headers = {"Accept": "application/json"}
        return self._session.prepare_request(
            requests.Request("GET", url, headers=headers, params=params, auth=self._authorize)
        )

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token. As ``auth``, because ``requests`` would put what ``.netrc`` has for the host in its place."""
        request.headers["Authorization"] = self._access.authorization
        return request

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        """Send a request once, and return its answer if that is a whole page.

        :raises _RateLimitedError: if the API answers 429
        :raises RequestFailedError: for all else
        """
        logger.debug("Making outbound API request", extra={"headers": request.headers, "url": request.url})
        met = self._exchange(request)
        failure, facts = judge(met, self._page, of_a_slice=self.names_a_slice)
        if isinstance(met, requests.Response):
            self._log(met)
            if failure is None:
                return met
            if failure.action is ResponseAction.RATE_LIMITED:
                _print_rate_limited_status(self._labels["stream"])
                raise _RateLimitedError(met)
        assert failure is not None  # noqa: S101  # an exception has a row
        raise self._failed(failure, facts, request)

    def _exchange(self, request: requests.PreparedRequest) -> requests.Response | requests.RequestException:
        environment = self._session.merge_environment_settings(request.url, {}, None, None, None)
        try:
            return self._session.send(request, timeout=self._limits.timeouts, **environment)
        except requests.RequestException as error:
            return error

    def _log(self, answer: requests.Response) -> None:
        """Log an answer at the level debug; its body contains personal data as the API sent it."""
        if not logger.isEnabledFor(logging.DEBUG):
            return
        kept = self._access.keeps_personal_data
        body = answer.text if kept else "left out, because the configuration doesn't keep personal data"
        logger.debug(
            "Receiving response", extra={"headers": answer.headers, "status": answer.status_code, "body": body}
        )

    def _gives_up(self, failures: int, since: float, others_are_served: Callable[[], bool] | None) -> bool:
        """Tell whether a request that failed so often isn't sent again.

        :param since: since when nothing has been served to any request, or this request hasn't been
        """
        limits = self._limits
        if limits.tries is not None:
            return failures >= limits.tries
        if failures <= limits.retries:
            return False
        if time.monotonic() - since >= limits.patience:
            return True
        return others_are_served is not None and others_are_served()

    def _sleep(self, error: RequestFailedError, failures: int, since: float) -> None:
        """Wait before the next try: as long as the answer asks for, if that isn't longer than it is worth."""
        left = self._limits.patience - (time.monotonic() - since)
        asked = error.verdict.facts.get("wait") if self._limits.tries is None else None
        wait = asked if asked and asked <= left else _backoff(failures, _MAX_BACKOFF)
        while wait > 0:
            logger.info("%s Try %d follows in %.1f s.", error, failures + 1, wait)
            time.sleep(min(wait, _MAX_BACKOFF))
            wait -= _MAX_BACKOFF

    def _wait(self, seconds: float, limited_since: float) -> None:
        try:
            self._budget.wait(seconds, limited_since)
        except RateLimitLastsError as error:
            # As if the budget had raised it while a request was sent.
            failure, facts = judge(error, self._page)
            assert failure is not None  # noqa: S101  # as above
            raise self._failed(failure, facts, None) from None

    def _failed(
        self, failure: Failure, facts: Mapping[str, Any], request: requests.PreparedRequest | None
    ) -> RequestFailedError:
        verdict = Verdict.of(failure, {**self._labels, **facts})
        if failure is FORBIDDEN and request:
            verdict = self._classify_403(verdict, request)
        return RequestFailedError(verdict, self._labels["stream"])

    def _classify_403(self, verdict: Verdict, request: requests.PreparedRequest) -> Verdict:
        """Return what a 403 means: the API answers the same to a bad token and to one that may not read this."""
        url = f"{self._access.api_url}/v2/api-token-status"
        if (request.url or "").partition("?")[0] == url:
            # Every valid token may ask this.
            return Verdict.of(TOKEN_REJECTED, verdict.facts)
        classified = Verdict.of(
            _token_status_of(self._budget, url).explain_403(lambda: self._ask_token_status(url)), verdict.facts
        )
        with self._lock:
            first = classified.failure is FORBIDDEN and not self._warned
            self._warned = self._warned or first
        if first:
            logger.warning("%s Until then it is left out of each sync; other streams aren't.", classified.message)
        return classified

    def _ask_token_status(self, url: str) -> Failure:
        failure, _ = judge(self._exchange(self._request(url)), "bare")
        if failure is None:
            return FORBIDDEN
        return TOKEN_REJECTED if failure in (FORBIDDEN, TOKEN_REJECTED) else FORBIDDEN_OR_REJECTED


def _print_rate_limited_status(stream: str) -> None:
    """Tell the platform at once that a stream waits for the rate limit: queued messages may follow much later."""
    reasons = [AirbyteStreamStatusReason(type=AirbyteStreamStatusReasonType.RATE_LIMITED)]
    status = as_airbyte_message(StreamDescriptor(name=stream), AirbyteStreamStatus.RUNNING, reasons)
    line = orjson.dumps(AirbyteMessageSerializer.dump(status)).decode()
    # One call with the line's end, because other threads print too.
    print(f"{line}\n", end="", flush=True)  # noqa: T201


def _backoff(tries: int, longest: float) -> float:
    wait = 2.0 ** min(tries - 1, 10)
    return min(wait, longest) * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # no secret hangs on it
