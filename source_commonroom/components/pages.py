"""Pages: what counts as one, and which rows it holds."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

import orjson
import requests
from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.declarative.requesters.error_handlers.default_error_handler import DefaultErrorHandler
from airbyte_cdk.sources.streams.http.error_handlers.response_models import ErrorResolution, ResponseAction

logger = logging.getLogger("airbyte")

_PAGE = "commonroom_page"


class NotAPageError(ValueError):
    """A 200 whose body is not the page that was asked for. The text says what it is instead, without its content."""


@dataclass(frozen=True)
class _Kind:
    """What the body of a 200 looks like, and where its records are."""

    body: type = dict
    rows_at: str | None = None
    """The key of the records; None where the body is all there is."""
    rows: type = list
    """A list of records, or one that is alone."""
    paged: bool = False
    cursor_at_end: bool = True
    """Whether ``meta.nextCursor`` is there on the last page too."""


_KINDS = {
    "paged": _Kind(rows_at="data", paged=True),
    # The lists whose nextCursor the API's description doesn't require: absent means that no page follows.
    "paged_open": _Kind(rows_at="data", paged=True, cursor_at_end=False),
    "list": _Kind(rows_at="data"),
    "object": _Kind(rows_at="data", rows=dict),
    "bare": _Kind(rows=dict),
    "bare_list": _Kind(body=list),
    "labels": _Kind(rows_at="labels"),
}


def is_paged(kind: str) -> bool:
    """Tell whether pages of this kind say what follows them."""
    return _KINDS[kind].paged


def parse_page(response: requests.Response, kind: str) -> Mapping[str, Any]:
    """Return the body of a 200 as a page, checked whole, or raise.

    The result is kept on the response, because both the error handler and the walk ask for it, and parsing is much of
    the CPU of a read.

    :param response: an answer of the API with a 2xx status
    :param kind: what the endpoint serves: ``paged`` (``data`` is a list, ``meta`` holds ``nextCursor``), ``paged_open``
        (the same, but that it may be left out at the end), ``list`` (``data`` is a list), ``object`` (``data`` is the
        record), ``bare`` (the body is the record), ``bare_list`` (the body is the list), or ``labels`` (``labels`` is)
    :return: ``{"data": [row, …], "meta": {"nextCursor": str | None}}``; ``meta`` is an object only where pages follow
    :raises NotAPageError: where the body is anything else: not JSON, an error inside a 200, no list, no cursor
    """
    page: Mapping[str, Any] | None = response.__dict__.get(_PAGE)
    if page is None:
        page = _parse_page(response, _KINDS[kind])
        response.__dict__[_PAGE] = page
    return page


def _parse_page(response: requests.Response, kind: _Kind) -> Mapping[str, Any]:
    body: Any = _parse_json(response)
    if isinstance(body, dict) and body.get("success") is False:
        error = body.get("error")
        raise NotAPageError(f"success: false (code {error.get('code') if isinstance(error, dict) else None})")
    if not isinstance(body, kind.body):
        raise NotAPageError(f"a JSON {_JSON_TYPES[type(body)]} where {_JSON_TYPES[kind.body]} belongs")
    rows: Any = body if kind.rows_at is None else cast("dict[str, Any]", body).get(kind.rows_at)
    if not isinstance(rows, kind.rows):
        raise NotAPageError(f"no {_JSON_TYPES[kind.rows]} under {kind.rows_at} ({_JSON_TYPES[type(rows)]} instead)")
    if kind.rows is dict and not rows:
        raise NotAPageError("an empty object")
    meta = body.get("meta") if isinstance(body, dict) else None
    _check_cursor(meta, kind)
    return {"data": [rows] if kind.rows is dict else rows, "meta": meta}


_JSON_TYPES = {
    dict: "object",
    list: "list",
    str: "text",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def _parse_json(response: requests.Response) -> Any:
    if not response.content:
        raise NotAPageError("an empty body")
    try:
        # Of the bytes: requests' own json() would replace broken UTF-8, and the CDK's decoder would answer {}.
        return orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        media_type = response.headers.get("Content-Type", "an unnamed type").partition(";")[0]
        raise NotAPageError(
            f"{len(response.content)} bytes of {media_type} that are not whole JSON (at byte {error.pos})"
        ) from None


def _check_cursor(meta: Any, kind: _Kind) -> None:
    cursor = meta.get("nextCursor") if isinstance(meta, dict) else None
    if not kind.paged:
        if cursor is not None:
            raise NotAPageError("a meta.nextCursor, so that more follows, though the endpoint isn't known to be paged")
        return
    if not isinstance(meta, dict) or (kind.cursor_at_end and "nextCursor" not in meta):
        raise NotAPageError("no meta.nextCursor, so that nobody can say whether more pages follow")
    if cursor is not None and (not isinstance(cursor, str) or not cursor):
        raise NotAPageError("a meta.nextCursor that is neither a text nor null")


def rows_of(page: Mapping[str, Any], stream: str) -> list[dict[str, Any]]:
    """Return the rows of a page that are records: non-empty objects. One warning a page counts the others."""
    rows: list[Any] = page["data"]
    records = [row for row in rows if row and isinstance(row, dict)]
    if len(records) < len(rows):
        logger.warning(
            "%s: left out %d of %d rows of a page, because they are empty or no objects. "
            "The API should not send such rows; tell Common Room's support.",
            stream,
            len(rows) - len(records),
            len(rows),
        )
    return records


def _name(parameters: Mapping[str, Any]) -> str:
    return str(parameters.get("name", "unknown"))


def _describe(error: BaseException) -> str:
    """Say what broke a request, and where, in words; nothing of the request's headers or query."""
    request = getattr(error, "request", None)
    host = urlsplit(getattr(request, "url", None) or "").netloc.rpartition("@")[2] or "the API"
    text = str(error)
    # requests wraps urllib3, which wraps the socket: the innermost reason is in the text alone.
    for mark, reason in _CONNECTION_REASONS:
        if mark in text:
            return f"{host}: {reason}"
    if isinstance(error, requests.ConnectTimeout):
        return f"{host} did not accept a connection in time"
    if isinstance(error, requests.Timeout):
        return f"{host} accepted the request and did not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return f"{host}: no trusted TLS connection; a proxy between us may present its own certificate"
    return f"{host} broke the connection ({type(error).__name__})"


