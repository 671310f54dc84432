"""The check: what the token may read, and how long it lasts."""

import base64
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests_mock
from airbyte_cdk.models import AirbyteConnectionStatus, AirbyteStreamStatus, Status
from airbyte_cdk.sources.streams.concurrent.partitions.stream_slicer import StreamSlicer
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.sandbox import DEFAULT_TOKEN, Api, Fault, Workspace, mount
from source_commonroom import SourceCommonroom
from source_commonroom.api.http import Access
from source_commonroom.check import StreamProbe, ask_for_each, expiry_of
from source_commonroom.endpoints import Endpoints
from source_commonroom.table import rows
from unit_tests.conftest import API_URL, NOW, Discover, Read
from unit_tests.streams import STREAMS
from unit_tests.test_odd_ids import Answers
from unit_tests.test_selection import asks_for

Check = Callable[..., AirbyteConnectionStatus]
DAY = 24 * 3600
NOW_SECONDS = int(datetime.fromisoformat(NOW).timestamp())
LISTED = list(rows())


def jwt(claims: Any) -> str:
    def part(content: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part(claims)}.c2lnbmF0dXJl"


@pytest.fixture
def check(config: dict[str, Any]) -> Check:
    """Check in process: ``check(api, **more_configuration)``."""

    def check_api(api: Api, **more: Any) -> AirbyteConnectionStatus:
        complete = {**config, **more}
        with requests_mock.Mocker() as mocker:
            mount(mocker, api, API_URL)
            return SourceCommonroom(config=complete).check(logging.getLogger("airbyte"), complete)

    return check_api


def warnings(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)


def listed_in(text: str) -> list[str]:
    """List the streams that the sentence about permissions names."""
    named = text.partition("may not read these streams: ")[2].partition(".")[0]
    return named.split(", ") if named else []


def test_given_a_token_that_may_read_everything_when_checked_then_each_list_is_asked_for_once_and_cheaply(
    api: Api, check: Check, caplog: pytest.LogCaptureFixture
) -> None:
    status = check(api)

    assert (status.status, status.message) == (Status.SUCCEEDED, None)
    assert warnings(caplog) == ""
    asked = Counter((request.path, tuple(sorted(request.params.items()))) for request in api.log.requests)
    assert max(asked.values()) == 1
    assert {request.status for request in api.log.requests} == {200}
    for stream in STREAMS:
        path = re.compile(stream.path.replace("{id}", "[0-9]+"))
        assert any(path.fullmatch(request.path) for request in api.log.requests), stream.name
    # Of what names the parts of other streams, the first page is asked for.
    others = [request for request in api.log.requests if request.path != "/v2/segments"]
    assert all(request.params.get("limit", "1") == "1" for request in others)
    assert len(api.log.of("/v2/segments")) == 1
    assert len(api.log.requests) == len(STREAMS)


@pytest.mark.parametrize(
    ("forbidden", "unreadable"),
    [
        ({"/v2/prospector-contacts", "/v2/prospector-companies"}, ["prospector_contacts", "prospector_companies"]),
        ({"/v2/segments"}, ["segments", "segment_members", "segment_statuses"]),
        ({"/v2/object-types"}, ["objects", "object_types"]),
        ({"/v1/segments/{id}/status"}, ["segment_statuses"]),
        ({"/v2/contacts"}, ["contacts", "segment_members"]),
        ({"/v2/activities", "/v2/me", "/v1/tags"}, ["activities", "me", "user_defined_tags"]),
    ],
    ids=lambda paths: "+".join(sorted(paths)) if isinstance(paths, set) else "",
)
def test_given_paths_that_the_token_may_not_read_when_checked_then_exactly_their_streams_are_listed(
    forbidden: set[str], unreadable: list[str], generated: Workspace, check: Check, caplog: pytest.LogCaptureFixture
) -> None:
    status = check(Api(generated, forbidden=forbidden))

    assert status.status == Status.SUCCEEDED
    assert listed_in(status.message or "") == unreadable
    assert unreadable == [name for name in LISTED if name in unreadable]
    assert "Deselect them" in (status.message or "")
    assert status.message in warnings(caplog)


def test_given_a_token_that_may_read_nothing_but_its_status_when_checked_then_all_are_listed_in_the_catalogs_order(
    generated: Workspace, check: Check
) -> None:
    paths = {stream.path for stream in STREAMS} | {"/v2/objects"}

    status = check(Api(generated, forbidden=paths - {"/v2/api-token-status"}))

    assert status.status == Status.SUCCEEDED
    # It has been asked for its own status before.
    assert listed_in(status.message or "") == [name for name in LISTED if name != "api_token_status"]


