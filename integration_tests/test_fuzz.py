"""Fuzzed bodies: whatever the API answers, the connector ends, says why, and calls nothing complete that isn't.

Real answers of the sandbox are broken on their way, each request's once, and those of two paths each time. What a page
still is afterwards, `unit_tests/oracle.py` says, which shares nothing with the connector.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType
from airbyte_cdk.sources.declarative.schema.json_file_schema_loader import JsonFileSchemaLoader
from jsonschema import Draft7Validator

from integration_tests.chaos import hurried
from integration_tests.connector import start
from integration_tests.sandbox import Api, Sandbox, Workspace
from integration_tests.sandbox.endpoints import endpoint_at
from integration_tests.sandbox.messages import Call, json_answer
from unit_tests import openapi
from unit_tests.oracle import read_page
from unit_tests.streams import STREAMS, Stream, catalog, complete

if TYPE_CHECKING:
    from integration_tests.sandbox.messages import Answer
    from unit_tests.output import Output

# One sync of all streams each, with some 60 fuzzed bodies; `make chaos` runs so many that they are 1,000.
RUNS = 20 if os.environ.get("CHAOS") == "full" else 2
# A state is kept after each page.
PROGRAM = (sys.executable, str(Path(hurried.__file__)), "0")
LONGEST = 120
"""Seconds after which a sync hangs."""
MOST = 3
"""So many breaches are printed."""
SALT = "a-salt-of-the-tests-5150"
# Ids that are altered may be asked for, as those of segments are, and not be there.
FORESEEN = {FailureType.transient_error, FailureType.config_error}
SHARE = 0.7
"""Of the requests, how many are answered with a fuzzed body first."""

SCHEMAS = {
    stream.name: JsonFileSchemaLoader(
        config={}, parameters={}, file_path=f"./source_commonroom/schemas/{stream.name}.json"
    ).get_json_schema()["properties"]
    for stream in STREAMS
}

# What stands at the place of a value, as JSON.
ODD = (
    *(
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        '""',
        '"1"',
        "[]",
        "{}",
        "[null]",
        '{"id":1}',
        "-0",
        "1e400",
        "NaN",
        "-Infinity",
    ),
    *("9223372036854775808", "-36893488147419103232", '"\\ud83d"', '"\\u0000"', '"\x01"', '"\\u00e9', "01", "1E5"),
    *("9" * 400, "9" * 5_000, '"' + "9" * 5_000 + '"', '"c_' + "9" * 5_000 + '"', '"' + "x" * 100_000 + '"'),
    *("[" * 300 + "]" * 300, "[" * 3_000 + "]" * 3_000, '{"a":1,"a":2}', '{"":{"__proto__":0}}', "\xa0", ""),
)
ROWS = ("null", "5", '"row"', "[]", "[{}]", "{}", "true", '{"name":"Nobody"}')
MARK = "the place of the fuzz"

# The streams whose records are those of each of another list.
PARENTS = {
    "objects": "/v2/object-types",
    "segment_members": "/v2/segments",
    "segment_statuses": "/v2/segments",
}
BOTH_ENDS = {stream.name for stream in STREAMS if stream.sorted_by == "id"}
# What the connector asks for more than once, and the stream has only one of the answers.
SHARED = {"object_types"}

Page = tuple[list[Any], Any] | None
Rewrite = Callable[[bytes, Random], bytes]


def _place(body: bytes, rng: Random) -> int:
    return rng.randrange(len(body) + 1)


def _flip(body: bytes, rng: Random) -> bytes:
    changed = bytearray(body)
    for _ in range(rng.choice([1, 1, 3, 50]) if body else 0):
        changed[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _delete(body: bytes, rng: Random) -> bytes:
    begin = _place(body, rng)
    return body[:begin] + body[begin + rng.choice([1, 2, 30, 1_000]) :]


def _insert(body: bytes, rng: Random) -> bytes:
    place, begin = _place(body, rng), _place(body, rng)
    return (
        body[:place] + rng.choice([body[begin : begin + rng.choice([1, 20, 1_000])], rng.randbytes(4)]) + body[place:]
    )


def _control(body: bytes, rng: Random) -> bytes:
    place = _place(body, rng)
    return body[:place] + bytes([rng.choice([0, 7, 9, 10, 27, 127])]) + body[place:]


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place of a value: what it is in, and its key there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _nodes(value[key])


def _in_json(edit: Callable[[Any, Random], Any]) -> Rewrite:
    """Change the value of a body; `MARK` takes the place of what no value can say, and is replaced after."""

    def rewrite(body: bytes, rng: Random) -> bytes:
        value = json.loads(body)
        edit(value, rng)
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return text.replace(f'"{MARK}"', rng.choice(ODD), 1).encode("utf-8", "surrogatepass")

    return rewrite


def _swap_type(value: Any, rng: Random) -> None:
    if nodes := list(_nodes(value)):
        within, key = rng.choice(nodes)
        within[key] = MARK


def _swap_key(value: Any, rng: Random) -> None:
    objects = [within for within, key in _nodes(value) if isinstance(key, str)]
    if not objects:
        return
    within = rng.choice(objects)
    name = rng.choice(list(within))
    held = within.pop(name)
    if rng.random() < 0.7:
        within[rng.choice(["", "\x00", "id", f"{name}2", "__proto__", "x" * 1_000, MARK])] = held


def _rows(value: Any) -> Any:
    if isinstance(value, dict):
        value = value.get("data", value.get("labels", value))
    return value if isinstance(value, list) else [value]


def _odd_rows(value: Any, rng: Random) -> None:
    rows = _rows(value)
    for _ in range(rng.choice([1, 3])):
        rows.insert(rng.randrange(len(rows) + 1), json.loads(rng.choice(ROWS)))


def _odd_id(value: Any, rng: Random) -> None:
    rows = [row for row in _rows(value) if isinstance(row, dict)] or [{}]
    row = rng.choice(rows)
    if rng.random() < 0.5:
        row["id"] = MARK
    elif rng.random() < 0.5:
        row["id"] = rng.choice(rows).get("id")
    else:
        row.pop("id", None)


def _odd_meta(value: Any, rng: Random) -> None:
    if not isinstance(value, dict):
        return
    if rng.random() < 0.2:
        value["meta"] = MARK
        return
    meta = value.setdefault("meta", {})
    key = rng.choice(["nextCursor", "recordCount"] if "recordCount" in meta else ["nextCursor"])
    if rng.random() < 0.2:
        meta.pop(key, None)
    elif rng.random() < 0.3:
        meta[key] = rng.choice(["1.10", "None", "a", True, 3, 10**6, 10**30, -5, 1.5])
    else:
        meta[key] = MARK


def _repeat_key(body: bytes, rng: Random) -> bytes:
    """Write a key twice, in an object of the body."""
    begin = body.find(b"{", rng.randrange(len(body)))
    return (
        body
        if begin < 0
        else body[: begin + 1] + rng.choice([b'"id":1,', b'"data":null,', b'"name":"a",']) + body[begin + 1 :]
    )


def _body(rewrite: Rewrite) -> Callable[[Answer, Random], Answer]:
    return lambda answer, rng: replace(answer, body=rewrite(answer.body, rng))


def _headed(**headers: str) -> Callable[[Answer, Random], Answer]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda answer, _: replace(answer, headers={**answer.headers, **names})


def _status(answer: Answer, rng: Random) -> Answer:
    status = rng.choice([201, 202, 203, 204, 206])
    return replace(answer, status=status, body=b"" if status == 204 else answer.body)


def _encoded(encoding: str) -> Callable[[Answer, Random], Answer]:
    return _body(lambda body, _: body.decode().encode(encoding, "replace"))


KINDS: Mapping[str, Callable[[Answer, Random], Answer]] = {
    "bytes flipped": _body(_flip),
    "cut off": _body(lambda body, rng: body[: _place(body, rng)]),
    "span deleted": _body(_delete),
    "span inserted": _body(_insert),
    "control character": _body(_control),
    "type swapped": _body(_in_json(_swap_type)),
    "key swapped": _body(_in_json(_swap_key)),
    "key repeated": _body(_repeat_key),
    "odd rows": _body(_in_json(_odd_rows)),
    "odd id": _body(_in_json(_odd_id)),
    "odd meta": _body(_in_json(_odd_meta)),
    "UTF-16": _encoded("utf-16"),
    "byte order mark": _encoded("utf-8-sig"),
    "latin-1": _encoded("latin-1"),
    "said to be gzip": _headed(Content_Encoding="gzip"),
    "said to be latin-1": _headed(Content_Type="text/html; charset=latin-1"),
    "empty": _body(lambda _body, _rng: b""),
    "HTML": _body(lambda _body, _rng: b"<!doctype html><title>Log in</title>"),
    "other status": _status,
    "spelled otherwise": _body(lambda body, _: json.dumps(json.loads(body), indent=1).encode()),
}


# Those that leave no page, mostly or always, for what is broken each time.
BROKEN_KINDS = [
    "cut off",
    "span deleted",
    "UTF-16",
    "byte order mark",
    "said to be gzip",
    "empty",
    "HTML",
    "type swapped",
]


@dataclass(frozen=True)
class Served:
    """What was answered, and what would have been right."""

    call: Call
    kind: str | None
    """How it was fuzzed."""
    right: Answer
    answer: Answer

    @cached_property
    def page(self) -> Page:
        """The page that the client got, and None if it is none."""
        return self._read(self.answer)

    @cached_property
    def right_page(self) -> Page:
        return self._read(self.right)

    def _read(self, answer: Answer) -> Page:
        if not 200 <= answer.status < 300 or answer.headers.get("Content-Encoding") == "gzip":
            return None
        if "segmentId" in self.call.params:
            return read_page(answer.body, "paged_open")
        endpoint = endpoint_at(self.call.path)
        assert endpoint, f"{self.call.path} was answered {answer.status}, and the sandbox has no such endpoint"
        return read_page(answer.body, openapi.page_of(endpoint.path))

    @property
    def counts(self) -> bool:
        """Whether it was asked to count, and nothing else."""
        # Pages of a list without columns of its own, if they are read with their counts, differ only by their size.
        return self.call.params.get("cols") == "recordCount" and self.call.params.get("limit") == "1"

    def rows(self, page: Page) -> list[Mapping[str, Any]]:
        """List the records of a page."""
        return [] if self.counts or page is None else [row for row in page[0] if row and isinstance(row, dict)]

    @property
    def list_asked(self) -> str:
        """Name the list that it is a page of."""
        beside = {"cursor", "limit", "cols"}
        return text_of([self.call.path, {name: v for name, v in self.call.params.items() if name not in beside}])

    @property
    def asked_at(self) -> str | None:
        """The cursor that it was asked for with."""
        return self.call.params.get("cursor")

    @property
    def next(self) -> Any:
        """The cursor of the page that follows the one that the client got; None at the end."""
        meta = self.page[1] if self.page else None
        return meta.get("nextCursor") if isinstance(meta, dict) else None

    def altered(self) -> bool:
        """Tell whether the client got a page, but not the one that is right."""
        return self.page is not None and text_of(self.page) != text_of(self.right_page)

    def altered_beside_rows(self, key: str) -> bool:
        """Tell whether `nextCursor` or `recordCount` of the page that it got is another one."""
        return self.altered() and text_of(_of_meta(self.page, key)) != text_of(_of_meta(self.right_page, key))


def _of_meta(page: Page, key: str) -> Any:
    meta = page[1] if page else None
    return meta.get(key, MARK) if isinstance(meta, dict) else MARK


def text_of(value: Any) -> str:
    """Write a value so that what is equal is equal, whatever the order of keys, and 1 isn't 1.0 or true."""
    return json.dumps(value, sort_keys=True)


