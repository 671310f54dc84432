"""Errors: ``FAILURES``, the table of what a request may meet in place of a page, and how the connector reacts."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ssl import SSLCertVerificationError
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import orjson
import requests
import urllib3
from airbyte_cdk.models import FailureType, StreamDescriptor
from airbyte_cdk.sources.streams.http.error_handlers.response_models import ResponseAction
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from requests import exceptions as broken

from source_commonroom.api.answers import AnswerTooLargeError
from source_commonroom.api.page import NotAPageError, parse_page
from source_commonroom.api.rate_limit import RateLimitLastsError, retry_after_of

# If a request was tried for longer, in seconds, its error says how long.
_MINUTES = 90.0
_SLUG = re.compile(r"[a-z0-9_-]{1,64}")
# What a page that is too large for the API, or for a gateway before it, is answered with.
_TOO_SLOW = {"read_timeout", "answer_too_large"}
_TOO_SLOW_STATUSES = {504, 524}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A row of ``FAILURES``."""

    name: str
    """What the log and the internal message of an error call it."""
    means: str
    """What it means, in the words of the reference, docs/integrations/sources/commonroom/."""
    message: str
    """For people; ``{stream}``, ``{endpoint}``, ``{status}``, ``{host}``, ``{target}`` and ``{what}`` are filled in."""
    failure_type: FailureType = FailureType.transient_error
    action: ResponseAction = ResponseAction.RETRY
    """RETRY, RATE_LIMITED, or FAIL at once; never IGNORE, which would let the state pass what is missing."""
    statuses: Collection[int] = ()
    not_json: bool = False
    """Only if there is a body and it isn't JSON, so that the API itself didn't answer."""
    of_a_slice: bool = False
    """Only if the address names one slice of the stream, such as a segment."""
    exceptions: tuple[type[BaseException], ...] = ()
    """If requests raises one of these, or one that wraps one of these."""
    words: str = ""
    """Only if the exception's text matches this regular expression: its class isn't enough."""

    @property
    def retried(self) -> bool:
        """Whether the request is sent again."""
        return self.action is not ResponseAction.FAIL


_LATER = "Run the sync again later; nothing that was read is lost."
_REPORT = "report it as an issue of the connector, with the log of this sync."
MAKE_ANOTHER = (
    "Make a new one in Common Room under Settings | API tokens (as an admin), and enter it in the configuration."
)
_NO_CONNECTION = "Is the server up, and reachable from here? " + _LATER

# A request that isn't sent again, because only the user can help.
_ConfigError = partial(Failure, action=ResponseAction.FAIL, failure_type=FailureType.config_error)

TOKEN_REJECTED = _ConfigError(
    name="token_rejected",
    means="Common Room rejects the token itself.",
    statuses=(401,),
    message="{stream}: Common Room rejected the API token. " + MAKE_ANOTHER,
)
FORBIDDEN = _ConfigError(
    name="forbidden",
    means="The token is valid, but it, or the plan of the workspace, doesn't include this.",
    statuses=(403,),
    message="{stream}: Common Room refused access to /{endpoint}. The API token is valid, but it, or the plan of the "
    "workspace, doesn't include this stream. Deselect the stream, or have an admin of Common Room widen what the token "
    "may read.",
)
FORBIDDEN_OR_REJECTED = _ConfigError(
    name="forbidden_or_rejected",
    means="A token that is no longer valid, or one that may not read this: the API didn't say which.",
    message="{stream}: Common Room refused access to /{endpoint}, and didn't answer whether the API token is valid. "
    "Either it is no longer valid, or it, or the plan of the workspace, doesn't include this stream. Test the "
    "connection: if the test passes, the token is valid; then deselect this stream, or have an admin of Common Room "
    "widen what the token may read.",
)
RATE_LIMIT_LASTS = Failure(
    name="rate_limit_lasts",
    means="The rate limit lets nothing through any more: others use it up.",
    exceptions=(RateLimitLastsError,),
    action=ResponseAction.FAIL,
    message="{stream}: the API's rate limit lets no request through: {what}. Do other programs use this token? Give "
    'the connector a token of its own, or lower "Requests per second". ' + _LATER,
)
NOT_A_PAGE = Failure(
    name="not_a_page",
    means="The answer says that all is well, but it isn't a whole page: HTML, empty, cut off, an error inside, or no "
    "list.",
    exceptions=(NotAPageError,),
    message="{stream}: /{endpoint} answered {status} with {what}. A proxy or a gateway in between, or an API in "
    "trouble, answers so. " + _LATER,
)
UNKNOWN_STATUS = Failure(
    name="unknown_status",
    means="A status that this table doesn't know.",
    message="{stream}: /{endpoint} answered with the status {status}, which the connector doesn't know. A proxy or a "
    "gateway in between may have answered. " + _LATER,
)

