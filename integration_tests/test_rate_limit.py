"""The budget of a token under real threads and a real clock, where unit_tests/test_rate_limit.py stops the clock."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from source_commonroom.api.rate_limit import RequestBudget

THREADS = 12
HELD = 0.4


@pytest.fixture(autouse=True)
def _hurried_threads() -> Iterator[None]:
    """Let threads take turns between any two lines."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(usual)


def departures(budget: RequestBudget, each: int, after_third: Callable[[], None] = lambda: None) -> list[float]:
    """Let many threads send so many requests each, as soon as the budget allows; return when each left.

    :param after_third: called by one of them between two of its requests
    """
    start = threading.Barrier(THREADS)

    def send(number: int) -> list[float]:
        start.wait()
        times = []
        for turn in range(each):
            budget.acquire()
            times.append(time.monotonic())
            if number == 0 and turn == 2:
                after_third()
        return times

    with ThreadPoolExecutor(THREADS) as pool:
        senders = [pool.submit(send, number) for number in range(THREADS)]
    return sorted(at for sender in senders for at in sender.result())


def test_given_a_429_while_many_threads_wait_when_acquired_then_all_of_them_wait_as_long_as_it_says() -> None:
    budget = RequestBudget(300)
    answer = requests.Response()
    answer.status_code = 429
    answer._content = b'{"rateLimit": {"waitMs": %d}}' % (1000 * HELD)  # noqa: SLF001  # requests has no constructor for it
    told: list[float] = []

    def tell() -> None:
        told.append(time.monotonic())
        budget.learn_from(answer)

    times = departures(budget, 15, tell)

    # All but those that were between their turn and the request line up again.
    held_until = told[0] + HELD
    assert sum(told[0] < at < held_until for at in times) <= THREADS / 2
    assert sum(at >= held_until for at in times) > THREADS * 15 / 2
