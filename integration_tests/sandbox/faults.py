"""Faults on demand: the ways in which the API, a proxy or the network fails a client.

To add a kind, write a function from `Strike` to `Answer` and give it a name in `KINDS`.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

import orjson

from integration_tests.sandbox import refusals
from integration_tests.sandbox.messages import Answer, Call, Delivery, is_at, json_answer
from integration_tests.sandbox.rate_limit import too_many_requests

if TYPE_CHECKING:
    from collections.abc import Iterable

HTML_TYPE = {"Content-Type": "text/html; charset=utf-8"}
USUAL_LIMIT = 20


@dataclass(frozen=True)
class Fault:
    """A rule: which requests fail, and how.

    A rule counts the requests that it matches, and only those. Of them it lets the first `after` pass, then
    strikes every `every`-th, `times` times at most.
    """

    kind: str
    """A name in `KINDS`."""
    every: int = 1
    times: int | None = None
    after: int = 0
    path: str | None = None
    """Match this path only, as "/v2/contacts", or those that one with `{id}` stands for."""
    when: Callable[[Mapping[str, str]], bool] | None = None
    """Match requests with such query parameters only."""
    seconds: float = 0.2
    """How long `hang` hangs, what `rate_limited` asks to wait, and what lies between two bytes of what trickles."""
    status: int = 418
    """What `status` answers."""
    megabytes: int = 300
    """What the answer of `gzip_bomb` unpacks to."""
    location: str = "#"
    """Where `redirect` sends a client: an address, absolute or relative; as it is, the same one again."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}; there are {', '.join(KINDS)}")
        if self.every < 1:
            raise ValueError(f"every is 1 or more, not {self.every}")

    def matches(self, call: Call) -> bool:
        """Tell whether the rule speaks of such a call."""
        return (self.path is None or is_at(self.path, call.path)) and (self.when is None or self.when(call.params))


@dataclass(frozen=True)
class Strike:
    """A fault meeting a call: what a kind of fault makes its answer of."""

    fault: Fault
    call: Call
    answer: Answer
    """The answer without the fault."""
    rows_before: list[Any] | None
    """The rows of the page that led to this one, as they were answered."""
    now: float


@dataclass
class _Tally:
    seen: int = 0
    struck: int = 0


