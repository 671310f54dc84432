"""Ids as the API never sends them: whatever one is, its record comes, and so do all others."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType

from integration_tests.sandbox import Api, Workspace
from integration_tests.sandbox.messages import Answer, Call, json_answer
from unit_tests.conftest import Read
from unit_tests.streams import BY_NAME, by_key

SEGMENTS = [{"id": "s_1", "name": "Champions", "entityType": "contact"}]


class Answers(Api):
    """Answers a path with rows of its own."""

    path = ""
    rows: Sequence[Mapping[str, Any]] = ()

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.path != self.path or call.params.get("cols") == "recordCount":
            return answer
        return json_answer(200, {"data": self.rows, "meta": {"nextCursor": None}})


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


@pytest.mark.parametrize("without", [{}, {"id": None}, {"id": ""}, {"id": [1]}, {"id": {"a": 1}}], ids=str)
@pytest.mark.parametrize(
    ("path", "streams"),
    [("/v2/segments", ["segment_members", "segment_statuses"]), ("/v2/object-types", ["segment_members", "objects"])],
)
def test_given_a_record_without_an_id_when_others_are_read_by_it_then_they_are_incomplete_and_all_others_come(
    path: str, streams: list[str], without: dict[str, Any], generated: Workspace, read: Read
) -> None:
    usual = read(Api(generated), *streams)
    api = Answers(generated)
    api.path = path
    rows = generated.records("segments" if path == "/v2/segments" else "object_types")
    api.rows = [{"name": "Without", "entityType": "contact", **without}, *rows]

    output = read(api, *streams)

    for stream in streams:
        assert by_key(BY_NAME[stream], output.records(stream)) == by_key(BY_NAME[stream], usual.records(stream))
        (error,) = output.errors(stream)
        assert error.failure_type == FailureType.transient_error
        assert error.message.startswith(f"{stream}: {path.removeprefix('/v2')} answered 1 of ")
        assert "Run the sync again" in error.message
        assert output.status(stream) == AirbyteStreamStatus.INCOMPLETE


def test_given_a_segment_without_an_id_when_segments_are_chosen_then_their_contacts_come(
    generated: Workspace, read: Read
) -> None:
    api = Answers(generated)
    api.path = "/v2/segments"
    segments = generated.records("segments")
    api.rows = [{"entityType": "contact", "id": [1]}, {"entityType": "contact"}, *segments]
    (chosen, *_) = (segment["id"] for segment in segments if segment["entityType"] == "contact")

    output = read(api, "contacts", segment_ids=[chosen])

    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert output.records("contacts")
