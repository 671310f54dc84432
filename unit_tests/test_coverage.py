"""Coverage: spans, and the gaps between them."""

from hypothesis import given
from hypothesis import strategies as st

from source_commonroom.activities.coverage import Coverage

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair))), max_size=8)
SPAN = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair)))


def points(spans: list[tuple[int, int]]) -> set[float]:
    """List the moments within spans, in halves of a millisecond."""
    return {half / 2 for low, high in spans for half in range(2 * low + 1, 2 * high)}


@given(spans=SPANS, whole=SPAN)
def test_given_any_spans_when_gaps_are_listed_then_they_fill_exactly_what_is_not_covered(
    spans: list[tuple[int, int]], whole: tuple[int, int]
) -> None:
    covered = Coverage(spans)

    gaps = covered.gaps(*whole)

    assert list(covered) == sorted(covered)
    assert points(gaps) & points(list(covered)) == set()
    assert points([whole]) <= points(gaps) | points(list(covered)) | {float(edge) for span in covered for edge in span}
    assert all(whole[0] <= low <= high <= whole[1] for low, high in gaps)
    # Each ends on a boundary of what is covered, or of the whole.
    edges = {edge for span in covered for edge in span} | set(whole)
    assert all({low, high} <= edges for low, high in gaps)


@given(spans=SPANS, span=SPAN)
def test_given_a_span_that_is_taken_out_when_it_is_added_again_then_all_is_covered(
    spans: list[tuple[int, int]], span: tuple[int, int]
) -> None:
    left = Coverage(spans).without(*span)

    assert points(list(left)) & points([span]) == set()
    assert points(list(Coverage([*left, span]))) >= points(spans)


def test_given_spans_a_millisecond_apart_when_covered_then_they_are_one() -> None:
    assert list(Coverage([(11, 20), (0, 10), (22, 30), (5, 5)])) == [(0, 20), (22, 30)]
    assert Coverage([(0, 10), (12, 30)]).gaps(0, 40) == [(10, 12), (30, 40)]
    assert list(Coverage([(0, 10), (12, 30)]).until(12)) == [(0, 10)]
