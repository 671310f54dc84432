"""Retries: how often, and how long to wait in between; and where requests may go."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from airbyte_cdk.sources.declarative.interpolation import InterpolatedString
from airbyte_cdk.sources.declarative.requesters.http_requester import HttpRequester
from airbyte_cdk.sources.declarative.requesters.request_options import InterpolatedRequestOptionsProvider
from airbyte_cdk.sources.streams.call_rate import LimiterSession
from airbyte_cdk.sources.streams.http import HttpClient
from airbyte_cdk.sources.streams.http.error_handlers.response_models import ErrorResolution, ResponseAction
from airbyte_cdk.sources.streams.http.exceptions import BaseBackoffException
from airbyte_cdk.sources.types import StreamSlice
from requests.auth import AuthBase

from source_commonroom.components.answers import WatchedAdapter, one_answer
from source_commonroom.components.errors import (
    FORBIDDEN,
    FORBIDDEN_OR_REJECTED,
    TOKEN_REJECTED,
    Failure,
    RequestFailedError,
    Verdict,
    judge,
)
from source_commonroom.components.rate_limit import (
    PATIENCE,
    RateLimitLastsError,
    RequestBudget,
    budget_of,
    key_of,
    wait_of,
)

logger = logging.getLogger("airbyte")
# For requests of a configuration that doesn't keep personal data.
_discreet_logger = logger.getChild("discreet")

# The waits before the second try to the sixth are 1, 2, 4, 8 and 16 s, each ± 25 % so that the workers that one outage
# stopped don't come back in one instant; and later ones no longer than this, in seconds.
_JITTER = 0.25
_LONGEST_BETWEEN_TRIES = 30.0
# So long an answer may take in all, in seconds: as long as the largest honest page may need on a slow line.
_DEADLINE = 180.0
_QUICK_DEADLINE = 60.0
_DEADLINE_FOR_A_PERSON = 12.0
# Where 429s don't say how long to wait, the waits grow no longer than this, in seconds.
_LONGEST = 64.0
# How long a person may have to wait for a connection, or for the rate limit, in seconds; an answer may take twice that.
_A_MOMENT = 5.0
# How long an answer may take that is one of few tries, in seconds: who asks has another way.
_QUICK = 20.0
# How long it counts what the API said of a token, in seconds: in a long sync it may be revoked.
_STATUS_COUNTS = 60.0


class _LeaveOutBodies(logging.Filter):
    """Leaves the bodies of answers out of the log, which has all of them at the level debug.

    Why: they hold personal data as it came. Pinned by
    test_given_a_debug_log_when_read_then_it_has_the_bodies_of_answers_only_where_personal_data_is_kept.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the body out; let every line pass."""
        if hasattr(record, "body"):
            record.body = "left out, because the configuration doesn't keep personal data"
        return True


_discreet_logger.addFilter(_LeaveOutBodies())


class _TokenHeader(AuthBase):
    """Adds the header that holds the token, which is the same in all of a sync.

    The CDK's authenticator interpolates it for each request, which costs as much as some ten records.
    """

    def __init__(self, header: Mapping[str, str]) -> None:
        self._header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._header)
        return request


class OneOriginSession(LimiterSession):
    """A session that shows the token to one origin alone, scheme, host and port, and raises what the table knows.

    Why not the CDK's: ``requests`` follows a redirect to any host, and to http, and a login page there passes for the
    API's answer. It takes ``Authorization`` off by rules of its own, which a new version may change. Here such an
    answer stays what it is, a redirect, and is a row of the table.
    Pinned by test_given_a_redirect_elsewhere_when_read_then_nothing_is_asked_there.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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

        :raises requests.RequestException: where there is none, whatever raised it below: what the environment says of
            proxies and certificates may be anything, and requests doesn't wrap all that comes of it
        """
        if urlsplit(request.url).scheme == "http":
            # The loopback. A proxy of the environment would see the token as it is.
            # Pinned by test_given_a_proxy_for_http_when_checked_then_it_never_sees_the_token.
            kwargs["proxies"] = {}
        try:
            with one_answer():
                return super().send(request, **kwargs)
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
        """Return where to go on; None for an answer that is the last."""
        try:
            target = super().get_redirect_target(resp)
            return target if target and _origin(urljoin(resp.url, target)) == _origin(resp.url) else None
        except ValueError:
            # No address at all; the table says so.
            return None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    if {"@", "\\"} & set(parts.netloc):
        raise ValueError("an address that two readers could understand in two ways")
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


class TokenStatus:
    """What the API says of a token: asked for once, and those who come meanwhile wait for the answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._why: Failure | None = None
        self._asked_at = 0.0

    def why(self, ask: Callable[[], Failure]) -> Failure:
        """Return the row that a 403 stands for."""
        with self._lock:
            if self._why is None or time.monotonic() - self._asked_at > _STATUS_COUNTS:
                self._why = ask()
                self._asked_at = time.monotonic()
            return self._why


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
        """The API's time, which is told to the second, and this machine's at that moment; None if no answer told it."""
        return self._first

    def note(self, answer: requests.Response) -> None:
        """Note the time of an answer, if it is the first one that tells it."""
        if self._first is not None or (date := answer.headers.get("Date")) is None:
            return
        try:
            told = parsedate_to_datetime(date)
            at = told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
        except (ValueError, TypeError, OverflowError):
            return
        self._first = at, datetime.now(UTC)


