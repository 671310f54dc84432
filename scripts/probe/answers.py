"""Asking: one GET after the other, slowly, and never more than so many; every answer is kept."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter

from source_commonroom.api import exact_json
from source_commonroom.api.answers import AnswerTooLargeError, WatchedAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MOST_QUESTIONS, MOST_REPEATS = 112, 8
"""What a run asks at most, and how often it asks again what failed: an API that often fails leaves no row unasked."""
MOST_REQUESTS = MOST_QUESTIONS + MOST_REPEATS
"""What a run sends at most, unless a 429 is to be provoked. At its end, all that is left may repeat questions."""
_RATE = 5.0
"""Requests a second."""
_TIMEOUTS = (10.0, 60.0)
"""Seconds for a connection, and between two bytes."""
_DEADLINE = 90.0
"""Seconds for an answer in all, up to its last byte."""
_LONGEST_WAIT = 60.0
"""Seconds that a 429 may make it wait."""
_TRIES = 3
"""How often a request is sent that is answered 429; one that fails otherwise, once less."""
_TIMEOUT_WORD = "Timeout"
"""What the names of errors end in that say that an answer took too long."""
_IN_VAIN, _IN_VAIN_LATE = 5, 3
"""So many answers in a row that are of no use end the run, and so many that don't arrive in time."""
_MOST_DIGITS = 18
"""A number of more is none that anything counts."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_NO_PROXIES = {"no_proxy": "*"}


_DENIALS = (requests.codes.bad_request, requests.codes.forbidden, requests.codes.not_found)
NO_META: Mapping[str, Any] = {}
"""What stands for `meta` if a body has none."""


class EndedError(Exception):
    """The run is over; the text says why."""


class OutOfRequestsError(Exception):
    """No request is left; the text says so."""


Question = tuple[str, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...], bool]
"""A path, the ids in it, the parameters, and whether it is sent with a made-up token."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to a request, or its failure. It equals itself alone."""

    path: str
    """Below the address of the API, as `v2/contacts`, without the ids that it holds: `v1/segments/{number}/status`."""
    params: Mapping[str, str]
    status: int
    """0 if nothing was answered; `failure` says why."""
    headers: Mapping[str, str]
    body: Any
    """The JSON of it; None if it is none."""
    is_json: bool
    size: int
    """Bytes, unpacked."""
    seconds: float
    """Until all of it was there."""
    at: float
    """When it was there, in seconds since 1970 by this machine's clock."""
    failure: str = ""
    """The name of the error's type, and nothing that it says: that may quote the token, or an address."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """What stands in the path, by the names there."""
    leads_to: str | None = None
    """Where a redirect leads, empty if that can't be read; None if it is none. It isn't followed."""
    oddities: Sequence[str] = ()
    """What its JSON has that no value can hold, without a key or a value of it."""
    made_up_token: bool = False
    may_be_refused: bool = False
    """Whether it was asked for what the API had better refuse."""

    @property
    def ok(self) -> bool:
        """Whether it is a 200 in JSON."""
        return self.status == requests.codes.ok and self.is_json

    @property
    def question(self) -> Question:
        """What was asked."""
        return _question(self.path, self.params, self.ids, made_up_token=self.made_up_token)

    @property
    def timed_out(self) -> bool:
        """Whether nothing was answered in time. A connection that breaks tells nothing of the time."""
        return not self.status and self.failure.endswith(_TIMEOUT_WORD)

    @property
    def failed(self) -> bool:
        """Whether it is no answer of the API itself, or one that tells nothing but that it can't."""
        silent = not self.status or self.status == requests.codes.too_many_requests
        return silent or self.status >= requests.codes.server_error or bool(self.size and not self.is_json)

    @property
    def refused(self) -> bool:
        """Whether the API itself refuses the question, and not just now."""
        passing = {requests.codes.request_timeout, requests.codes.too_many_requests}
        of_us = requests.codes.bad_request <= self.status < requests.codes.server_error
        return self.is_json and of_us and self.status not in passing

    @property
    def denied(self) -> bool:
        """Whether it is refused beyond doubt: only such an answer may break a row that wants another one."""
        return self.refused and self.status in _DENIALS

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The records, whichever kind of body holds them: a list, or one that is alone in `data`."""
        return [row for row in self.entries if isinstance(row, dict)]

    @property
    def entries(self) -> list[Any]:
        """What stands where records are expected, also what is none."""
        found = self.body
        if isinstance(found, dict):
            found = found.get("data", found.get("labels"))
        if isinstance(found, dict):
            return [found]
        return found if isinstance(found, list) else []

    @property
    def meta(self) -> Mapping[str, Any]:
        """`meta` of the body; `NO_META` if it has none."""
        meta = self.body.get("meta") if isinstance(self.body, dict) else None
        return meta if isinstance(meta, dict) else NO_META

    @property
    def cursor(self) -> str:
        """The cursor of the page that follows; empty if none does."""
        cursor = self.meta.get("nextCursor")
        return cursor if isinstance(cursor, str) else ""

    @property
    def count(self) -> int | None:
        """`meta.recordCount`; None if it has none."""
        count = self.meta.get("recordCount")
        return count if isinstance(count, int) and not isinstance(count, bool) else None

    @property
    def place(self) -> str:
        """The path without the id that it may hold."""
        return re.sub(r"\{[A-Za-z]+\}", "{id}", self.path)

    @property
    def said(self) -> str:
        """What was answered, in a few words."""
        if not self.status:
            return f"nothing ({self.failure})"
        if self.status == requests.codes.ok and not self.size:
            return f"{self.status}, without a body"
        if self.is_json or not self.size or self.leads_to is not None:
            return str(self.status)
        return f"{self.status}, without JSON"


class _Bearer(requests.auth.AuthBase):
    """The token as a header. As `auth`, because requests would else take a password out of a `.netrc`."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _question(path: str, params: Mapping[str, str], ids: Mapping[str, str], *, made_up_token: bool = False) -> Question:
    return path, tuple(sorted(ids.items())), tuple(sorted(params.items())), made_up_token


