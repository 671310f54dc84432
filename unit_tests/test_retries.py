"""Retries: how long is waited, how often, and what is said in the end."""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
import requests_mock
from airbyte_cdk.models import AirbyteStreamStatus, FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from freezegun.api import FrozenDateTimeFactory

from integration_tests.sandbox import DEFAULT_TOKEN, Api, Fault, Workspace
from integration_tests.sandbox.messages import Answer, Call
from source_commonroom import SourceCommonroom
from unit_tests.conftest import API_URL, Read, read_in_process
from unit_tests.output import Output
from unit_tests.streams import STREAMS, catalog

TAGS_URL = f"{API_URL}/v2/tags"
TAGS = {"success": True, "data": [{"id": "l_1", "name": "VIP"}], "meta": {"nextCursor": None}}


def read_tags(*answers: dict[str, Any]) -> Output:
    """Read tags from a server that gives these answers, the last one for ever."""
    with requests_mock.Mocker() as mocker:
        mocker.get(TAGS_URL, list(answers))
        return read_in_process({"api_token": DEFAULT_TOKEN}, catalog("tags"))


def seconds(waits: list[float]) -> list[float]:
    """Leave out the naps of a few milliseconds that keep the requests apart."""
    return [wait for wait in waits if wait > 0.1]


def test_given_a_429_when_read_then_it_waits_what_the_api_says(api: Api, read: Read, waits: list[float]) -> None:
    api.faults.add(Fault("rate_limited", times=1, seconds=7.25))

    output = read(api, "tags")

    assert seconds(waits) == [pytest.approx(7.25)]
    assert len(output.records("tags")) == 30


@pytest.mark.parametrize("body", [{}, {"text": "<html>"}, {"json": {"rateLimit": {"waitMs": "soon"}}}], ids=str)
def test_given_a_429_whose_body_says_nothing_when_read_then_it_waits_until_the_reset(
    body: dict[str, Any], waits: list[float]
) -> None:
    headers = {"X-RateLimit-Reset": "1782864012", "Retry-After": "2026-07-01T00:00:12.000Z"}

    output = read_tags({"status_code": 429, "headers": headers, **body}, {"json": TAGS})

    assert seconds(waits) == [pytest.approx(12)]
    assert len(output.records("tags")) == 1


def test_given_a_clock_that_is_behind_when_a_429_names_a_moment_then_the_stream_waits_as_long_as_the_server_means(
    waits: list[float],
) -> None:
    headers = {"X-RateLimit-Reset": "1782864662", "Date": "Wed, 01 Jul 2026 00:11:00 GMT"}

    output = read_tags({"status_code": 429, "headers": headers}, {"json": TAGS})

    assert seconds(waits) == [pytest.approx(2)]
    assert len(output.records("tags")) == 1


def test_given_a_429_that_says_nothing_at_all_when_read_then_it_backs_off(waits: list[float]) -> None:
    output = read_tags({"status_code": 429}, {"status_code": 429}, {"json": TAGS})

    assert seconds(waits) == [pytest.approx(1, rel=0.25), pytest.approx(2, rel=0.25)]
    assert len(output.records("tags")) == 1


def test_given_many_429s_that_say_nothing_when_read_then_no_wait_is_much_longer_than_a_minute() -> None:
    output, took = elapsed(lambda: read_tags(*[{"status_code": 429}] * 9, {"json": TAGS}))

    assert took == pytest.approx(1 + 2 + 4 + 8 + 16 + 32 + 64 + 64 + 64, rel=0.25)
    assert len(output.records("tags")) == 1


def test_given_a_server_error_for_ever_when_read_then_it_is_tried_for_ten_minutes(waits: list[float]) -> None:
    output, took = elapsed(lambda: read_tags({"status_code": 503}))

    assert seconds(waits)[:5] == [pytest.approx(wait, rel=0.25) for wait in (1, 2, 4, 8, 16)]
    assert 560 < took < 660
    # No log line is further from the next.
    assert max(waits) <= 30
    error = output.errors("tags")[0]
    assert error.failure_type == FailureType.transient_error
    assert re.search(r"\((2[0-9]|3[0-5]) tries in 1[01] minutes\.\)", error.message)
    assert "Run the sync again later" in error.message