class FuzzedApi(Api):
    """An API whose answers are broken on their way."""

    def __init__(self, workspace: Workspace, seed: int) -> None:
        super().__init__(workspace)
        self.seed = seed
        self.one_end = seed % 2 == 1
        self.pii = ("keep", "hash", "drop")[seed % 3]
        self.served: list[Served] = []
        self._asked: Counter[tuple[str, str]] = Counter()
        rng = Random(f"broken {seed}")
        self._broken = {stream.path: rng.choice(BROKEN_KINDS) for stream in rng.sample(STREAMS, 2)}

    def answer(self, call: Call) -> Answer:
        """Answer a call, and break the answer if it is due: by the seed and the request, whatever came before."""
        right = super().answer(call)
        self._asked[call.path, call.query] += 1
        tries = self._asked[call.path, call.query]
        rng = Random(f"{self.seed} {call.path} {call.query} {tries}")
        broken = self._broken.get(call.path)
        due = right.status == 200 and (broken or (tries == 1 and rng.random() < SHARE))
        kind = (broken or rng.choice(list(KINDS))) if due else None
        answer = KINDS[kind](right, rng) if kind else right
        self.served.append(Served(call, kind, right, answer))
        return answer


def asked_by(stream: Stream, call: Call) -> bool:
    """Tell whether a stream made a request."""
    if not re.fullmatch(stream.path.replace("{id}", "[^/]+"), call.path):
        return False
    if stream.name == "segments":
        return "cols" in call.params
    if stream.name == "custom_fields":
        return "entityType" not in call.params
    return ("segmentId" in call.params) == (stream.name == "segment_members")