class Faults:
    """The rules in force. If several are due, the first one strikes."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = Lock()
        self._rules = [(fault, _Tally()) for fault in faults]

    def add(self, fault: Fault) -> None:
        """Put a rule in force; its counting starts now."""
        with self._lock:
            self._rules.append((fault, _Tally()))

    def clear(self) -> None:
        """Put all rules out of force."""
        with self._lock:
            self._rules.clear()

    def include(self, kind: str) -> bool:
        """Tell whether there is a rule of a kind."""
        with self._lock:
            return any(fault.kind == kind for fault, _ in self._rules)

    def due(self, call: Call) -> Fault | None:
        """Count a call, and tell the fault that strikes it."""
        due = []
        with self._lock:
            for fault, tally in self._rules:
                if not fault.matches(call):
                    continue
                tally.seen += 1
                turn = tally.seen - fault.after
                spent = fault.times is not None and tally.struck >= fault.times
                if turn > 0 and turn % fault.every == 0 and not spent:
                    due.append((fault, tally))
            if not due:
                return None
            fault, tally = due[0]
            tally.struck += 1
            return fault


def counts(params: Mapping[str, str]) -> bool:
    """Tell whether a request asks for a count, be it for that alone or on a page of rows: a `when` of a fault."""
    return "recordCount" in params.get("cols", "").split(",")


def counts_longer_than(days: float) -> Callable[[Mapping[str, str]], bool]:
    """Make a `when` of requests that ask for the count of more than so many days; what has no end is longer."""

    def when(params: Mapping[str, str]) -> bool:
        if not counts(params):
            return False
        if not {"startDate", "endDate"} <= params.keys():
            return True
        since, until = (datetime.fromisoformat(params[name]) for name in ("startDate", "endDate"))
        return until - since > timedelta(days=days)

    return when


def strike(strike: Strike) -> Answer:
    """Make the answer that a fault leaves of the right one."""
    return KINDS[strike.fault.kind](strike)


Kind = Callable[[Strike], Answer]


def _always(answer: Answer) -> Kind:
    """Answer the same, whatever the call."""
    return lambda _: answer


def _html(status: int, title: str) -> Kind:
    """Answer with a page that was made for people."""
    page = f"<!doctype html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return _always(Answer(status, page.encode(), HTML_TYPE))


def _refused(refuse: Callable[[Call], Answer]) -> Kind:
    """Answer as the API refuses such a call."""
    return lambda it: refuse(it.call)


def _edited(edit: Callable[[Any, Call], Any]) -> Kind:
    """Answer with what an edit makes of the right content."""
    return lambda it: replace(it.answer, body=orjson.dumps(edit(orjson.loads(it.answer.body), it.call)))


def _with_rows(edit: Callable[[Any], Any]) -> Kind:
    """Answer with something else in the place of the rows: in `data`, in `labels`, or as the whole of a bare list."""

    def edit_rows(content: Any, _: Call) -> Any:
        if isinstance(content, list):
            return edit(content)
        key = "labels" if "labels" in content else "data"
        return {**content, key: edit(content.get(key, []))}

    return _edited(edit_rows)


def _without_meta(content: Any, _: Call) -> Any:
    if isinstance(content, dict):
        content.pop("meta", None)
    return content


def _without_cursor(content: Any, _: Call) -> Any:
    if "meta" in content:
        content["meta"].pop("nextCursor", None)
    return content


def _with_sent_cursor(content: Any, call: Call) -> Any:
    if "cursor" in call.params and "meta" in content:
        content["meta"]["nextCursor"] = call.params["cursor"]
    return content


def _with_page_before(it: Strike) -> Answer:
    """Answer a page's rows with those of the page that led to it, while its cursor leads on.

    The very same rows, whatever has changed since: known are those of pages that were answered under such a rule.
    """
    if it.answer.status != 200 or it.rows_before is None:
        return it.answer
    return replace(it.answer, body=orjson.dumps({**orjson.loads(it.answer.body), "data": it.rows_before}))


def _with_empty_rows(rows: Any) -> Any:
    return [{}, None, *rows, 5] if isinstance(rows, list) else rows


def _rate_limited(it: Strike) -> Answer:
    limit = int(it.answer.headers.get("X-RateLimit-Limit", USUAL_LIMIT))
    return too_many_requests(limit, it.now, it.fault.seconds)


def _with_status(it: Strike) -> Answer:
    # A 304 has no body, and the others need none.
    return Answer(it.fault.status)


def _redirected(it: Strike) -> Answer:
    return Answer(302, headers={"Location": it.fault.location})


def _truncated(it: Strike) -> Answer:
    return replace(it.answer, body=it.answer.body[: len(it.answer.body) // 2])


def _followed_by(garbage: bytes) -> Kind:
    """Answer with a value that is no JSON at the end of the envelope, or of a bare list."""

    def append(it: Strike) -> Answer:
        body, end = it.answer.body[:-1], it.answer.body[-1:]
        return replace(it.answer, body=body + (b"," if end == b"]" else b',"extra":') + garbage + end)

    return append


def _with_bomb(it: Strike) -> Answer:
    """Answer little that unpacks to much."""
    body = gzip.compress(bytes(2**20)) * it.fault.megabytes
    return replace(it.answer, body=body, headers={**it.answer.headers, "Content-Encoding": "gzip"})


def _trickled(delivery: Delivery) -> Kind:
    return lambda it: replace(it.answer, delivery=delivery, pace=it.fault.seconds)


KINDS: Mapping[str, Kind] = {
    # Refusals of the API itself.
    "rate_limited": _rate_limited,
    "bad_request_400": _refused(refusals.invalid_parameters),
    "unauthorized_401": _always(json_answer(401, {"reason": "Token not valid"})),
    "forbidden_403": _refused(refusals.forbidden),
    "not_found_404": _refused(refusals.no_such_record),
    "server_error_500": _refused(refusals.server_error),
    "status": _with_status,
    "success_false": _refused(lambda call: refusals.server_error(call, status=200)),
    # Answers of what stands before it.
    "redirect": _redirected,
    "forbidden_403_html": _html(403, "Access denied"),
    "bad_gateway_502": _html(502, "Bad Gateway"),
    "unavailable_503_html": _html(503, "Service Unavailable"),
    "error_520": _html(520, "Web server is returning an unknown error"),
    "ok_html": _html(200, "Log in to Common Room"),
    "ok_empty": lambda it: replace(it.answer, body=b""),
    "no_content_204": _always(Answer(204)),
    # Content that isn't what it should be.
    "truncated_json": _truncated,
    "malformed_utf8": _followed_by(b'"\xff\xfe"'),
    "malformed_nan": _followed_by(b"NaN"),
    "data_null": _with_rows(lambda _: None),
    "data_object": _with_rows(lambda _: {}),
    "missing_meta": _edited(_without_meta),
    "missing_cursor": _edited(_without_cursor),
    "repeated_cursor": _edited(_with_sent_cursor),
    "repeated_page": _with_page_before,
    "empty_rows": _with_rows(_with_empty_rows),
    # Connections that break or stall.
    "short_body": lambda it: replace(it.answer, delivery=Delivery.HALF_BODY),
    "reset": _always(Answer(0, delivery=Delivery.NOTHING)),
    "trickle": _trickled(Delivery.TRICKLED),
    "trickle_head": _trickled(Delivery.TRICKLED_HEAD),
    "gzip_bomb": _with_bomb,
    "hang": lambda it: replace(it.answer, delay=it.fault.seconds),
}
