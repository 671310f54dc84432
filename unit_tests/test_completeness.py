"""Completeness: what the API counts, and what it answers."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from airbyte_cdk.models import AirbyteStreamStatus, EstimateType, FailureType, TraceType

from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.messages import Answer, Call, iso
from unit_tests import openapi
from unit_tests.conftest import Read
from unit_tests.output import Output
from unit_tests.streams import BY_NAME, STREAMS, Stream, by_key, complete

COUNTED = {stream.name for stream in STREAMS if openapi.counts(*openapi.matching(stream.path))}


def estimates(output: Output, stream: str) -> list[int]:
    """List the estimates of a stream, in order."""
    found = [message.trace.estimate for message in output.messages if message.trace and message.trace.estimate]
    assert all(estimate.type == EstimateType.STREAM for estimate in found)
    return [estimate.row_estimate or 0 for estimate in found if estimate.name == stream]


# What may stand in the place of the count, and is none.
COUNTS = {
    "missing": b'"count":1',
    "null": b'"recordCount":null',
    "text": b'"recordCount":"430"',
    "negative": b'"recordCount":-1',
    "true": b'"recordCount":true',
    "huge": b'"recordCount":1' + b"0" * 30,
}


def is_count(params: Any) -> bool:
    return bool(params.get("cols") == "recordCount" and params.get("limit") == "1")


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_given_a_stream_that_counts_when_read_then_its_records_are_estimated_before_they_come(
    stream: Stream, api: Api, read: Read
) -> None:
    output = read(api, stream.name)

    records = len(output.records(stream.name))
    if stream.name in COUNTED:
        assert estimates(output, stream.name)[-1] == records
        kinds = [
            "RECORD" if message.record else "ESTIMATE"
            for message in output.messages
            if message.record or (message.trace and message.trace.type == TraceType.ESTIMATE)
        ]
        assert kinds[0] == "ESTIMATE"
    else:
        assert estimates(output, stream.name) == []
        assert not any("recordCount" in request.params.get("cols", "") for request in stream.requests(api))
    assert output.exit_code == 0


@pytest.mark.parametrize("name", sorted(COUNTED - {"segment_members"}))
def test_given_rows_that_are_held_back_when_read_then_the_stream_is_incomplete_and_both_numbers_are_said(
    name: str, generated: Workspace, read: Read
) -> None:
    stream = BY_NAME[name]
    api = Api(generated, withheld={stream.path: 0.15})

    output = read(api, name, "tags")

    assert output.status(name) == AirbyteStreamStatus.INCOMPLETE
    assert output.status("tags") == AirbyteStreamStatus.COMPLETE
    assert output.exit_code == 1
    assert {error.failure_type for error in output.errors(name)} == {FailureType.transient_error}
    warnings = [text for text in output.warnings() if text.startswith(f"{name}: the API counted ")]
    assert len(warnings) == len(output.errors(name)) > 0
    # What is missing of each part is missing of the whole.
    numbers = [[int(word) for word in text.replace(",", "").split() if word.isdigit()] for text in warnings]
    missing = sum(counted - answered for counted, answered, *_ in numbers)
    assert missing == len(complete(stream, generated)) - len(output.records(name)) > 0


def test_given_activities_that_are_held_back_when_read_then_their_window_is_not_in_the_state(
    generated: Workspace, read: Read
) -> None:
    api = Api(generated, withheld={"/v2/activities": 0.03})

    output = read(api, "activities", start_date="2025-06-30T00:00:00Z")

    slices = output.last_state("activities")[1]["slices"]
    emitted = {row["id"] for row in output.records("activities")}
    for row in generated.records("activities"):
        if any(window["start"] <= row["activityTime"] <= window["end"] for window in slices):
            assert row["id"] in emitted


class Doubling(Api):
    """Answers with the first record of a page once more in the place of the last: the numbers fit, a record doesn't."""

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        page = orjson.loads(answer.body)
        if is_count(call.params) or len(page["data"]) < 2:
            return answer
        page["data"][-1] = page["data"][0]
        return Answer(answer.status, orjson.dumps(page), answer.headers)


@pytest.mark.parametrize("name", sorted(COUNTED - {"segment_members"}))
def test_given_records_that_come_twice_while_others_do_not_come_when_read_then_the_stream_is_incomplete(
    name: str, generated: Workspace, read: Read
) -> None:
    api = Doubling(generated)

    output = read(api, name)

    there = {row["id"] for row in complete(BY_NAME[name], generated)}
    assert {row["id"] for row in output.records(name)} < there
    assert output.status(name) == AirbyteStreamStatus.INCOMPLETE
    assert any(text.startswith(f"{name}: the API counted ") for text in output.warnings())
    assert {error.failure_type for error in output.errors(name)} == {FailureType.transient_error}


