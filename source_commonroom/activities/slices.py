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
# or moments outside their span, would take any number; so few are left over by no other plan.
_PROBES_A_PAGE = 2
_PROBES = 40
# At most so many windows of equal time.
_EQUAL = 1_000
# If nobody counts, a window is guessed anew so often, and the next is at most so many times as long.
_GUESSES = 3
_LONGER = 8
# As short a window may be, in milliseconds: nobody would notice if something lay between windows that meet within a
# second.
_SHORTEST = 2_001
# If so many looks fail one after the other, the API is down.
_DOWN = 3
# So much closer than on the first page the records of a window may lie further on.
_GROWS = 3


@dataclass(frozen=True)
class SpanCount:
    """What one request tells of a span: how many records lie in it, and the moment of the first of them."""

    records: int
    earliest: int | None


@dataclass(frozen=True)
class Look:
    """What the first page of a span tells where nobody counts: between which moments its rows lie, and what follows."""

    rows: int
    earliest: int | None
    latest: int | None
    more: bool
    """Whether another page follows."""


@dataclass(frozen=True)
class _Span:
    """A span of time from where the plan has come to: its last moment, and how many records lie in it."""

    high: int
    records: int
    probed: bool


Size = Callable[[int, int], int]
"""Tells how many records the next window should have, by how many windows there were and how many records are left."""


