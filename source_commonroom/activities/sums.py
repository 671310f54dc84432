"""Sums: what the windows of a span received together, compared with what the API counted of the whole span."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple, Protocol

from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.activities.coverage import Span
from source_commonroom.activities.timestamps import NEAR, format_timestamp
from source_commonroom.api.keys import Keys
from source_commonroom.api.retriever import CountRefusedError, Rows

logger = logging.getLogger("airbyte")

# So often the parts of a span are counted, until nothing changes meanwhile; and so many at once.
_COUNTS = 5
_AT_ONCE = 8


class Tally(NamedTuple):
    """What was received of a window, in a few numbers."""

    low: int
    high: int
    received: int
    """How many activities were received, each counted once."""
    left_out_low: int
    """How many of them a window before it had received first."""
    left_out_high: int
    """The same of a window after it."""
    checksum: int
    """The sum of their keys: the same as long as they are the same."""
    is_whole: bool
    """Whether it was read as one; else it was cut, and parts of it may not have been served."""

    @property
    def own(self) -> int:
        """How many activities this window was the first to receive."""
        return self.received - self.left_out_low - self.left_out_high


class Reader(Protocol):
    """Counts spans, and reads them again."""

    def count(self, low: int, high: int) -> int:
        """Return how many activities a span has now."""

    def keys(self, low: int, high: int) -> Keys:
        """Return what a span holds now."""

    def reread(self, low: int, high: int, known: Callable[[int], bool]) -> Iterator[Rows]:
        """Yield what a span holds beside what is known."""


class SpanTotal:
    """The windows of a span that was counted as a whole. The planner adds them, and worker threads read them.

    :param low: the first millisecond of the span
    :param high: its last one
    :param records: how many activities the API counted before it was planned
    """

    def __init__(self, low: int, high: int, records: int) -> None:
        self.low = low
        self.high = high
        self.records = records
        self._lock = threading.Lock()
        self._pending = 0
        self._planned = False
        self._whole = True
        self._tallies: list[Tally] = []

    def add(self, high: int) -> None:
        """Add the window that follows, up to a time."""
        with self._lock:
            self._pending += 1
            self._planned = self._planned or high >= self.high

    def give_up(self) -> None:
        """Compare nothing: the rest of the span isn't planned by counts, or the sync ends."""
        with self._lock:
            self._whole = False

    def window_done(self, tally: Tally | None) -> Sequence[Sequence[Tally]]:
        """Note what was received of a window, and return the windows to compare if it was the last one.

        :param tally: None if the window couldn't be read
        :return: all windows of the span, in their order; or those between the ones that couldn't be read
        """
        with self._lock:
            self._pending -= 1
            if tally is not None and self._whole:
                self._tallies.append(tally)
            if self._pending or not self._planned or not self._whole:
                return []
            tallies = sorted(self._tallies)
            self._tallies = []
        runs: list[list[Tally]] = []
        for one in tallies:
            if runs and runs[-1][-1].high == one.low:
                runs[-1].append(one)
            else:
                runs.append([one])
        return [run for run in runs if len(run) > 1]


class ActivitiesMissingError(AirbyteTracedException):
    """Activities are missing between windows, each of which is whole.

    :param spans: where they are, as closely as is known
    :param counted: how many activities the API counts
    :param received: how many of those were received
    """

    def __init__(self, name: str, spans: Sequence[Span], counted: int, received: int) -> None:
        super().__init__(
            message=f"{name}: the API counted {counted} activities, and {received} of them were returned in windows of "
            "time that follow each other without a gap. Those that are missing lie in "
            f"{_format_spans(spans)}. The next sync reads that again. If it happens each time, tell Common Room's "
            "support: the API counts more in a span than in its parts.",
            internal_message=f"recordCount {counted}, {received} received",
            failure_type=FailureType.transient_error,
        )
        self.spans = spans


def seams_of(run: Sequence[Tally]) -> list[Span]:
    """Return where windows that follow each other meet, as far around as the API's resolution may reach."""
    return [(one.high - NEAR, one.high + NEAR) for one in run[:-1]]