class PatientHttpClient(HttpClient):
    """An ``HttpClient`` that tells a rate limit from a failure, waits no longer than it says, and ends with a sentence.

    Whatever ends a request is a :class:`RequestFailedError`: the CDK's own exceptions and logs hold addresses, headers
    and bodies.

    :param budget: that of the token
    :param token_status_url: returns the address that tells what a 403 means
    :param patience: how long a request is tried that fails, in seconds, but as often as the error handler says at least
    :param deadline: how many seconds an answer may take in all
    :param tries: how often a request is sent at most, whatever the patience; None for no limit
    :param kwargs: what an ``HttpClient`` takes; the error handler is a :class:`PageErrorHandler`
    """

    def __init__(
        self,
        name: str,
        *,
        budget: RequestBudget,
        token_status_url: Callable[[], str],
        patience: float,
        deadline: float,
        tries: int | None = None,
        **kwargs: Any,
    ) -> None:
        self._budget = budget
        self._token_status_url = token_status_url
        self._patience = patience
        self._tries = tries
        super().__init__(name, **kwargs)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, WatchedAdapter(deadline))
        self._asking = threading.local()
        self._warned = False
        self._lock = threading.Lock()

    @property
    def _max_retries(self) -> int:
        return super()._max_retries if self._tries is None else self._tries - 1

    @contextmanager
    def giving_up_if(self, others_are_served: Callable[[], bool] | None, slow_tries: int | None) -> Iterator[None]:
        """Let what this thread asks fail before the patience is over.

        :param others_are_served: finds out whether other requests are served, so that it isn't an outage: then it
            fails after the usual tries
        :param slow_tries: after so many tries that took the API too long it fails as well
        """
        self._asking.others_are_served, self._asking.slow_tries = others_are_served, slow_tries
        try:
            yield
        finally:
            self._asking.others_are_served = self._asking.slow_tries = None

    def _request_session(self) -> requests.Session:
        return OneOriginSession(api_budget=self._budget)

    def _send_with_retry(
        self,
        request: requests.PreparedRequest,
        request_kwargs: Mapping[str, Any],
        log_formatter: Callable[[requests.Response], Any] | None = None,
        exit_on_rate_limit: bool | None = False,  # noqa: FBT001, FBT002  # the CDK's signature
    ) -> requests.Response:
        failures = limits = slow = 0
        slow_tries = getattr(self._asking, "slow_tries", None)
        limited_since: float | None = None
        failing_since: float | None = None
        try:
            while True:
                try:
                    answer = self._send(request, request_kwargs, log_formatter, exit_on_rate_limit)
                except BaseBackoffException as error:
                    # The rate limit, by the CDK's own exception.
                    limits += 1
                    limited_since = limited_since or self._budget.now()
                    self._wait(request, wait_of(error.response) or _exponential(limits, _LONGEST), limited_since)
                except RequestFailedError as error:
                    failures += 1
                    limits, limited_since = 0, None
                    if not error.failure.retried:
                        raise RequestFailedError(error.verdict, self.name, failures) from None
                    failing_since = failing_since or time.monotonic()
                    slow += error.is_too_slow
                    since = min(failing_since, self._budget.failing_since(time.monotonic()))
                    if slow == slow_tries or self._gives_up(failures, since):
                        raise RequestFailedError(
                            error.verdict, self.name, failures, time.monotonic() - failing_since
                        ) from None
                    self._sleep(error, failures, failing_since)
                else:
                    self._budget.served()
                    return answer
        finally:
            # The CDK counts the tries of a request until somebody says that there are no more.
            self._evict_key(request)

    def _gives_up(self, failures: int, since: float) -> bool:
        """Tell whether a request that failed so often isn't sent again.

        :param since: since when nothing has been served, whoever asked, or this request hasn't
        """
        if self._disable_retries or failures <= self._max_retries:
            return self._disable_retries
        if self._tries is not None or time.monotonic() - since >= self._patience:
            return True
        others_are_served = getattr(self._asking, "others_are_served", None)
        return others_are_served is not None and others_are_served()

    def _sleep(self, error: RequestFailedError, failures: int, since: float) -> None:
        """Wait before the next try: as long as the answer asks for, if that isn't longer than it is worth."""
        left = self._patience - (time.monotonic() - since)
        told = error.verdict.facts.get("wait") if self._tries is None else None
        wait = told if told and told <= left else _exponential(failures, _LONGEST_BETWEEN_TRIES)
        while wait > 0:
            logger.info("%s Try %d follows in %.1f s.", error, failures + 1, wait)
            time.sleep(min(wait, _LONGEST_BETWEEN_TRIES))
            wait -= _LONGEST_BETWEEN_TRIES

    def _wait(self, request: requests.PreparedRequest, seconds: float, limited_since: float) -> None:
        try:
            self._budget.wait(seconds, limited_since)
        except RateLimitLastsError as error:
            # As where the budget raises it while a request is sent.
            self._handle_error_resolution(None, error, request, self._error_handler.interpret_response(error))

    def _handle_error_resolution(
        self,
        response: requests.Response | None,
        exc: requests.RequestException | None,
        request: requests.PreparedRequest,
        error_resolution: ErrorResolution,
        exit_on_rate_limit: bool | None = False,  # noqa: FBT001, FBT002  # the CDK's signature
    ) -> None:
        if error_resolution.response_action == ResponseAction.RATE_LIMITED:
            # It prints the stream status that says so, and raises.
            super()._handle_error_resolution(response, exc, request, error_resolution, exit_on_rate_limit)
        if isinstance(error_resolution, Verdict):
            # The address and the like stand in what came before.
            raise RequestFailedError(self._told_apart(error_resolution, request), self.name) from None

    def _told_apart(self, verdict: Verdict, request: requests.PreparedRequest) -> Verdict:
        """Return what a 403 means: the API answers the same to a bad token and to one that may not read this."""
        if verdict.failure is not FORBIDDEN:
            return verdict
        url = self._token_status_url()
        if (request.url or "").partition("?")[0] == url:
            # Every valid token may ask this.
            return Verdict.of(TOKEN_REJECTED, verdict.facts)
        told = Verdict.of(_token_status_of(self._budget, url).why(lambda: self._ask(url)), verdict.facts)
        with self._lock:
            first = told.failure is FORBIDDEN and not self._warned
            self._warned = self._warned or first
        if first:
            logger.warning("%s Until then it is left out of each sync; other streams aren't.", told.error_message)
        return told

    def _ask(self, url: str) -> Failure:
        met: requests.Response | requests.RequestException
        try:
            met = self._session.get(url, headers={"Accept": "application/json"}, timeout=self._request_timeout)
        except requests.RequestException as error:
            met = error
        failure, _ = judge(met, "bare")
        if failure is None:
            return FORBIDDEN
        return TOKEN_REJECTED if failure in (FORBIDDEN, TOKEN_REJECTED) else FORBIDDEN_OR_REJECTED


