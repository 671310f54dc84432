"""The budget of a token: even, shared, and yielding to others."""

import logging
import time
from datetime import timedelta
from itertools import pairwise

import pytest
import requests
from freezegun.api import FrozenDateTimeFactory

from source_commonroom.api.rate_limit import RateLimitLastsError, RequestBudget, budget_of, wait_of


def response(status: int = 200, body: bytes = b"{}", **headers: str) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    answer._content = body  # noqa: SLF001  # requests has no constructor for it
    answer.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return answer


def departures(budget: RequestBudget, count: int) -> list[float]:
    times = []
    for _ in range(count):
        budget.acquire()
        times.append(time.monotonic())
    return times


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


@pytest.mark.parametrize("rate", [0.5, 2.5, 20, 100])
def test_given_a_rate_when_acquired_then_requests_leave_evenly(rate: float) -> None:
    budget = RequestBudget(rate)

    assert gaps(departures(budget, 40)) == [pytest.approx(1.002 / rate, abs=1e-5)] * 39


def test_given_a_429_when_acquired_then_nothing_leaves_before_it_says() -> None:
    budget = RequestBudget(20)
    departures(budget, 5)
    told_at = time.monotonic()

    budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 3000}}'))

    assert departures(budget, 1)[0] - told_at == pytest.approx(3, abs=1e-5)


def test_given_two_429s_when_acquired_then_the_longer_wait_counts() -> None:
    budget = RequestBudget(20)
    told_at = time.monotonic()

    budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 60000}}'))
    budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 1000}}'))

    assert departures(budget, 1)[0] - told_at == pytest.approx(60, abs=1e-5)


def test_given_many_answers_of_one_second_with_nothing_left_when_acquired_then_it_slows_down_once() -> None:
    budget = RequestBudget(20)
    departures(budget, 5)

    for _ in range(10):
        budget.learn_from(response(X_RateLimit_Limit="20", X_RateLimit_Remaining="0"))

    assert max(gaps(departures(budget, 3))) <= 1.002 / 20 / 0.75 + 1e-5


def test_given_a_request_in_line_when_a_429_comes_then_it_lines_up_again(
    clock: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = RequestBudget(1)
    budget.acquire()
    told_at: list[float] = []

    def sleep(seconds: float) -> None:
        clock.tick(seconds)
        if not told_at:
            told_at.append(time.monotonic())
            budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 60000}}'))

    monkeypatch.setattr(time, "sleep", sleep)

    assert departures(budget, 1)[0] - told_at[0] == pytest.approx(60, abs=1e-5)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "Waiting for the API's rate limit" in record.message]


def test_given_a_long_wait_when_acquired_then_a_line_each_30_s_says_why_and_for_how_long(
    caplog: pytest.LogCaptureFixture, waits: list[float]
) -> None:
    caplog.set_level(logging.INFO)
    budget = RequestBudget(20)

    budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 100000}}'))
    budget.acquire()

    assert waits == [pytest.approx(part, abs=0.1) for part in (30, 30, 30, 10)]
    lines = told(caplog)
    assert len(lines) == 3
    assert "since 2026-07-01T00:00:00Z, for 30 s: it answers 429. The next request follows in 70 s" in lines[0]
    assert "for 90 s" in lines[2]


@pytest.mark.parametrize("each", [29.95, 29.5, 20, 7, 0.5])
def test_given_short_waits_in_a_row_when_waited_then_there_is_a_line_each_30_s(
    each: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    budget = RequestBudget(20)
    since = time.monotonic()

    while time.monotonic() < since + 290:
        budget.learn_from(response(429))
        budget.wait(each, since)

    said = [float(line.partition("for ")[2].partition("for ")[2].partition(" s")[0]) for line in told(caplog)]
    assert said == [pytest.approx(30 * number, abs=2) for number in range(1, 10)]


def test_given_many_that_wait_when_acquired_then_one_of_them_speaks(
    caplog: pytest.LogCaptureFixture, clock: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    budget = RequestBudget(20)
    budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 100000}}'))
    since = time.monotonic()
    others = iter(range(9))

    def sleep(seconds: float) -> None:
        # While one sleeps, others begin to wait, and look up at the same moment.
        if next(others, None) is not None:
            budget.wait(70, since)
        elif time.monotonic() < since + 100:
            clock.tick(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    budget.acquire()

    assert 1 <= len(told(caplog)) <= 3


def test_given_a_hold_that_is_longer_than_the_patience_when_acquired_then_it_ends_at_once_for_all(
    waits: list[float],
) -> None:
    budget = RequestBudget(20, patience=60)
    budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 90000}}'))

    for _ in range(3):
        with pytest.raises(RateLimitLastsError, match="the next try would follow in 90 s"):
            budget.acquire()
    assert waits == []


def test_given_an_answer_to_what_had_left_before_when_it_comes_then_the_rate_limit_goes_on() -> None:
    budget = RequestBudget(20)
    budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 590000}}'))
    budget.learn_from(response())
    budget.acquire()

    with pytest.raises(RateLimitLastsError):
        budget.wait(20, time.monotonic())