FAILURES = (
    # Refusals.
    Failure(
        name="invalid_request",
        means="The API refuses a parameter, a column, or a cursor as invalid.",
        statuses=(400, 422),
        action=ResponseAction.FAIL,
        failure_type=FailureType.system_error,
        message="{stream}: Common Room refused a request to /{endpoint} as invalid. Its API may have changed; "
        + _REPORT,
    ),
    TOKEN_REJECTED,
    _ConfigError(
        name="blocked",
        means="A firewall or a proxy refuses; the API itself would answer in JSON.",
        statuses=(403,),
        not_json=True,
        message="{stream}: a request to /{endpoint} was blocked before it reached Common Room's API: {host} answered "
        "{status} with a page that isn't the API's. A firewall or a proxy in between answers so; have it let the "
        "connector pass.",
    ),
    FORBIDDEN,
    FORBIDDEN_OR_REJECTED,
    Failure(
        name="part_gone",
        means="The part that the address names, such as a segment, is gone since it was listed.",
        statuses=(404,),
        of_a_slice=True,
        action=ResponseAction.FAIL,
        message="{stream}: Common Room listed something that it doesn't know any more at /{endpoint} (404). It was "
        "probably deleted while the sync ran. Run the sync again; if it happens each time, " + _REPORT,
    ),
    _ConfigError(
        name="not_found",
        means="The address is wrong, or the API has changed.",
        statuses=(404,),
        message="{stream}: there is no endpoint /{endpoint}, or not with this id. Is the API address of the "
        "configuration right? If it isn't set, Common Room's API has changed; " + _REPORT,
    ),
    Failure(
        name="method_not_allowed",
        means="The API can't be read there any more, or a proxy forbids it.",
        statuses=(405,),
        action=ResponseAction.FAIL,
        failure_type=FailureType.system_error,
        message="{stream}: /{endpoint} no longer takes requests that read (405). Common Room's API may have changed; "
        + _REPORT,
    ),
    Failure(
        name="gone",
        means="Common Room has removed the endpoint.",
        statuses=(410,),
        action=ResponseAction.FAIL,
        failure_type=FailureType.system_error,
        message="{stream}: Common Room says that /{endpoint} is gone for good. Look for a newer version of the "
        "connector, and deselect the stream until then; if there is none, " + _REPORT,
    ),
    _ConfigError(
        name="redirected",
        means="A proxy's login page, or an API that has moved. The connector doesn't follow, because it would show the "
        "token to another server.",
        statuses=(301, 302, 303, 307, 308),
        message="{stream}: a request to /{endpoint} was redirected to {target}. The connector didn't follow, because "
        "the API token is for {host} alone. Either it is the login page of a proxy: have it let the connector pass; or "
        "the API has moved: then set the API address of the configuration.",
    ),
    _ConfigError(
        name="redirect_loop",
        means="Redirects that lead round in a circle.",
        exceptions=(broken.TooManyRedirects,),
        message="{stream}: {host} redirected a request to /{endpoint} time and again. Is the API address of the "
        "configuration right? If it isn't set, ask the people who run the proxy between the connector and Common Room.",
    ),
    # The rate limit.
    Failure(
        name="rate_limited",
        means="The rate limit is reached. The connector waits and goes on.",
        statuses=(429,),
        action=ResponseAction.RATE_LIMITED,
        message="{stream}: the API's rate limit is reached.",
    ),
    RATE_LIMIT_LASTS,
    # Trouble that passes.
    Failure(
        name="try_again",
        means="The server gave up waiting for the request, or asks for it once more.",
        statuses=(408, 425),
        message="{stream}: {host} didn't take a request to /{endpoint} in time ({status}), each time. " + _LATER,
    ),
    Failure(
        name="conflict",
        means="Something there changes at the same time.",
        statuses=(409,),
        message="{stream}: a request to /{endpoint} was in conflict with a change in Common Room (409), each time. "
        + _LATER,
    ),
    Failure(
        name="gateway_error",
        means="The gateway before the API couldn't reach it.",
        statuses=range(520, 531),
        message="{stream}: the gateway before Common Room's API couldn't reach it ({status}), each time. " + _LATER,
    ),
    Failure(
        name="server_error",
        means="The API, or a gateway before it, is in trouble.",
        statuses=range(500, 600),
        message="{stream}: Common Room's API, or a gateway before it, is in trouble and answered with a server error "
        "({status}), each time. " + _LATER,
    ),
    NOT_A_PAGE,
    # Proxies.
    _ConfigError(
        name="proxy_refused",
        means="The proxy wants a user and a password.",
        statuses=(407,),
        exceptions=(broken.ProxyError,),
        words=r"Tunnel connection failed: 407",
        message="{stream}: the proxy between the connector and {host} wants a user and a password. They stand in its "
        "address, in the environment of the connector (HTTPS_PROXY); have it corrected.",
    ),
    _ConfigError(
        name="proxy_invalid",
        means="The address of the proxy isn't one, or is of a kind that the connector can't use, such as SOCKS.",
        # The API's own address was checked with the configuration (config.py), and is no part of what fails here.
        exceptions=(broken.InvalidURL, broken.InvalidSchema, urllib3.exceptions.LocationValueError, UnicodeError),
        message="{stream}: the proxy between the connector and {host} can't be used: its address isn't one, or is "
        "neither http nor https. It stands in the environment of the connector (HTTPS_PROXY or ALL_PROXY); have it "
        "corrected.",
    ),
    Failure(
        name="proxy_failed",
        means="The proxy can't be reached, or doesn't connect.",
        exceptions=(broken.ProxyError,),
        message="{stream}: the proxy between the connector and {host} can't be reached, or doesn't connect. Is it up, "
        "and is its address in the environment of the connector (HTTPS_PROXY) right? " + _LATER,
    ),
    # Other refusals, and what no row knows.
    Failure(
        name="refused",
        means="A refusal that the API doesn't document.",
        statuses=range(400, 500),
        action=ResponseAction.FAIL,
        message="{stream}: a request to /{endpoint} was refused with the status {status}, which Common Room's API "
        "doesn't document. A proxy or a firewall in between may have answered. Run the sync again later; if it happens "
        "again, " + _REPORT,
    ),
    UNKNOWN_STATUS,
    # Connections.
    _ConfigError(
        name="ca_bundle_unusable",
        means="The file of trusted certificate authorities isn't there, or holds none.",
        exceptions=(OSError,),
        words=r"TLS CA certificate bundle|\[X509",
        message="{stream}: the certificate of {host} can't be checked, because the file of trusted certificate "
        "authorities isn't there, or holds none. The environment of the connector names it (REQUESTS_CA_BUNDLE or "
        "CURL_CA_BUNDLE); have it corrected, or remove it.",
    ),
    _ConfigError(
        name="tls_untrusted",
        means="The certificate isn't trusted. A proxy in between may present one of its own.",
        exceptions=(SSLCertVerificationError,),
        message="{stream}: {host} has no certificate that is trusted here. A proxy in between may present one of its "
        "own: have it let the connector pass, or add its certificate authority to those that the connector trusts "
        "(REQUESTS_CA_BUNDLE).",
    ),
    Failure(
        name="tls_failed",
        means="The two ends don't agree on TLS.",
        exceptions=(broken.SSLError,),
        message="{stream}: {host}: no TLS connection. A proxy or a firewall in between may break it. " + _NO_CONNECTION,
    ),
    Failure(
        name="dns_failed",
        means="The network's DNS doesn't know the host.",
        exceptions=(urllib3.exceptions.NameResolutionError,),
        message="{stream}: {host}: its name cannot be resolved. Check the network's DNS, and the API address of the "
        "configuration if it is set. " + _LATER,
    ),
    Failure(
        name="connection_refused",
        means="Nothing listens there, or a firewall is between.",
        exceptions=(ConnectionRefusedError,),
        message="{stream}: {host}: it refused the connection; nothing listens there, or a firewall is between. "
        + _NO_CONNECTION,
    ),
    Failure(
        name="unreachable",
        means="There is no way to the host's network.",
        exceptions=(requests.ConnectionError,),
        words=r"Network is unreachable|No route to host",
        message="{stream}: {host}: the network is unreachable from here. Has the connector a way out, past firewalls? "
        + _LATER,
    ),
    Failure(
        name="read_timeout",
        means="The API takes longer to answer than the connector waits.",
        exceptions=(urllib3.exceptions.ReadTimeoutError, requests.ReadTimeout),
        message="{stream}: {host} accepted the request and did not answer in time. " + _LATER,
    ),
    Failure(
        name="connect_timeout",
        means="The host doesn't accept the connection in time.",
        # The second is the system's own, which may lose patience first. Time-outs while reading have a row above.
        exceptions=(requests.ConnectTimeout, TimeoutError),
        message="{stream}: {host} did not accept a connection in time. " + _NO_CONNECTION,
    ),
    Failure(
        name="answer_too_large",
        means="An answer that is larger than any page: more than 256 MB, unpacked.",
        exceptions=(AnswerTooLargeError,),
        message="{stream}: {host} answered a request to /{endpoint} with more than 256 MB, which no page has. A proxy "
        "or a gateway in between may have answered. " + _LATER,
    ),
    Failure(
        name="connection_broken",
        means="The connection broke, before the answer or in the middle of it.",
        exceptions=(requests.RequestException,),
        message="{stream}: {host} broke the connection ({what}). " + _NO_CONNECTION,
    ),
)
"""In order: the first row that fits counts."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The row for a request that returned no page, with its message."""

    failure: Failure
    message: str
    """For people."""
    facts: Mapping[str, Any]
    """What the message is filled with, and what the internal one says; nothing of the configuration but the host."""

    @classmethod
    def of(cls, failure: Failure, facts: Mapping[str, Any]) -> "Verdict":
        """Return the verdict that a row and the facts make."""
        return cls(failure=failure, message=failure.message.format_map(facts), facts=facts)


