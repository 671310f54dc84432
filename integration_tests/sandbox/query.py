"""Reading the query parameters, strictly: what the API doesn't document is refused, never ignored."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING

from integration_tests.sandbox.endpoints import Endpoint, InvalidParametersError
from integration_tests.sandbox.messages import iso_stored, shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from integration_tests.sandbox.cursors import Cursors, Place
    from integration_tests.sandbox.messages import Call, Record
    from integration_tests.sandbox.traits import Traits
    from integration_tests.sandbox.workspace import Workspace

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
ALL_CUSTOM_FIELDS = "cf_*"
CUSTOM_FIELDS = "customFields"
RECORD_COUNT = "recordCount"

DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True)
class Query:
    """What a list request asks for, checked and with its defaults filled in."""

    endpoint: Endpoint
    columns: tuple[str, ...]
    custom_fields: frozenset[str] | None
    """The custom fields that `customFields` is restricted to, if it is."""
    counted: bool
    sort: str
    descending: bool
    since: str | None
    until: str | None
    filters: tuple[tuple[str, str], ...]
    within: str | None
    """What stands in the path in the place of `{id}`."""
    limit: int
    place: Place | None
    """Where the page before ended; None for the first page."""
    scope: str
    """A digest of the path and all parameters but the cursor: what a cursor is bound to."""
    traits: Traits

    @property
    def selection(self) -> tuple[object, ...]:
        """What decides which records match and in which order, whatever their columns and the page."""
        return (self.endpoint.path, self.sort, self.since, self.until, self.filters, self.within, self.traits.comparing)

    def project(self, record: Record) -> Record:
        """Reduce a record to the columns asked for; a column that it doesn't have stays absent."""
        dated_by = self.endpoint.dated_by
        if self.traits.stored_finer and dated_by:
            record = {**record, dated_by: shown(record[dated_by])}
        if self.custom_fields is None and record.keys() <= self._column_set:
            return record  # what most syncs ask for, at a fraction of the cost of a copy
        thin = {column: record[column] for column in self.columns if column in record}
        if self.custom_fields is not None and CUSTOM_FIELDS in thin:
            values = thin[CUSTOM_FIELDS].items()
            thin[CUSTOM_FIELDS] = {name: value for name, value in values if name in self.custom_fields}
        return thin

    @cached_property
    def _column_set(self) -> frozenset[str]:
        return frozenset(self.columns)


def read_query(call: Call, endpoint: Endpoint, workspace: Workspace, cursors: Cursors, traits: Traits) -> Query:
    """Read a call's parameters, or raise InvalidParametersError."""
    params = _checked_params(call, endpoint)
    columns = _read_columns(params, endpoint, workspace)
    custom_fields = frozenset(column for column in columns if column.startswith("cf_"))
    scope = _scope(call, {"cursor", "limit"} if traits.limit_may_change else {"cursor"})
    since, until = (_read_date(name, params, traits) for name in ("startDate", "endDate"))
    if since and until and since > until:
        raise InvalidParametersError("startDate is after endDate")
    sort, descending = _read_order(params, endpoint, traits)
    return Query(
        endpoint=endpoint,
        columns=(
            *endpoint.always,
            *(column for column in endpoint.on_request if column in columns),
            *([CUSTOM_FIELDS] if custom_fields else []),
        ),
        custom_fields=None if ALL_CUSTOM_FIELDS in columns or not custom_fields else custom_fields,
        counted=RECORD_COUNT in columns and endpoint.path not in traits.uncounted,
        sort=sort,
        descending=descending,
        since=since,
        until=until,
        filters=tuple(sorted((name, value) for name, value in params.items() if name in endpoint.filters)),
        within=endpoint.id_in(call.path),
        limit=_read_limit(params.get("limit", str(DEFAULT_LIMIT))),
        place=_read_cursor(params.get("cursor"), scope, cursors),
        scope=scope,
        traits=traits,
    )


def _checked_params(call: Call, endpoint: Endpoint) -> dict[str, str]:
    if unknown := set(call.params) - endpoint.parameters:
        raise InvalidParametersError(f"{call.path} takes no parameter {', '.join(sorted(unknown))}")
    if len(call.pairs) > len(call.params):
        raise InvalidParametersError("a parameter is given more than once")
    if missing := set(endpoint.required) - set(call.params):
        raise InvalidParametersError(f"{call.path} needs the parameter {', '.join(sorted(missing))}")
    return call.params


def _read_columns(params: dict[str, str], endpoint: Endpoint, workspace: Workspace) -> set[str]:
    if "cols" not in params:
        return set()
    columns = params["cols"].split(",")
    allowed = set(endpoint.on_request)
    if endpoint.counts:
        allowed.add(RECORD_COUNT)
    if endpoint.custom_fields_of:
        allowed.add(ALL_CUSTOM_FIELDS)
        # Each type of objects has fields of its own.
        allowed.update(
            row["id"]
            for row in workspace.records("custom_fields")
            if endpoint.custom_fields_of in row["entityTypes"] and row.get("objectTypeId") == params.get("objectTypeId")
        )
    if unknown := set(columns) - allowed:
        raise InvalidParametersError(
            f"cols names no column of {endpoint.path}: {', '.join(map(repr, sorted(unknown)))}"
        )
    if len(columns) > len(set(columns)):
        raise InvalidParametersError("cols names a column more than once")
    return set(columns)


def _read_order(params: dict[str, str], endpoint: Endpoint, traits: Traits) -> tuple[str, bool]:
    """Tell what the rows are sorted by, and whether downwards."""
    usual = ((*endpoint.sorts, endpoint.order)[0], "desc" if endpoint.descending else "asc")
    sort, direction = traits.order.get(endpoint.path, usual)
    asked_sort = _read_choice("sort", params, endpoint.sorts, sort)
    asked_direction = _read_choice("direction", params, ("asc", "desc"), direction)
    if endpoint.path not in traits.ignores_order:
        sort, direction = asked_sort, asked_direction
    return sort, direction == "desc"


def _read_choice(name: str, params: dict[str, str], choices: tuple[str, ...], default: str) -> str:
    if name not in params:
        return default
    if params[name] not in choices:
        raise InvalidParametersError(f"{name} is one of {', '.join(choices)} here, not {params[name]!r}")
    return params[name]


def _read_limit(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text) or int(text) > MAX_LIMIT:
        raise InvalidParametersError(f"limit is a whole number from 1 to {MAX_LIMIT}, not {text!r}")
    return int(text)


def _read_date(name: str, params: dict[str, str], traits: Traits) -> str | None:
    """Read a moment as the text of it, cut to the resolution of dates, that is comparable with the records' own."""
    if name not in params:
        return None
    if DATE_TIME.fullmatch(params[name]):
        with suppress(ValueError, OverflowError):
            return iso_stored(traits.cut(datetime.fromisoformat(params[name])))
    raise InvalidParametersError(f"{name} is an ISO 8601 date-time with a zone, not {params[name]!r}")


def _read_cursor(token: str | None, scope: str, cursors: Cursors) -> Place | None:
    if token is None:
        return None
    place = cursors.read(scope, token)
    if place is None:
        raise InvalidParametersError("cursor is unknown, or made for other parameters")
    return place


def _scope(call: Call, free: Collection[str]) -> str:
    walk = sorted((name, value) for name, value in call.pairs if name not in free)
    return blake2b(repr((call.path, walk)).encode(), digest_size=6).hexdigest()