def plan(first: int, last: int, probe: Callable[[int, int], SpanCount | None], size: Size) -> Iterator[tuple[int, int]]:
    """Cut a span into windows, each of which begins where the one before ends, as soon as it is known.

    The end of each window is guessed by how close the records lay in the one before, and the guess is probed. So a
    probe nearly always is of just the window that follows, and where it was its first page it has cost nothing. Only
    guesses that are far too large are lost: some ten at each burst, because a span where the guess failed is halved.
    An empty decade costs nothing, because a probe tells when its first record was.

    A window is a millisecond long at least. A burst in one millisecond is a window that ends behind it, because a
    boundary within the burst would have both its windows read it.

    Records that come or go meanwhile make windows larger or smaller than they should be, and nothing else: the windows
    cover the span whatever the probes say. If they are of no use, as in an API that sorts in another order, the rest of
    the span is cut into windows of equal time.

    :param first: the first moment of the span, in milliseconds
    :param last: its last moment
    :param probe: tells what lies in a span, both ends inclusive; asked while the plan is being read. None if it can't
        be told now: the guess stands then, and whoever reads the window meets what was wrong
    :param size: see :data:`Size`
    :return: the windows, first and last moment, in order
    """
    whole = probe(first, last) or SpanCount(0, None)
    begin, windows, left = first, 0, whole.records
    probes = _PROBES + _PROBES_A_PAGE * -(-whole.records // _PAGE)
    earliest, pace = whole.earliest, None
    spans = [_Span(last, whole.records, probed=True)]
    while spans:
        span = spans.pop()
        wanted = size(windows, left)
        passed = windows > 0 and span.high <= begin
        if spans and (passed or (not span.probed and span.records < wanted * _ENOUGH)):
            following = spans.pop()
            spans.append(_Span(following.high, span.records + following.records, probed=False))
            continue
        if passed:
            return
        start = min(max(earliest or begin, begin), span.high) if span.probed else begin
        large = span.records > wanted * _TOO_MUCH
        if large and span.high - begin > 1 and not probes:
            yield from _of_equal_time(begin, last, -(-left // wanted))
            return
        if not large or span.high - begin <= 1:
            high = min(span.high + _PAST_A_BURST, last) if large else span.high
            yield begin, high
            # Of an empty window as of one with a record, so that a rest that claims too many is cut more coarsely.
            pace = (high - start + 1) / max(span.records, 1)
            begin, windows, left = high, windows + 1, max(left - span.records, 0)
            continue
        if pace is None:
            middle = start + int((span.high - start) / span.records * wanted)
        else:
            middle = min(start + int(pace * wanted), begin + (span.high - begin) // 2)
        middle = seam_near(max(min(middle, span.high - 1), begin + 1), begin, middle)
        probes -= 1
        found = probe(begin, middle) or SpanCount(wanted, None)
        records, earliest = min(found.records, span.records), found.earliest
        spans += [_Span(span.high, span.records - records, probed=False), _Span(middle, records, probed=True)]


def _of_equal_time(first: int, last: int, windows: int) -> Iterator[tuple[int, int]]:
    windows = max(min(windows, _EQUAL, last - first), 1)
    length = (last - first) // windows
    inner = (first + (last - first) * number // windows for number in range(1, windows))
    yield from pairwise([first, *(seam_near(edge, edge - length, edge) for edge in inner), last])


def plan_without_counts(
    first: int, last: int, look: Callable[[int, int], Look | None], size: Callable[[int], int]
) -> Iterator[tuple[int, int]]:
    """Cut a span into windows by how close the rows lie, because nobody counts: on its first page, and further on.

    :param look: tells what the first page of a span tells; None if it can't be had now
    :param size: tells how many records the next window should have, by how many windows there were
    :return: as :func:`plan`
    """
    begin, windows, failures = first, 0, 0
    length: int | None = None
    while True:
        wanted = size(windows)
        high = last if length is None else min(seam_near(begin + max(length, _SHORTEST), begin, last), last)
        seen = look(begin, high)
        failures = failures + 1 if seen is None else 0
        if failures >= _DOWN:
            # Whoever reads the rest meets what is wrong. Windows of seconds would be planned for ever.
            high = last
        for _ in range(_GUESSES):
            end = _end_of(begin, high, seen, wanted, look)
            if end is None:
                break
            high = min(seam_near(max(end, begin + _SHORTEST), begin, high), high)
            seen = look(begin, high)
        yield begin, high
        if high == last:
            return
        length = _length_after(seen, high - begin, wanted)
        begin, windows = high, windows + 1


def _end_of(
    begin: int, high: int, seen: Look | None, wanted: int, look: Callable[[int, int], Look | None]
) -> int | None:
    """Return where a window that is too long should end; None if it isn't, or if that can't be told."""
    if seen is None or not seen.more or seen.earliest is None or seen.latest is None or high - begin <= _SHORTEST:
        return None
    start = max(seen.earliest, begin)
    long = _length(seen, wanted)
    if high - start > long * _TOO_MUCH:
        return start + long
    # A history grows: what the first page tells may be wrong further on.
    later = look(high - (high - start) // 4, high) if seen.rows < wanted else None
    if later is None or not later.more or high - start <= _length(later, wanted) * _GROWS:
        return None
    return max(start + _length(later, wanted), begin + 1)


def _length(seen: Look, wanted: int) -> int:
    """Return how long a span is that holds so many records, at the pace of a page."""
    return int(max((seen.latest or 0) - (seen.earliest or 0), 0) / seen.rows * wanted) + 1 + _PAST_A_BURST


def _length_after(seen: Look | None, length: int, wanted: int) -> int | None:
    """Return how long the next window should be; None for all that is left, whose first page tells where it begins."""
    if seen is None:
        return length * _LONGER
    if seen.more and seen.earliest is not None and seen.latest is not None:
        return min(_length(seen, wanted), length * _LONGER)
    return None if seen.earliest is not None or not seen.rows else length * _LONGER


def window_size(workers: int) -> Size:
    """Return the size of windows for so many workers, to give to :func:`plan`.

    Small at first, so that there is a state soon, and a sync that is killed early has not read in vain; some 50 pages
    in the middle, because each window costs half a page at its end; and smaller again towards the end, so that all
    workers end at about the same time. Some of the workers don't count: the rate limit keeps them waiting.
    """
    lanes = max(workers * 4 // 5, 1)

    def size(windows: int, left: int) -> int:
        growing = (_SMALLEST, 4 * _SMALLEST, _LARGEST)[min(windows // workers, 2)]
        shrinking = left // (lanes * _PAGE)
        return max(min(growing, shrinking, _LARGEST), _SMALLEST) * _PAGE

    return size
