"""The audit: what was received in earlier syncs, compared with what the API counts now."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.activities.coverage import Coverage, Span
from source_commonroom.activities.ledger import Entry, expected
from source_commonroom.activities.timestamps import format_timestamp, seam_near
from source_commonroom.api.retriever import CountFailedError, CountRefusedError

logger = logging.getLogger("airbyte")

# So many spans are counted at once.
_AT_ONCE = 8
# If a group of entries holds another number than it should, so many parts of it are counted.
_PARTS = 4
# A sync counts one in so many entries alone, whatever the groups hold.
_ROUNDS = 8
# So many counts may fail one after the other.
_FAILURES = 3
# What was read without a number is cut into about so many entries, of no fewer activities, by at most so many counts.
_ENTRIES = 16
_FEWEST = 2_000
_COUNTS = 64
# The shortest entry that is cut, in milliseconds.
_SHORTEST = 24 * 3_600_000
# So many spans a message names.
_NAMED = 3


class Difference(NamedTuple):
    """An entry that holds another number of activities now."""

    entry: Entry
    now: int


class _StoppedError(Exception):
    """The API doesn't count. The text says why."""


class Audit:
    """Finds out which entries of a ledger hold another number of activities now.

    A run of entries is counted as a whole. If that isn't their sum, its four parts are counted, and so on down to
    single entries. Each part is counted, and none is what the others leave over: the workspace changes meanwhile, and
    an activity that arrives in one part would hide one in another. Only an entry whose own count differs is found.

    An addition and a deletion in two entries of a group hide each other. So a sync counts an eighth of the entries
    alone, and the next one those behind them. What hides within one entry isn't found.

    :param count: returns how many activities the API counts in a span; asked by several threads
    """

    def __init__(self, count: Callable[[int, int], int]) -> None:
        self._count = count
        self._failures = 0
        self.requests = 0
        """How many counts were asked for."""
        self.differing: list[Difference] = []
        """The entries that hold another number now."""
        self.between: list[Span] = []
        """Pairs of entries that hold more together than alone."""
        self.shared: dict[int, int] = {}
        """How many activities entries have in common with the one before them, by their start; counted anew."""
        self.uncounted: list[Span] = []
        """Entries whose count failed."""
        self.stopped = ""
        """Why it couldn't be finished; empty if it was."""
        self.reached: int | None = None
        """The start of the last entry that was counted alone in its turn."""
        self._alone: set[int] = set()
        """The starts of the entries that were counted alone."""

    def begin(self, low: int, high: int) -> list[Entry]:
        """Return entries for a span that was read, of which no number is known: it is counted now, in parts.

        :return: none if it can't be counted
        """
        found: list[Entry] = []
        budget = self.requests + _COUNTS
        try:
            (whole,) = self._count_each([(low, high)])
            if whole is not None:
                found.append(Entry(low, high, whole))
            while self.requests < budget:
                large = [one for one in found if one.high - one.low > _SHORTEST]
                one = max(large, key=lambda entry: entry.number, default=None)
                if one is None or one.number <= max((whole or 0) // _ENTRIES, _FEWEST):
                    break
                middle = seam_near((one.low + one.high) // 2, one.low, one.high)
                below, above = self._count_each([(one.low, middle), (middle, one.high)])
                if below is None or above is None:
                    break
                # What both count is what they hold beyond the whole.
                first = Entry(one.low, middle, below, one.shared)
                place = found.index(one)
                found[place : place + 1] = [first, Entry(middle, one.high, above, max(below + above - one.number, 0))]
        except _StoppedError as stopped:
            self.stopped = str(stopped)
        return found

    def run(self, runs: Sequence[Sequence[Entry]], since: int | None) -> None:
        """Compare runs of entries with the API's counts.

        :param since: the start of the last entry that was counted alone in its turn
        """
        try:
            runs = self._with_seams_counted(runs)
            self._compare(runs)
            entries = [one for run in runs for one in run]
            turn = _turn(entries, since)
            self._compare([[one] for one in turn if one.low not in self._alone])
            self.reached = turn[-1].low if turn else since
        except _StoppedError as stopped:
            self.stopped = str(stopped)

    def _with_seams_counted(self, runs: Sequence[Sequence[Entry]]) -> list[list[Entry]]:
        """Return the same runs, after counting what entries have in common about which that isn't known."""
        unknown = [(before, after) for run in runs for before, after in pairwise(run) if after.shared is None]
        self._count_seams(unknown)
        return [[replace(one, shared=self.shared.get(one.low, one.shared)) for one in run] for run in runs]

    def _count_seams(self, pairs: Sequence[tuple[Entry, Entry]]) -> None:
        """Count what neighbors have in common: what both of their queries ask for."""
        counts = self._count_each([(after.low, before.high) for before, after in pairs])
        self.shared.update(
            {after.low: count for (_, after), count in zip(pairs, counts, strict=True) if count is not None}
        )

    def _compare(self, groups: Sequence[Sequence[Entry]]) -> list[int | None]:
        """Compare groups of entries with their counts, and the parts of those that differ.

        :return: the counts; None if one failed
        """
        counts = self._count_each([(group[0].low, group[-1].high) for group in groups])
        cut: list[tuple[Sequence[Entry], list[Sequence[Entry]], int | None]] = []
        for group, now in zip(groups, counts, strict=True):
            if len(group) == 1:
                self._alone.add(group[0].low)
            if now == expected(group):
                continue
            if len(group) > 1:
                cut.append((group, _parts(group), now))
            elif now is None:
                self.uncounted.append((group[0].low, group[0].high))
            else:
                self.differing.append(Difference(group[0], now))
        if cut:
            below = self._compare([part for _, parts, _ in cut for part in parts])
            for group, parts, now in cut:
                held, below = below[: len(parts)], below[len(parts) :]
                common = sum(part[0].shared or 0 for part in parts[1:])
                if now is not None and None not in held and now != (alone := sum(filter(None, held))) - common:
                    self._look_between(group, parts, alone)
        return counts

    def _look_between(self, group: Sequence[Entry], parts: Sequence[Sequence[Entry]], alone: int) -> None:
        """Find out why a group holds another number than its parts.

        It may have changed meanwhile, or what two parts have in common has; or something lies between two parts that
        neither of them returns.

        :param alone: how many activities the parts hold, each counted alone
        """
        seams = [(before[-1], after[0]) for before, after in pairwise(parts)]
        (now,) = self._count_each([(group[0].low, group[-1].high)])
        if now is None or now == alone - sum(after.shared or 0 for _, after in seams):
            return
        self._count_seams(seams)
        if now > alone - sum(self.shared.get(after.low, after.shared or 0) for _, after in seams):
            self.between += [(before.low, after.high) for before, after in seams]

    def _count_each(self, spans: Sequence[Span]) -> list[int | None]:
        """Return how many activities the API counts in each of some spans; None if a count failed.

        :raises _StoppedError: if it doesn't count, or several counts fail one after the other
        """
        found: list[int | None] = []
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="audit") as pool:
            for start in range(0, len(spans), _AT_ONCE):
                for count in pool.map(self._count_or_reason, spans[start : start + _AT_ONCE]):
                    self.requests += 1
                    found.append(count if isinstance(count, int) else None)
                    self._failures = 0 if isinstance(count, int) else self._failures + 1
                    if not isinstance(count, int) and (count.is_final or self._failures >= _FAILURES):
                        raise _StoppedError(count.reason)
        return found

    def _count_or_reason(self, span: Span) -> "int | _Failure":
        try:
            return self._count(*span)
        except CountFailedError as failed:
            return _Failure(str(failed), is_final=False)
        except CountRefusedError as refused:
            return _Failure(str(refused), is_final=True)
        except AirbyteTracedException as error:
            # If reading is refused as well, that fails the stream, with a message.
            return _Failure(f"it refused the request: {error.message}", is_final=True)


class _Failure(NamedTuple):
    """A count that failed."""

    reason: str
    is_final: bool
    """Whether another one would fail, too."""


def report_begun(name: str, entries: Sequence[Entry]) -> None:
    """Log what was counted because no number was known of it."""
    logger.info(
        "%s: the saved state doesn't say how many activities were received from %s to %s. %d were counted now, in %d "
        "spans. What arrives late from now on is found, at any age. What arrived late before, and isn't in the "
        "lookback window, isn't found: refresh the stream once if that matters.",
        name,
        format_timestamp(entries[0].low),
        format_timestamp(entries[-1].high),
        sum(entry.number for entry in entries),
        len(entries),
    )


def report(name: str, audit: Audit, spans: Coverage, entries: int) -> None:
    """Log what was compared with counts, and what differs.

    :param spans: what is read again
    :param entries: how many entries were compared
    """
    changes = [one.now - one.entry.number for one in audit.differing]
    more, fewer = sum(change for change in changes if change > 0), -sum(change for change in changes if change < 0)
    if list(spans) or not audit.stopped:
        logger.info(
            "%s: %d spans of the history before the lookback window were compared with the API's counts, by %d "
            "requests. %s",
            name,
            entries,
            audit.requests,
            f"{len(changes)} of them differ: {more} activities more than were received are counted in some, and "
            f"{fewer} fewer in others. Read again: {_name_spans(list(spans))}."
            if list(spans)
            else "As many are counted as were received.",
        )
    gone = [one.entry for one in audit.differing if one.now < one.entry.number]
    if gone:
        logger.warning(
            "%s: the API no longer lists %d of the activities from %s. They were deleted, or moved in time, and stay "
            "in the destination until the stream is refreshed.",
            name,
            fewer,
            # All of them, because they are where to look in the destination.
            _name_spans(list(Coverage((one.low, one.high) for one in gone)), len(gone)),
        )
    if audit.stopped or audit.uncounted:
        logger.warning(
            "%s: the history before the lookback window couldn't be compared with the API's counts to its end (%s). "
            "What arrived late there may be missing. Nothing is lost: the next sync compares it again.",
            name,
            audit.stopped or f"no count of {_name_spans(audit.uncounted)}",
        )


def _parts(group: Sequence[Entry]) -> list[Sequence[Entry]]:
    """Return the parts of a group, of about equal numbers of entries."""
    number = min(_PARTS, len(group))
    edges = [len(group) * part // number for part in range(number + 1)]
    return [group[start:end] for start, end in pairwise(edges)]


def _turn(entries: Sequence[Entry], since: int | None) -> list[Entry]:
    """Return the entries whose turn it is to be counted alone: an eighth of all, those behind a time."""
    ordered = sorted(entries, key=lambda one: one.low)
    later = [one for one in ordered if since is None or one.low > since]
    return [*later, *ordered][: -(-len(ordered) // _ROUNDS)]


def _name_spans(spans: Sequence[Span], most: int = _NAMED) -> str:
    """Return the first of some spans as text, and how many others there are."""
    named = [f"{format_timestamp(low)} to {format_timestamp(high)}" for low, high in spans[:most]]
    return ", ".join(named) + (f" and {len(spans) - most} more" if len(spans) > most else "")