def test_given_a_refusal_and_a_token_status_that_fails_when_checked_then_the_stream_is_listed_all_the_same(
    generated: Workspace, check: Check
) -> None:
    api = Api(generated, forbidden={"/v2/topics"})
    api.faults.add(Fault("server_error_500", path="/v2/api-token-status", after=1))

    status = check(api)

    assert status.status == Status.SUCCEEDED
    assert listed_in(status.message or "") == ["topics"]


@pytest.mark.parametrize("kind", ["server_error_500", "ok_html", "reset", "hang", "not_found_404", "bad_request_400"])
def test_given_a_stream_that_fails_when_checked_then_it_is_named_apart_after_one_try_and_the_check_succeeds(
    kind: str, api: Api, check: Check, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    api.faults.add(Fault(kind, path="/v2/topics"))

    status = check(api)

    assert (status.status, status.message) == (Status.SUCCEEDED, None)
    assert "topics: " in warnings(caplog)
    assert len(api.log.of("/v2/topics")) == 1
    assert max(waits, default=0) < 0.1


def test_given_a_429_when_checked_then_the_probe_waits_what_it_says(api: Api, check: Check, waits: list[float]) -> None:
    api.faults.add(Fault("rate_limited", path="/v2/topics", times=1, seconds=3))

    status = check(api)

    assert (status.status, status.message) == (Status.SUCCEEDED, None)
    assert api.log.rate_limited == 1
    assert sum(waits) >= 3


@pytest.mark.parametrize("asked", [20, 1, 0.2])
def test_given_429s_that_last_when_checked_then_the_probe_is_given_up_within_seconds_and_the_reason_is_named(
    asked: float, api: Api, check: Check, caplog: pytest.LogCaptureFixture
) -> None:
    api.faults.add(Fault("rate_limited", path="/v2/topics", seconds=asked))
    start = time.monotonic()

    status = check(api)

    assert (status.status, status.message) == (Status.SUCCEEDED, None)
    assert "topics: the API's rate limit lets no request through" in warnings(caplog)
    assert "the connector waits no longer than 5 s" in warnings(caplog)
    assert time.monotonic() - start < 8


def test_given_a_rate_limit_at_a_check_when_read_afterwards_then_the_sync_is_as_patient_as_ever(
    api: Api, check: Check, read: Read
) -> None:
    api.faults.add(Fault("rate_limited", seconds=20, times=1))
    assert check(api).status == Status.FAILED
    api.faults.add(Fault("rate_limited", seconds=20, times=1))

    output = read(api, "tags")

    assert len(output.records("tags")) == 30


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault("hang", path="/v2/api-token-status"), "did not answer in time"),
        (Fault("server_error_500", path="/v2/api-token-status"), "answered with a server error"),
        (Fault("ok_html", path="/v2/api-token-status"), "that are not whole JSON"),
        (Fault("rate_limited", path="/v2/api-token-status", seconds=20), "rate limit"),
        (Fault("rate_limited", path="/v2/api-token-status", seconds=1), "rate limit"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_given_a_token_that_cannot_be_asked_about_when_checked_then_it_fails_within_seconds(
    fault: Fault, says: str, api: Api, check: Check
) -> None:
    api.faults.add(fault)
    start = time.monotonic()

    status = check(api)

    assert status.status == Status.FAILED
    assert says in (status.message or "")
    assert {request.path for request in api.log.requests} == {"/v2/api-token-status"}
    if fault.kind != "rate_limited":
        assert len(api.log.requests) == 2
    assert time.monotonic() - start < 8


def test_given_a_server_that_fails_once_when_checked_then_the_token_is_asked_about_again(
    api: Api, check: Check
) -> None:
    api.faults.add(Fault("server_error_500", path="/v2/api-token-status", times=1))

    assert check(api).status == Status.SUCCEEDED


SEGMENTS = [{"id": f"s_{number}", "name": "One", "entityType": "contact"} for number in range(1, 3_001)]


def test_given_many_segments_when_checked_then_one_page_of_them_is_enough(check: Check) -> None:
    api = Api(Workspace.of(segments=SEGMENTS))

    assert check(api).status == Status.SUCCEEDED
    assert len(api.log.of("/v2/segments")) == 1


@pytest.mark.parametrize(
    ("chosen", "found"), [("s_1", Status.SUCCEEDED), ("s_3000", Status.SUCCEEDED), ("s_3001", Status.FAILED)]
)
def test_given_chosen_segments_when_checked_then_they_are_looked_up_among_all(
    chosen: str, found: Status, check: Check
) -> None:
    api = Api(Workspace.of(segments=SEGMENTS))

    assert check(api, segment_ids=[chosen]).status == found
    # All pages, and three of them once more: a segment that is skipped would be said not to exist.
    assert len(api.log.of("/v2/segments")) == 15 + 3


@pytest.mark.parametrize("more", [{}, {"segment_ids": ["s_1"]}], ids=str)
@pytest.mark.parametrize("kind", ["hang", "server_error_500", "ok_html"])
def test_given_a_list_that_names_parts_and_fails_when_checked_then_it_is_asked_once_and_each_stream_is_named(
    kind: str, more: dict[str, Any], api: Api, check: Check, caplog: pytest.LogCaptureFixture
) -> None:
    api.faults.add(Fault(kind, path="/v2/segments"))

    status = check(api, **more)

    assert (status.status, status.message) == (Status.SUCCEEDED, None)
    for stream in ("segments", "segment_members", "segment_statuses", *(["contacts"] if more else [])):
        assert f"{stream}: " in warnings(caplog)
    assert len(api.log.of("/v2/segments")) == 1


@pytest.mark.parametrize("row", [{"name": "Without"}, {"id": None, "entityType": "contact"}, {"id": {}}], ids=str)
@pytest.mark.parametrize(
    ("path", "unanswered"),
    [("/v2/segments", ["segment_members", "segment_statuses"]), ("/v2/object-types", ["objects"])],
)
def test_given_a_record_without_an_id_when_checked_then_the_streams_that_need_it_could_not_be_asked_for(
    path: str, unanswered: list[str], row: dict[str, Any], api: Api, check: Check, caplog: pytest.LogCaptureFixture
) -> None:
    odd = Answers(api.workspace)
    odd.path, odd.rows = path, [row]

    status = check(odd)

    assert (status.status, status.message) == (Status.SUCCEEDED, None)
    for stream in unanswered:
        assert f"{stream}: {path.removeprefix('/v2')} answered 1 of 1 records without an id" in warnings(caplog)


class BrokenSlicer(StreamSlicer):
    """Raises what isn't expected."""

    def stream_slices(self) -> Iterable[StreamSlice]:
        raise KeyError("id")


def test_given_a_probe_that_breaks_when_checked_then_there_is_a_status_and_the_log_says_why(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    retriever = Endpoints(config, Access.of(config)).retriever(rows()["tags"])

    findings = ask_for_each([StreamProbe(retriever, BrokenSlicer())])

    assert findings.refused == findings.mistakes == []
    assert "broke the connector (KeyError)" in findings.unanswered["tags"]
    assert "KeyError: 'id'" in caplog.text


def test_given_a_workspace_without_segments_and_types_when_checked_then_there_is_nothing_to_probe(
    check: Check,
) -> None:
    api = Api(Workspace.of(), forbidden={"/v2/objects", "/v1/segments/{id}/status"})

    status = check(api)

    assert (status.status, status.message) == (Status.SUCCEEDED, None)


def test_given_segments_that_do_not_exist_when_checked_then_it_fails_with_a_sentence(api: Api, check: Check) -> None:
    status = check(api, segment_ids=["s_999999"])

    assert status.status == Status.FAILED
    assert "s_999999" in (status.message or "")
    assert "Correct the configuration" in (status.message or "")


@pytest.mark.parametrize("columns", ["label", "none"])
@pytest.mark.parametrize("pii", ["keep", "hash", "drop"])
def test_given_definitions_that_are_forbidden_when_checked_then_it_says_what_else_fails_and_what_to_do(
    pii: str, columns: str, api: Api, check: Check, read: Read, discover: Discover
) -> None:
    api.forbidden.add("/v2/custom-fields")
    more = {"custom_field_columns": columns, "pii": {"mode": pii, "salt": "a salt of some length"}}

    message = str(check(api, **more).message)

    assert "may not read these streams: custom_fields." in message
    assert ("of contacts, organizations, objects can't be named, so that no schema" in message) == (columns != "none")
    assert ("fields of contacts, organizations, objects are personal" in message) == (pii != "keep")
    # As it says.
    if columns == "none":
        assert "contacts" in discover(api, **more)
        status = AirbyteStreamStatus.COMPLETE if pii == "keep" else AirbyteStreamStatus.INCOMPLETE
        assert read(api, "contacts", **more).status("contacts") == status
    else:
        with pytest.raises(AirbyteTracedException) as raised:
            discover(api, **more)
        assert str(raised.value.message).count("contacts: ") == 1
        assert 'set "Custom Field Columns" to none' in str(raised.value.message)


@pytest.mark.parametrize("status", [400, 403])
def test_given_columns_that_the_token_lacks_when_checked_then_it_succeeds_and_names_them(
    status: int, api: Api, check: Check
) -> None:
    api.faults.add(Fault("status", status=status, path="/v2/contacts", when=asks_for("leadScores", "segments")))
    found = check(api)
    assert found.status == Status.SUCCEEDED
    assert "contacts: Common Room refuses to serve leadScores, segments of /contacts" in str(found.message)


def test_given_a_wrong_token_when_checked_then_nothing_else_is_asked(api: Api, check: Check) -> None:
    status = check(api, api_token="another-token-77aa")

    assert status.status == Status.FAILED
    assert "rejected the API token" in (status.message or "")
    assert {request.path for request in api.log.requests} == {"/v2/api-token-status"}


@pytest.mark.parametrize("ago", [0, 1, 40 * DAY])
def test_given_a_token_that_is_over_when_checked_then_it_fails_and_says_since_when(
    ago: int, generated: Workspace, check: Check
) -> None:
    token = jwt({"exp": NOW_SECONDS - ago})
    api = Api(generated, token=token)

    status = check(api, api_token=token)

    day = datetime.fromtimestamp(NOW_SECONDS - ago, UTC).strftime("%Y-%m-%d")
    assert status.status == Status.FAILED
    assert f"The API token expired on {day} (UTC)" in (status.message or "")
    assert "Settings | API tokens" in (status.message or "")


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (14 * DAY - 1, "expires on 2026-07-14 (UTC), in 13 days"),
        (DAY, "expires on 2026-07-02 (UTC), in one day"),
        (1, "expires on 2026-07-01 (UTC), in less than a day"),
        (14 * DAY, None),
        (400 * DAY, None),
    ],
)
def test_given_a_token_that_ends_soon_when_checked_then_it_says_when(
    left: int, said: str | None, generated: Workspace, check: Check, caplog: pytest.LogCaptureFixture
) -> None:
    token = jwt({"exp": NOW_SECONDS + left})

    status = check(Api(generated, token=token), api_token=token)

    assert status.status == Status.SUCCEEDED
    if said:
        assert said in (status.message or "")
        assert said in warnings(caplog)
    else:
        assert status.message is None
        assert warnings(caplog) == ""


