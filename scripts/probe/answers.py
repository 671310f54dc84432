"""Asking: one GET after the other, slowly, and never more than so many; every answer is kept."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_REQUESTS = 120
"""What a run sends at most, unless a 429 is to be provoked."""
_RATE = 5.0
"""Requests a second."""
_TIMEOUTS = (10.0, 60.0)
"""Seconds for a connection, and between two bytes."""
_LONGEST_WAIT = 60.0
"""Seconds that a 429 may make it wait."""
_TRIES = 3
"""How often a request is sent that is answered 429."""
_IN_VAIN = 5
"""So many answers in a row that are of no use end the run."""


NO_META: Mapping[str, Any] = {}
"""What stands for `meta` if a body has none."""


class EndedError(Exception):
    """The run is over; the text says why."""


class OutOfRequestsError(Exception):
    """No request is left; the text says so."""


@dataclass(frozen=True)
class Answer:
    """The answer to a request, or its failure."""

    path: str
    """Below the address of the API, as `v2/contacts`."""
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
    made_up_token: bool = False
    may_be_refused: bool = False
    """Whether it was asked for what the API had better refuse."""

    @property
    def ok(self) -> bool:
        """Whether it is a 200 in JSON."""
        return self.status == requests.codes.ok and self.is_json

    @property
    def failed(self) -> bool:
        """Whether it is no answer of the API itself, or one that tells nothing but that it can't."""
        silent = not self.status or self.status == requests.codes.too_many_requests
        return silent or self.status >= requests.codes.server_error or bool(self.size and not self.is_json)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The records, whichever kind of body holds them: a list, or one that is alone in `data`."""
        found = self.body
        if isinstance(found, dict):
            found = found.get("data", found.get("labels"))
        if isinstance(found, dict):
            return [found]
        return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []

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
        return re.sub(r"/[0-9]+(?=/)", "/{id}", self.path)

    @property
    def said(self) -> str:
        """What was answered, in a few words."""
        if not self.status:
            return f"nothing ({self.failure})"
        if self.is_json or not self.size:
            return str(self.status)
        return f"{self.status}, without JSON"


class _Bearer(requests.auth.AuthBase):
    """The token as a header. As `auth`, because requests would else take a password out of a `.netrc`."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass
