"""Another reader of JSON and of pages, slow and plain, to compare with."""

import json
from collections import Counter
from typing import Any

from source_commonroom.api.exact_json import Notes

DEEPEST = 254


def read_json(text: str) -> tuple[Any, Notes]:
    """Read as the standard library does, and say what it then contains that can't be kept.

    :raises ValueError: if it isn't JSON, or is nested too deep
    """
    notes = Notes()

    def kept(value: Any, depth: int = 0) -> Any:
        if depth > DEEPEST and isinstance(value, list | tuple):
            raise ValueError("too deep")
        if isinstance(value, list):
            return [kept(part, depth + 1) for part in value]
        if isinstance(value, tuple):
            names = [_whole(name, notes) for name, _ in value]
            notes.repeated.update(Counter(names) - Counter(set(names)))
            parts = [kept(part, depth + 1) for _, part in value]
            return dict(zip(names, parts, strict=True))
        if isinstance(value, str):
            return _whole(value, notes)
        if _is_too_large(value):
            notes.numbers += 1
            return None
        return value

    try:
        return kept(json.loads(text, object_pairs_hook=tuple, parse_constant=int, parse_int=_integer)), notes
    except RecursionError:
        raise ValueError("too deep") from None


def _integer(digits: str) -> int | float:
    # Python reads no integers of more than 4,300 digits.
    return int(digits) if len(digits) < 1_000 else float(digits)


def _is_too_large(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) >= 2**1024 - 2**970
    return isinstance(value, float) and abs(value) == float("inf")


def _whole(text: str, notes: Notes) -> str:
    # UTF-16 joins what belongs together, and what is left alone has no place in UTF-8.
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    halves = sum("\ud800" <= letter <= "\udfff" for letter in joined)
    notes.halves += halves
    return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in joined) if halves else joined


# The kinds of pages, and the key of their rows; None if they are the whole body.
ROWS_AT = {
    "paged": "data",
    "paged_open": "data",
    "list": "data",
    "object": "data",
    "bare": None,
    "bare_list": None,
    "labels": "labels",
}


def read_page(content: bytes, kind: str) -> tuple[list[Any], Any] | None:
    """Return the rows of a page and what stands beside them in `meta`; None if it is no page."""
    try:
        body, _ = read_json(content.decode())
    except ValueError:
        return None
    inner, meta = body, None
    if isinstance(body, dict):
        if body.get("success", True) is False:
            return None
        meta = body.get("meta")
    if ROWS_AT[kind]:
        inner = body.get(ROWS_AT[kind]) if isinstance(body, dict) else None
    alone = kind in {"object", "bare"}
    if not (isinstance(inner, dict) and inner if alone else isinstance(inner, list)):
        return None
    if isinstance(meta, dict) and meta.get("nextCursor") == "":
        meta = {**meta, "nextCursor": None}
    cursor = meta.get("nextCursor") if isinstance(meta, dict) else None
    if not kind.startswith("paged"):
        whole = cursor is None
    elif cursor is None:
        whole = isinstance(meta, dict) and ("nextCursor" in meta or kind == "paged_open")
    else:
        whole = isinstance(cursor, str)
    return ([inner] if alone else inner, meta) if whole else None