def compare(
    name: str, run: Sequence[Tally], records: int | None, reader: Reader, shared: dict[Span, int]
) -> Iterator[Rows]:
    """Compare what windows that follow each other received with what the API counts of all, and yield what is missing.

    Each window alone was compared with a count of its own, or a warning says that it couldn't be. So what is missing
    here lies between two. One count of all, taken now, is all that it costs if as many were received, and none of them
    has been deleted. Else counts are compared with counts: what the windows hold now, with what they hold together. So
    neither an activity that arrived late nor one that was deleted makes up for a missing one. Neighbors that hold less
    than what they hold together are read as one.

    An activity that arrived late in a window which had been read already is none that is missing: the next sync reads
    the lookback.

    :param records: how many activities the API counted before they were planned; None if there were others among them
    :param shared: takes how many activities neighbors have in common, less those that only the two together hold, by
        the span that both cover; but for neighbors that lack nothing
    :raises ActivitiesMissingError: if the rest isn't returned either
    :raises AirbyteTracedException: (transient_error) if it can't be known whether something is missing;
        (config_error) if the API refuses the token, or access
    """
    received = _received(run)
    low, high = run[0].low, run[-1].high
    counted = received if records is None else records
    # What was received of a part of the span can't be compared with what was counted before: it may have been deleted.
    whole = records is not None and all(one.is_whole for one in run)
    try:
        now = reader.count(low, high)
        if whole and received == now >= counted:
            return
        still = whole and now >= max(received, counted)
        # If something was deleted, windows that hold alone what they hold together lack nothing between them.
        is_short = still or _missing_between([[one] for one in run], now, reader)[0] > 0
        gaps = list(_find_gaps(run, now, reader, still=still)) if is_short else []
    except CountRefusedError as refused:
        if received < counted and whole:
            raise AirbyteTracedException(
                message=f"{name}: the API counted {counted} activities from {format_timestamp(low)} to "
                f"{format_timestamp(high)}, returned {received}, and didn't count them once more ({refused}). So it "
                "isn't known whether the others were deleted meanwhile, or lie between two windows of time. What was "
                "returned is kept, and the next sync asks for the times between the windows again.",
                internal_message=f"recordCount {counted}, {received} received, no other count",
                failure_type=FailureType.transient_error,
            ) from refused
        logger.warning(
            "%s: the API didn't count the activities from %s to %s once more (%s). Each window of them returned what "
            "was counted of it, but what lies between two can't be compared with a count this time.",
            name,
            format_timestamp(low),
            format_timestamp(high),
            refused,
        )
        return
    if not gaps:
        if now < counted:
            logger.warning(
                "%s: the API counted %d activities from %s to %s, and counts %d now: so many were deleted while they "
                "were read.",
                name,
                counted,
                format_timestamp(low),
                format_timestamp(high),
                now,
            )
        return
    yield from _read_gaps(name, gaps, now, reader)
    for gap in gaps:
        before, after = gap.windows
        shared[after.low, before.high] = before.left_out_high + after.left_out_low - gap.missing


class _StillMissingError(Exception):
    """Windows that were read again as one still return less than the API counts."""


class _Gap(NamedTuple):
    """Two neighbors between which something is missing."""

    windows: Sequence[Tally]
    missing: int
    """How many activities."""
    halves: Sequence[Sequence[Tally]]
    """Those that hold less than what they hold together, where the neighbors meet."""


def _received(run: Sequence[Tally]) -> int:
    """Return how many activities windows that follow each other received, each counted once."""
    return sum(one.own for one in run) + run[0].left_out_low + run[-1].left_out_high


def _format_spans(spans: Sequence[Span]) -> str:
    return ", ".join(f"{format_timestamp(low)} to {format_timestamp(high)}" for low, high in spans)