class Client:
    """Sends GET requests to an API, each question once unless it is to be asked again.

    `told` is called after each answer, with the number of requests.
    """

    api_url: str
    token: str
    told: Callable[[int], None] = lambda _: None
    most: int = MOST_REQUESTS
    answers: list[Answer] = field(default_factory=list)
    """All of them, in the order in which they were received."""
    redirects: list[str] = field(default_factory=list)
    """Where redirects lead; they are not followed."""
    _known: dict[tuple[str, tuple[tuple[str, str], ...]], Answer] = field(default_factory=dict)
    _session: requests.Session = field(default_factory=requests.Session)
    _next: float = 0.0
    _useful: bool = False
    _in_vain: int = 0

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        again: bool = False,
        may_be_refused: bool = False,
    ) -> Answer:
        """Return the answer to a question; one that was asked before is not sent, unless `again`.

        :param may_be_refused: whether it is asked for what the API had better refuse
        :raises EndedError: if nothing more is to be expected of the API
        :raises OutOfRequestsError: if none is left
        """
        sent = {name: value for name, value in (params or {}).items() if value}
        key = (path, tuple(sorted(sent.items())))
        if again or key not in self._known:
            self._known[key] = self._patiently(path, sent, may_be_refused=may_be_refused)
        return self._known[key]

    def with_a_made_up_token(self, path: str, token: str) -> Answer:
        """Return what is answered to another token than ours."""
        self._pause()
        return self._keep(self.send(path, {}, token))

    def send(self, path: str, params: Mapping[str, str], token: str = "") -> Answer:
        """Send a request, whatever its pace and number; with our token, unless another one is given."""
        started = time.monotonic()
        try:
            response = self._session.get(
                f"{self.api_url}/{path}",
                params=dict(params),
                auth=_Bearer(token or self.token),
                headers={"Accept": "application/json"},
                timeout=_TIMEOUTS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            seconds = time.monotonic() - started
            name = type(error).__name__
            return Answer(path, params, 0, {}, None, False, 0, seconds, time.time(), name, bool(token))  # noqa: FBT003
        if response.is_redirect:
            self.redirects.append(requests.compat.urljoin(response.url, response.headers["Location"]))
        body, is_json = _parsed(response)
        return Answer(
            path=path,
            params=params,
            status=response.status_code,
            headers=response.headers,
            body=body,
            is_json=is_json,
            size=len(response.content),
            seconds=time.monotonic() - started,
            at=time.time(),
            made_up_token=bool(token),
        )

    def connections(self) -> int | None:
        """Tell over how many connections the requests went; None if that can't be told."""
        adapter = self._session.get_adapter(self.api_url)
        if not isinstance(adapter, HTTPAdapter):
            return None
        pools = adapter.poolmanager.pools
        return int(sum(pools[key].num_connections for key in pools.keys()))  # noqa: SIM118  # it is no mapping

    def _patiently(self, path: str, params: Mapping[str, str], *, may_be_refused: bool) -> Answer:
        """Send a request, and once more after the wait that a 429 asks for."""
        for tries in range(1, _TRIES + 1):
            self._pause()
            answer = self._keep(replace(self.send(path, params), may_be_refused=may_be_refused))
            if answer.status != requests.codes.too_many_requests or tries == _TRIES:
                break
            time.sleep(min(wait_of(answer) or 1.0, _LONGEST_WAIT))
        return answer

    def _pause(self) -> None:
        if len(self.answers) >= self.most:
            raise OutOfRequestsError(f"all {self.most} requests are used up")
        now = time.monotonic()
        time.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + 1 / _RATE

    def _keep(self, answer: Answer) -> Answer:
        self.answers.append(answer)
        self.told(len(self.answers))
        if answer.made_up_token:
            return answer
        self._useful = self._useful or answer.ok
        # Once something was read, the API may refuse as much as it likes, but it has to be the API that does.
        self._in_vain = self._in_vain + 1 if answer.failed or not self._useful else 0
        if self._in_vain >= _IN_VAIN:
            raise EndedError(
                f"{_IN_VAIN} requests in a row were of no use, the last one {answer.said}. {_advice(answer)}"
            )
        return answer


def _advice(answer: Answer) -> str:
    """Tell what to look at if there are none but such answers."""
    if not answer.status:
        return "Can the API be reached from here?"
    if answer.size and not answer.is_json:
        return "Something else than the API answers: is its address right, and is there a firewall or a proxy?"
    if answer.status in {requests.codes.unauthorized, requests.codes.forbidden}:
        return "Is the token right, and what may it read?"
    if answer.status == requests.codes.too_many_requests:
        return "Does another program use the token?"
    return "Is the API disturbed? Try again later."


def wait_of(answer: Answer) -> float | None:
    """Return the seconds that a 429 asks to wait; None if it doesn't say."""
    limit = answer.body.get("rateLimit") if isinstance(answer.body, dict) else None
    wait_ms = limit.get("waitMs") if isinstance(limit, dict) else None
    if isinstance(wait_ms, int | float) and not isinstance(wait_ms, bool):
        return max(0.0, wait_ms / 1000)
    if (reset := answer.headers.get("X-RateLimit-Reset", "")).isdecimal():
        return max(0.0, int(reset) - answer.at)
    try:
        until = datetime.fromisoformat(answer.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - answer.at)


def _parsed(response: requests.Response) -> tuple[Any, bool]:
    """Return the JSON of an answer, and whether it is JSON at all."""
    try:
        return json.loads(response.content), True
    except ValueError:
        return None, False