def _exponential(tries: int, longest: float) -> float:
    wait = 2.0 ** min(tries - 1, 10)
    return min(wait, longest) * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # no secret hangs on it


@dataclass
class PatientRequester(HttpRequester):
    """An ``HttpRequester`` whose client is a :class:`PatientHttpClient` with the one budget of its token.

    Why not YAML: the CDK counts 429s and failures against the same few retries, sleeps a second longer than any
    strategy says, logs each of its waits as "Rate limit exceeded", has no jitter, and ends with "Exhausted available
    request attempts. Please see logs" where a person needs to know what to do.
    Before: a refused connection failed after 67 s. After: after ten minutes, because an outage passes, or at once where
    a person waits; with its reason.
    Pinned by the tests of unit_tests/test_retries.py.

    :param request_parameters: the query, interpolated; what is empty then is not sent
    :param request_headers: headers besides the authenticator's, interpolated
    :param requests_per_second: what all streams of the token may spend together, interpolated
    :param token_status_url: the address that tells what a 403 means, interpolated
    :param patience_in_seconds: how long a request is tried that fails; None for ten minutes
    """

    request_parameters: Mapping[str, Any] | None = None
    request_headers: Mapping[str, Any] | None = None
    requests_per_second: str = "20"
    token_status_url: str = ""
    patience_in_seconds: float | None = None

    def __post_init__(self, parameters: Mapping[str, Any]) -> None:
        self.request_options_provider = InterpolatedRequestOptionsProvider(
            config=self.config,
            parameters=parameters,
            request_parameters=dict(self.request_parameters or {}),
            request_headers=dict(self.request_headers or {}),
        )
        super().__post_init__(parameters)
        self._fixed: tuple[str, Mapping[str, Any], Mapping[str, Any]] | None = None
        self._path_varies = "stream_slice" in str(self.url)
        self._rate = float(self._interpolated(self.requests_per_second, parameters))
        self._status_url = partial(self._interpolated, self.token_status_url, parameters)
        self.api_clock = ApiClock()
        self._quick: dict[int, PatientRequester] = {}
        self.is_hurried = False
        """Whether a person waits."""
        self._http_client: PatientHttpClient = self._client()

    @property
    def token_key(self) -> bytes:
        """What tells its token from others; no token can be had of it."""
        return key_of(str(self._authenticator.get_auth_header()))

    def _client(self, **options: Any) -> PatientHttpClient:
        """Return a client.

        :param options: what is other than usual of it
        """
        patience = PATIENCE if self.patience_in_seconds is None else self.patience_in_seconds
        usual: dict[str, Any] = {
            "name": self.name,
            "logger": self.logger if self.config.get("pii", "keep") == "keep" else _discreet_logger,
            "error_handler": self.error_handler,
            "budget": self._budget(PATIENCE),
            "token_status_url": self._status_url,
            "patience": patience,
            "deadline": _DEADLINE,
            "authenticator": _TokenHeader(self._authenticator.get_auth_header()),
            "disable_retries": self.disable_retries,
            "message_repository": self.message_repository,
            "request_timeout": (self.connect_timeout_in_seconds, self.read_timeout_in_seconds),
        }
        return PatientHttpClient(**{**usual, **options})

    def _budget(self, patience: float) -> RequestBudget:
        return budget_of(str(self._authenticator.get_auth_header()), self._rate, patience)

    def hurry(self) -> None:
        """Wait a few seconds for an answer or for the rate limit from now on, and no longer: for a person who waits."""
        self.is_hurried = True
        self._http_client = self._client(
            budget=self._budget(_A_MOMENT),
            patience=0.0,
            deadline=_DEADLINE_FOR_A_PERSON,
            request_timeout=(_A_MOMENT, 2 * _A_MOMENT),
        )

    def quick(self, tries: int) -> "PatientRequester":
        """Return the same requester, but that it sends a request so often at most, and waits for a shorter time."""
        if tries not in self._quick:
            quick = copy(self)
            quick._http_client = self._client(  # noqa: SLF001  # of its own kind
                tries=tries, deadline=_QUICK_DEADLINE, request_timeout=(self.connect_timeout_in_seconds, _QUICK)
            )
            self._quick.setdefault(tries, quick)
        return self._quick[tries]

    def get(
        self,
        params: Mapping[str, Any],
        stream_slice: StreamSlice | None = None,
        others_are_served: Callable[[], bool] | None = None,
        slow_tries: int | None = None,
    ) -> requests.Response:
        """Return the answer to a GET with ``params`` besides the fixed ones, retried as it takes.

        Unlike ``send_request`` it interpolates address, headers and fixed parameters once, and not for each page: they
        are the same for all pages of a stream, but for an address that names its slice; and interpolation costs as much
        as some twenty records.

        :param others_are_served: see :meth:`PatientHttpClient.giving_up_if`
        :param slow_tries: likewise
        """
        if self._fixed is None:
            self._fixed = (
                self.get_url(stream_slice=stream_slice),
                self.get_request_headers(),
                self.get_request_params(),
            )
        url, headers, fixed = self._fixed
        if self._path_varies:
            url = self.get_url(stream_slice=stream_slice)
        with self._http_client.giving_up_if(others_are_served, slow_tries):
            _, response = self._http_client.send_request(
                http_method="GET", url=url, request_kwargs={}, headers=headers, params={**fixed, **params}
            )
        self.api_clock.note(response)
        return response

    def _interpolated(self, text: str, parameters: Mapping[str, Any]) -> str:
        return str(InterpolatedString.create(text, parameters=parameters).eval(self.config))

    def get_request_params(self, **kwargs: Any) -> MutableMapping[str, Any]:
        """Return the query of a request, less what is empty: YAML can only leave a value out, not a parameter."""
        return {name: value for name, value in super().get_request_params(**kwargs).items() if value != ""}
