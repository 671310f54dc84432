"""Retries: how long is waited, how often, and what is said in the end."""

import time
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
import requests_mock
from airbyte_cdk.models import AirbyteStreamStatus, FailureType
from freezegun.api import FrozenDateTimeFactory

from integration_tests.sandbox import DEFAULT_TOKEN, Api, Fault
from unit_tests.conftest import API_URL, Read, read_in_process
from unit_tests.output import Output
from unit_tests.streams import catalog

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


def test_given_a_server_error_for_ever_when_read_then_it_is_tried_six_times_with_growing_waits(
    waits: list[float],
) -> None:
    output = read_tags({"status_code": 503})

    assert seconds(waits) == [pytest.approx(wait, rel=0.25) for wait in (1, 2, 4, 8, 16)]
    error = output.errors("tags")[0]
    assert error.failure_type == FailureType.transient_error
    assert "(6 tries.)" in error.message
    assert "Run the sync again later" in error.message


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


def test_given_failures_with_rate_limits_in_between_when_read_then_six_failures_are_the_end() -> None:
    limited: dict[str, Any] = {"status_code": 429, "json": {"rateLimit": {"waitMs": 500}}}
    failed: dict[str, Any] = {"status_code": 500}

    output = read_tags(*[failed, limited] * 6, {"json": TAGS})

    (error,) = output.errors("tags")
    assert (error.internal_message or "").startswith("server_error: ")
    assert "(6 tries.)" in error.message


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


def test_given_a_429_that_asks_for_more_than_ten_minutes_when_read_then_it_ends_at_once(waits: list[float]) -> None:
    assert_that_it_lasts(read_tags(limited(601)))

    assert seconds(waits) == []


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
