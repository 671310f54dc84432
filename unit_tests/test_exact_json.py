"""Exact JSON: what a text says comes out, and what can't be kept is told."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
import requests_mock
from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.models import AirbyteStreamStatus
from hypothesis import given
from hypothesis import strategies as st

from integration_tests.sandbox import Api, Workspace, mount
from integration_tests.sandbox.messages import Answer, Call
from source_commonroom import SourceCommonroom
from source_commonroom.api.exact_json import DEEPEST, Notes, TooDeepError, dumps, loads
from source_commonroom.output.pages import PageMessage
from unit_tests.conftest import API_URL, Read
from unit_tests.oracle import read_json
from unit_tests.streams import BY_NAME, by_key, catalog, complete

HALF = "\\ud83d"


def notes(*repeated: str, **more: int) -> Notes:
    return Notes(repeated=Counter(repeated), **more)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[1,-2.5,"b",null,true,{}]}',
        '{ "a" : [ 1 , -2.50 , "b" ] }',
        '{"a":"\\u00e9\\/\\"\\\\"}',
        '{"a":"\\ud83d\\ude00"}',
        '["\\\\ud83d"]',
        '["\\\\\\"",":",",1234567890123456789012"]',
        "[9223372036854775807,9223372036854775808,18446744073709551615,-9223372036854775808]",
        "[18446744073709551616,-9223372036854775809]",
        "[ 18446744073709551616 ]",
        "[\n-9223372036854775809]",
        '{"a":123456789012345678901234567890}',
        "1" + "0" * 308,
        "18446744073709551616",
        "[1e5,1E5,1.0,1e308]",
        '["' + "x" * 10_000_000 + '"]',
    ],
    ids=lambda text: text[:40],
)
def test_given_a_text_when_read_then_its_value_is_exact(text: str) -> None:
    value, told = loads(text.encode())

    exact = json.loads(text)
    assert (value, repr(value)) == (exact, repr(exact))
    assert told == Notes()
    assert not told
    assert json.loads(dumps(value)) == exact


@pytest.mark.parametrize(
    ("text", "value", "told"),
    [
        ('{"a":1,"a":2}', {"a": 2}, notes("a")),
        (
            '{"a": 1, "a" :2, "\\u0061":3, "b": {"c": [], "c": "\\\\"}}',
            {"a": 3, "b": {"c": "\\"}},
            notes("a", "a", "c"),
        ),
        ('[{"a":1,"a":1}]', [{"a": 1}], notes("a")),
        ("[1e400,-1e400,1e-400]", [None, None, 0.0], notes(numbers=2)),
        (f"[{'9' * 5_000},-{'9' * 400}]", [None, None], notes(numbers=2)),
        (f'["{HALF}","a{HALF}b","\\uDe00"]', ["\ufffd", "a\ufffdb", "\ufffd"], notes(halves=3)),
        (
            f'["{HALF}{HALF}\\ude00","\\ude00{HALF}","\\\\{HALF}"]',
            ["\ufffd😀", "\ufffd\ufffd", "\\\ufffd"],
            notes(halves=4),
        ),
        (f'{{"{HALF}":1,"\\ud83e":2}}', {"\ufffd": 2}, notes("\ufffd", halves=2)),
        (
            f'{{"n":1e999,"n":36893488147419103232,"t":"{HALF}"}}',
            {"n": 2**65, "t": "\ufffd"},
            notes("n", numbers=1, halves=1),
        ),
    ],
)
def test_given_what_cannot_be_kept_when_read_then_it_is_told(text: str, value: Any, told: Notes) -> None:
    assert loads(text.encode()) == (value, told)
    assert told
    assert len(list(told.sentences())) == sum(map(bool, (told.repeated, told.numbers, told.halves)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[1",
        b"[NaN]",
        b"[-Infinity]",
        b'{"a":Infinity}',
        b"[01]",
        b"[1,]",
        b'["\t"]',
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        b"\xef\xbb\xbf[]",
        '["é"]'.encode("latin-1"),
        '["a"]'.encode("utf-16"),
        b'["\\ud83d", NaN]',
        b'["\\ud83"]',
        b'["\\ud83d"',
        b"[1e400",
        b"[" * 100_000,
        b"[" * 2_000 + b"]" * 2_000,
    ],
    ids=lambda content: repr(content[:20]),
)
def test_given_what_is_no_json_when_read_then_it_is_refused(content: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(content)


@pytest.mark.parametrize("inner", ["1", '"\\ud83d"', "36893488147419103232", '{"a":1,"a":2}'])
def test_given_deep_nesting_when_read_then_what_could_not_be_written_again_is_refused(inner: str) -> None:
    levels = DEEPEST - inner.count("{")

    value, _ = loads(f"{'[' * levels}{inner}{']' * levels}".encode())

    assert json.loads(dumps(value)) == value
    with pytest.raises(TooDeepError):
        loads(f"{'[' * (levels + 1)}{inner}{']' * (levels + 1)}".encode())


# Whatever JSON. A text is made of parts, because what is asked of is the spelling.

BLANKS = st.sampled_from(["", "", "", " ", "\n\t "])
LETTERS = st.sampled_from([*'ab:,1"\\', "é", "😀", "\u2028", "\ud83d", "\ude00", "\x00", "9" * 20])
WHOLE = st.integers() | st.integers(-(2**70), 2**70) | st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**308])
NUMBERS = (
    WHOLE.map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.sampled_from(
        ["1e400", "-1E+999", "1" * 310, "-0", "-0.0", "1e-400", "1.50", "1E5", "0.1000000000000000055511151"]
    )
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw a JSON string, each letter as it is or escaped; halves of characters can't stand as they are."""
    letters = draw(st.lists(LETTERS | st.characters(), max_size=4))
    escaped = [json.dumps(letter)[1:-1] for letter in letters]
    plain = [json.dumps(letter, ensure_ascii=False)[1:-1] for letter in letters]
    return (
        '"'
        + "".join(
            escape if "\ud800" <= letter <= "\udfff" or draw(st.booleans()) else as_it_is
            for letter, escape, as_it_is in zip(letters, escaped, plain, strict=True)
        )
        + '"'
    )


