"""The plan: a span of time cut into windows of about equal numbers of records."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

# A window is closed at this much more than it should have rather than cut once more, and a remainder of less than this
# much is left to the next one.
_ENOUGH = 0.6
_TOO_MUCH = 1.6

# Records a page, and pages a window.
_PAGE = 200
_SMALLEST = 8
_LARGEST = 50


@dataclass(frozen=True)
class Probe:
    """What one request tells of a span: how many records lie in it, and the moment of the first of them."""

    records: int
    earliest: int | None


@dataclass(frozen=True)
class _Span:
    """A span of time from where the plan has come to: its last moment, and how many records lie in it."""

    high: int
    records: int
    probed: bool


def plan(
    first: int, last: int, probe: Callable[[int, int], Probe | None], size: Callable[[int, int], int]
) -> Iterator[tuple[int, int]]:
    """Cut a span into windows that meet exactly, without gap or overlap, each as soon as it is known.

    The end of each window is guessed by how close the records lay in the one before, and the guess is probed. So a
    probe nearly always is of just the window that follows, and where it was its first page it has cost nothing. Only
    guesses that are far too large are lost: some ten at each burst, because a span where the guess failed is halved.
    An empty decade costs nothing, because a probe tells when its first record was.

    Records that come or go meanwhile make windows larger or smaller than they should be, and nothing else: the windows
    cover the span whatever the probes say.

    :param first: the first moment of the span, in milliseconds
    :param last: its last moment, inclusive
    :param probe: tells what lies in a span, both ends inclusive; asked while the plan is being read. None where it
        can't be told now: the guess stands then, and whoever reads the window meets what was wrong
    :param size: tells how many records the next window should have, by how many windows there were and how many
        records are left
    :return: the windows, first and last moment, in order
    """
    whole = probe(first, last) or Probe(0, None)
    begin, windows, left = first, 0, whole.records
    earliest, pace = whole.earliest, None
    spans = [_Span(last, whole.records, probed=True)]
    while spans:
        span = spans.pop()
        wanted = size(windows, left)
        if spans and not span.probed and span.records < wanted * _ENOUGH:
            following = spans.pop()
            spans.append(_Span(following.high, span.records + following.records, probed=False))
            continue
        start = max(earliest or begin, begin) if span.probed else begin
        if begin == span.high or span.records <= wanted * _TOO_MUCH:
            yield begin, span.high
            # Of an empty window as of one with a record, so that a rest that claims too many is cut more coarsely.
            pace = (span.high - start + 1) / max(span.records, 1)
            begin, windows, left = span.high + 1, windows + 1, max(left - span.records, 0)
            continue
        if pace is None:
            middle = start + int((span.high - start) / span.records * wanted)
        else:
            middle = min(start + int(pace * wanted), begin + (span.high - begin) // 2)
        middle = max(min(middle, span.high - 1), begin)
        found = probe(begin, middle) or Probe(wanted, None)
        records, earliest = min(found.records, span.records), found.earliest
        spans += [_Span(span.high, span.records - records, probed=False), _Span(middle, records, probed=True)]


def window_size(workers: int) -> Callable[[int, int], int]:
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
