"""The API as a function from a call to an answer, whatever carries them."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

from integration_tests.sandbox import refusals
from integration_tests.sandbox.cursors import CURSOR_STYLES, CursorStyle, ExpiringCursors
from integration_tests.sandbox.endpoints import Endpoint, InvalidParametersError, NotFoundError, endpoint_at
from integration_tests.sandbox.faults import Fault, Faults, Strike, strike
from integration_tests.sandbox.log import Request, RequestLog
from integration_tests.sandbox.messages import Answer, Call, is_at, json_answer
from integration_tests.sandbox.misfits import spoilt
from integration_tests.sandbox.paging import held_back, listed, matching, page
from integration_tests.sandbox.query import read_query
from integration_tests.sandbox.rate_limit import RateLimit, too_many_requests
from integration_tests.sandbox.traits import Traits
from integration_tests.sandbox.workspace import id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from integration_tests.sandbox.messages import Record
    from integration_tests.sandbox.query import Query
    from integration_tests.sandbox.workspace import Workspace

DEFAULT_TOKEN = "sandbox-token-5f1d9c"


class Api:
    """The emulated API of one workspace.

    `forbidden` are the paths that the token lacks the permission for; `{id}` in one stands for any. Without
    `requests_per_second` nothing is limited and no rate-limit header is sent. `withheld` is the share of the rows of a
    path that stand on no page, as `{"/v2/contacts": 0.03}`: always the same rows, and `recordCount` counts them.

    `forbidden`, `withheld`, `unservable` and `heavy` (as `traits` begin with them) and `clock` may be changed while it
    serves. A clock that is ahead of the machine is `lambda: time.time() + 3_600`.
    """

    def __init__(  # noqa: PLR0913  # each by name
        self,
        workspace: Workspace,
        *,
        token: str = DEFAULT_TOKEN,
        forbidden: Collection[str] = (),
        cursor_style: CursorStyle = "keyset",
        requests_per_second: int | None = None,
        withheld: Mapping[str, float] | None = None,
        faults: Iterable[Fault] = (),
        traits: Traits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.workspace = workspace
        self.token = token
        self.forbidden = set(forbidden)
        self.withheld = dict(withheld or {})
        self.traits = traits or Traits()
        self.unservable = set(self.traits.unservable)
        self.heavy = dict(self.traits.heavy)
        self.faults = Faults(faults)
        self.log = RequestLog()
        self.clock = clock
        # What was answered before each cursor, as long as a fault may want it: nothing else costs that much memory.
        self._rows_by_cursor: dict[str, list[Record]] = {}
        interval = self.traits.rate_interval
        self._rate_limit = None if requests_per_second is None else RateLimit(requests_per_second * interval, interval)
        self._cursors = ExpiringCursors(CURSOR_STYLES[cursor_style]())

    def expire_cursors(self) -> None:
        """Refuse from now on, as invalid, every cursor that was answered until now."""
        self._cursors.expire()

    def answer(self, call: Call) -> Answer:
        """Answer a call: the rate limit first, then the faults, as what they stand for is before the API."""
        now = self.clock()
        admission = None if self._rate_limit is None else self._rate_limit.admit(call.authorization, now)
        fault = None
        if admission is not None and not admission.granted:
            answer = too_many_requests(admission.limit, now, admission.wait, self.traits.rate_interval)
        else:
            answer = self._right_answer(call)
            for path, make in self.traits.otherwise.items():
                if is_at(path, call.path):
                    answer = make(call, answer)
            if admission is not None:
                answer = replace(answer, headers={**answer.headers, **admission.headers})
            fault = self.faults.due(call)
            if fault is not None:
                answer = strike(
                    Strike(fault, call, answer, self._rows_by_cursor.get(call.params.get("cursor", "")), now)
                )
        if self.traits.dates:
            date = format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)
            answer = replace(answer, headers={**answer.headers, "Date": date})
        self.log.add(Request(call.method, call.path, call.params, answer.status, now, fault.kind if fault else None))
        return answer

    def _right_answer(self, call: Call) -> Answer:
        endpoint = endpoint_at(call.path)
        if call.authorization != f"Bearer {self.token}" or any(is_at(path, call.path) for path in self.forbidden):
            return refusals.forbidden(call)
        if endpoint is None:
            return refusals.not_found(call)
        if call.method != "GET":
            return refusals.method_not_allowed(call)
        try:
            return self._records(call, endpoint)
        except NotFoundError:
            return refusals.not_found(call)
        except InvalidParametersError as error:
            return refusals.invalid_parameters(call, str(error))

    def _records(self, call: Call, endpoint: Endpoint) -> Answer:
        with self.workspace.lock:
            query = read_query(call, endpoint, self.workspace, self._cursors, self.traits)
            if not endpoint.paged:
                return self._answer_of(call, query, listed(self.workspace, query))
            matches = matching(self.workspace, query)
            share = self.withheld.get(call.path)
            entries = held_back(self.workspace, query, share) if share else matches
        records, end = page(entries, query, by_offset=self._cursors.by_offset)
        token = None if end is None else self._cursors.write(query.scope, end)
        meta: dict[str, str | int | None] = {"nextCursor": token}
        if query.counted:
            meta["recordCount"] = len(matches)
        return self._answer_of(call, query, records, meta)

    def _answer_of(
        self, call: Call, query: Query, records: list[Record], meta: Mapping[str, str | int | None] | None = None
    ) -> Answer:
        if not self.unservable.isdisjoint(map(id_of, records)):
            return refusals.server_error(call)
        heavy = self.heavy
        if heavy and any(heavy.get(id_of(record), len(records)) < len(records) for record in records):
            return refusals.server_error(call, 504)
        rows = [query.project(record) for record in records]
        if self.traits.misfits:
            rows = [spoilt(row) for row in rows]
        if meta and meta["nextCursor"] and self.faults.include("repeated_page"):
            self._rows_by_cursor[str(meta["nextCursor"])] = rows
        body = query.endpoint.body(rows)
        return json_answer(200, body if meta is None else {**body, "meta": meta})