def _find_gaps(run: Sequence[Tally], now: int, reader: Reader, *, still: bool) -> Iterator[_Gap]:
    """Yield where something is missing, by counts of halves.

    :param now: how many activities the API counts of all
    :param still: whether nothing seems to have been deleted, so that nothing is missing if all were received
    """
    if len(run) == 1 or (still and now == _received(run)):
        return
    halves = run[: len(run) // 2], run[len(run) // 2 :]
    missing, counts = _missing_between(halves, now, reader)
    if missing > 0:
        yield _Gap([halves[0][-1], halves[1][0]], missing, halves)
    for half, count in zip(halves, counts, strict=True):
        yield from _find_gaps(half, count, reader, still=still)


def _missing_between(parts: Sequence[Sequence[Tally]], now: int, reader: Reader) -> tuple[int, Sequence[int]]:
    """Return how many activities are counted of parts together and of none alone, and the counts of the parts.

    The whole is counted before and after its parts, because what arrives in between, or is deleted, must not make up
    for what is missing. If it changes all the time, something is missing only if each count says so.

    :param now: the count of the whole before
    """
    missing, counts = now, list[int]()
    seams = [part[-1].high for part in parts[:-1]]
    received_twice = sum(first[-1].left_out_high + second[0].left_out_low for first, second in pairwise(parts))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="counts") as pool:
        for _ in range(_COUNTS):
            before = now
            counts = list(pool.map(lambda part: reader.count(part[0].low, part[-1].high), parts))
            twice = received_twice
            if twice and before > sum(counts) - twice:
                # What was received twice may have been deleted.
                twice = sum(pool.map(lambda seam: reader.count(seam, seam), seams))
            now = reader.count(parts[0][0].low, parts[-1][-1].high)
            missing = min(missing, min(before, now) - (sum(counts) - twice))
            if before == now:
                return before - (sum(counts) - twice), counts
            if missing <= 0:
                break
    return missing, counts


def _read_gaps(name: str, gaps: Sequence[_Gap], now: int, reader: Reader) -> Iterator[Rows]:
    """Read neighbors as one, gap after gap, and yield what wasn't received before.

    :param now: how many activities the API counts of all
    """
    missing = [gap.missing for gap in gaps]
    spans = [(gap.windows[0].low, gap.windows[-1].high) for gap in gaps]
    logger.warning(
        "%s: of %d activities that the API counts, %d weren't returned, in %s. They are searched for.",
        name,
        now,
        sum(missing),
        _format_spans(spans),
    )
    found = set[int]()
    for number, gap in enumerate(gaps):
        try:
            yield from _read_gap(gap, reader, found)
        except (AirbyteTracedException, CountRefusedError, _StillMissingError) as error:
            raise ActivitiesMissingError(name, spans[number:], now, now - sum(missing[number:])) from error


def _read_gap(gap: _Gap, reader: Reader, found: set[int]) -> Iterator[Rows]:
    """Read a gap as one, and yield what wasn't received before.

    What was received isn't kept, because it would take memory for each record of the sync. So each window is read again
    alone: if that returns what it returned before, all of it is known, and else it is emitted twice rather than never.

    :param found: takes the keys of what was between windows
    :raises _StillMissingError: if something is missing all the same
    :raises CountRefusedError: if that isn't known
    """
    alone = [reader.keys(one.low, one.high) for one in gap.windows]
    known = [keys for keys, one in zip(alone, gap.windows, strict=True) if sum(keys) == one.checksum]
    between = set[int]()

    def is_known(key: int) -> bool:
        if not any(key in keys for keys in alone):
            between.add(key)
        return key in found or any(key in keys for keys in known)

    yield from reader.reread(gap.windows[0].low, gap.windows[-1].high, is_known)
    if between:
        # What arrived in a window meanwhile isn't what was missing.
        alone = [reader.keys(one.low, one.high) for one in gap.windows]
        between = {key for key in between if not any(key in keys for keys in alone)}
    found |= between
    whole = reader.count(gap.halves[0][0].low, gap.halves[-1][-1].high)
    missing, _ = _missing_between(gap.halves, whole, reader)
    if missing > len(between):
        raise _StillMissingError
