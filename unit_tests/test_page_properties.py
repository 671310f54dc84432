"""Pages, whatever the body: none, or just the rows that another reader of it finds."""

import json
from typing import Any

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from source_commonroom.api.page import NotAPageError, parse_page, rows_of
from source_commonroom.api.repeats import Repeats
from unit_tests.oracle import ROWS_AT, read_page

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ROW = st.fixed_dictionaries({"id": st.text(max_size=3)}, optional={"name": ANYTHING})
ROWS = st.lists(ROW | ANYTHING, max_size=4)
META = st.fixed_dictionaries(
    {}, optional={"nextCursor": st.none() | st.text(max_size=3) | ANYTHING, "recordCount": ANYTHING}
)
# Near to pages of all kinds, each part of which may be another thing, or away.
BODIES = (
    st.fixed_dictionaries(
        {},
        optional={
            "data": ROWS | ROW | ANYTHING,
            "labels": ROWS | ANYTHING,
            "meta": META | ANYTHING,
            "success": st.booleans() | ANYTHING,
            "error": st.fixed_dictionaries({"code": ANYTHING}) | ANYTHING,
        },
    )
    | ROWS
    | ROW
    | ANYTHING
)


def answered(content: bytes) -> requests.Response:
    response = requests.Response()
    response.status_code = 200
    response._content = content  # noqa: SLF001  # as requests' own adapter sets it
    return response


def check(content: bytes, kind: str) -> None:
    expected = read_page(content, kind)
    if expected is None:
        with pytest.raises(NotAPageError):
            parse_page(answered(content), kind)
        return
    rows, meta = expected
    page = parse_page(answered(content), kind)
    # Of what a text says, but for the order of keys; `repr` tells 1 from 1.0 and from true.
    assert repr(page["data"]) == repr(rows)
    assert repr(page["meta"]) == repr(meta)
    assert repr(rows_of(page, Repeats("tags"))) == repr([row for row in rows if row and isinstance(row, dict)])


@given(kind=st.sampled_from(sorted(ROWS_AT)), body=BODIES, blanks=st.booleans())
def test_given_any_json_when_it_is_parsed_as_a_page_then_it_is_none_or_has_the_rows_that_it_holds(
    kind: str, body: Any, *, blanks: bool
) -> None:
    check(json.dumps(body, indent=1 if blanks else None, ensure_ascii=blanks).encode(), kind)


@given(
    kind=st.sampled_from(sorted(ROWS_AT)),
    content=st.binary(max_size=20) | BODIES.map(lambda body: json.dumps(body).encode()),
    place=st.integers(0, 200),
    bits=st.integers(0, 255),
    cut=st.booleans(),
)
@example(kind="bare_list", content=b"[" * 2_000, place=0, bits=0, cut=False)
@example(kind="bare_list", content=b"[" * 600 + b"]" * 600, place=0, bits=0, cut=False)
def test_given_any_bytes_when_they_are_parsed_as_a_page_then_nothing_else_is_raised(
    kind: str, content: bytes, place: int, bits: int, *, cut: bool
) -> None:
    changed = bytearray(content)
    if changed:
        changed[place % len(changed)] ^= bits
    content = bytes(changed[:place] if cut else changed)
    try:
        page = parse_page(answered(content), kind)
    except NotAPageError:
        return
    assert read_page(content, kind) is not None
    rows_of(page, Repeats("tags"))