def id_of(stream: Stream, row: Mapping[str, Any], *, emitted: bool = False) -> str:
    """Return what tells a row from others, or a record that was made of one."""
    return text_of(_raw_id_of(stream, row, emitted=emitted))


def id_that_comes(stream: Stream, row: Mapping[str, Any], pii: str) -> str:
    """Return what tells the record of a row from others: ids that aren't of their column's type are made so."""
    raw = _raw_id_of(stream, row, emitted=False)
    if SCHEMAS[stream.name].get("id", {}).get("type") == ["null", "integer"]:
        return text_of(_whole_number(raw))
    if raw is None or isinstance(raw, str):
        return text_of(raw)
    # An object or a list may hold personal data, wherever it stands.
    personal = pii != "keep" and isinstance(raw, dict | list)
    return text_of(None if personal else json.dumps(raw, ensure_ascii=False, separators=(",", ":")))


def _whole_number(raw: Any) -> int | None:
    with suppress(TypeError, ValueError, OverflowError, ArithmeticError):
        number = Decimal(raw.strip() if isinstance(raw, str) else repr(raw))
        if number == number.to_integral_value() and abs(number) < 2**63:
            return int(number)
    return None


def _raw_id_of(stream: Stream, row: Mapping[str, Any], *, emitted: bool = False) -> Any:
    if stream.name == "segment_members":
        return row.get("memberId" if emitted else "id")
    return row.get(stream.primary_key[-1])