def test_given_an_outage_of_two_minutes_when_read_then_nothing_is_missing_and_a_line_each_half_minute_says_so(
    read: Read,
) -> None:
    class Down(Api):
        down_at = 0.0

        def answer(self, call: Call) -> Answer:
            pages = len(self.log.requests)
            self.down_at = self.down_at or (time.monotonic() if pages == 8 else 0.0)
            is_down = self.down_at and time.monotonic() < self.down_at + 120
            answer = super().answer(call)
            return Answer(503, body=b"{}") if is_down else answer

    contacts = [{"id": f"c_{number}", "fullName": f"C {number}"} for number in range(1, 4_001)]
    api = Down(Workspace.of(contacts=contacts))

    output = read(api, "contacts")

    assert Counter(row["id"] for row in output.records("contacts")) == Counter(row["id"] for row in contacts)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert output.exit_code == 0
    waited = [line for line in output.lines() if re.search(r"Try \d+ follows in", line)]
    assert len(waited) >= 4


def test_given_an_api_that_is_down_when_many_streams_are_read_then_they_wait_for_it_together() -> None:
    with requests_mock.Mocker() as mocker:
        mocker.get(requests_mock.ANY, status_code=503)
        names = sorted(row.name for row in STREAMS)
        output, took = elapsed(lambda: read_in_process({"api_token": DEFAULT_TOKEN, "num_workers": 2}, catalog(*names)))

    assert {output.status(name) for name in names} == {AirbyteStreamStatus.INCOMPLETE}
    # Each of them is tried six times, and the first one for ten minutes.
    assert took < 660 + len(names) * 31 * 1.25 * 2


def test_given_an_api_that_is_down_when_discovered_then_it_ends_soon() -> None:
    with requests_mock.Mocker() as mocker:
        mocker.get(requests_mock.ANY, status_code=503)
        start = time.monotonic()
        with pytest.raises(AirbyteTracedException):
            SourceCommonroom(config={"api_token": DEFAULT_TOKEN}).discover(logging.getLogger("airbyte"), {})
    assert time.monotonic() - start < 2 * 60


@pytest.mark.parametrize(
    "told", ["100", "100.0", "Wed, 01 Jul 2026 00:12:40 GMT", "2026-07-01T00:12:40Z", "2026-07-01T00:12:40.000+00:00"]
)
@pytest.mark.parametrize("status", [429, 503, 500])
def test_given_a_retry_after_when_read_then_it_waits_so_long_and_says_so(
    status: int, told: str, waits: list[float]
) -> None:
    # The server's clock is ahead of ours.
    headers = {"Retry-After": told, "Date": "Wed, 01 Jul 2026 00:11:00 GMT"}

    output = read_tags({"status_code": status, "headers": headers}, {"json": TAGS})

    assert sum(seconds(waits)) == pytest.approx(100)
    assert max(waits) <= 30
    assert output.status("tags") == AirbyteStreamStatus.COMPLETE


ABSURD = (
    "-5",
    "0",
    "nan",
    "inf",
    "1e400",
    "30000",
    "2026",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "0001-01-01T00:00:00Z",
    "?",
)


@pytest.mark.parametrize("told", ABSURD)
@pytest.mark.parametrize("status", [429, 503])
def test_given_a_retry_after_that_nobody_can_mean_when_read_then_it_backs_off_and_goes_on(
    status: int, told: str, waits: list[float]
) -> None:
    output = read_tags(*[{"status_code": status, "headers": {"Retry-After": told}}] * 3, {"json": TAGS})

    assert seconds(waits) == [pytest.approx(wait, rel=0.25) for wait in (1, 2, 4)]
    assert output.status("tags") == AirbyteStreamStatus.COMPLETE


@pytest.mark.parametrize("wait_ms", [-5, 0, 601_000, 3.6e9, 1e300])
def test_given_a_429_whose_wait_nobody_can_mean_when_read_then_it_backs_off_and_goes_on(
    wait_ms: float, waits: list[float]
) -> None:
    answer = {"status_code": 429, "json": {"rateLimit": {"waitMs": wait_ms}}}

    output = read_tags(answer, answer, {"json": TAGS})

    assert seconds(waits) == [pytest.approx(1, rel=0.25), pytest.approx(2, rel=0.25)]
    assert output.status("tags") == AirbyteStreamStatus.COMPLETE


def test_given_rate_limits_and_failures_in_turn_when_read_then_each_is_counted_alone(waits: list[float]) -> None:
    limited: dict[str, Any] = {"status_code": 429, "json": {"rateLimit": {"waitMs": 500}}}
    failed: dict[str, Any] = {"status_code": 500}

    output = read_tags(*[limited] * 20, *[failed] * 5, *[limited] * 20, {"json": TAGS})

    assert len(output.records("tags")) == 1
    assert sum(seconds(waits)) < 40 * 0.6 + 31 * 1.25


