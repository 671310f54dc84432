"""The plan: a span of time cut into windows of about equal numbers of records."""

from collections.abc import Callable, Iterator

# A window takes this much more than it should rather than cost another count, and is closed at this much of it.
_ENOUGH = 0.6
_TOO_MUCH = 1.6
# A span that lies evenly with what was counted before is cut into so many windows without a count of each.
_UNCOUNTED = 3
# A guess that is wrong by more than this factor tells that the records don't lie evenly.
_UNEVEN = 1.5

# Records a page, and pages a window.
_PAGE = 200
_SMALLEST = 8
_LARGEST = 50


def plan(
    first: int, last: int, count: Callable[[int, int], int], size: Callable[[int, int], int]
) -> Iterator[tuple[int, int]]:
    """Cut a span into windows that meet exactly, without gap or overlap, each as soon as it is known.

    A count of a part tells that of the rest as well. So several windows cost one count where the records lie evenly, an
    empty decade costs one, and the two edges of a burst, half of all records in an hour of ten years, some ten each.

    Records that come or go meanwhile make windows larger or smaller than they should be, and nothing else: the windows
    cover the span whatever is counted.

    :param first: the first moment of the span, in milliseconds
    :param last: its last moment, inclusive
    :param count: tells how many records lie in a span, both ends inclusive; asked while the plan is being read
    :param size: tells how many records the next window should have, by how many windows there were and how many
        records are left
    :return: the windows, first and last moment, in order
    """
    left = count(first, last)
    spans = [(first, last, left, True, False)]
    begin, gathered, windows = first, 0, 0
    while spans:
        low, high, records, even, measured = spans.pop()
        wanted = size(windows, left)
        if low == high or gathered + records <= wanted * _TOO_MUCH:
            gathered += records
            if gathered >= wanted * _ENOUGH:
                yield begin, high
                begin, gathered, windows, left = high + 1, 0, windows + 1, max(left - gathered, 0)
            continue
        if measured:
            # Its count was as expected, so that its records lie evenly: cut without another count.
            part = min((wanted - gathered) / records, 0.5)
            middle = low + int((high - low) * part)
            before = int(records * part)
        else:
            # Several windows' worth at once; where the last guess was wrong, halving finds the burst.
            part = min(wanted * _UNCOUNTED / records, 0.5) if even else 0.5
            middle = low + int((high - low) * part)
            before = min(count(low, middle), records)
            even = records * part / _UNEVEN <= before <= records * part * _UNEVEN
        spans += [
            (middle + 1, high, records - before, even, measured),
            (low, middle, before, even, measured or (even and before <= wanted * _UNCOUNTED * _UNEVEN)),
        ]
    if begin <= last:
        yield begin, last


def window_size(workers: int) -> Callable[[int, int], int]:
    """Return the size of windows for so many workers, to give to :func:`plan`.

    Small at first, so that there is a state soon, and a sync that is killed early has not read in vain; some 50 pages
    in the middle, because each window costs half a page at its end; and smaller again towards the end, so that all
    workers end at about the same time. Some of the workers don't count: the rate limit keeps them waiting.
    """
    lanes = max(workers * 5 // 8, 1)

    def size(windows: int, left: int) -> int:
        growing = (_SMALLEST, 4 * _SMALLEST, _LARGEST)[min(windows // workers, 2)]
        shrinking = left // (lanes * _PAGE)
        return max(min(growing, shrinking, _LARGEST), _SMALLEST) * _PAGE

    return size
