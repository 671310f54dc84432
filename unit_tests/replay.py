"""Replaying a cassette of the probe: the connector reads what was recorded, whichever requests it makes.

What was recorded of a list is its rows, raw, and how its bodies and its last page are made. Replayed are any pages,
orders, counts and spans of it. So a cassette outlives changes of the connector. What wasn't recorded is answered 404.

A list that was recorded in part ends at the last one that was recorded, and is counted accordingly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from requests_mock import create_response

from source_commonroom.table import StreamRow, rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import requests
    from requests_mock import Mocker
    from requests_mock.request import _RequestObjectProxy

PAGING = ("limit", "cursor", "sort", "direction", "cols", "startDate", "endDate")
"""The parameters that say which rows of a list are asked for; the others say which list."""
TIME, FIELDS = "activityTime", "v2/custom-fields"
# Read by what a cassette doesn't tell in full: the members and statuses of each segment.
NOT_REPLAYED = ("segment_members", "segment_statuses")

Row = dict[str, Any]
Key = tuple[str, tuple[tuple[str, str], ...]]


def key_of(path: str, params: Mapping[str, str]) -> Key:
    """Name a list: its path, and its parameters but for those of the page."""
    return path, tuple(sorted((name, value) for name, value in params.items() if name not in PAGING))


@dataclass
class Recorded:
    """What was recorded of a list."""

    rows: dict[str, Row] = field(default_factory=dict)
    """By id, each with the most columns that it was answered with, in the order in which they were seen first."""
    template: Row = field(default_factory=dict)
    """A body."""
    end: Row = field(default_factory=lambda: {"nextCursor": None})
    """`meta` of a last page, without the count."""

    def add(self, body: Row) -> None:
        """Take the rows of one more page."""
        self.template = body
        meta = body["meta"]
        if not meta.get("nextCursor"):
            self.end = {name: value for name, value in meta.items() if name != "recordCount"}
        for row in body["data"]:
            if len(row) > len(self.rows.get(row["id"], {})):
                self.rows[row["id"]] = row

    def page(self, params: Mapping[str, str], *, counts: bool) -> Row:
        """Make the page that is asked for; `counts` says whether its path is counted."""
        found = self._sorted(params)
        first, limit = int(params.get("cursor", "0")), int(params.get("limit", "50"))
        follows = {"nextCursor": str(first + limit)} if first + limit < len(found) else {}
        counted = "recordCount" in params.get("cols", "").split(",") and counts
        meta = {**self.end, **follows, **({"recordCount": len(found)} if counted else {})}
        return {**self.template, "data": found[first : first + limit], "meta": meta}

    def _sorted(self, params: Mapping[str, str]) -> list[Row]:
        since, until = params.get("startDate", ""), params.get("endDate", "~")
        found = [row for row in self.rows.values() if TIME not in row or since <= row[TIME] <= until]
        if "sort" in params:
            found.sort(key=(lambda row: row[TIME]) if params["sort"] == TIME else (lambda row: number_of(row["id"])))
        return found[::-1] if params.get("direction") == "desc" else found


def number_of(record_id: str) -> tuple[int, str]:
    """Order ids by their number, and those that have none by their text."""
    number = record_id.rpartition("_")[2]
    return (int(number), "") if number.isdecimal() else (0, record_id)


class Replay:
    """An API that answers what a cassette holds."""

    def __init__(self, text: str) -> None:
        self.lists: dict[Key, Recorded] = {}
        self.others: dict[Key, Row] = {}
        """The first answer to each other question."""
        self.counted: set[str] = set()
        """The paths that answered a count."""
        paged = {row.path for row in rows().values() if row.page in {"paged", "paged_open"}} | {"v2/objects"}
        for answer in json.loads(text)["answers"]:
            key = key_of(answer["path"], answer["params"])
            if answer["path"] in paged and answer["status"] == 200:
                self.lists.setdefault(key, Recorded()).add(answer["body"])
                self.counted |= {answer["path"]} if "recordCount" in answer["body"]["meta"] else set()
            else:
                self.others.setdefault(key, answer)

    @classmethod
    def of(cls, path: Path) -> Replay:
        """Replay a file."""
        return cls(path.read_text(encoding="utf-8"))

    def mount(self, mocker: Mocker, api_url: str) -> None:
        """Answer what is sent to below an address."""

        def respond(request: _RequestObjectProxy) -> requests.Response | None:
            parts = urlsplit(str(request.url))
            if not str(request.url).startswith(f"{api_url}/"):
                return None
            path = parts.path.removeprefix(f"{urlsplit(api_url).path}/")
            status, body = self.answer(path, dict(parse_qsl(parts.query)))
            return create_response(request, status_code=status, json=body)

        mocker.add_matcher(respond)

    def answer(self, path: str, params: Mapping[str, str]) -> tuple[int, Any]:
        """Return the status and the body."""
        key = key_of(path, params)
        if key in self.lists:
            return 200, self.lists[key].page(params, counts=path in self.counted)
        if key in self.others:
            return self.others[key]["status"], self.others[key]["body"]
        if path == FIELDS and params.keys() == {"entityType"}:
            body = self.others[FIELDS, ()]["body"]
            return 200, {**body, "data": [row for row in body["data"] if params["entityType"] in row["entityTypes"]]}
        return 404, {"status": "not-found", "reason": "not recorded"}

    def streams(self) -> list[str]:
        """List the streams all of which can be replayed."""
        return [row.name for row in rows().values() if row.name not in NOT_REPLAYED and self._has(row)]

    def ids(self, stream: str) -> set[str]:
        """List the ids of the records that the lists of a stream have."""
        keys = self._keys(rows()[stream])
        return {record_id for key in keys if key in self.lists for record_id in self.lists[key].rows}

    def _keys(self, row: StreamRow) -> list[Key]:
        return [key_of(row.path, params) for params in self._slices(row)]

    def _has(self, row: StreamRow) -> bool:
        keys = self._keys(row)
        return bool(keys) and all(key in self.lists or self.others.get(key, {}).get("status") == 200 for key in keys)

    def _slices(self, row: StreamRow) -> Iterable[dict[str, str]]:
        """Return the parameters of the lists that a stream is read in."""
        if row.slices == "location_types":
            return [{"locationType": kind} for kind in ("city", "country", "country_region", "world_region")]
        if row.slices == "object_types":
            _, body = self.answer("v2/object-types", {})
            return [{"objectTypeId": each["id"]} for each in body.get("data", [])]
        return [{}]
