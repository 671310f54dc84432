"""Pages: a fault once costs a retry and nothing else; a fault for ever costs the stream, and no other."""

from dataclasses import replace

import orjson
import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType

from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.messages import Answer, Call
from unit_tests.conftest import Read
from unit_tests.streams import BY_NAME, by_key, complete

# The kinds of faults of the sandbox, by what has to become of them.
RETRIED = (
    "rate_limited",
    "server_error_500",
    "bad_gateway_502",
    "unavailable_503_html",
    "error_520",
    "ok_html",
    "ok_empty",
    "no_content_204",
    "truncated_json",
    "malformed_utf8",
    "malformed_nan",
    "data_null",
    "data_object",
    "missing_meta",
    "missing_cursor",
    "success_false",
    "short_body",
    "reset",
    "hang",
)
REFUSED = {
    "bad_request_400": FailureType.system_error,
    "unauthorized_401": FailureType.config_error,
    "forbidden_403": FailureType.config_error,
    "not_found_404": FailureType.config_error,
}
CONTACTS = BY_NAME["contacts"]


@pytest.mark.parametrize("kind", RETRIED)
def test_given_a_broken_body_once_when_read_then_nothing_is_lost(kind: str, api: Api, read: Read) -> None:
    api.faults.add(Fault(kind, after=1, times=2, path="/v2/contacts"))

    output = read(api, "contacts")

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert [request.fault for request in api.log.of("/v2/contacts")].count(kind) == 2


@pytest.mark.parametrize("kind", RETRIED)
def test_given_the_same_fault_for_ever_when_read_then_the_stream_is_incomplete(kind: str, read: Read) -> None:
    contacts, organizations = (
        [{"id": f"{prefix}_{number}", "name": "N"} for number in range(1, count + 1)]
        for prefix, count in (("c", 430), ("o", 210))
    )
    api = Api(Workspace.of(contacts=contacts, organizations=organizations))
    api.faults.add(Fault(kind, after=1, path="/v2/contacts", seconds=20))

    # A rate limit is the token's. As the clock of these tests stands still while the API answers, chance would tell
    # whether another stream gets a turn between two tries of this one.
    others = [] if kind == "rate_limited" else ["organizations"]

    output = read(api, "contacts", *others, walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    assert [output.status(stream) for stream in others] == [AirbyteStreamStatus.COMPLETE] * len(others)
    (error,) = output.errors("contacts")
    assert error.failure_type == FailureType.transient_error
    assert error.message.startswith("contacts: ")
    tries = len(api.log.of("/v2/contacts")) - 1
    # Ten minutes long; of a rate limit, each 20 s from the first one on. What hangs is asked for in smaller pages too.
    expected_tries = {"rate_limited": 31, "hang": pytest.approx(29, abs=4)}
    assert tries == expected_tries.get(kind, pytest.approx(25, abs=4))


@pytest.mark.parametrize(("kind", "failure_type"), REFUSED.items())
def test_given_a_refusal_when_read_then_it_is_not_tried_again(
    kind: str, failure_type: FailureType, api: Api, read: Read
) -> None:
    api.faults.add(Fault(kind, path="/v2/contacts"))

    output = read(api, "contacts", "tags")

    # That it doesn't count, or doesn't sort downwards, isn't the end: the page is asked for then, also without columns.
    assert len(api.log.of("/v2/contacts")) == (4 if kind == "bad_request_400" else 1)
    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    assert output.status("tags") == AirbyteStreamStatus.COMPLETE
    (error,) = output.errors("contacts")
    assert error.failure_type == failure_type
    assert error.message.startswith("contacts: ")


@pytest.mark.parametrize("stream", ["custom_fields", "activity_types", "api_token_status"])
def test_given_an_unpaged_endpoint_and_a_body_that_is_none_when_read_then_it_is_retried(
    stream: str, api: Api, read: Read
) -> None:
    api.faults.add(Fault("ok_html", times=1, path=BY_NAME[stream].path))

    output = read(api, stream)

    assert len(output.records(stream)) == len(api.workspace.records(BY_NAME[stream].collection)) > 0


def test_given_rows_that_are_no_records_when_read_then_they_are_reported(api: Api, read: Read) -> None:
    api.faults.add(Fault("empty_rows", path="/v2/contacts"))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    first, summary = [text for text in output.warnings() if "empty or no objects" in text]
    assert first.startswith("contacts: left out 3 of ")
    # Once a stream, and not once a page.
    assert summary.startswith("contacts: 2 more pages hold rows that are empty or no objects, 6 of them.")


def test_given_an_empty_cursor_when_read_then_it_is_an_end_as_null_is(read: Read) -> None:
    class Empty(Api):
        def answer(self, call: Call) -> Answer:
            answer = super().answer(call)
            return replace(answer, body=answer.body.replace(b'"nextCursor":null', b'"nextCursor":""'))

    api = Empty(Workspace.of(tags=[{"id": f"l_{number}", "name": "Tag"} for number in range(450)]))

    output = read(api, "tags", "segments")

    assert len(output.records("tags")) == 450
    assert output.exit_code == 0


def test_given_cursors_that_look_like_literals_when_read_then_nothing_is_lost(read: Read) -> None:
    tags = [{"id": f"l_{number}", "name": f"Tag {number}"} for number in range(2_100)]
    api = Api(Workspace.of(tags=tags), cursor_style="tricky")

    output = read(api, "tags")

    assert len({record["id"] for record in output.records("tags")}) == len(output.records("tags")) == 2_100
    cursors = {request.params.get("cursor") for request in api.log.of("/v2/tags")}
    assert {"1.10", "1e5", "None"} <= cursors


def test_given_a_repeated_cursor_when_read_then_the_stream_is_incomplete(api: Api, read: Read) -> None:
    api.faults.add(Fault("repeated_cursor", path="/v2/contacts", after=1))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    (error,) = output.errors("contacts")
    assert error.failure_type == FailureType.transient_error
    assert "same cursor twice" in error.message


class Circle(Api):
    """Answers the third page with the cursor of the second: A, B, A, B, …"""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._second: str | None = None

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.path != "/v2/contacts":
            return answer
        page = orjson.loads(answer.body)
        if call.params.get("cursor") is None:
            self._second = page["meta"]["nextCursor"]
        elif call.params["cursor"] != self._second:
            page["meta"]["nextCursor"] = self._second
        return replace(answer, body=orjson.dumps(page))


def test_given_cursors_in_a_circle_when_read_then_the_walk_ends_and_the_stream_is_incomplete(read: Read) -> None:
    api = Circle(Workspace.generate(contacts=2_100, organizations=10, activities=10))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    assert any("same cursor twice" in str(error.message) for error in output.errors("contacts"))
    assert len(api.log.pages("/v2/contacts")) == 3
