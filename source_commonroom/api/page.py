"""Pages: what counts as one, and which rows it contains."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson
import requests

from source_commonroom.api.exact_json import DEEPEST, Notes, TooDeepError, loads
from source_commonroom.api.repeats import Repeats

_PAGE = "commonroom_page"


class NotAPageError(ValueError):
    """A 200 whose body is not the page that was asked for. The text says what it is instead, without its content."""


@dataclass(frozen=True)
class _Kind:
    """What the body of a 200 looks like, and at which key its records are."""

    body: type = dict
    rows_at: str | None = None
    """The key of the records; None if the body is all there is."""
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
    :return: ``{"data": [row, …], "meta": {"nextCursor": str | None}, "notes": Notes}``; ``meta`` is an object only
        if pages follow, and the notes are for :func:`rows_of`
    :raises NotAPageError: if the body is anything else: not JSON, an error inside a 200, no list, no cursor
    """
    page: Mapping[str, Any] | None = response.__dict__.get(_PAGE)
    if page is None:
        page = _parse_page(response, _KINDS[kind])
        response.__dict__[_PAGE] = page
    return page


def _parse_page(response: requests.Response, kind: _Kind) -> Mapping[str, Any]:
    body, notes = _parse_json(response)
    if isinstance(body, dict) and body.get("success") is False:
        error = body.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        # A short word; a text may quote the request.
        known = isinstance(code, str) and _CODE.fullmatch(code)
        raise NotAPageError(f"success: false ({f'code {code}' if known else 'without a code'})")
    if not isinstance(body, kind.body):
        raise NotAPageError(f"a JSON {_JSON_TYPES[type(body)]} where {_JSON_TYPES[kind.body]} belongs")
    rows: Any = body if kind.rows_at is None else cast("dict[str, Any]", body).get(kind.rows_at)
    if not isinstance(rows, kind.rows):
        raise NotAPageError(f"no {_JSON_TYPES[kind.rows]} under {kind.rows_at} ({_JSON_TYPES[type(rows)]} instead)")
    if kind.rows is dict and not rows:
        raise NotAPageError("an empty object")
    meta = body.get("meta") if isinstance(body, dict) else None
    if isinstance(meta, dict) and meta.get("nextCursor") == "":
        # An end as null is. The body stays as it is: it may be the record.
        meta = {**meta, "nextCursor": None}
    _check_cursor(meta, kind)
    return {"data": [rows] if kind.rows is dict else rows, "meta": meta, "notes": notes}


_CODE = re.compile(r"[A-Za-z0-9_]{1,40}")


_JSON_TYPES = {
    dict: "object",
    list: "list",
    str: "text",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def _parse_json(response: requests.Response) -> tuple[Any, Notes]:
    if not response.content:
        raise NotAPageError("an empty body")
    try:
        # Of the bytes: requests' own json() would replace broken UTF-8, and the CDK's decoder would answer {}.
        return loads(response.content)
    except TooDeepError:
        raise NotAPageError(f"JSON that is nested more than {DEEPEST} levels deep") from None
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
        raise NotAPageError("no meta.nextCursor, so that it isn't known whether more pages follow")
    if cursor is not None and not isinstance(cursor, str):
        raise NotAPageError("a meta.nextCursor that is neither a text nor null")


def rows_of(page: Mapping[str, Any], repeats: Repeats) -> list[dict[str, Any]]:
    """Return the rows of a page that are records: non-empty objects.

    :param repeats: takes a warning that counts the others, and one of what couldn't be kept as it was sent
    """
    rows: list[Any] = page["data"]
    notes: Notes = page["notes"]
    if notes:
        problems = "; and ".join(notes.sentences(names_keys=not repeats.hides_personal_data))
        repeats.warn(
            "values that couldn't be kept as they were sent",
            notes.number,
            f"a page holds {problems}. All else of it is emitted as it was sent. Tell Common Room's support.",
        )
    records = records_of(page)
    if left_out := len(rows) - len(records):
        repeats.warn(
            "rows that are empty or no objects",
            left_out,
            f"left out {left_out} of {len(rows)} rows of a page, because they are empty or no objects. The API should "
            "not send such rows; tell Common Room's support.",
        )
    return records


def records_of(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a page that are records, and don't warn of the others: the reader of the page did."""
    return [row for row in page["data"] if row and isinstance(row, dict)]
