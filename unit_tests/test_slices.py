"""The plan of windows: exact whatever the records, and about equal if they allow it."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_commonroom.activities.slices import PagePreview, SpanCount, plan, plan_without_counts, window_size

YEAR = 365 * 24 * 3600 * 1000
HOUR = 3600 * 1000


def prober(moments: list[int]) -> tuple[Callable[[int, int], SpanCount], list[tuple[int, int]]]:
    moments = sorted(moments)
    asked: list[tuple[int, int]] = []

    def probe(low: int, high: int) -> SpanCount:
        asked.append((low, high))
        begin, end = bisect_left(moments, low), bisect_right(moments, high)
        return SpanCount(end - begin, moments[begin] if begin < end else None)

    return probe, asked


def sizes(windows: list[tuple[int, int]], moments: list[int]) -> list[int]:
    moments = sorted(moments)
    return [bisect_right(moments, high) - bisect_left(moments, low) for low, high in windows]


def sizes_asked(windows: list[tuple[int, int]], moments: list[int]) -> list[int]:
    """List how many records each window asks for: all but the first begin a millisecond before the boundary."""
    return sizes([windows[0], *((low - 1, high) for low, high in windows[1:])], moments)


def assert_exact(windows: list[tuple[int, int]], first: int, last: int) -> None:
    assert windows[0][0] == first
    assert windows[-1][1] == last
    assert all(low < high for low, high in windows) or windows == [(first, last)]
    assert all(later[0] == earlier[1] for earlier, later in pairwise(windows))


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
TROUBLES: dict[str, Callable[[Random, SpanCount], SpanCount | None]] = {
    "none": lambda _, truth: truth,
    "some fail": lambda rng, truth: None if rng.random() < 0.3 else truth,
    "all fail": lambda _rng, _truth: None,
    "other counts": lambda rng, truth: SpanCount(int(truth.records * rng.choice([0, 0.5, 1, 2])), truth.earliest),
    "other moments": lambda rng, truth: SpanCount(truth.records, rng.choice([None, -50, rng.randrange(2 * YEAR)])),
    "anything": lambda rng, _: SpanCount(rng.choice([0, 7, 300, 10**30]), rng.choice([None, -50, rng.randrange(YEAR)])),
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

    def probe(low: int, high: int) -> SpanCount | None:
        nonlocal probes
        probes += 1
        assert 0 <= low <= high <= history.span
        for _ in range(rng.randrange(5) if moving else 0):
            if moments and rng.random() < 0.5:
                del moments[rng.randrange(len(moments))]
            else:
                insort(moments, rng.randrange(history.span + 1))
        begin, end = bisect_left(moments, low), bisect_right(moments, high)
        return TROUBLES[trouble](rng, SpanCount(end - begin, moments[begin] if begin < end else None))

    windows = list(islice(plan(0, history.span, probe, lambda _windows, _left: wanted), 3_000))

    assert_exact(windows, 0, history.span)
    # Each costs a request. To halve a span of a year down to a millisecond takes 35; that, for each window and burst,
    # beside the 40 that any plan may lose and the one of the whole.
    assert probes <= 1 + 40 + 35 * (records / wanted + len(history.bursts) + 1)
    if trouble != "anything":
        assert probes <= 1 + 40 + 2 * (2 * records / 200 + 1)


SHAPES: dict[str, Callable[[Random], int]] = {
    "even": lambda rng: rng.randrange(10 * YEAR),
    "growing": lambda rng: int(10 * YEAR * rng.random() ** 0.3),
    "half in an hour": lambda rng: 7 * YEAR + rng.randrange(HOUR) if rng.random() < 0.5 else rng.randrange(10 * YEAR),
    "all in a second": lambda rng: 3 * YEAR + rng.randrange(1000),
    "late": lambda rng: 9 * YEAR + rng.randrange(YEAR),
}


@cache
def moments_of_ten_years(shape: str) -> list[int]:
    """Draw 240,000, in order, and the same ones each time; don't change them."""
    rng, draw = Random(1), SHAPES[shape]
    return sorted(draw(rng) for _ in range(240_000))


@pytest.mark.parametrize("count", [10 * 240_000, 10**12, 10**30])
def test_given_one_count_that_is_much_too_high_when_planned_then_it_costs_few_windows(count: int) -> None:
    probe, asked = prober(moments_of_ten_years("even"))

    def lie_once(low: int, high: int) -> SpanCount:
        truth = probe(low, high)
        return truth if asked[1:] else SpanCount(count, truth.earliest)

    windows = list(islice(plan(0, 10 * YEAR, lie_once, window_size(10)), 1_000))

    assert_exact(windows, 0, 10 * YEAR)


