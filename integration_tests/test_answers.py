"""Answers that trickle: they have a deadline in all, and not between two bytes."""

import gc
import socket
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from airbyte_cdk.models import AirbyteStreamStatus, Status

from integration_tests.connector import run
from integration_tests.sandbox import Api, Fault, Sandbox, Workspace
from integration_tests.sandbox.endpoints import ENDPOINTS
from source_commonroom.api.answers import AnswerTooLargeError, WatchedAdapter
from source_commonroom.api.http import OneOriginSession
from source_commonroom.api.rate_limit import RequestBudget
from unit_tests.streams import catalog

TRICKLES = ("trickle", "trickle_head")
STATUS = "/v2/api-token-status"


def session(deadline: float) -> requests.Session:
    asks = requests.Session()
    for scheme in ("http://", "https://"):
        asks.mount(scheme, WatchedAdapter(deadline))
    return asks


def get(sandbox: Sandbox, asks: requests.Session, path: str = "/v2/tags") -> requests.Response:
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    return asks.get(f"{sandbox.api_url}{path}", headers=headers, timeout=5, proxies={"http": ""})


@pytest.mark.parametrize("kind", TRICKLES)
def test_given_an_answer_that_trickles_when_asked_for_then_it_times_out_in_all(kind: str) -> None:
    api = Api(Workspace.of(), faults=[Fault(kind, seconds=0.05, times=1)])
    with Sandbox(api) as sandbox:
        asks = session(1.0)
        start = time.monotonic()
        with pytest.raises(requests.ReadTimeout, match="wasn't complete after 1 s"):
            get(sandbox, asks)
        took = time.monotonic() - start
        # Its connection isn't used again.
        assert get(sandbox, asks).status_code == requests.codes.ok
    assert 1.0 <= took < 4


@pytest.mark.parametrize("kind", TRICKLES)
def test_given_many_answers_at_once_when_some_trickle_then_each_has_a_deadline_of_its_own(kind: str) -> None:
    api = Api(Workspace.of(), faults=[Fault(kind, seconds=0.05, path="/v2/tags")])
    with Sandbox(api) as sandbox, ThreadPoolExecutor(12) as pool:
        asks = session(1.0)

        def outcome(number: int) -> str:
            try:
                return str(get(sandbox, asks, "/v2/tags" if number % 3 == 0 else "/v2/providers").status_code)
            except requests.ReadTimeout:
                return "timed out"

        outcomes = list(pool.map(outcome, range(36)))
    assert outcomes == ["timed out", "200", "200"] * 12


def test_given_redirects_that_take_their_time_when_asked_for_then_they_share_one_deadline() -> None:
    api = Api(Workspace.of(), faults=[Fault("redirect")])
    with Sandbox(api, latency=0.4) as sandbox:
        asks = OneOriginSession(RequestBudget(1000))
        asks.mount("http://", WatchedAdapter(1.0))
        start = time.monotonic()
        with pytest.raises(requests.ReadTimeout):
            get(sandbox, asks)
        took = time.monotonic() - start
    assert 1.0 <= took < 4


def test_given_a_body_that_comes_in_time_when_asked_for_then_it_is_as_it_was_sent() -> None:
    api = Api(Workspace.of(tags=[{"id": "l_1", "name": "VIP"}]), faults=[Fault("trickle", seconds=0.001, times=1)])
    with Sandbox(api) as sandbox:
        asks = session(30.0)
        slow, usual = get(sandbox, asks), get(sandbox, asks)
    assert slow.content == usual.content
    assert slow.json()["data"][0]["id"] == "l_1"


def test_given_a_body_that_unpacks_to_more_than_any_page_when_asked_for_then_it_is_refused() -> None:
    api = Api(Workspace.of(), faults=[Fault("gzip_bomb", times=1)])
    with Sandbox(api) as sandbox:
        asks = session(60.0)
        with pytest.raises(AnswerTooLargeError, match="more than 256 MB"):
            get(sandbox, asks)
        assert get(sandbox, asks).status_code == requests.codes.ok


# The connector, whose deadlines pass sooner, so that a minute is twelve seconds.
SOONER = """
from source_commonroom.api import http
from source_commonroom.run import run
assert http._INTERACTIVE_DEADLINE == 12.0
http._INTERACTIVE_DEADLINE = 2.4
run()
"""


@pytest.mark.parametrize("kind", TRICKLES)
@pytest.mark.parametrize("where", ["the status of the token", "everything else"])
def test_given_an_api_that_trickles_when_checked_then_it_ends_within_a_minute(
    where: str, kind: str, tmp_path: Path
) -> None:
    paths = [STATUS] if where == "the status of the token" else [path for path in ENDPOINTS if path != STATUS]
    api = Api(Workspace.of(), faults=[Fault(kind, path=path, seconds=0.5) for path in paths])
    program = [sys.executable, "-c", SOONER]
    with Sandbox(api) as sandbox:
        result = run(tmp_path, "check", {"api_token": sandbox.token, "api_url": sandbox.api_url}, program=program)
        took = time.time() - api.log.requests[0].started_at
    assert 2.4 <= took < 12
    (status,) = [message.connectionStatus for message in result.messages if message.connectionStatus]
    assert status.status == (Status.FAILED if where == "the status of the token" else Status.SUCCEEDED)


def test_given_an_answer_that_trickles_once_when_read_then_nothing_is_missing(tmp_path: Path) -> None:
    api = Api(Workspace.of(tags=[{"id": "l_1", "name": "VIP"}]), faults=[Fault("trickle", seconds=20, times=1)])
    program = [sys.executable, "-c", PROGRAM]
    with Sandbox(api) as sandbox:
        config = {"api_token": sandbox.token, "api_url": sandbox.api_url}
        result = run(tmp_path, "read", config, catalog("tags"), program=program)
        took = time.time() - api.log.requests[0].started_at
    assert 2 <= took < 20
    assert [row["id"] for row in result.records("tags")] == ["l_1"]
    assert result.status("tags") == AirbyteStreamStatus.COMPLETE
    assert "did not answer in time" in result.text


# The connector, with a deadline of two seconds.
PROGRAM = """
from functools import partial
from source_commonroom.api import http
from source_commonroom.run import run
assert http._DEADLINE == 180.0
http._Limits = partial(http._Limits, deadline=2.0)
run()
"""


def test_given_a_proxy_whose_answer_trickles_when_asked_for_then_it_times_out_in_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                for _ in range(200):
                    connection.sendall(b"X")
                    time.sleep(0.05)

        threading.Thread(target=trickle, daemon=True).start()
        proxies = {"https": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        start = time.monotonic()
        # The socket that is shut leaves one of TLS behind, which isn't closed.
        with warnings.catch_warnings(action="ignore", category=ResourceWarning), session(1.0) as asks:
            with pytest.raises(requests.ReadTimeout, match="wasn't complete after 1 s"):
                asks.get("https://api.example/v2/tags", timeout=5, proxies=proxies)
            gc.collect()
    assert time.monotonic() - start < 4