class RequestFailedError(AirbyteTracedException):
    """A request that returned no page, at once or although it was sent again; it holds no request and no answer.

    :param verdict: what ``FAILURES`` says of it
    """

    def __init__(self, verdict: Verdict, stream: str, tries: int = 1, seconds: float = 0.0) -> None:
        minutes = f" in {seconds / 60:.0f} minutes" if seconds > _MINUTES else ""
        facts, suffix = verdict.facts, f" ({tries} tries{minutes}.)" if tries > 1 else ""
        super().__init__(
            message=f"{verdict.message}{suffix}",
            internal_message=f"{verdict.failure.name}: {facts['met']} from /{facts['endpoint']}{suffix}",
            failure_type=verdict.failure.failure_type,
            stream_descriptor=StreamDescriptor(name=stream),
        )
        self.verdict = verdict
        self.failure = verdict.failure
        self._tried = tries, seconds

    @property
    def is_too_slow(self) -> bool:
        """Whether the answer took too long, or was too large: a smaller page may be served."""
        return self.failure.name in _TOO_SLOW or self.verdict.facts["status"] in _TOO_SLOW_STATUSES

    def for_small_pages(self, size: int, expensive: Sequence[str]) -> "RequestFailedError":
        """Return the same as the failure of a page that isn't served however few rows are asked for.

        :param size: how few
        :param expensive: the columns that take the API longest, of those that were asked for
        """
        text = f"{self.verdict.message} Even pages of {size} records take too long."
        if expensive:
            text += (
                f" Of the columns that are selected, {', '.join(expensive)} take the API longest: deselect those that "
                "you don't need."
            )
        verdict = replace(self.verdict, message=text)
        return RequestFailedError(verdict, str(self.verdict.facts["stream"]), *self._tried)

    def for_stream(self, stream: str) -> "RequestFailedError":
        """Return the same as the failure of another stream, which needs what was asked for."""
        return RequestFailedError(
            Verdict.of(self.failure, {**self.verdict.facts, "stream": stream}), stream, *self._tried
        )


