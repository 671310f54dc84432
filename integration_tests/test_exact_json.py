"""Exact JSON over HTTP: values that are hard to keep come out as they were sent, or are reported."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airbyte_cdk.models import AirbyteStreamStatus

from integration_tests.sandbox import Api, Workspace

if TYPE_CHECKING:
    from integration_tests.conftest import RunCommand, Serve
    from integration_tests.sandbox.messages import Answer, Call

# Some 10 MB; four of them are more than the output holds back.
LONG = "Ünïcode \u2028 \U0001f600" * 560_000
ROWS = [{"id": f"c_{number}", "name": f"mark {number}", "fullName": LONG if number else None} for number in range(5)]
# What the API sends in the place of a name, and what has to come out.
SENT = {
    b'"mark 0"': b'"a","name":"b"',
    b'"mark 2"': b"36893488147419103233",
    b'"mark 3"': b"-1e400",
    b'"mark 4"': b'"half \\ud83d"',
}
# In a column of texts a number is one.
GOT = ["b", "mark 1", "36893488147419103233", None, "half \ufffd"]


class HardToKeep(Api):
    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        body = answer.body
        for old, new in SENT.items():
            body = body.replace(old, new)
        return replace(answer, body=body)


def test_given_values_that_are_hard_to_keep_and_a_text_of_10_mb_when_read_then_they_come_or_are_reported(
    serve: Serve, command: RunCommand
) -> None:
    result = command("read", serve(HardToKeep(Workspace.of(contacts=ROWS))), "contacts")

    records = sorted(result.records("contacts"), key=lambda record: record["id"])
    assert len(LONG.encode()) > 10_000_000
    assert [record["fullName"] for record in records] == [row["fullName"] for row in ROWS]
    assert [record["name"] for record in records] == GOT
    assert result.status("contacts") == AirbyteStreamStatus.COMPLETE
    (warning,) = result.warnings()
    assert warning == (
        "contacts: a page holds keys that repeat in one object (1 times: name), of which the last one counts; and "
        "numbers too large for any column (1), which are null; and halves of characters (1), which are U+FFFD. All "
        "else of it is emitted as it was sent. Tell Common Room's support."
    )
