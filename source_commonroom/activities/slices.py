"""The plan: a span of time cut into windows of about equal numbers of records."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from source_commonroom.activities.timestamps import seam_near

# A window is closed at this much more than it should have rather than cut once more, and a remainder of less than this
# much is left to the next one.
_ENOUGH = 0.6
_TOO_MUCH = 1.6

# Records a page, and pages a window.
_PAGE = 200
_SMALLEST = 8
_LARGEST = 50

# How many milliseconds a window reaches past a burst in its last one. The next begins one before that end.
_PAST_A_BURST = 2
# So many probes a page of the span, and so many beside those. An API in another order than the one that was asked for,
# or timestamps outside their span, would take any number; all other plans need fewer.
_PROBES_A_PAGE = 2
_PROBES = 40
# At most so many windows of equal time.
_EQUAL = 1_000
# If the API doesn't count, a window is guessed anew so often, and the next is at most so many times as long.
_GUESSES = 3
_LONGER = 8
# The shortest window, in milliseconds: without counts nothing shows a record between windows that meet within a second.
_SHORTEST = 2_001
# If so many looks fail one after the other, the API is down.
_DOWN = 3
# So much closer than on the first page the records of a window may lie further on.
_GROWS = 3


@dataclass(frozen=True)
class SpanCount:
    """What one request shows of a span: how many records lie in it, and the timestamp of the first of them."""

    records: int
    earliest: int | None


@dataclass(frozen=True)
class PagePreview:
    """What the first page of a span shows if the API doesn't count: the times of its rows, and whether more follow."""

    rows: int
    earliest: int | None
    latest: int | None
    more: bool
    """Whether another page follows."""


@dataclass(frozen=True)
class _Span:
    """A span of time that lies ahead of the plan: its last millisecond, and how many records lie in it."""

    high: int
    records: int
    probed: bool
    """Whether that is what a probe counted; else it is what is left of a larger span."""


Size = Callable[[int, int], int]
"""Tells how many records the next window should have, by how many windows there were and how many records are left."""