def test_given_a_token_that_ends_soon_and_lacks_a_right_when_checked_then_both_are_said(
    generated: Workspace, check: Check
) -> None:
    token = jwt({"exp": NOW_SECONDS + DAY})

    status = check(Api(generated, token=token, forbidden={"/v2/topics"}), api_token=token)

    assert "in one day" in (status.message or "")
    assert listed_in(status.message or "") == ["topics"]


@pytest.mark.parametrize(("left", "warned"), [(13 * DAY, 1), (-DAY, 1), (15 * DAY, 0)])
def test_given_a_token_that_ends_soon_or_is_over_when_read_then_it_warns_and_reads(
    left: int, warned: int, generated: Workspace, read: Read
) -> None:
    token = jwt({"exp": NOW_SECONDS + left})

    output = read(Api(generated, token=token), "tags", api_token=token)

    # Whether a token is over is for the API to say.
    assert output.exit_code == 0
    assert len(output.records("tags")) > 0
    assert len([warning for warning in output.warnings() if "The API token expire" in warning]) == warned


@pytest.mark.parametrize(
    "token",
    [
        DEFAULT_TOKEN,
        "",
        "a.b.c",
        "..",
        "a.%%%%.c",
        f"x.{base64.urlsafe_b64encode(b'[1]').decode()}.y",
        f"x.{base64.urlsafe_b64encode(bytes([255, 254])).decode()}.y",
        f"x.{base64.urlsafe_b64encode(b'[' * 9000).decode()}.y",
        jwt({}),
        jwt([]),
        jwt({"exp": None}),
        jwt({"exp": True}),
        jwt({"exp": "2020-01-01"}),
        jwt({"exp": 1e300}),
        jwt({"exp": -1e300}),
        jwt({"exp": 10**30}),
    ],
    ids=lambda token: token[:40],
)
def test_given_a_token_that_does_not_say_when_it_ends_then_nothing_is_said(token: str) -> None:
    assert expiry_of(token) is None


@pytest.mark.parametrize("seconds", [1_800_000_000, 1_800_000_000.5, 0])
def test_given_a_token_that_says_when_it_ends_then_it_is_read(seconds: float) -> None:
    assert expiry_of(f" {jwt({'exp': seconds, 'name': 'Zoë?'})}\n") == datetime.fromtimestamp(0, UTC) + timedelta(
        seconds=seconds
    )