def judge(
    met: requests.Response | Exception | None, page: str, *, of_a_slice: bool = False
) -> tuple[Failure | None, Mapping[str, Any]]:
    """Return the row for an answer, or for the exception that stands in its place, and the facts for its message.

    Why not the CDK's response filters: they match neither exceptions nor ranges of statuses; their ``failure_type``
    counts for FAIL alone, and a status that they don't list becomes a ``system_error``, as time-outs and resets do.
    Pinned, for each row, by test_given_a_row_of_the_table_when_it_is_met_then_the_stream_ends_as_the_row_says.

    :param page: the kind of page that is asked for, see :func:`parse_page`
    :param of_a_slice: whether the address names one part of the stream
    :return: no row if the answer is a whole page
    """
    if not isinstance(met, requests.Response):
        return _row_of_exception(met), _facts_of_exception(met)
    if not requests.codes.ok <= met.status_code < requests.codes.multiple_choices:
        return _row_of_status(met, of_a_slice=of_a_slice), _facts_of_answer(met)
    try:
        parse_page(met, page)
    except NotAPageError as error:
        return NOT_A_PAGE, {**_facts_of_answer(met), "what": str(error)}
    return None, {}


def _row_of_status(answer: requests.Response, *, of_a_slice: bool) -> Failure:
    for row in FAILURES:
        fits = answer.status_code in row.statuses and (of_a_slice or not row.of_a_slice)
        if fits and not (row.not_json and _is_json(answer)):
            return row
    return UNKNOWN_STATUS


