"""``FAILURES``: every answer and every exception has a row, a 403 is told apart, and redirects stay at home.

Each row over real HTTP: integration_tests/test_errors.py.
"""

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Formatter
from threading import Event
from typing import Any

import orjson
import pytest
import requests
import requests_mock
import urllib3
from airbyte_cdk.models import AirbyteStreamStatus, FailureType
from freezegun.api import FrozenDateTimeFactory

from integration_tests.sandbox import DEFAULT_TOKEN, Api, Fault, Workspace
from source_commonroom.api.errors import FAILURES, FORBIDDEN, TOKEN_REJECTED, Failure, judge
from source_commonroom.api.http import OneOriginSession, TokenStatus
from source_commonroom.api.rate_limit import RequestBudget
from unit_tests.conftest import API_URL, Read, read_in_process
from unit_tests.output import Output
from unit_tests.streams import catalog

STATUS_URL = f"{API_URL}/v2/api-token-status"
TAGS_URL = f"{API_URL}/v2/tags"
TAGS = {"success": True, "data": [{"id": "l_1", "name": "VIP"}], "meta": {"nextCursor": None}}
REFUSED: dict[str, Any] = {"status_code": 403, "json": {"status": "forbidden"}}


def answer(status: int, body: bytes = b"", **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made.url = f"{TAGS_URL}?limit=200&cursor=secret"
    made._content = body  # noqa: SLF001  # requests has no constructor for it
    made.headers.update(headers)
    return made


def rows_of(failure: Failure | None) -> str:
    return failure.name if failure else "a page"


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.name)
def test_every_row_says_whose_it_is_and_what_to_do(row: Failure) -> None:
    assert row.message.startswith("{stream}: ")
    assert row.means.endswith(".")
    used = {name for _, name, _, _ in Formatter().parse(row.message) if name}
    assert used <= {
        "stream",
        "endpoint",
        *judge(answer(500), "paged")[1],
        *judge(requests.ConnectionError(), "paged")[1],
    }


def test_the_names_of_rows_are_unique() -> None:
    assert len({row.name for row in FAILURES}) == len(FAILURES)


def test_given_any_status_when_judged_then_a_system_error_is_no_accident() -> None:
    rows = {status: judge(answer(status), "paged")[0] for status in (*range(100, 200), *range(300, 1000))}

    assert None not in rows.values()
    ours = {status for status, row in rows.items() if row and row.failure_type == FailureType.system_error}
    assert ours == {400, 405, 410, 422}
    tried_again = {status for status, row in rows.items() if row and row.retried}
    assert tried_again & set(range(301, 500)) == {408, 409, 425, 429, *range(304, 307), *range(309, 400)}
    assert tried_again >= set(range(500, 1000))


def wrapped(inner: Exception, outer: type[requests.RequestException] = requests.ConnectionError) -> Exception:
    """Wrap an exception as requests and urllib3 do."""
    connection = urllib3.connection.HTTPSConnection("api.example")
    failed = urllib3.exceptions.NewConnectionError(connection, f"Failed to establish a new connection: {inner}")
    failed.__cause__ = inner
    pool = urllib3.HTTPSConnectionPool("api.example")
    return outer(urllib3.exceptions.MaxRetryError(pool, "/v2/tags?cursor=secret", failed))


