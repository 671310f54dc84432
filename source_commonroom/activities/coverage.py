"""Coverage: which spans of time have been read."""

from collections.abc import Iterable, Iterator

Span = tuple[int, int]
"""The first and the last millisecond since 1970. Spans that are read one after the other share a boundary."""


class Coverage:
    """Spans apart from each other and in order. Those that meet, or lie a millisecond apart, are one.

    :param spans: in any order; those of one millisecond are left out
    """

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans: list[Span] = []
        for low, high in sorted(spans):
            if low >= high:
                continue
            if self._spans and low <= self._spans[-1][1] + 1:
                before, end = self._spans.pop()
                low, high = before, max(end, high)  # noqa: PLW2901  # the two are one
            self._spans.append((low, high))

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans)

    @property
    def end(self) -> int | None:
        """The last millisecond of all; None if there is none."""
        return self._spans[-1][1] if self._spans else None

    def without(self, low: int, high: int) -> "Coverage":
        """Return what is left without a span; its boundaries stay, as those of its neighbors."""
        return Coverage(
            part for start, end in self._spans for part in ((start, min(end, low)), (max(start, high), end))
        )

    def until(self, end: int) -> "Coverage":
        """Return what lies before an end."""
        return Coverage((low, min(high, end)) for low, high in self._spans)

    def gaps(self, low: int, high: int) -> list[Span]:
        """List what of a span isn't covered, each between the boundaries of what is."""
        if low == high:
            return [] if any(start <= low <= end for start, end in self._spans) else [(low, high)]
        found = []
        for start, end in self._spans:
            if low < min(start, high):
                found.append((low, min(start, high)))
            low = max(low, end)
        return [*found, (low, high)] if low < high else found