def _row_of_exception(error: Exception | None) -> Failure:
    text, causes = str(error), list(_causes(error))
    for row in FAILURES:
        if any(isinstance(cause, row.exceptions) for cause in causes) and re.search(row.words, text):
            return row
    # The CDK hands over exceptions of requests alone, and the last row has them all.
    raise AssertionError(f"no row for {type(error).__name__}")


def _causes(error: object) -> Iterator[BaseException]:
    """Yield an exception and those that it wraps: requests wraps urllib3's, which wraps the socket's."""
    if isinstance(error, BaseException):
        yield error
        for inner in (*error.args, getattr(error, "reason", None), error.__cause__):
            yield from _causes(inner)


def _is_json(answer: requests.Response) -> bool:
    """Tell whether the body is JSON, or there is none."""
    try:
        return not answer.content or orjson.loads(answer.content) is not None
    except orjson.JSONDecodeError:
        return False


def _facts_of_answer(answer: requests.Response) -> Mapping[str, Any]:
    code = _code_of(answer)
    return {
        "status": answer.status_code,
        "host": _host_of(answer.url),
        "target": _target_of(answer),
        "what": "",
        "wait": retry_after_of(answer),
        "met": f"{answer.status_code}, code {code}" if code else str(answer.status_code),
    }


def _facts_of_exception(error: Exception | None) -> Mapping[str, Any]:
    request = getattr(error, "request", None)
    return {
        "status": "",
        "host": _host_of(getattr(request, "url", None)) or "the API",
        "target": "",
        "what": str(error) if isinstance(error, RateLimitLastsError) else type(error).__name__,
        # The classes alone: the texts hold addresses.
        "met": " < ".join(dict.fromkeys(type(cause).__name__ for cause in _causes(error))),
    }


def _host_of(url: str | None) -> str:
    return urlsplit(url or "").netloc.rpartition("@")[2]


def _target_of(answer: requests.Response) -> str:
    """Return the address that an answer redirects to, without path and query."""
    location = answer.headers.get("Location")
    if location is None:
        return "nowhere"
    try:
        target = urlsplit(urljoin(answer.url, location))
    except ValueError:
        return "an address that isn't one"
    return f"{target.scheme}://{target.netloc.rpartition('@')[2]}"


def _code_of(answer: requests.Response) -> str | None:
    """Return the code of the API's error envelope; only a short word, because a text may quote the request."""
    try:
        code = cast("dict[str, Any]", orjson.loads(answer.content))["error"]["code"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) and _SLUG.fullmatch(code) else None