def test_given_an_outage_when_two_read_then_they_do_not_come_back_in_one_instant(waits: list[float]) -> None:
    read_tags({"status_code": 503})
    first = seconds(waits)
    waits.clear()

    read_tags({"status_code": 503})

    assert min(len(first), len(seconds(waits))) >= 5
    assert not {*first} & {*seconds(waits)}


def test_given_failures_with_rate_limits_in_between_when_read_then_they_end_after_ten_minutes_all_the_same() -> None:
    limited: dict[str, Any] = {"status_code": 429, "json": {"rateLimit": {"waitMs": 500}}}
    failed: dict[str, Any] = {"status_code": 500}

    output, took = elapsed(lambda: read_tags(*[failed, limited] * 60, {"json": TAGS}))

    (error,) = output.errors("tags")
    assert (error.internal_message or "").startswith("server_error: ")
    assert 560 < took < 660


def elapsed(read_something: Callable[[], Output]) -> tuple[Output, float]:
    start = time.monotonic()
    return read_something(), time.monotonic() - start


def limited(seconds: float) -> dict[str, Any]:
    return {"status_code": 429, "json": {"rateLimit": {"waitMs": seconds * 1000}}}


def assert_that_it_lasts(output: Output) -> None:
    (error,) = output.errors("tags")
    assert error.failure_type == FailureType.transient_error
    assert (error.internal_message or "").startswith("rate_limit_lasts: ")
    assert "Do other programs use this token?" in error.message
    assert output.status("tags") == AirbyteStreamStatus.INCOMPLETE


@pytest.mark.parametrize("answer", [limited(7), limited(45), {"status_code": 429}], ids=["7 s", "45 s", "no word"])
def test_given_nothing_but_429s_when_read_then_it_ends_after_ten_minutes(
    answer: dict[str, Any], waits: list[float]
) -> None:
    output, took = elapsed(lambda: read_tags(answer))

    assert 500 < took <= 600.5
    assert max(waits) <= 30
    assert_that_it_lasts(output)


def test_given_a_429_that_asks_for_more_than_is_left_when_read_then_it_ends_at_once() -> None:
    output, took = elapsed(lambda: read_tags(limited(300), limited(200), limited(101)))

    assert took == pytest.approx(500, abs=0.5)
    assert_that_it_lasts(output)


def test_given_429s_for_long_when_one_gets_through_then_the_ten_minutes_begin_anew() -> None:
    page = {"success": True, "data": [{"id": "l_2"}], "meta": {"nextCursor": "c"}}

    output, took = elapsed(lambda: read_tags(limited(590), {"json": page}, limited(590), {"json": TAGS}))

    assert took == pytest.approx(1180, abs=0.5)
    assert len(output.records("tags")) == 2


def test_given_an_endpoint_that_alone_answers_429_when_read_then_its_stream_ends_and_the_others_go_on(
    clock: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [
        {
            "json": {
                "success": True,
                "data": [{"id": f"sig_{page}"}],
                "meta": {"nextCursor": f"c{page}" if page else None},
            }
        }
        for page in reversed(range(100))
    ]
    with requests_mock.Mocker() as mocker:
        tries = mocker.get(TAGS_URL, [limited(50)])
        others = mocker.get(f"{API_URL}/v2/providers", pages)

        def sleep(wanted: float) -> None:
            """Move the clock, and let the other stream have a page, as it would in as many seconds."""
            clock.tick(wanted)
            before = others.call_count
            for _ in range(100 if wanted > 1 else 0):
                if before < others.call_count or before == len(pages):
                    return
                Event().wait(0.002)

        monkeypatch.setattr(time, "sleep", sleep)
        output = read_in_process({"api_token": DEFAULT_TOKEN}, catalog("tags", "providers"))

    # Those that get through keep the clock of the token from running out, and not that of the request.
    assert tries.call_count <= 13
    assert_that_it_lasts(output)
    assert len(output.records("providers")) == 100
    assert output.status("providers") == AirbyteStreamStatus.COMPLETE


def test_given_a_failure_between_two_rate_limits_when_read_then_the_clock_starts_anew() -> None:
    output, took = elapsed(lambda: read_tags(limited(400), {"status_code": 500}, limited(400), {"json": TAGS}))

    assert took > 800
    assert len(output.records("tags")) == 1