@st.composite
def spelled(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    """Draw a list, or an object, whose keys may repeat."""
    parts = draw(st.lists(inner, max_size=4))
    if draw(st.booleans()):
        parts = [f"{draw(st.sampled_from(KEYS) | texts())}{draw(BLANKS)}:{draw(BLANKS)}{part}" for part in parts]
        begin, end = "{}"
    else:
        begin, end = "[]"
    return begin + ",".join(f"{draw(BLANKS)}{part}{draw(BLANKS)}" for part in parts) + draw(BLANKS) + end


KEYS = ['"a"', '"\\u0061"', '"b"', '"\\ud800"']
JSON = st.recursive(st.sampled_from(["null", "true", "false"]) | NUMBERS | texts(), spelled, max_leaves=12)


@given(text=JSON)
def test_given_whatever_json_when_read_then_the_standard_library_agrees(text: str) -> None:
    value, told = read_json(text)

    found, noted = loads(text.encode())

    assert (found, repr(found)) == (value, repr(value))
    assert noted == told
    assert json.loads(dumps(found)) == found
    assert loads(dumps(found)) == (found, Notes())


@given(text=JSON, place=st.integers(0, 500), bits=st.integers(1, 255), cut=st.booleans())
def test_given_a_byte_changed_or_the_end_cut_off_when_read_then_what_is_no_json_is_refused(
    text: str, place: int, bits: int, *, cut: bool
) -> None:
    content = bytearray(text.encode())
    place %= len(content)
    content[place] ^= bits
    changed = bytes(content[:place] if cut else content)
    try:
        expected = read_json(changed.decode())
    except ValueError:
        with pytest.raises(orjson.JSONDecodeError):
            loads(changed)
    else:
        assert loads(changed) == expected


# Through the connector, in process.


class Altered(Api):
    """Answers the pages of contacts with something in the place of a text."""

    def __init__(self, workspace: Workspace, old: bytes, new: bytes) -> None:
        super().__init__(workspace)
        self._old = old
        self._new = new

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        return replace(answer, body=answer.body.replace(self._old, self._new))


CONTACTS = BY_NAME["contacts"]
ROWS = [
    {"id": f"c_{number}", "name": f"Jane {number}", "title": "here" if number == 7 else None} for number in range(9)
]


@pytest.mark.parametrize(
    ("sent", "got", "warning"),
    [
        (b'"a","title":"b"', {"title": "b"}, "keys that repeat in one object (1 times: title)"),
        (b"1e400", {"title": None}, "numbers too large for any column (1)"),
        (b'"Hi \\ud83d"', {"title": "Hi \ufffd"}, "halves of characters (1)"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_given_a_value_that_is_hard_to_keep_when_read_then_it_comes_or_is_reported(
    sent: bytes, got: Mapping[str, Any], warning: str, read: Read
) -> None:
    api = Altered(Workspace.of(contacts=ROWS), b'"here"', sent)

    output = read(api, "contacts")

    seventh = complete(CONTACTS, api.workspace)[7]
    del seventh["title"]
    records = by_key(CONTACTS, output.records("contacts"))
    assert records[7] == {**seventh, **got}
    assert len(records) == len(ROWS)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    (line,) = output.warnings()
    assert line.startswith(f"contacts: a page holds {warning}")
    assert "Hi" not in line


@pytest.mark.parametrize("number", [2**65 + 1, -(2**63) - 1])
def test_given_an_integer_beyond_64_bits_when_read_then_the_cdk_writes_it_as_it_is(
    number: int, config: dict[str, Any]
) -> None:
    # An undocumented column: those with a type hold what fits it.
    api = Altered(Workspace.of(contacts=ROWS), b'"title":"here"', f'"extra":{number}'.encode())

    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        source = SourceCommonroom(catalog=catalog("contacts"), config=config)
        messages = list(source.read(logging.getLogger("airbyte"), config, catalog("contacts")))

    lines = [AirbyteEntrypoint.airbyte_message_to_string(message) for message in messages if message.record]
    assert [json.loads(line)["record"]["data"].get("extra") for line in lines] == [
        number if row["title"] else None for row in ROWS
    ]


def test_given_a_server_that_writes_json_otherwise_when_read_then_nothing_is_warned_of(api: Api, read: Read) -> None:
    class Blanks(Api):
        def answer(self, call: Call) -> Answer:
            answer = super().answer(call)
            return replace(answer, body=json.dumps(json.loads(answer.body), indent=1).encode())

    output = read(Blanks(api.workspace), "contacts")

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert not any("holds" in line for line in output.warnings())


def test_given_integers_beyond_64_bits_when_a_page_is_written_then_they_are_exact() -> None:
    rows = [{"id": "c_1", "n": 10**300, "text": "Ünïcode \u2028"}, {"id": "c_2", "n": -1}]

    lines = PageMessage("contacts", rows).lines.splitlines()

    assert [json.loads(line)["record"]["data"] for line in lines] == rows