_CONNECTION_REASONS = (
    ("NameResolutionError", "its name cannot be resolved; check the network's DNS"),
    ("Failed to resolve", "its name cannot be resolved; check the network's DNS"),
    ("Connection refused", "it refused the connection; nothing listens there, or a firewall is between"),
    ("Network is unreachable", "the network is unreachable from here"),
    ("Read timed out", "it accepted the request and did not answer in time"),
)


@dataclass
class PageErrorHandler(DefaultErrorHandler):
    """Counts a 200 as a success only when its body is a whole page, and words what breaks a connection.

    Why not YAML: ``JsonDecoder`` swallows every error and yields ``{}``, so that with the stock handler HTML, an empty
    or truncated body or ``{"success": false}`` in a 200 ends a stream as COMPLETE with records missing; and response
    filters cannot match exceptions, whose default mapping makes time-outs and resets a ``system_error``.
    Before: COMPLETE, exit 0. After: retried, then INCOMPLETE as ``transient_error``.
    Pinned by test_given_a_broken_body_once_when_read_then_nothing_is_lost and
    test_given_the_same_fault_for_ever_when_read_then_the_stream_is_incomplete.

    :param page: the kind of page that the endpoint serves, see :func:`parse_page`
    """

    page: str = "paged"

    def __post_init__(self, parameters: Mapping[str, Any]) -> None:
        super().__post_init__(parameters)
        self._stream = _name(parameters)

    def interpret_response(self, response_or_exception: requests.Response | Exception | None) -> ErrorResolution:
        """Return the resolution for an answer, or for the exception that stands in its place."""
        if isinstance(response_or_exception, requests.RequestException):
            # Transient_error, whatever the class: the CDK maps most of them to system_error.
            return self._retry(f"{_describe(response_or_exception)}. Is the server up, and reachable from here?")
        resolution = super().interpret_response(response_or_exception)
        if getattr(response_or_exception, "status_code", None) == requests.codes.forbidden:
            logger.warning("%s Until then it is left out of each sync; other streams aren't.", resolution.error_message)
        if resolution.response_action in {ResponseAction.RETRY, ResponseAction.RATE_LIMITED}:
            # A response filter's failure_type counts for FAIL alone; the CDK calls a 520 a system_error.
            return replace(resolution, failure_type=FailureType.transient_error)
        if resolution.response_action == ResponseAction.SUCCESS and isinstance(
            response_or_exception, requests.Response
        ):
            try:
                parse_page(response_or_exception, self.page)
            except NotAPageError as error:
                path = urlsplit(response_or_exception.url).path
                return self._retry(
                    f"{path} answered {response_or_exception.status_code} with {error}. A proxy or a gateway in "
                    "between, or an API in trouble, answers so."
                )
        return resolution

    def _retry(self, what: str) -> ErrorResolution:
        return ErrorResolution(
            response_action=ResponseAction.RETRY,
            failure_type=FailureType.transient_error,
            error_message=f"{self._stream}: {what} Run the sync again later; nothing that was read is lost.",
        )
