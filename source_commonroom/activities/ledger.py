"""The ledger: how many activities were received of each span, to be compared with what the API counts later."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple

from source_commonroom.activities.coverage import Coverage, Span
from source_commonroom.activities.timestamps import format_timestamp, parse_timestamp

MOST_ENTRIES = 128
"""So many entries a state holds at most."""
# A gap is widened to whole seconds, and what is asked for around a seam reaches beyond it: so far, in milliseconds, an
# entry may reach beyond what is done, or into another one.
_EDGE = 3_000
# No two entries of a state have more in common.
_OVERLAP = 10_000
# No API counts more.
_MOST = 2**63
# What a state holds of an entry beside its span and its numbers, if that isn't written.
_ABSENT: tuple[Any, ...] = 0, False, False
# So many entries at the end, which change most, are never joined.
_NEWEST = 16


@dataclass(frozen=True)
class Entry:
    """A span that was read, and how many activities were received of it.

    Whatever the API's bounds and resolution are, the number is that of the span's own query: as long as nothing is
    added or deleted, the API counts as many. Two queries that follow each other have some activities in common, where
    the spans meet.
    """

    low: int
    """Its first millisecond since 1970."""
    high: int
    """Its last one."""
    number: int
    """How many activities were received, each counted once."""
    shared: int | None = None
    """How many of them the entry before it counts, too, if it meets that one; less what only a query of both counts, if
    the API compares more coarsely than by the second. None if it isn't known."""
    batch: int = 0
    """0 if an earlier sync read it. Entries of one other batch were read together: what two of them that meet both
    received is in the next two numbers of one of them."""
    left_out_low: int = 0
    """How many of its activities an entry of its batch before it had received first."""
    left_out_high: int = 0
    """The same of an entry after it."""
    is_near_low: bool = True
    """Whether one of its activities may lie so near to its start that the entry before it counts it, too."""
    is_near_high: bool = True
    """The same of its end, and the entry after it."""
    is_doubtful: bool = False
    """Whether its number may be too high, because it was joined of two of which it isn't known what they share."""
    is_overlapped: bool = False
    """Whether one of its activities was received first by an entry that it doesn't follow, nor precede."""
    is_low: bool = False
    """Whether its number is the API's count, because more was received than that, though nothing changed meanwhile."""
    waited: int = 0
    """How many syncs counted others alone since it was read, or counted alone itself."""

    def meets(self, after: "Entry") -> bool:
        """Tell whether nothing lies between it and an entry after it."""
        return after.low <= self.high + 1

    def shared_with(self, after: "Entry") -> int | None:
        """Return how many activities it has in common with an entry after it, which it meets; None if unknown."""
        if after.low > self.high:
            return None
        if self.batch and self.batch == after.batch and not (self.is_overlapped or after.is_overlapped):
            return self.left_out_high + after.left_out_low
        is_far = not (self.is_near_high and after.is_near_low)
        return 0 if is_far and after.low == self.high else None

    def joined(self, after: "Entry") -> "Entry":
        """Return it and an entry after it, which it meets, as one for a state."""
        return replace(
            self,
            high=after.high,
            number=self.number + after.number - (after.shared or 0),
            batch=self.batch if self.batch == after.batch else 0,
            left_out_high=after.left_out_high,
            is_near_high=after.is_near_high,
            is_overlapped=self.is_overlapped or after.is_overlapped,
            is_doubtful=self.is_doubtful or after.is_doubtful or after.shared is None,
            is_low=self.is_low or after.is_low,
            waited=max(self.waited, after.waited),
        )