def plan(first: int, last: int, probe: Callable[[int, int], SpanCount | None], size: Size) -> Iterator[tuple[int, int]]:
    """Cut a span into windows, each of which begins where the one before ends, as soon as it is known.

    ::

        first ═ window ═╪═ window ═╪═ begin ─ probed ─┤─ not probed ─┤─ not probed ───────────── last
                                              └────────── the spans ahead, the nearest first ─────┘

    Each round takes the nearest span ahead, and

    1. joins it with the one behind it, as long as it is too small for a window and wasn't probed as it is;
    2. makes a window of it, if it isn't too large, or can't be cut any more;
    3. else cuts it in two: the end of the next window is guessed by how close the records lay in the one before, the
       guess is probed, and what lies behind it is the rest.

    So a probe nearly always is of just the window that follows, and costs nothing if it was its first page. Only
    guesses that are far too large are lost: some ten at each burst, because a span in which the guess failed is halved.
    An empty decade costs nothing, because a probe shows when its first record was.

    A window is a millisecond long at least. A burst in one millisecond is a window that ends behind it, because a
    boundary within the burst would have both its windows read it.

    Records that are created or deleted meanwhile make windows larger or smaller than they should be, and nothing else:
    the windows cover the span whatever the probes say. If those are of no use, as in an API that sorts in another
    order, they run out, and the rest of the span is cut into windows of equal time.

    :param first: the first millisecond of the span
    :param last: its last one
    :param probe: returns what lies in a span, both ends inclusive; called while the plan is being read. None if the
        API fails: the guess stands then, and the reader of the window meets what was wrong
    :return: the windows, first and last millisecond, in order
    """
    whole = probe(first, last) or SpanCount(0, None)
    begin, windows, left = first, 0, whole.records
    probes = _PROBES + _PROBES_A_PAGE * -(-whole.records // _PAGE)
    earliest: int | None = whole.earliest
    pace: float | None = None
    ahead = [_Span(last, whole.records, probed=True)]
    while ahead:
        wanted = size(windows, left)
        span = _join_small(ahead, begin if windows else None, wanted)
        if windows and span.high <= begin:
            return
        start = min(max(earliest or begin, begin), span.high) if span.probed else begin
        is_large = span.records > wanted * _TOO_MUCH
        if not is_large or span.high - begin <= 1:
            high = min(span.high + _PAST_A_BURST, last) if is_large else span.high
            yield begin, high
            # Of an empty window as of one with a record, so that a rest that claims too many is cut more coarsely.
            pace = (high - start + 1) / max(span.records, 1)
            begin, windows, left = high, windows + 1, max(left - span.records, 0)
        elif not probes:
            yield from _of_equal_time(begin, last, -(-left // wanted))
            return
        else:
            middle = _guess(begin, start, span, wanted, pace)
            probes -= 1
            found = probe(begin, middle) or SpanCount(wanted, None)
            records, earliest = min(found.records, span.records), found.earliest
            ahead += [_Span(span.high, span.records - records, probed=False), _Span(middle, records, probed=True)]


def _join_small(ahead: list[_Span], begin: int | None, wanted: int) -> _Span:
    """Take the nearest span ahead, joined with those behind it until it is large enough for a window.

    :param ahead: the nearest one last
    :param begin: where the last window ended, which may lie behind the span; None if there was none
    """
    span = ahead.pop()
    while ahead and (
        (begin is not None and span.high <= begin) or (not span.probed and span.records < wanted * _ENOUGH)
    ):
        following = ahead.pop()
        span = _Span(following.high, span.records + following.records, probed=False)
    return span


def _guess(begin: int, start: int, span: _Span, wanted: int, pace: float | None) -> int:
    """Return where the next window should end, within a span that is too large for it.

    :param start: when the first record of the span was
    :param pace: milliseconds a record, in the window before; None if there was none
    """
    if pace is None:
        end = start + int((span.high - start) / span.records * wanted)
    else:
        end = min(start + int(pace * wanted), begin + (span.high - begin) // 2)
    return seam_near(max(min(end, span.high - 1), begin + 1), begin, end)


def _of_equal_time(first: int, last: int, windows: int) -> Iterator[tuple[int, int]]:
    windows = max(min(windows, _EQUAL, last - first), 1)
    length = (last - first) // windows
    inner = (first + (last - first) * number // windows for number in range(1, windows))
    yield from pairwise([first, *(seam_near(edge, edge - length, edge) for edge in inner), last])


def plan_without_counts(
    first: int, last: int, preview: Callable[[int, int], PagePreview | None], size: Callable[[int], int]
) -> Iterator[tuple[int, int]]:
    """Cut a span into windows by how close the rows lie on its first page, and further on, without counts.

    :param preview: returns what the first page of a span shows; None if the API fails
    :param size: returns how many records the next window should have, by how many windows there were
    :return: as :func:`plan`
    """
    begin, windows, failures = first, 0, 0
    length: int | None = None
    while True:
        wanted = size(windows)
        high = last if length is None else min(seam_near(begin + max(length, _SHORTEST), begin, last), last)
        seen = preview(begin, high)
        failures = failures + 1 if seen is None else 0
        if failures >= _DOWN:
            # The reader of the rest meets what is wrong. Windows of seconds would be planned for ever.
            high = last
        for _ in range(_GUESSES):
            end = _end_of(begin, high, seen, wanted, preview)
            if end is None:
                break
            high = min(seam_near(max(end, begin + _SHORTEST), begin, high), high)
            seen = preview(begin, high)
        yield begin, high
        if high == last:
            return
        length = _length_after(seen, high - begin, wanted)
        begin, windows = high, windows + 1


def _end_of(
    begin: int, high: int, seen: PagePreview | None, wanted: int, preview: Callable[[int, int], PagePreview | None]
) -> int | None:
    """Return where a window that is too long should end; None if it isn't, or if that isn't known."""
    if seen is None or not seen.more or seen.earliest is None or seen.latest is None or high - begin <= _SHORTEST:
        return None
    start = max(seen.earliest, begin)
    long = _length(seen, wanted)
    if high - start > long * _TOO_MUCH:
        return start + long
    # A history grows: what the first page shows may be wrong further on.
    later = preview(high - (high - start) // 4, high) if seen.rows < wanted else None
    if later is None or not later.more or high - start <= _length(later, wanted) * _GROWS:
        return None
    return max(start + _length(later, wanted), begin + 1)


def _length(seen: PagePreview, wanted: int) -> int:
    """Return how long a span is that holds so many records, at the pace of a page."""
    return int(max((seen.latest or 0) - (seen.earliest or 0), 0) / seen.rows * wanted) + 1 + _PAST_A_BURST


def _length_after(seen: PagePreview | None, length: int, wanted: int) -> int | None:
    """Return how long the next window should be; None for all that is left, whose first page shows where it begins."""
    if seen is None:
        return length * _LONGER
    if seen.more and seen.earliest is not None and seen.latest is not None:
        return min(_length(seen, wanted), length * _LONGER)
    return None if seen.earliest is not None or not seen.rows else length * _LONGER


def window_size(workers: int) -> Size:
    """Return the size of windows for so many workers, to give to :func:`plan`.

    Small at first, so that there is a state soon, and a sync that is killed early loses little; some 50 pages
    in the middle, because each window costs half a page at its end; and smaller again towards the end, so that all
    workers end at about the same time. Some of the workers don't count: the rate limit keeps them waiting.
    """
    lanes = max(workers * 4 // 5, 1)

    def size(windows: int, left: int) -> int:
        growing = (_SMALLEST, 4 * _SMALLEST, _LARGEST)[min(windows // workers, 2)]
        shrinking = left // (lanes * _PAGE)
        return max(min(growing, shrinking, _LARGEST), _SMALLEST) * _PAGE

    return size
