"""The API as a function from a call to an answer, whatever carries them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from integration_tests.sandbox.cursors import CURSOR_STYLES, Cursors
from integration_tests.sandbox.endpoints import ENDPOINTS, Endpoint, InvalidParametersError
from integration_tests.sandbox.faults import Fault, Faults, strike
from integration_tests.sandbox.log import Request, RequestLog
from integration_tests.sandbox.messages import Answer, Call, json_answer, refusal
from integration_tests.sandbox.paging import listed, matching, page
from integration_tests.sandbox.query import read_query
from integration_tests.sandbox.rate_limit import RateLimit, too_many_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from integration_tests.sandbox.workspace import Workspace

DEFAULT_TOKEN = "sandbox-token-5f1d9c"

FORBIDDEN = json_answer(403, {"status": "forbidden"})
NOT_FOUND = json_answer(404, {"status": "not-found"})
METHOD_NOT_ALLOWED = json_answer(405, {"status": "failure", "reason": "method not allowed"}, {"Allow": "GET"})


class Api:
    """The emulated API of one workspace.

    `forbidden` are the paths that the token lacks the permission for. Without `requests_per_second` nothing is
    limited and no rate-limit header is sent.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        token: str = DEFAULT_TOKEN,
        forbidden: Collection[str] = (),
        cursor_style: Literal["keyset", "tricky"] = "keyset",
        requests_per_second: int | None = None,
        faults: Iterable[Fault] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.workspace = workspace
        self.token = token
        self.forbidden = set(forbidden)
        self.faults = Faults(faults)
        self.log = RequestLog()
        self.clock = clock
        self._rate_limit = None if requests_per_second is None else RateLimit(requests_per_second)
        self._cursors: Cursors = CURSOR_STYLES[cursor_style]()

    def answer(self, call: Call) -> Answer:
        """Answer a call: the rate limit first, then the faults, as what they stand for is before the API."""
        now = self.clock()
        admission = None if self._rate_limit is None else self._rate_limit.admit(call.authorization, now)
        fault = None
        if admission is not None and not admission.granted:
            answer = too_many_requests(admission.limit, now, admission.wait)
        else:
            answer = self._right_answer(call)
            if admission is not None:
                answer = replace(answer, headers={**answer.headers, **admission.headers})
            fault = self.faults.due(call)
            if fault is not None:
                answer = strike(fault, call, answer, now)
        self.log.add(Request(call.method, call.path, call.params, answer.status, now, fault.kind if fault else None))
        return answer

    def _right_answer(self, call: Call) -> Answer:
        endpoint = ENDPOINTS.get(call.path)
        if call.authorization != f"Bearer {self.token}" or call.path in self.forbidden:
            return FORBIDDEN
        if endpoint is None:
            return NOT_FOUND
        if call.method != "GET":
            return METHOD_NOT_ALLOWED
        try:
            return self._records(call, endpoint)
        except InvalidParametersError as error:
            return refusal(400, "invalid_parameters", str(error))

    def _records(self, call: Call, endpoint: Endpoint) -> Answer:
        with self.workspace.lock:
            query = read_query(call, endpoint, self.workspace, self._cursors)
            if not endpoint.paged:
                rows = [query.project(record) for record in listed(self.workspace, query)]
                return json_answer(200, {"success": True, "data": rows} if endpoint.enveloped else rows[0])
            entries = matching(self.workspace, query)
        records, end = page(entries, query)
        meta: dict[str, str | int | None] = {"nextCursor": end and self._cursors.write(query.scope, end)}
        if query.counted:
            meta["recordCount"] = len(entries)
        rows = [query.project(record) for record in records]
        return json_answer(200, {"success": True, "data": rows, "meta": meta})
