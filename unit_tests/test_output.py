"""The output: a page's bytes, and the room that pages have before they are written."""

import json
import threading
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteMessageSerializer, Type

from source_commonroom.output.pages import Backlog, PageMessage

ROWS: list[dict[str, Any]] = [
    {"id": "c_1", "name": None, "fullName": "Ünïcode \u2028 \U0001f600 \x00", "n": 2**63 - 1, "deep": {"a": None}},
    {"id": "c_2", "score": -0.1, "text": 'a"b\\c\n{"type":"STATE"}'},
]


def test_given_a_page_when_serialized_then_each_line_is_a_record_message_with_every_field() -> None:
    page = PageMessage('str"eam', ROWS)

    lines = page.lines.split(b"\n")
    assert lines.pop() == b""
    messages = [AirbyteMessageSerializer.load(json.loads(line)) for line in lines]
    assert [message.type for message in messages] == [Type.RECORD, Type.RECORD]
    assert [message.record.data for message in messages if message.record] == ROWS
    assert {message.record.stream for message in messages if message.record} == {'str"eam'}
    assert page.count == 2


def test_given_a_full_backlog_when_a_page_is_added_then_it_waits_until_one_is_written() -> None:
    first, second = PageMessage("contacts", ROWS), PageMessage("contacts", ROWS)
    backlog = Backlog(limit=len(first.lines) + 1)
    backlog.add(first)
    added = threading.Event()

    def add() -> None:
        backlog.add(second)
        added.set()

    thread = threading.Thread(target=add)
    thread.start()
    assert not added.wait(0.05)

    backlog.remove(first)

    assert added.wait(10)
    thread.join()


def test_given_a_page_larger_than_the_backlog_when_added_to_an_empty_one_then_it_passes() -> None:
    Backlog(limit=1).add(PageMessage("contacts", ROWS))


def test_given_a_closed_output_when_a_page_is_added_then_the_walk_ends() -> None:
    backlog = Backlog()
    backlog.close()

    with pytest.raises(RuntimeError, match="closed"):
        backlog.add(PageMessage("contacts", ROWS))