def test_given_a_request_that_alone_is_limited_when_it_waits_on_then_its_own_clock_counts() -> None:
    budget = RequestBudget(20)
    since = time.monotonic()
    budget.wait(590, since)
    budget.learn_from(response())

    with pytest.raises(RateLimitLastsError):
        budget.wait(20, since)


def test_given_requests_that_get_through_beside_one_that_is_limited_when_acquired_then_the_rate_limit_does_not_last(
    clock: FrozenDateTimeFactory,
) -> None:
    budget = RequestBudget(20)
    for _ in range(40):
        budget.acquire()
        # Two leave at once. A 429 is answered sooner than a page, so that the next hold begins before the page comes.
        budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 50000}}'))
        clock.tick(0.2)
        page = response()
        page.elapsed = timedelta(seconds=0.2)
        budget.learn_from(page)


def test_given_an_answer_after_a_rate_limit_when_it_comes_then_the_rate_limit_is_over() -> None:
    budget = RequestBudget(20)
    budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 590000}}'))
    budget.acquire()
    budget.learn_from(response())

    budget.wait(20, time.monotonic())


def test_given_a_long_line_when_acquired_then_that_is_no_rate_limit(
    caplog: pytest.LogCaptureFixture, waits: list[float]
) -> None:
    caplog.set_level(logging.INFO)
    budget = RequestBudget(1 / 700)
    budget.acquire()
    budget.learn_from(response(429))
    budget.acquire()

    assert sum(waits) == pytest.approx(701.4, abs=0.1)
    assert max(waits) <= 30
    assert told(caplog) == []


def test_given_nothing_left_that_we_did_not_spend_when_acquired_then_it_slows_down_and_recovers() -> None:
    budget = RequestBudget(20)
    usual = 1.002 / 20
    departures(budget, 5)

    budget.learn_from(response(X_RateLimit_Limit="20", X_RateLimit_Remaining="0"))

    slowed = gaps(departures(budget, 10))
    assert slowed[-1] > usual * 1.25
    time.sleep(10)
    assert gaps(departures(budget, 10))[-1] == pytest.approx(usual, abs=1e-5)


def test_given_a_429_of_our_own_making_when_acquired_then_it_waits_and_keeps_its_pace() -> None:
    budget = RequestBudget(20)
    departures(budget, 40)
    told_at = time.monotonic()

    budget.learn_from(response(429, b'{"rateLimit": {"waitMs": 300}}', X_RateLimit_Limit="20"))

    times = departures(budget, 10)
    assert times[0] - told_at == pytest.approx(0.3, abs=1e-5)
    assert gaps(times) == [pytest.approx(1.002 / 20, abs=1e-5)] * 9


def test_given_nothing_left_because_we_spent_it_when_acquired_then_it_keeps_its_pace() -> None:
    budget = RequestBudget(20)
    departures(budget, 40)

    budget.learn_from(response(X_RateLimit_Limit="20", X_RateLimit_Remaining="0"))

    assert gaps(departures(budget, 10)) == [pytest.approx(1.002 / 20, abs=1e-5)] * 9


def test_given_one_token_when_asked_for_its_budget_then_it_is_the_same_one() -> None:
    assert budget_of("Bearer a", 20) is budget_of("Bearer a", 20)
    assert budget_of("Bearer a", 20) is not budget_of("Bearer b", 20)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (response(429, b'{"rateLimit": {"waitMs": 1500}}', X_RateLimit_Reset="99999999999"), 1.5),
        (response(429, b"<html>", X_RateLimit_Reset="1782864005"), 5.0),
        (response(429, b"[]", X_RateLimit_Reset="1782863999"), None),
        (response(429, b'{"rateLimit": {"waitMs": -1}}'), None),
        (response(429, b"", X_RateLimit_Reset="soon"), None),
        (response(200, b'{"rateLimit": {"waitMs": 1500}}'), None),
        (response(429, b'{"rateLimit": {"waitMs": true}}'), None),
        (response(429, b'{"rateLimit": {"waitMs": 1e400}}', X_RateLimit_Reset="1782864005"), 5.0),
        (response(429, b'{"rateLimit": {"waitMs": NaN}}'), None),
        (response(429, X_RateLimit_Reset="nan"), None),
        (response(429, X_RateLimit_Reset="inf"), None),
        (response(429, X_RateLimit_Reset="-Infinity"), None),
        # Our clock is behind by ten minutes, and ahead.
        (response(429, X_RateLimit_Reset="1782864605", Date="Wed, 01 Jul 2026 00:10:00 GMT"), 5.0),
        (response(429, X_RateLimit_Reset="1782863405", Date="Tue, 30 Jun 2026 23:50:00 GMT"), 5.0),
        (response(429, X_RateLimit_Reset="1782864005", Date="today"), 5.0),
        (response(429, X_RateLimit_Reset="1782864005", Date="Wed, 01 Jul 99999 00:10:00 GMT"), 5.0),
    ],
)
def test_given_an_answer_when_asked_how_long_to_wait_then_only_a_429_says(
    answer: requests.Response, seconds: float | None
) -> None:
    assert wait_of(answer) == (None if seconds is None else pytest.approx(seconds))