@pytest.mark.parametrize(
    ("met", "row"),
    [
        (wrapped(OSError(errno.EHOSTUNREACH, "No route to host")), "unreachable"),
        (wrapped(TimeoutError(errno.ETIMEDOUT, "Connection timed out")), "connect_timeout"),
        (wrapped(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")), "connection_refused"),
        (wrapped(ConnectionRefusedError(), requests.exceptions.ProxyError), "proxy_failed"),
        (requests.ConnectionError(urllib3.exceptions.ReadTimeoutError(None, None, "Read timed out.")), "read_timeout"),  # type: ignore[arg-type]
        (requests.ConnectTimeout(), "connect_timeout"),
        (requests.exceptions.ChunkedEncodingError("secret"), "connection_broken"),
        (requests.exceptions.ContentDecodingError("secret"), "connection_broken"),
        (requests.exceptions.InvalidURL("secret"), "proxy_invalid"),
        (requests.exceptions.InvalidProxyURL("secret"), "proxy_invalid"),
        (requests.exceptions.InvalidSchema("secret"), "proxy_invalid"),
        (requests.ConnectionError(UnicodeEncodeError("latin-1", "secret", 0, 6, "secret")), "proxy_invalid"),
        (requests.ConnectionError(urllib3.exceptions.LocationParseError("secret")), "proxy_invalid"),
    ],
)
def test_given_an_exception_when_judged_then_what_it_wraps_tells_and_its_text_is_kept_out(
    met: Exception, row: str
) -> None:
    failure, facts = judge(met, "paged")

    assert rows_of(failure) == row
    assert "secret" not in str(facts)


def test_given_a_segment_that_is_deleted_meanwhile_when_read_then_the_sync_is_to_be_run_again(
    api: Api, read: Read
) -> None:
    usual = len(read(api, "segment_statuses").records("segment_statuses"))
    api.faults.add(Fault("not_found_404", path="/v1/segments/{id}/status", times=1))

    output = read(api, "segment_statuses")

    (error,) = output.errors("segment_statuses")
    assert error.failure_type == FailureType.transient_error
    assert error.internal_message == "part_gone: 404 from /segments/…/status"
    assert "It was probably deleted while the sync ran. Run the sync again" in error.message
    assert output.status("segment_statuses") == AirbyteStreamStatus.INCOMPLETE
    assert 0 < len(output.records("segment_statuses")) < usual


@pytest.mark.parametrize("path", ["/v2/segments", "/v2/tags", "/v1/tags"])
def test_given_a_list_that_is_not_there_when_read_then_the_address_is_doubted(path: str, api: Api, read: Read) -> None:
    api.faults.add(Fault("not_found_404", path=path))
    stream = {"/v2/segments": "segment_statuses", "/v2/tags": "tags", "/v1/tags": "user_defined_tags"}[path]

    (error,) = read(api, stream).errors(stream)

    assert error.failure_type == FailureType.config_error
    assert "Is the API address of the configuration right?" in error.message


@pytest.mark.parametrize("body", [b"", b"{}", b'{"status": "forbidden"}', b'{"reason": "Token not valid"}'])
def test_given_a_403_of_the_api_when_judged_then_it_is_not_a_firewalls(body: bytes) -> None:
    assert judge(answer(403, body), "paged")[0] is FORBIDDEN
    assert rows_of(judge(answer(403, b"<html>"), "paged")[0]) == "blocked"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ({"code": "invalid_parameters", "message": "cursor secret"}, "400, code invalid_parameters from /tags"),
        ({"code": "The cursor secret is invalid"}, "400 from /tags"),
        ({"code": 7}, "400 from /tags"),
        ("secret", "400 from /tags"),
    ],
    ids=str,
)
def test_given_a_refusal_when_read_then_its_code_is_kept_and_its_text_is_not(error: Any, says: str) -> None:
    with requests_mock.Mocker() as mocker:
        mocker.get(TAGS_URL, status_code=400, json={"success": False, "error": error}, headers={"X-Echo": "secret"})
        output = read_in_process({"api_token": DEFAULT_TOKEN}, catalog("tags"))

    (trace,) = output.errors("tags")
    assert trace.internal_message == f"invalid_request: {says}"
    assert not [message for message in output.messages if "secret" in str(message) or API_URL in str(message)]


