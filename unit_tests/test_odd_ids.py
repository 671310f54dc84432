"""Ids as the API never sends them: whatever one is, its record comes, and so do all others."""

from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus

from integration_tests.sandbox import Api, Workspace
from integration_tests.sandbox.messages import Answer, Call, json_answer
from unit_tests.conftest import Read

SEGMENTS = [{"id": "s_1", "name": "Champions", "entityType": "contact"}]


class OddIds(Api):
    """Answers all contacts on one page, one of them with an odd id and one without."""

    odd: Any = None

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.path != "/v2/contacts" or call.params.get("cols") == "recordCount":
            return answer
        rows = [{"id": self.odd, "name": "Odd"}, {"name": "Without"}, {"id": "c_1", "name": "Jane"}]
        return json_answer(200, {"data": rows, "meta": {"nextCursor": None}})


@pytest.mark.parametrize(
    ("odd", "more"),
    [
        ("c_" + "9" * 5_000, {}),
        ("c_" + "9" * 5_000, {"walk_from_both_ends": False, "segment_ids": ["s_1"]}),
        ([1], {"segment_ids": ["s_1"]}),
        ({"a": 1}, {"segment_ids": ["s_1"]}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_given_an_odd_id_when_read_then_every_record_comes(odd: Any, more: dict[str, Any], read: Read) -> None:
    api = OddIds(Workspace.of(contacts=[{"id": "c_1", "name": "Jane"}], segments=SEGMENTS))
    api.odd = odd

    output = read(api, "contacts", **more)

    assert [record["name"] for record in output.records("contacts")] == ["Odd", "Without", "Jane"]
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