def _session() -> requests.Session:
    """Make a session whose answers are bounded in time and size, as the connector's are."""
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, WatchedAdapter(_DEADLINE))
    return session


@dataclass
class Client:
    """Sends GET requests to an API, each question once unless it is to be asked again.

    `told` is called after each answer, with the number of requests.
    """

    api_url: str
    token: str
    told: Callable[[int], None] = lambda _: None
    waits: Callable[[float], None] = lambda _: None
    """Called before it waits as a 429 asks for, with the seconds."""
    most_questions: int = MOST_QUESTIONS
    most_repeats: int = MOST_REPEATS
    answers: list[Answer] = field(default_factory=list)
    """All of them, in the order in which they were received."""
    sent: int = 0
    """How many requests were sent, whatever became of them."""
    questions: int = 0
    repeats: int = 0
    """How many of those asked again what had failed, or what would break a row."""
    _counting: Lock = field(default_factory=Lock)
    _known: dict[Question, Answer] = field(default_factory=dict)
    _session: requests.Session = field(default_factory=_session)
    _next: float = 0.0
    _useful: bool = False
    _in_vain: int = 0
    _late: int = 0
    _closed: str = ""

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        ids: Mapping[str, str] | None = None,
        again: bool = False,
        may_be_refused: bool = False,
    ) -> Answer:
        """Return the answer to a question; one that was asked before is not sent, unless `again`.

        :param ids: what stands in the path, by the names there
        :param may_be_refused: whether it is asked for what the API had better refuse
        :raises EndedError: if nothing more is to be expected of the API
        :raises OutOfRequestsError: if none is left
        """
        sent = {name: value for name, value in (params or {}).items() if value}
        ids = ids or {}
        key = _question(path, sent, ids)
        if again or key not in self._known:
            self._known[key] = self._patiently(path, sent, ids, may_be_refused=may_be_refused)
        return self._known[key]

    def with_a_made_up_token(self, path: str, token: str) -> Answer:
        """Return what is answered to another token than ours; as for ours, each question is sent once."""
        key = _question(path, {}, {}, made_up_token=True)
        if key not in self._known:
            self._known[key] = self._patiently(path, {}, {}, token=token)
        return self._known[key]

    def repeat(self, answer: Answer, made_up_token: str) -> Answer:
        """Ask once more what was answered so, and return what is answered now.

        :raises EndedError: if nothing more is to be expected of the API
        :raises OutOfRequestsError: if no repeat is left
        """
        token = made_up_token if answer.made_up_token else ""
        before = self.repeats
        again = self._patiently(
            answer.path, answer.params, answer.ids, token=token, may_be_refused=answer.may_be_refused, repeats=True
        )
        self._known[answer.question] = again
        if again.failed and self.repeats - before == 1:
            # One more failure tells nothing unless it is tried again, too.
            raise OutOfRequestsError(f"all {self.repeats} repeats are used up")
        return again

    def latest(self) -> list[Answer]:
        """Return the last answer to each question."""
        return list({answer.question: answer for answer in self.answers}.values())

    def close(self, reason: str) -> None:
        """Send nothing more."""
        self._closed = reason

    def send(
        self, path: str, params: Mapping[str, str], token: str = "", ids: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request, whatever its pace and number; with our token, unless another one is given.

        Whatever fails is an answer, too.
        """
        with self._counting:
            self.sent += 1
        ids = ids or {}
        started = time.monotonic()
        try:
            return replace(self._answer(path, params, token, ids), seconds=time.monotonic() - started)
        except Exception as error:  # noqa: BLE001  # of an answer, or of a configuration, that no one foresaw
            return Answer(
                path=path,
                params=params,
                status=0,
                headers={},
                body=None,
                is_json=False,
                size=0,
                seconds=time.monotonic() - started,
                at=time.time(),
                failure=type(error).__name__,
                ids=ids,
                made_up_token=bool(token),
            )

    def _answer(self, path: str, params: Mapping[str, str], token: str, ids: Mapping[str, str]) -> Answer:
        at_home = urlsplit(self.api_url).hostname in LOOPBACK
        below = path.format(**{name: quote(value, safe="") for name, value in ids.items()})
        redirects: list[str] = []

        def note_redirect(response: requests.Response, **_: Any) -> None:
            """Note where a redirect leads, before requests fails of one that can't be read."""
            if response.is_redirect:
                redirects.append(_location(response))
                if not redirects[-1]:
                    del response.headers["Location"]

        response = self._session.get(
            f"{self.api_url}/{below}",
            params=dict(params),
            auth=_Bearer(token or self.token),
            headers={"Accept": "application/json"},
            timeout=_TIMEOUTS,
            allow_redirects=False,
            # What goes to this machine isn't shown to another one on its way, unencrypted as it is.
            proxies=_NO_PROXIES if at_home else None,
            hooks={"response": note_redirect},
        )
        body, is_json, oddities = _parsed(response)
        return Answer(
            path=path,
            params=params,
            status=response.status_code,
            headers=response.headers,
            body=body,
            is_json=is_json,
            size=len(response.content),
            seconds=0.0,
            at=time.time(),
            ids=ids,
            leads_to=redirects[0] if redirects else None,
            oddities=oddities,
            made_up_token=bool(token),
        )

    def connections(self) -> int | None:
        """Tell over how many connections the requests went; None if that can't be told."""
        adapter = self._session.get_adapter(self.api_url)
        if not isinstance(adapter, HTTPAdapter):
            return None
        pools = adapter.poolmanager.pools
        return int(sum(pools[key].num_connections for key in pools.keys()))  # noqa: SIM118  # it is no mapping

    def _patiently(  # each by name
        self,
        path: str,
        params: Mapping[str, str],
        ids: Mapping[str, str],
        *,
        token: str = "",
        may_be_refused: bool = False,
        repeats: bool = False,
    ) -> Answer:
        """Send a request, once more if it fails, and again after the wait that a 429 asks for."""
        failed = False
        for tries in range(1, _TRIES + 1):
            self._pause(repeats=repeats or tries > 1)
            answer = replace(self.send(path, params, token, ids), may_be_refused=may_be_refused)
            self._keep(answer)
            if not repeats:
                self._end_if_in_vain(answer)
            limited = answer.status == requests.codes.too_many_requests
            if limited:
                # Also if it isn't asked again: the next question would meet the same.
                seconds = min(wait_of(answer) or 1.0, _LONGEST_WAIT)
                self.waits(seconds)
                time.sleep(seconds)
            if not answer.failed or tries == _TRIES or (failed and not limited) or not self._may_repeat:
                break
            failed = failed or not limited
        return answer

    @property
    def _may_repeat(self) -> bool:
        return self.repeats < self.most_repeats and self.questions + self.repeats < MOST_REQUESTS

    def _pause(self, *, repeats: bool) -> None:
        """Keep the pace, and count.

        :raises OutOfRequestsError: if none is left
        """
        if self._closed:
            raise OutOfRequestsError(self._closed)
        if repeats and self.repeats >= self.most_repeats:
            raise OutOfRequestsError(f"all {self.most_repeats} repeats are used up")
        if not repeats and self.questions >= self.most_questions:
            raise OutOfRequestsError(f"all {self.most_questions} questions are used up")
        if self.questions + self.repeats >= MOST_REQUESTS:
            raise OutOfRequestsError(f"all {MOST_REQUESTS} requests are used up")
        now = time.monotonic()
        time.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + 1 / _RATE
        self.repeats += repeats
        self.questions += not repeats

    def _keep(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.told(self.sent)

    def _end_if_in_vain(self, answer: Answer) -> None:
        """Count answers that are of no use, but for those to what is asked again because it failed.

        :raises EndedError: if there are too many in a row
        """
        if answer.made_up_token:
            return
        self._useful = self._useful or answer.ok
        # Once something was read, the API may refuse as much as it likes, but it has to be the API that does.
        self._in_vain = self._in_vain + 1 if answer.failed or not self._useful else 0
        self._late = self._late + 1 if answer.timed_out else 0
        if self._in_vain >= _IN_VAIN or self._late >= _IN_VAIN_LATE:
            raise EndedError(
                f"{self._in_vain} requests in a row were of no use, the last one {answer.said}. {_advice(answer)}"
            )


def _advice(answer: Answer) -> str:
    """Tell what to look at if there are none but such answers."""
    if answer.failure == requests.exceptions.SSLError.__name__:
        return "Its certificate isn't trusted here: is there a proxy, and is `api_url` right?"
    if not answer.status and answer.failure not in _FOREIGN:
        return "Can the API be reached from here?"
    if answer.leads_to is not None:
        return "All requests are redirected: is `api_url` right?"
    if not answer.is_json and (answer.size or not answer.status or answer.status == requests.codes.ok):
        return "Something else than the API answers: is its address right, and is there a firewall or a proxy?"
    return _ADVICE.get(answer.status, "Is the API disturbed? Try again later.")


_FOREIGN = {AnswerTooLargeError.__name__, requests.exceptions.ContentDecodingError.__name__}
"""The errors of answers that the API wouldn't give."""
_ADVICE = {
    requests.codes.unauthorized: "Is the token right, and what may it read?",
    requests.codes.forbidden: "Is the token right, and what may it read?",
    requests.codes.too_many_requests: "Does another program use the token?",
    requests.codes.not_found: "Is `api_url` right?",
}


def wait_of(answer: Answer) -> float | None:
    """Return the seconds that a 429 asks to wait; None if it doesn't say."""
    limit = answer.body.get("rateLimit") if isinstance(answer.body, dict) else None
    wait_ms = limit.get("waitMs") if isinstance(limit, dict) else None
    if isinstance(wait_ms, int | float) and not isinstance(wait_ms, bool) and abs(wait_ms) < math.inf:
        return float(max(0, min(wait_ms, 10**_MOST_DIGITS)) / 1000)
    if (reset := whole_number(answer.headers.get("X-RateLimit-Reset", ""))) is not None:
        return max(0.0, reset - answer.at)
    return _retry_after(answer.headers.get("Retry-After", "").strip(), answer.at)


def _retry_after(text: str, at: float) -> float | None:
    """Return the seconds from a moment on that a header names: a number of them, or a date of ISO or of HTTP."""
    if (seconds := whole_number(text)) is not None:
        return float(seconds)
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            until = parse(text)
            return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - at)
        except (ValueError, TypeError, OverflowError):
            continue
    return None


def whole_number(text: str) -> int | None:
    """Return the number that a header holds; None if it holds none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _location(response: requests.Response) -> str:
    """Return where a redirect leads; empty if that can't be read."""
    try:
        to = requests.compat.urljoin(response.url, response.headers["Location"])
        return to if urlsplit(to).hostname else ""
    except ValueError:
        return ""


def _parsed(response: requests.Response) -> tuple[Any, bool, tuple[str, ...]]:
    """Return the JSON of an answer, whether it is JSON as the connector reads it, and what of it couldn't be kept."""
    try:
        body, notes = exact_json.loads(response.content)
    except (ValueError, RecursionError):
        return None, False, ()
    return body, True, tuple(notes.sentences(names_keys=False))
