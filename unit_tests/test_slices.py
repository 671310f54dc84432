"""The plan of windows: exact whatever the records, and about equal where they allow it."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_commonroom.slices import Probe, plan, window_size

YEAR = 365 * 24 * 3600 * 1000
HOUR = 3600 * 1000


def prober(moments: list[int]) -> tuple[Callable[[int, int], Probe], list[tuple[int, int]]]:
    moments = sorted(moments)
    asked: list[tuple[int, int]] = []

    def probe(low: int, high: int) -> Probe:
        asked.append((low, high))
        begin, end = bisect_left(moments, low), bisect_right(moments, high)
        return Probe(end - begin, moments[begin] if begin < end else None)

    return probe, asked


def sizes(windows: list[tuple[int, int]], moments: list[int]) -> list[int]:
    moments = sorted(moments)
    return [bisect_right(moments, high) - bisect_left(moments, low) for low, high in windows]


def assert_exact(windows: list[tuple[int, int]], first: int, last: int) -> None:
    assert windows[0][0] == first
    assert windows[-1][1] == last
    assert all(low <= high for low, high in windows)
    assert all(later[0] == earlier[1] + 1 for earlier, later in pairwise(windows))


@given(
    moments=st.lists(st.integers(0, 5_000), max_size=300),
    span=st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)).map(sorted),
    wanted=st.integers(1, 50),
)
def test_given_any_records_when_planned_then_the_windows_meet_exactly(
    moments: list[int], span: list[int], wanted: int
) -> None:
    probe, _ = prober(moments)

    windows = list(plan(span[0], span[1], probe, lambda _windows, _left: wanted))

    assert_exact(windows, span[0], span[1])


# What makes a probe tell something else than what the window will bring.
TROUBLES: dict[str, Callable[[Random, Probe], Probe | None]] = {
    "none": lambda _, truth: truth,
    "some fail": lambda rng, truth: None if rng.random() < 0.3 else truth,
    "all fail": lambda _rng, _truth: None,
    "other counts": lambda rng, truth: Probe(int(truth.records * rng.choice([0, 0.5, 1, 2])), truth.earliest),
    "other moments": lambda rng, truth: Probe(truth.records, rng.choice([None, -50, rng.randrange(2 * YEAR)])),
    "anything": lambda rng, _: Probe(rng.choice([0, 7, 300, 10**30]), rng.choice([None, -50, rng.randrange(YEAR)])),
}


@dataclass(frozen=True)
class History:
    """Moments in a span, in bursts of any width, over each other or far apart."""

    span: int
    bursts: list[tuple[int, int]]
    """The width of each, and how many moments."""
    seed: int

    def moments(self) -> list[int]:
        rng, found = Random(self.seed), []
        for width, size in self.bursts:
            begin = rng.randrange(self.span + 1)
            found += [min(begin + rng.randrange(width), self.span) for _ in range(size)]
        return sorted(found)


HISTORIES = st.builds(
    History,
    span=st.sampled_from([0, 1, 10_000, HOUR, YEAR]),
    bursts=st.lists(
        st.tuples(st.sampled_from([1, 1_000, HOUR, YEAR]), st.sampled_from([1, 50, 1_000, 5_000])), max_size=5
    ),
    seed=st.integers(0, 10_000),
)


@pytest.mark.parametrize("trouble", TROUBLES)
@given(history=HISTORIES, wanted=st.sampled_from([200, 1_600]), moving=st.booleans())
def test_given_any_history_and_any_trouble_when_planned_then_the_windows_meet_exactly_and_probes_are_few(
    trouble: str, history: History, wanted: int, *, moving: bool
) -> None:
    moments, rng = history.moments(), Random(history.seed)
    records, probes = len(moments), 0

    def probe(low: int, high: int) -> Probe | None:
        nonlocal probes
        probes += 1
        assert 0 <= low <= high <= history.span
        for _ in range(rng.randrange(5) if moving else 0):
            if moments and rng.random() < 0.5:
                del moments[rng.randrange(len(moments))]
            else:
                insort(moments, rng.randrange(history.span + 1))
        begin, end = bisect_left(moments, low), bisect_right(moments, high)
        return TROUBLES[trouble](rng, Probe(end - begin, moments[begin] if begin < end else None))

    windows = list(islice(plan(0, history.span, probe, lambda _windows, _left: wanted), 3_000))

    assert_exact(windows, 0, history.span)
    # Each costs a request. To halve a span of a year down to a millisecond takes 35; that, for each window and burst.
    assert probes <= 35 * (records / wanted + len(history.bursts) + 1)


@pytest.mark.parametrize("count", [10 * 240_000, 10**12, 10**30])
def test_given_one_count_that_is_much_too_high_when_planned_then_it_costs_few_windows(count: int) -> None:
    rng = Random(1)
    probe, asked = prober([rng.randrange(10 * YEAR) for _ in range(240_000)])

    def lie_once(low: int, high: int) -> Probe:
        truth = probe(low, high)
        return truth if asked[1:] else Probe(count, truth.earliest)

    windows = list(islice(plan(0, 10 * YEAR, lie_once, window_size(10)), 1_000))

    assert_exact(windows, 0, 10 * YEAR)


SHAPES: dict[str, Callable[[Random], int]] = {
    "even": lambda rng: rng.randrange(10 * YEAR),
    "growing": lambda rng: int(10 * YEAR * rng.random() ** 0.3),
    "half in an hour": lambda rng: 7 * YEAR + rng.randrange(HOUR) if rng.random() < 0.5 else rng.randrange(10 * YEAR),
    "all in a second": lambda rng: 3 * YEAR + rng.randrange(1000),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_given_240_000_records_in_ten_years_when_planned_then_windows_are_of_equal_size_and_few_probes_are_lost(
    shape: str,
) -> None:
    rng = Random(1)
    moments = [SHAPES[shape](rng) for _ in range(240_000)]
    probe, asked = prober(moments)

    windows = list(plan(0, 10 * YEAR, probe, window_size(10)))

    found = sizes(windows, moments)
    assert max(found) <= 50 * 200 * 1.8
    assert sum(found) == 240_000
    assert len(windows) <= 60
    # The others are first pages of windows, which have to be asked for anyway.
    assert len(set(asked) - set(windows)) <= 10
    assert sum(max(1, -(-records // 200)) for records in found) <= 1200 + len(windows)


def test_given_a_decade_before_the_first_record_when_planned_then_it_costs_nothing() -> None:
    rng = Random(1)
    probe, asked = prober([46 * YEAR + rng.randrange(10 * YEAR) for _ in range(240_000)])

    windows = list(plan(0, 56 * YEAR, probe, window_size(10)))

    assert windows[0][0] == 0
    assert len(set(asked) - set(windows)) <= 3


def test_given_records_of_one_moment_when_planned_then_they_are_one_window() -> None:
    probe, _ = prober([5_000] * 100_000)

    windows = list(plan(0, 10_000, probe, lambda _windows, _left: 800))

    assert 100_000 in sizes(windows, [5_000] * 100_000)
    assert_exact(windows, 0, 10_000)


def test_given_empty_years_when_planned_then_they_cost_one_probe_in_all() -> None:
    probe, asked = prober([])

    assert list(plan(0, 50 * YEAR, probe, window_size(10))) == [(0, 50 * YEAR)]
    assert len(asked) == 1


def test_when_planned_then_windows_are_small_at_first_large_in_the_middle_and_small_at_the_end() -> None:
    size = window_size(10)

    assert size(0, 1_000_000) == 1_600
    assert size(100, 1_000_000) == 10_000
    assert size(100, 24_000) == 3_000
    assert size(100, 0) == 1_600


def test_given_a_plan_that_is_read_slowly_when_planned_then_only_what_is_needed_is_probed() -> None:
    rng = Random(1)
    probe, asked = prober([rng.randrange(10 * YEAR) for _ in range(240_000)])

    next(plan(0, 10 * YEAR, probe, window_size(10)))

    assert len(asked) == 2