class Shrinking(Api):
    """Loses records with each page, at the end that is read last."""

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.path == "/v2/contacts" and not is_count(call.params):
            rows = self.workspace.records("contacts")
            for row in rows[len(rows) // 2 : len(rows) // 2 + 3]:
                self.workspace.delete("contacts", row["id"])
        return answer


@pytest.mark.parametrize("ends", ["both", "one"])
def test_given_deletions_meanwhile_when_read_then_it_is_complete_and_said(ends: str, read: Read) -> None:
    api = Shrinking(Workspace.of(contacts=[{"id": f"c_{number}", "name": "A"} for number in range(1, 1_500)]))

    output = read(api, "contacts", walk_from_both_ends=ends == "both")

    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert len(output.records("contacts")) < 1_499
    assert any("the API counted 1499 records and returned" in text for text in output.warnings())
    assert {row["id"] for row in api.workspace.records("contacts")} <= {row["id"] for row in output.records("contacts")}


class Leaking(Api):
    """Answers no page with the 400th contact, and loses the 700th after the first page."""

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.path != "/v2/contacts" or is_count(call.params):
            return answer
        if "c_700" in {row["id"] for row in self.workspace.records("contacts")}:
            self.workspace.delete("contacts", "c_700")
        page = orjson.loads(answer.body)
        page["data"] = [row for row in page["data"] if row["id"] != "c_400"]
        return replace(answer, body=orjson.dumps(page))


@pytest.mark.parametrize("ends", ["both", "one"])
def test_given_one_more_missing_than_the_count_has_fallen_by_when_read_then_the_stream_is_incomplete(
    ends: str, read: Read
) -> None:
    api = Leaking(Workspace.of(contacts=[{"id": f"c_{number}", "name": "A"} for number in range(1, 1_500)]))

    output = read(api, "contacts", walk_from_both_ends=ends == "both")

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    assert any("returned 1497 of them" in text for text in output.warnings())


class Growing(Api):
    """Replaces a record in the middle by a new one at the end, with each page."""

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.path == "/v2/contacts" and not is_count(call.params):
            rows = sorted(self.workspace.records("contacts"), key=lambda row: int(row["id"][2:]))
            self.workspace.delete("contacts", rows[len(rows) // 2]["id"])
            self.workspace.insert("contacts", {"id": f"c_{int(rows[-1]['id'][2:]) + 1}", "name": "New"})
        return answer


@pytest.mark.parametrize("ends", ["both", "one"])
def test_given_deletions_and_as_many_insertions_when_read_then_the_new_ones_come_and_it_is_complete(
    ends: str, read: Read
) -> None:
    api = Growing(Workspace.of(contacts=[{"id": f"c_{number}", "name": "A"} for number in range(1, 2_001)]))

    output = read(api, "contacts", walk_from_both_ends=ends == "both")

    found = [row["id"] for row in output.records("contacts")]
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert "c_2004" in found
    assert len(found) == len(set(found))


class Moving(Api):
    """Does something to the workspace after the n-th page of a path that holds anything."""

    def __init__(
        self, workspace: Workspace, path: str, after: int, move: Callable[[Workspace], None], **more: Any
    ) -> None:
        super().__init__(workspace, **more)
        self._path = path
        self._after = after
        self._move = move
        self._pages = 0

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.path == self._path and not is_count(call.params) and orjson.loads(answer.body)["data"]:
            self._pages += 1
            if self._pages == self._after:
                self._move(self.workspace)
        return answer


def contact(number: int, *, inside: bool = True) -> dict[str, Any]:
    return {"id": f"c_{number}", "name": "A", "segments": [{"id": "s_1", "name": "S"}] if inside else []}


@pytest.mark.parametrize("created", [20, 60])
def test_given_rows_held_back_while_others_are_created_when_read_then_the_new_ones_do_not_stand_for_them(
    created: int, read: Read
) -> None:
    def create(workspace: Workspace) -> None:
        for number in range(created):
            workspace.insert("contacts", contact(100_000 + number))

    contacts = [contact(number) for number in range(1, 1_001)]
    api = Moving(Workspace.of(contacts=contacts), "/v2/contacts", 2, create, withheld={"/v2/contacts": 0.03})

    output = read(api, "contacts")

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    assert any("the API counted" in error.message for error in output.errors("contacts"))


@pytest.mark.parametrize(
    ("stream", "more"),
    [
        ("segment_members", {}),
        ("contacts", {"segment_ids": ["s_1"]}),
        ("contacts", {"segment_ids": ["s_1"], "walk_from_both_ends": False}),
    ],
    ids=["members", "both ends", "one end"],
)
def test_given_a_member_who_enters_behind_the_walk_and_one_who_leaves_when_read_then_both_are_as_they_are(
    stream: str, more: dict[str, Any], read: Read
) -> None:
    def move(workspace: Workspace) -> None:
        workspace.replace("contacts", contact(1))
        workspace.replace("contacts", contact(1_000, inside=False))

    contacts = [contact(number, inside=number != 1) for number in range(1, 2_001)]
    segments = [{"id": "s_1", "name": "S", "entityType": "contact"}]
    api = Moving(Workspace.of(contacts=contacts, segments=segments), "/v2/contacts", 3, move)

    output = read(api, stream, **more)

    key = "memberId" if stream == "segment_members" else "id"
    came = [row[key] for row in output.records(stream)]
    assert sorted(came) == sorted({row["id"] for row in contacts} - {"c_1000"})
    assert output.status(stream) == AirbyteStreamStatus.COMPLETE
    assert output.exit_code == 0


def test_given_a_late_arrival_and_a_deletion_in_a_window_when_read_then_the_late_one_comes_and_it_is_complete(
    read: Read,
) -> None:
    def move(workspace: Workspace) -> None:
        workspace.insert("activities", activity(10_000, "2026-06-01T00:00:01.000Z"))
        workspace.delete("activities", "a_900")

    api = Moving(Workspace.of(activities=half_hourly()), "/v2/activities", 2, move)

    output = read(api, "activities", start_date="2026-06-01T00:00:00Z")

    assert sorted(row["id"] for row in output.records("activities")) == sorted(
        row["id"] for row in api.workspace.records("activities")
    )
    assert output.exit_code == 0


def test_given_activities_held_back_while_others_arrive_late_when_read_then_no_state_covers_them(read: Read) -> None:
    def arrive(workspace: Workspace) -> None:
        for number in range(20):
            workspace.insert("activities", activity(10_000 + number, "2026-06-01T00:00:01.000Z"))

    api = Moving(Workspace.of(activities=half_hourly()), "/v2/activities", 1, arrive, withheld={"/v2/activities": 0.01})

    output = read(api, "activities", start_date="2026-06-01T00:00:00Z", lookback_window_days=0)

    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    assert output.last_state("activities")[1]["slices"] == []


def test_given_locations_that_change_places_when_read_then_each_comes_once(read: Read) -> None:
    """They are sorted by their members: one moves to a page that follows, and one to a page that has been read."""

    def move(workspace: Workspace) -> None:
        workspace.delete("contacts", "c_10")
        workspace.insert("contacts", in_city(20))

    def in_city(number: int) -> dict[str, Any]:
        return {"id": f"c_{number}", "name": "A", "location": {"city": f"City {number}"}}

    cities = [
        {
            "id": f"loc_{number}",
            "name": f"City {number}",
            "type": "city",
            "locationType": "city",
            "city": f"City {number}",
        }
        for number in range(1, 251)
    ]
    api = Moving(Workspace.of(locations=cities, contacts=[in_city(10)]), "/v2/locations", 1, move)

    output = read(api, "locations")

    assert sorted(row["id"] for row in output.records("locations")) == sorted(row["id"] for row in cities)
    assert output.status("locations") == AirbyteStreamStatus.COMPLETE


def half_hourly() -> list[dict[str, Any]]:
    """Make a window of 1,000 activities."""
    start = datetime(2026, 6, 1, tzinfo=UTC)
    return [activity(number, iso(start + number * timedelta(minutes=30))) for number in range(1_000)]


def activity(number: int, time: str) -> dict[str, Any]:
    return {"id": f"a_{number}", "type": "tweet", "activityTime": time}


@pytest.mark.parametrize("kind", ["bad_request_400", "server_error_500", *COUNTS])
def test_given_an_endpoint_that_does_not_count_when_read_then_only_the_estimate_is_missing(
    kind: str, api: Api, read: Read
) -> None:
    class Uncounted(Api):
        def answer(self, call: Call) -> Answer:
            answer = super().answer(call)
            return Answer(200, re.sub(rb'"recordCount":\d+', COUNTS[kind], answer.body), answer.headers)

    if kind in COUNTS:
        api = Uncounted(api.workspace)
    else:
        api.faults.add(Fault(kind, path="/v2/contacts", when=is_count))

    output = read(api, "contacts")

    contacts = BY_NAME["contacts"]
    assert by_key(contacts, output.records("contacts")) == complete(contacts, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert estimates(output, "contacts") == []
    assert output.exit_code == 0


def test_given_a_count_that_is_refused_at_the_end_when_rows_are_missing_then_the_stream_is_incomplete(
    generated: Workspace, read: Read
) -> None:
    api = Api(generated, withheld={"/v2/contacts": 0.15})
    api.faults.add(Fault("bad_request_400", path="/v2/contacts", after=1, when=is_count))

    output = read(api, "contacts")

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    (error,) = output.errors("contacts")
    assert error.failure_type == FailureType.transient_error


def test_given_many_lists_of_an_endpoint_that_does_not_count_when_read_then_it_is_asked_once(
    api: Api, read: Read
) -> None:
    api.faults.add(Fault("bad_request_400", path="/v2/locations", when=is_count))

    output = read(api, "locations")

    assert len([request for request in api.log.of("/v2/locations") if is_count(request.params)]) <= 4
    assert output.status("locations") == AirbyteStreamStatus.COMPLETE


def test_given_segments_that_are_held_back_when_read_by_several_streams_then_each_is_incomplete(
    generated: Workspace, read: Read
) -> None:
    api = Api(generated, withheld={"/v2/segments": 0.15})

    output = read(api, "segment_members", "segment_statuses")

    for stream in ("segment_members", "segment_statuses"):
        assert output.status(stream) == AirbyteStreamStatus.INCOMPLETE
        assert any(text.startswith(f"{stream}: the API counted ") for text in output.warnings())
    assert output.exit_code == 1