@pytest.mark.parametrize("shape", SHAPES)
def test_given_240_000_records_in_ten_years_when_planned_then_windows_are_of_equal_size_and_few_probes_are_lost(
    shape: str,
) -> None:
    moments = moments_of_ten_years(shape)
    probe, asked = prober(moments)

    windows = list(plan(0, 10 * YEAR, probe, window_size(10)))

    found = sizes(windows, moments)
    assert max(found) <= 50 * 200 * 1.8
    # The last millisecond of each is the first of the next.
    assert 240_000 <= sum(found) <= 240_000 + len(windows) * 300
    assert len(windows) <= 60
    # The others are first pages of windows, which have to be asked for anyway.
    assert len(set(asked) - set(windows)) <= 10
    assert sum(max(1, -(-records // 200)) for records in found) <= 1200 + 2 * len(windows)


def test_given_a_decade_before_the_first_record_when_planned_then_it_costs_nothing() -> None:
    probe, asked = prober([46 * YEAR + moment for moment in moments_of_ten_years("even")])

    windows = list(plan(0, 56 * YEAR, probe, window_size(10)))

    assert windows[0][0] == 0
    assert len(set(asked) - set(windows)) <= 3


def test_given_records_of_one_moment_when_planned_then_they_are_one_window() -> None:
    probe, _ = prober([5_000] * 100_000)

    windows = list(plan(0, 10_000, probe, lambda _windows, _left: 800))

    assert_exact(windows, 0, 10_000)
    assert [records for records in sizes_asked(windows, [5_000] * 100_000) if records] == [100_000]


@pytest.mark.parametrize("burst", range(95, 105))
def test_given_a_burst_in_one_millisecond_when_planned_then_one_window_alone_asks_for_it(burst: int) -> None:
    moments = [*range(0, 10_000, 7), *([burst] * 5_000)]
    probe, _ = prober(moments)

    windows = list(plan(0, 10_000, probe, lambda _windows, _left: 400))

    assert_exact(windows, 0, 10_000)
    assert len([records for records in sizes_asked(windows, moments) if records >= 5_000]) == 1


@pytest.mark.parametrize("earliest", [10**15, -(10**15), None], ids=["ahead", "long ago", "not told"])
def test_given_moments_outside_their_span_when_planned_then_the_probes_are_bounded(earliest: int | None) -> None:
    rng = Random(1)
    probe, asked = prober([rng.randrange(YEAR) for _ in range(5_021)])

    windows = list(
        islice(plan(0, YEAR, lambda low, high: SpanCount(probe(low, high).records, earliest), window_size(10)), 1_000)
    )

    assert_exact(windows, 0, YEAR)
    assert len(asked) <= 1 + 2 * 26 + 40


def test_given_probes_that_tell_the_last_moment_when_planned_then_the_probes_are_bounded() -> None:
    rng = Random(1)
    moments = sorted(rng.randrange(YEAR) for _ in range(5_021))
    asked = []

    def probe(low: int, high: int) -> SpanCount:
        asked.append((low, high))
        begin, end = bisect_left(moments, low), bisect_right(moments, high)
        return SpanCount(end - begin, moments[end - 1] if begin < end else None)

    windows = list(islice(plan(0, YEAR, probe, window_size(10)), 1_000))

    assert_exact(windows, 0, YEAR)
    assert len(asked) <= 1 + 2 * 26 + 40


def looker(moments: list[int]) -> tuple[Callable[[int, int], PagePreview], list[tuple[int, int]]]:
    moments = sorted(moments)
    asked: list[tuple[int, int]] = []

    def look(low: int, high: int) -> PagePreview:
        asked.append((low, high))
        found = moments[bisect_left(moments, low) : bisect_right(moments, high)]
        page = found[:200]
        return PagePreview(len(page), page[0] if page else None, page[-1] if page else None, len(found) > 200)

    return look, asked


@given(history=HISTORIES, wanted=st.sampled_from([200, 1_600]), failing=st.booleans())
def test_given_any_history_that_is_not_counted_when_planned_then_the_windows_meet_and_the_looks_are_few(
    history: History, wanted: int, *, failing: bool
) -> None:
    moments, rng = history.moments(), Random(history.seed)
    look, asked = looker(moments)

    windows = list(
        islice(
            plan_without_counts(
                0,
                history.span,
                lambda low, high: None if failing and rng.random() < 0.3 else look(low, high),
                lambda _windows: wanted,
            ),
            3_000,
        )
    )

    assert_exact(windows, 0, history.span)
    assert len(asked) <= 4 * len(windows)


@pytest.mark.parametrize("shape", ["even", "growing", "late"])
def test_given_240_000_records_that_nobody_counts_when_planned_then_windows_are_of_a_useful_size(shape: str) -> None:
    moments = moments_of_ten_years(shape)
    look, asked = looker(moments)

    windows = list(plan_without_counts(0, 10 * YEAR, look, lambda _windows: 10_000))

    found = sizes(windows, moments)
    assert max(found) <= 30_000
    assert len(windows) <= 40
    # The others are first pages of windows.
    assert len(set(asked) - set(windows)) <= 2 * len(windows)


def test_given_looks_that_fail_from_some_time_on_when_planned_then_the_rest_is_one_window() -> None:
    """An API that is down: windows of seconds over years would never end."""
    looks = iter([PagePreview(200, 0, 0, more=True)] * 4)

    found = list(plan_without_counts(0, 20 * 365 * 24 * 3600 * 1000, lambda *_: next(looks, None), lambda _: 1_600))

    assert len(found) < 12
    assert_exact(found, 0, 20 * 365 * 24 * 3600 * 1000)


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
    probe, asked = prober(moments_of_ten_years("even"))

    next(plan(0, 10 * YEAR, probe, window_size(10)))

    assert len(asked) == 2