@pytest.mark.parametrize(
    ("name", "value", "row"),
    [
        ("REQUESTS_CA_BUNDLE", "/secret/ca.pem", "ca_bundle_unusable: ConnectionError < OSError"),
        ("CURL_CA_BUNDLE", "/secret/ca.pem", "ca_bundle_unusable: ConnectionError < OSError"),
        ("HTTPS_PROXY", "http://a..secret:3128", "proxy_invalid: ConnectionError < LocationParseError"),
        ("HTTPS_PROXY", "http://€:secret@127.0.0.1:1", "proxy_invalid: ConnectionError < UnicodeEncodeError"),
        ("HTTPS_PROXY", "http://secret:99999", "proxy_invalid: InvalidURL < LocationParseError"),
        ("HTTPS_PROXY", "ftp://secret:1", "proxy_invalid: InvalidURL < ProxySchemeUnknown"),
        ("HTTPS_PROXY", "http://", "proxy_invalid: InvalidProxyURL"),
        ("ALL_PROXY", "socks5://secret:1", "proxy_invalid: InvalidSchema"),
    ],
)
def test_given_an_environment_that_cannot_be_used_when_read_then_the_stream_says_which_variable_after_one_try(
    name: str,
    value: str,
    row: str,
    monkeypatch: pytest.MonkeyPatch,
    waits: list[float],
    network: requests_mock.Mocker,
) -> None:
    # What the environment says is read by what a mock would replace. The host isn't asked for.
    network.stop()
    for variable in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, value)

    output = read_in_process({"api_token": DEFAULT_TOKEN, "api_url": "https://nowhere.invalid/x"}, catalog("tags"))

    (error,) = output.errors("tags")
    assert error.internal_message == f"{row} from /tags"
    assert error.failure_type == FailureType.config_error
    assert name in error.message
    assert "secret" not in f"{error.message}{error.internal_message}"
    assert [wait for wait in waits if wait > 0.1] == []


# A 403, told apart


def read_refused(*streams: str, **status: Any) -> tuple[Output, int]:
    """Read streams that are refused, while the status of the token is answered so; and how often it was asked."""
    with requests_mock.Mocker() as mocker:
        mocker.get(requests_mock.ANY, **REFUSED)
        asked = mocker.get(STATUS_URL, **status)
        output = read_in_process({"api_token": DEFAULT_TOKEN, "custom_field_columns": "none"}, catalog(*streams))
    return output, asked.call_count


@pytest.mark.parametrize(
    ("status", "row"),
    [
        ({"json": {"jti": "7"}}, "forbidden"),
        (REFUSED, "token_rejected"),
        ({"status_code": 401}, "token_rejected"),
        ({"text": "<html>"}, "forbidden_or_rejected"),
        ({"status_code": 403, "text": "<html>"}, "forbidden_or_rejected"),
        ({"status_code": 500}, "forbidden_or_rejected"),
        ({"status_code": 429}, "forbidden_or_rejected"),
        ({"status_code": 302, "headers": {"Location": "https://login.example"}}, "forbidden_or_rejected"),
        ({"exc": requests.ReadTimeout}, "forbidden_or_rejected"),
    ],
    ids=str,
)
def test_given_a_403_when_read_then_the_status_of_the_token_tells_what_it_means(
    status: dict[str, Any], row: str
) -> None:
    output, asked = read_refused("tags", "providers", "user_defined_tags", **status)

    assert asked == 1
    for stream in ("tags", "providers", "user_defined_tags"):
        (error,) = output.errors(stream)
        assert error.failure_type == FailureType.config_error
        assert (error.internal_message or "").startswith(f"{row}: 403 from ")


def test_given_a_permission_that_is_missing_when_read_then_one_warning_a_stream_says_so(api: Api, read: Read) -> None:
    # Each of its four types of locations is refused.
    api.forbidden = {"/v2/locations", "/v2/topics"}

    output = read(api, "locations", "topics", "tags")

    warnings = [warning for warning in output.warnings() if "Until then it is left out" in warning]
    assert sorted(warning.partition(":")[0] for warning in warnings) == ["locations", "topics"]
    assert output.status("tags") == AirbyteStreamStatus.COMPLETE


def test_given_a_status_that_is_being_asked_for_when_others_need_it_then_they_wait_for_it() -> None:
    status, begun, answered = TokenStatus(), Event(), Event()
    asked: list[None] = []

    def ask() -> Failure:
        asked.append(None)
        begun.set()
        answered.wait(10)
        return TOKEN_REJECTED

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(status.explain_403, ask)
        begun.wait(10)
        others = [pool.submit(status.explain_403, ask) for _ in range(7)]
        answered.set()
        assert {future.result(10) for future in (first, *others)} == {TOKEN_REJECTED}
    assert len(asked) == 1


