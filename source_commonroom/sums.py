"""Sums: what the windows of a span brought together, compared with what the API counted of the whole span."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.walk import CountRefusedError, Keys, hash_of
from source_commonroom.coverage import Span
from source_commonroom.moments import text

logger = logging.getLogger("airbyte")

Rows = list[dict[str, Any]]


class Tally(NamedTuple):
    """What came of a window, in a few numbers."""

    low: int
    high: int
    received: int
    """How many activities came, each counted once."""
    left_out_low: int
    """How many of them a window before it was first with."""
    left_out_high: int
    """The same of a window after it."""
    mark: int
    """The sum of their keys: the same as long as they are the same."""

    @property
    def own(self) -> int:
        """How many activities came that no other window was first with."""
        return self.received - self.left_out_low - self.left_out_high


class Reader(Protocol):
    """Counts spans, and reads them again."""

    def count(self, low: int, high: int) -> int:
        """Return how many activities a span has now."""

    def keys(self, low: int, high: int) -> Keys:
        """Return what a span holds now."""

    def again(self, low: int, high: int, known: Callable[[int], bool]) -> Iterator[Rows]:
        """Yield what a span holds beside what is known."""


class Sum:
    """The windows of a span that was counted as a whole. The planner adds them, and worker threads read them.

    :param low: the first moment of the span
    :param high: its last moment
    :param records: how many activities the API counted before it was planned
    """

    def __init__(self, low: int, high: int, records: int) -> None:
        self.low = low
        self.high = high
        self.records = records
        self._lock = threading.Lock()
        self._open = 0
        self._planned = False
        self._whole = True
        self._tallies: list[Tally] = []

    def add(self, high: int) -> None:
        """Add the window that follows, up to a moment."""
        with self._lock:
            self._open += 1
            self._planned = self._planned or high >= self.high

    def give_up(self) -> None:
        """Compare nothing: the rest of the span isn't planned by counts, or a window of it failed."""
        with self._lock:
            self._whole = False

    def over(self, tally: Tally | None) -> Sequence[Sequence[Tally]]:
        """Take what came of a window, and return the windows to compare if it was the last one.

        :param tally: None if parts of the window couldn't be read
        :return: all windows of the span, in their order; or those between the ones that couldn't be read
        """
        with self._lock:
            self._open -= 1
            if tally is not None and self._whole:
                self._tallies.append(tally)
            if self._open or not self._planned or not self._whole:
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


class NotAllCameError(AirbyteTracedException):
    """Activities are missing between windows, each of which is whole.

    :param name: the stream's name
    :param spans: where they are, as closely as is known
    :param counted: how many activities the API counts
    :param came: how many came of those
    """

    def __init__(self, name: str, spans: Sequence[Span], counted: int, came: int) -> None:
        where = ", ".join(f"{text(low)} to {text(high)}" for low, high in spans)
        super().__init__(
            message=f"{name}: the API counted {counted} activities, and {came} of them came in windows of time that "
            f"follow each other without a gap. Those that are missing lie in {where}; that span was read once more as "
            "one, and the next sync reads it again. If it happens each time, tell Common Room's support: the API "
            "counts more in a span than in its parts.",
            internal_message=f"recordCount {counted}, {came} received",
            failure_type=FailureType.transient_error,
        )
        self.spans = spans


def compare(name: str, run: Sequence[Tally], records: int | None, reader: Reader) -> Iterator[Rows]:
    """Compare what windows that follow each other brought with what the API counted of all, and yield what is missing.

    Each window alone was compared with its own count, so that what is missing here lies between two. It costs no
    request unless fewer came than were counted. Then the API is asked once more, and if something was deleted
    meanwhile, it is asked of each window as well: what came and was deleted doesn't stand for what is missing. Counts
    of halves find the neighbors between which it is, and these are read as one.

    :param run: the windows
    :param records: how many activities the API counted before they were planned; None if there were others among them
    :raises NotAllCameError: if the rest doesn't come either
    """
    came = _came(run)
    if records is not None and came >= records:
        return
    low, high = run[0].low, run[-1].high
    try:
        now = reader.count(low, high)
        known = run
        if records is not None and now < records:
            known = [one._replace(received=min(one.received, reader.count(one.low, one.high))) for one in run]
            came = _came(known)
        if came >= now:
            if records is not None:
                logger.warning(
                    "%s: the API counted %d activities from %s to %s, and counts %d now: so many were deleted while "
                    "they were read.",
                    name,
                    records,
                    text(low),
                    text(high),
                    now,
                )
            return
        logger.warning(
            "%s: the API counts %d activities from %s to %s, and %d of them came. Where the others are is looked for.",
            name,
            now,
            text(low),
            text(high),
            came,
        )
        spots = [[run[known.index(one)] for one in spot] for spot in _spots(known, now, reader)]
    except CountRefusedError:
        raise NotAllCameError(name, [(low, high)], records or came, came) from None
    spans = [(spot[0].low, spot[-1].high) for spot in spots] or [(low, high)]
    missing, found = now - came, set[int]()
    for number, spot in enumerate(spots):
        try:
            yield from _read_again(spot, reader, found)
        except (AirbyteTracedException, CountRefusedError) as error:
            if isinstance(error, AirbyteTracedException) and error.failure_type != FailureType.transient_error:
                raise
            raise NotAllCameError(name, spans[number:], now, came + len(found)) from error
    if len(found) < missing and not _has_come(low, high, came + len(found), reader):
        raise NotAllCameError(name, spans, now, came + len(found))


def _has_come(low: int, high: int, came: int, reader: Reader) -> bool:
    try:
        return came >= reader.count(low, high)
    except CountRefusedError:
        return False


def _came(run: Sequence[Tally]) -> int:
    """Return how many activities came of windows that follow each other, each counted once."""
    return sum(one.own for one in run) + run[0].left_out_low + run[-1].left_out_high


def _spots(run: Sequence[Tally], now: int, reader: Reader) -> Iterator[Sequence[Tally]]:
    """Yield the neighbors between which activities are missing, by counts of halves.

    :param now: how many activities the API counts of all
    """
    missing = now - _came(run)
    if missing <= 0:
        return
    if len(run) <= 2:  # noqa: PLR2004  # neighbors
        yield run
        return
    halves = run[: len(run) // 2], run[len(run) // 2 :]
    for half in halves:
        count = reader.count(half[0].low, half[-1].high)
        missing -= max(count - _came(half), 0)
        yield from _spots(half, count, reader)
    if missing > 0:
        yield [halves[0][-1], halves[1][0]]


def _read_again(spot: Sequence[Tally], reader: Reader, found: set[int]) -> Iterator[Rows]:
    """Read neighbors as one, and yield what didn't come.

    What came isn't kept, because it would take memory for each record of the sync. So each window is read again alone:
    if that brings what it brought before, all of it is known, and else it is emitted twice rather than never.
    """
    known = []
    for one in spot:
        keys = reader.keys(one.low, one.high)
        if sum(keys) == one.mark:
            known.append(keys)

    def is_known(key: int) -> bool:
        return key in found or any(key in keys for keys in known)

    for rows in reader.again(spot[0].low, spot[-1].high, is_known):
        found.update(map(hash_of, rows))
        yield rows