class Ledger:
    """Entries in the order of their starts, and of their ends. Threads that share it hold a lock."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = list(entries)
        self._shared: dict[Span, int] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Add what was received of a span, in place of the entries within it: they were read again with it.

        An entry that lies in a larger one is left out: what has changed in it shows in the larger one's count. One that
        reaches into it otherwise is forgotten: the next sync reads what is left of it.
        """
        if any(
            one.low <= entry.low and entry.high <= one.high and (one.low, one.high) != (entry.low, entry.high)
            for one in self._entries
        ):
            return
        self._entries = [
            one
            for one in self._entries
            if (one.low < entry.low or entry.high < one.high)
            and min(one.high, entry.high) - max(one.low, entry.low) <= _OVERLAP
        ]
        place = bisect_right(self._entries, entry.low, key=lambda one: one.low)
        if place and self._entries[place - 1].meets(entry):
            entry = self._with_shared(self._entries[place - 1], entry)
        self._entries.insert(place, entry)
        if place + 1 < len(self._entries) and entry.meets(after := self._entries[place + 1]):
            self._entries[place + 1] = self._with_shared(entry, after)

    def _with_shared(self, before: Entry, entry: Entry) -> Entry:
        return replace(entry, shared=self._shared.get(seam_of(before, entry), before.shared_with(entry)))

    def put(self, parts: Sequence[Entry]) -> None:
        """Add what was received of a span in parts that meet, in place of the entries within it."""
        low, high = parts[0].low, parts[-1].high
        if len(parts) > 1:
            self._entries = [one for one in self._entries if one.low < low or high < one.high]
        for part in parts:
            self.add(part)

    def join(self, done: Coverage, most: int, until: int | None = None) -> None:
        """Join neighbors until there are so many entries, if that is possible without a loss; see :meth:`compact`."""
        self._entries = self._compacted(done, most, until, loses=False)

    def take_out(self, low: int, high: int) -> None:
        """Forget what lies in a span: it is read again."""
        self._entries = [one for one in self._entries if min(one.high, high) - max(one.low, low) <= _edge_of(one)]
        self._shared = {
            (start, end): shared for (start, end), shared in self._shared.items() if end < low or high < start
        }

    def share(self, shared: Mapping[Span, int]) -> None:
        """Note how many activities entries have in common with the one before them, by :func:`seam_of` the two.

        Entries that are added later may be among them.
        """
        self._shared.update(shared)
        self._entries = self._entries[:1] + [
            replace(after, shared=shared.get(seam_of(before, after), after.shared))
            for before, after in pairwise(self._entries)
        ]

    def let_wait(self, waiting: Mapping[int, int]) -> None:
        """Note how many syncs entries have waited to be counted alone, by their start."""
        self._entries = [replace(one, waited=waiting.get(one.low, one.waited)) for one in self._entries]

    def trust(self, starts: Collection[int]) -> None:
        """Note that the numbers of entries with some starts change if something is added or deleted."""
        self._entries = [replace(one, is_low=one.is_low and one.low not in starts) for one in self._entries]

    def edge_before(self, timestamp: int) -> int:
        """Return a timestamp, or the start of the entry in which it lies: the number of a part of one isn't known."""
        within = (one.low for one in self._entries if one.low < timestamp < one.high - _EDGE)
        return min(within, default=timestamp)

    def edge_after(self, timestamp: int) -> int:
        """Return a timestamp, or the end of the entry in which it lies."""
        within = (one.high for one in self._entries if one.low < timestamp < one.high)
        return max(within, default=timestamp)

    def until(self, edge: int) -> "Ledger":
        """Return what lies before an edge, see :meth:`edge_before` and :meth:`edge_after`."""
        return Ledger(one for one in self._entries if one.low < edge and one.high <= edge + _EDGE)

    def within(self, done: Coverage) -> "Ledger":
        """Return the entries that lie in what is done, but for their edges.

        The last one may reach beyond all that is done, because that ends with the API's clock.
        """
        spans = list(done)
        starts = [low for low, _ in spans]
        kept = []
        for one in self._entries:
            place = bisect_right(starts, (one.low + one.high) // 2) - 1
            if place < 0 or starts[place] > one.low + _EDGE:
                continue
            end, is_last = spans[place][1], place == len(spans) - 1
            if (is_last and one.low < end) or (one.high <= end + _EDGE and (one.low + one.high) // 2 <= end):
                kept.append(one)
        return Ledger(kept)

    def runs(self, done: Coverage) -> list[list[Entry]]:
        """Return its entries run by run: those of one meet, and all between them is done."""
        found: list[list[Entry]] = []
        gaps = [low for low, _ in list(done)[1:]]
        for one in self._entries:
            before = found[-1][-1] if found else None
            if before and before.meets(one) and bisect_right(gaps, _middle(before)) == bisect_right(gaps, _middle(one)):
                found[-1].append(one)
            else:
                found.append([one])
        return found

    def not_covered(self, done: Coverage) -> list[Span]:
        """List the spans of what is done that no entry covers, but for those of a millisecond."""
        covered = Coverage((one.low, one.high) for one in self._entries)
        return [(low, high) for span in done for low, high in covered.gaps(*span) if high - low > 1]

    def compact(self, done: Coverage, most: int, until: int | None = None) -> list[Entry]:
        """Return at most so many entries: neighbors are joined, those with the fewest activities first.

        If there are too many that don't meet, the smallest ones are left out.

        :param until: from when on the next sync reads again, and compares nothing: what lies there is joined first, and
            nothing is joined across that time
        """
        return self._compacted(done, most, until, loses=True)

    def _compacted(self, done: Coverage, most: int, until: int | None, *, loses: bool) -> list[Entry]:
        last = inf if until is None else until
        runs = self.runs(done)
        while (number := sum(map(len, runs))) > most:
            newest = number - _NEWEST
            pairs = [
                _Pair(first.number + second.number, before + place, first, second)
                for run, before in zip(runs, _places(runs), strict=True)
                for place, (first, second) in enumerate(pairwise(run))
                if (before + place + 1 < newest or first.low >= last) and not first.low < last < second.high - _EDGE
            ]
            known = [pair for pair in pairs if pair.second.shared is not None]
            known = [pair for pair in known if pair.first.low >= last] or known
            if not known and loses:
                # What two entries have in common is mostly nothing. If that is wrong, they are read again.
                known = pairs
            chosen = set[int]()
            for pair in sorted(known, key=lambda pair: pair[:2]):
                if len(chosen) < number - most and not chosen & {pair.place - 1, pair.place + 1}:
                    chosen.add(pair.place)
            if not (chosen or loses):
                break
            if not chosen:
                flat = [one for run in runs for one in run]
                least = min(flat[:-_NEWEST] or flat, key=lambda one: one.number)
                runs = [[one for one in run if one is not least] for run in runs]
                continue
            runs = [list(_join(run, before, chosen)) for run, before in zip(runs, _places(runs), strict=True)]
        return [one for run in runs for one in run]


class _Pair(NamedTuple):
    """Two neighbors that may be joined."""

    number: int
    """How many activities they hold, about."""
    place: int
    first: Entry
    second: Entry


def entries_of(content: Any) -> list[Entry]:
    """Return the entries that a state holds, see :func:`content_of`.

    :raises ValueError: if it can't be one that this module wrote
    """
    if not isinstance(content, list):
        raise ValueError("it is no list")  # noqa: TRY004  # as for all that may be wrong with it
    if len(content) > MOST_ENTRIES:
        raise ValueError("it has more spans than any state")
    found: list[Entry] = []
    for part in content:
        entry, shared = _parsed(part)
        before = found[-1] if found else None
        is_behind = before is None or (
            before.low < entry.low and before.high < entry.high and before.high - entry.low <= _OVERLAP
        )
        if entry.low >= entry.high or not is_behind:
            raise ValueError("its spans aren't in order")
        found.append(replace(entry, shared=shared) if before and before.meets(entry) else entry)
    return found


def _parsed(part: Any) -> tuple[Entry, int | None]:
    """Return an entry, and how many activities the one before it counts, too."""
    try:
        start, end, number, waited, *more = part
        shared, is_doubtful, is_low = tuple(more) + _ABSENT[len(more) :]
        low, high = parse_timestamp(start), parse_timestamp(end)
    except (TypeError, ValueError, OverflowError):
        # The error would name the content.
        raise ValueError("one of its spans is of an unknown form") from None
    is_shared = shared is None or (type(shared) is int and -_MOST < shared < _MOST)
    are_numbers = all(type(one) is int and 0 <= one < _MOST for one in (number, waited))
    are_flags = all(type(one) is bool for one in (is_doubtful, is_low))
    if not (is_shared and are_numbers and are_flags):
        raise ValueError("one of its numbers is none")
    return Entry(low, high, number, is_doubtful=is_doubtful, is_low=is_low, waited=waited), shared


def content_of(entries: Sequence[Entry]) -> list[list[Any]]:
    """Return what a state holds of entries.

    ``[start, end, number, waited]`` of each; and, unless it is 0, how many activities it has in common with the one
    before it, or null if that isn't known. Behind that may be whether the number may be too high, and whether it is a
    count that was lower than what was received.
    """
    content: list[list[Any]] = []
    before: Entry | None = None
    for one in entries:
        shared = one.shared if before and before.meets(one) else 0
        more: list[Any] = [shared, one.is_doubtful, one.is_low]
        while more and more[-1] == _ABSENT[len(more) - 1]:
            more.pop()
        content.append([format_timestamp(one.low), format_timestamp(one.high), one.number, one.waited, *more])
        before = one
    return content


def seam_of(before: Entry, after: Entry) -> Span:
    """Return the span that two entries have in common which meet: what both of their queries ask for."""
    return after.low, before.high


def expected(run: Sequence[Entry]) -> int:
    """Return how many activities entries hold together that meet."""
    return sum(one.number for one in run) - sum(one.shared or 0 for one in run[1:])


def _edge_of(entry: Entry) -> int:
    """Return how much of an entry counts as its edge: of a short one nothing."""
    return min(_EDGE, (entry.high - entry.low) // 2)


def _middle(entry: Entry) -> int:
    return (entry.low + entry.high) // 2


def _places(runs: Sequence[Sequence[Entry]]) -> list[int]:
    """Return how many entries lie before each run."""
    places, before = [], 0
    for run in runs:
        places.append(before)
        before += len(run)
    return places


def _join(run: Sequence[Entry], before: int, chosen: set[int]) -> Iterator[Entry]:
    """Yield the entries of a run, those at the chosen places joined with the one after it."""
    waiting: Entry | None = None
    for place, one in enumerate(run, before):
        joined = waiting.joined(one) if waiting else one
        waiting = joined if place in chosen else None
        if waiting is None:
            yield joined