def test_given_a_token_that_is_revoked_in_the_middle_when_refused_again_then_it_is_asked_about_again(
    clock: FrozenDateTimeFactory,
) -> None:
    status = TokenStatus()
    assert status.explain_403(lambda: FORBIDDEN) is FORBIDDEN
    clock.tick(59)
    assert status.explain_403(lambda: TOKEN_REJECTED) is FORBIDDEN
    clock.tick(2)
    assert status.explain_403(lambda: TOKEN_REJECTED) is TOKEN_REJECTED


# Redirects


@pytest.mark.parametrize(
    "location",
    [
        "https://login.example/",
        "//login.example/",
        "http://api.commonroom.io/community/v2/tags",
        "http://api.commonroom.io:443/community/v2/tags",
        "https://api.commonroom.io:8443/community/v2/tags",
        "https://api.commonroom.io.example/",
        "https://api.commonroom.io@login.example/",
    ],
)
def test_given_a_redirect_elsewhere_when_read_then_nothing_is_asked_there(location: str) -> None:
    with requests_mock.Mocker() as mocker:
        mocker.get(requests_mock.ANY, json=TAGS)
        mocker.get(TAGS_URL, status_code=302, headers={"Location": f"{location}?sso=secret"})
        output = read_in_process({"api_token": DEFAULT_TOKEN}, catalog("tags"))
        (asked,) = mocker.request_history

    assert asked.url.startswith(TAGS_URL)
    (error,) = output.errors("tags")
    assert error.failure_type == FailureType.config_error
    assert "secret" not in error.message


@pytest.mark.parametrize("location", ["/community/v2/labels", "https://API.commonroom.io:443/community/v2/labels"])
def test_given_a_redirect_within_the_origin_when_read_then_it_is_followed_with_the_token(location: str) -> None:
    with requests_mock.Mocker() as mocker:
        mocker.get(TAGS_URL, status_code=307, headers={"Location": location})
        there = mocker.get(
            "/community/v2/labels", json=TAGS, request_headers={"Authorization": f"Bearer {DEFAULT_TOKEN}"}
        )
        output = read_in_process({"api_token": DEFAULT_TOKEN}, catalog("tags"))

    assert there.call_count == 1
    assert len(output.records("tags")) == 1


def test_given_credentials_in_netrc_when_redirected_then_the_token_is_sent_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.commonroom.io login someone password secret-9\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with requests_mock.Mocker() as mocker:
        mocker.get(TAGS_URL, status_code=307, headers={"Location": "/community/v2/labels"})
        mocker.get("/community/v2/labels", json=TAGS)
        output = read_in_process({"api_token": DEFAULT_TOKEN}, catalog("tags"))
        sent = {request.headers["Authorization"] for request in mocker.request_history}

    assert sent == {f"Bearer {DEFAULT_TOKEN}"}
    assert len(output.records("tags")) == 1


@pytest.mark.parametrize(
    "location", ["https://evil.example\\@api.commonroom.io/", "https://u@api.commonroom.io/", "http://[::1", "\xff://"]
)
def test_given_a_location_that_may_be_read_in_two_ways_when_redirected_then_it_is_not_followed(location: str) -> None:
    session = OneOriginSession(RequestBudget(20))

    assert session.get_redirect_target(answer(302, Location=location)) is None


def test_given_an_api_that_sends_its_own_redirects_when_it_loops_then_the_stream_ends(read: Read) -> None:
    api = Api(Workspace.of(), faults=[Fault("redirect", path="/v2/tags")])

    output = read(api, "tags")

    (error,) = output.errors("tags")
    assert (error.internal_message or "").startswith("redirect_loop: TooManyRedirects")
    assert len(api.log.of("/v2/tags")) == 31


def test_given_a_page_with_an_error_inside_when_read_then_it_says_so_without_the_page() -> None:
    body = orjson.dumps({"success": False, "error": {"code": "internal_server_error", "message": "secret"}})

    failure, facts = judge(answer(200, body), "paged")

    assert rows_of(failure) == "not_a_page"
    assert "internal_server_error" in facts["what"]
    assert "secret" not in str(facts)