def came_of(stream: Stream, record: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Tell whether a record is what a row becomes."""
    if stream.name == "segment_members":
        return _is_held(record["memberName"], row.get("name"), {"type": ["null", "string"]})
    schema = SCHEMAS[stream.name]
    folded = {name.casefold() for name in schema}
    mine = {key for key in row if key in schema or key.casefold() not in folded} - stream.adds
    return mine <= record.keys() and all(_is_held(record[key], row[key], schema.get(key, {})) for key in mine)


def _is_held(value: Any, answered: Any, node: Mapping[str, Any]) -> bool:
    """Tell whether a value came as it was answered; if that isn't of its column's type, it may be null, or made so."""
    if text_of(value) == text_of(answered):
        return True
    fits = Draft7Validator(node).is_valid(answered) and node.get("format") != "date-time"
    beyond = isinstance(answered, int) and abs(answered) >= 2**63
    return (not fits or beyond) and Draft7Validator(node).is_valid(value)


def walked(served: list[Served]) -> Iterator[Served]:
    """Yield the answers of a stream whose rows have to come, if it is complete.

    After a reading, pages are asked for once more and compared. If they have moved, the list is read again, and what
    they showed need not be there any more. So a page is left out if it stands alone, as neither the page before it nor
    the one behind it was asked for with it, and the list was read afterwards from its first page to its end.
    """
    by_list = defaultdict(list)
    for one in served:
        if one.page is not None and not one.counts:
            by_list[one.list_asked].append(one)
    for pages in by_list.values():
        readings = readings_of(pages)
        whole = [place for place, reading in enumerate(readings) if reading[-1].next is None]
        for place, reading in enumerate(readings):
            compared = len(reading) == 1 and (reading[0].asked_at is not None or reading[0].next is not None)
            reread = any(later > place and readings[later][0].asked_at is None for later in whole)
            if not (compared and reread):
                yield from reading


def readings_of(pages: list[Served]) -> list[list[Served]]:
    """Share the pages of a list out among its readings: each page follows the cursor of the one before it."""
    readings: list[list[Served]] = []
    for page in pages:
        if readings and page.asked_at is not None and page.asked_at == readings[-1][-1].next:
            readings[-1].append(page)
        else:
            readings.append([page])
    return readings


def breaches(stream: Stream, api: FuzzedApi, output: Output) -> Iterator[str]:
    """Say what is wrong with what a stream brought."""
    served = [one for one in api.served if asked_by(stream, one.call)]
    rows = defaultdict(list)
    for one in served:
        for row in one.rows(one.page):
            rows[id_that_comes(stream, row, api.pii)].append(row)
    records = output.records(stream.name)
    for record in records:
        key = id_of(stream, record, emitted=True)
        # Of personal data that isn't kept, nothing can be compared.
        if not any(api.pii != "keep" or came_of(stream, record, row) for row in rows[key]):
            yield f"{stream.name}: emitted a record that wasn't answered: {str(record)[:300]}"
    if output.status(stream.name) != AirbyteStreamStatus.COMPLETE:
        return
    emitted = {id_of(stream, record, emitted=True) for record in records}
    walked_once = api.one_end or stream.name not in BOTH_ENDS
    if walked_once and stream.name not in {"activities", *SHARED}:
        shown = {id_that_comes(stream, row, api.pii) for one in walked(served) for row in one.rows(one.page)}
        for key in shown - emitted:
            yield f"{stream.name}: complete without a row that was answered: {str(rows[key])[:300]}"
    yield from _lost(stream, api, served, emitted)


def _lost(stream: Stream, api: FuzzedApi, served: list[Served], emitted: set[str]) -> Iterator[str]:
    """Say what of the workspace a complete stream lacks though a client can notice that it does."""
    there = {id_of(stream, record, emitted=True) for record in complete(stream, api.workspace)}
    missing = there - emitted
    for one in served:
        if one.altered():
            missing -= {id_of(stream, row) for row in one.rows(one.right_page)}
    if any(one.altered() for one in api.served if one.call.path == PARENTS.get(stream.name)):
        return
    if any(one.altered_beside_rows("nextCursor") for one in served):
        # A cursor that is gone ends the walk. A count tells, unless it is wrong itself, or made up for by other rows.
        counted = any("recordCount" in one.call.params.get("cols", "") for one in served)
        if not counted or any(one.altered_beside_rows("recordCount") for one in served):
            return
        surplus = sum(
            len(one.page[0]) - len({id_of(stream, row) for row in one.rows(one.page)} & there)
            for one in served
            if one.page
        )
        missing = set() if len(missing) <= surplus else missing
    if missing:
        yield f"{stream.name}: complete without {len(missing)} records that were never altered: {sorted(missing)[:5]}"


# A page of tags: the cursor that it is asked for with, the one that it names, and its one row.
WHOLE = ((None, "1", "a"), ("1", "2", "b"), ("2", None, "c"))
COMPARED = {
    "the last page": ("2", None, "x"),
    "one in the middle": ("1", "2", "x"),
    "the first one": (None, "1", "x"),
}


def rows_walked(*pages: tuple[str | None, str | None, str]) -> str:
    served = []
    for cursor, following, row in pages:
        call = Call("GET", "/v2/tags", f"limit=200&cursor={cursor}" if cursor else "limit=200", "")
        answer = json_answer(200, {"success": True, "data": [{"id": row}], "meta": {"nextCursor": following}})
        served.append(Served(call, None, answer, answer))
    return "".join(sorted(row["id"] for one in walked(served) for row in one.rows(one.page)))


@pytest.mark.parametrize("compared", COMPARED.values(), ids=COMPARED)
def test_a_page_that_was_only_compared_counts_unless_the_list_was_read_again(
    compared: tuple[str | None, str | None, str],
) -> None:
    again = (*WHOLE[:2], ("2", None, "d"))

    assert rows_walked(*WHOLE, compared) == "abcx"
    assert rows_walked(*WHOLE, compared, *WHOLE[:2]) == "aabbcx"
    assert rows_walked(*WHOLE, compared, *again) == "aabbcd"


def test_a_page_of_a_reading_counts_also_if_the_list_was_read_again() -> None:
    assert rows_walked(*WHOLE[:2], *WHOLE) == "aabbc"
    assert rows_walked((None, None, "x"), *WHOLE) == "abcx"


@pytest.fixture(scope="module")
def small() -> Workspace:
    """A workspace of few pages for each stream; don't change it."""
    return Workspace.generate(contacts=430, organizations=210, activities=900)


@pytest.mark.parametrize("seed", range(RUNS))
def test_given_fuzzed_bodies_when_read_then_every_stream_ends_and_complete_means_complete(
    seed: int, small: Workspace, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    api = FuzzedApi(small, seed)

    with Sandbox(api) as sandbox:
        config = {
            "api_url": sandbox.api_url,
            "api_token": sandbox.token,
            "requests_per_second": 1_000,
            "walk_from_both_ends": not api.one_end,
            "pii": {"mode": api.pii, "salt": SALT},
        }
        running = start(tmp_path, "read", config, catalog(), program=PROGRAM)
        try:
            output = running.wait(LONGEST)
        finally:
            running.process.kill()

    fuzzed = [one for one in api.served if one.kind]
    statuses = Counter(output.status(stream.name) for stream in STREAMS)
    figures = Counter(f"fuzzed: {one.kind}" for one in fuzzed)
    figures["fuzzed bodies"] = len(fuzzed)
    figures["fuzzed bodies that were pages still, and others"] = sum(one.altered() for one in fuzzed)
    figures["fuzzed bodies that were no pages"] = sum(one.page is None for one in fuzzed)
    figures["streams COMPLETE"] = statuses[AirbyteStreamStatus.COMPLETE]
    figures["streams INCOMPLETE"] = statuses[AirbyteStreamStatus.INCOMPLETE]
    record_property("figures", dict(figures))
    assert len(fuzzed) >= 40
    assert statuses.total() == figures["streams COMPLETE"] + figures["streams INCOMPLETE"] == len(STREAMS)
    assert sandbox.token not in output.text
    assert SALT not in output.text
    assert output.exit_code == int(bool(statuses[AirbyteStreamStatus.INCOMPLETE]))
    assert bool(output.errors()) == bool(output.exit_code)
    for stream in STREAMS:
        errors = output.errors(stream.name)
        assert bool(errors) == (output.status(stream.name) == AirbyteStreamStatus.INCOMPLETE), stream.name
        for error in errors:
            # What isn't foreseen has another message, and is a system_error.
            assert error.message.startswith(f"{stream.name}: ")
            assert error.failure_type in FORESEEN
    found = [breach for stream in STREAMS for breach in breaches(stream, api, output)]
    more = [f"and {len(found) - MOST} more of {len(found)}"] if len(found) > MOST else []
    assert not found, "\n".join([*found[:MOST], *more])
