"""The audit: what was received in earlier syncs, compared with what the API counts now."""

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import NamedTuple

from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.activities.coverage import Span
from source_commonroom.activities.ledger import MOST_ENTRIES, Entry, expected, seam_of
from source_commonroom.activities.timestamps import format_timestamp, seam_near
from source_commonroom.api.retriever import CountFailedError, CountRefusedError

# So many spans are counted at once.
_AT_ONCE = 8
# If a group of entries holds another number than it should, so many parts of it are counted.
_PARTS = 4
# A sync counts one in so many entries alone, whatever the groups hold.
_ROUNDS = 8
# So many counts of single spans may fail one after the other.
_FAILURES = 3
# What was read without a number is cut into about so many entries, of no fewer activities, by at most so many counts.
_ENTRIES = 16
_FEWEST = 2_000
_COUNTS = 64
# The shortest entry that is cut, in milliseconds.
_SHORTEST = 24 * 3_600_000
# So often a span and its parts are counted before it is believed that they don't fit.
_TIMES = 3
# So often a span is cut into halves to find out whether the API counts up to a limit.
_HALVINGS = 24


class Difference(NamedTuple):
    """An entry that holds another number of activities now."""

    entry: Entry
    now: int


class Audit:
    """Finds out which entries of a ledger hold another number of activities now.

    A run of entries is counted as a whole. If that isn't their sum, its four parts are counted, and so on down to
    single entries. Each part is counted, and none is what the others leave over: the workspace changes meanwhile, and
    an activity that arrives in one part would hide one in another. Only an entry whose own count differs is found.

    A count that fails says nothing of its parts: an API may count no long spans. So they are counted, and only single
    entries that fail one after the other end it.

    An addition and a deletion in two entries of a group hide each other. So a sync counts an eighth of the entries
    alone: those that have waited longest for that. What hides within one entry isn't found.

    :param count: returns how many activities the API counts in a span; asked by several threads
    :param count_few: the same of a span that has no more than one page, by that page, if the API doesn't count it
    :param count_with_page: the same of a span, asked together with its first page, as it was when it was read
    :param uncountable: the length of spans, in milliseconds, from which on the API is known not to count them
    """

    def __init__(
        self,
        count: Callable[[int, int], int],
        count_few: Callable[[int, int], int] | None = None,
        count_with_page: Callable[[int, int], int] | None = None,
        uncountable: int | None = None,
    ) -> None:
        self._count = count
        self._count_few = count_few
        self._count_with_page = count_with_page
        self._uncountable = inf if uncountable is None else uncountable
        self._too_long = self._uncountable
        """The length of groups that aren't asked for, because one failed that wasn't longer."""
        self._failures = 0
        """How many single spans failed one after the other."""
        self._most_failures: float = _FAILURES
        self._halted = False
        """Whether nothing more is asked for now."""
        self._refuses = False
        """Whether each further count would fail, too."""
        self.adds_up = True
        """Whether the API counts no more in the parts of a span than in the span."""
        self.limit: int | None = None
        """The number that is the highest the API counts, if it shows that it counts up to one."""
        self.beyond_limit: list[Entry] = []
        """The entries that hold that many or more, so that no count shows whether something was added."""
        self.compared = 0
        """How many entries were compared with counts, alone or together."""
        self.requests = 0
        """How many counts were asked for."""
        self.differing: list[Difference] = []
        """The entries that hold another number now."""
        self.unsure: list[Span] = []
        """Entries whose number may be too high, and is what the API counts: something that arrived may be hidden."""
        self.sound: set[int] = set()
        """The starts of entries whose number is a count that was lower than what was received, and isn't a limit."""
        self.between: list[Span] = []
        """Pairs of entries that hold more together than alone."""
        self.shared: dict[Span, int] = {}
        """How many activities entries have in common with the one before them, by what both cover; counted anew."""
        self.uncounted: list[Span] = []
        """Spans whose count failed."""
        self.stopped = ""
        """Why it couldn't be finished; empty if it was."""
        self.waiting: dict[int, int] = {}
        """How many syncs entries have waited to be counted alone, by their start; empty if that is as it was."""
        self._alone: dict[int, int | None] = {}
        """What was counted of entries alone, by their start."""

    def begin(self, low: int, high: int) -> list[Entry]:
        """Return entries for a span that was read, of which no number is known: it is counted now, in parts.

        If it can't be counted as a whole, its halves are, the newest first. What stays uncounted, because it is short
        or because too many counts were asked for, is in :attr:`uncounted`.
        """
        found: list[Entry] = []
        budget = self.requests + _COUNTS
        ahead = [(low, high)]
        while ahead:
            span = ahead.pop()
            is_short = span[1] - span[0] <= _SHORTEST
            (number,) = self._count_each([span], () if is_short else [span]) if self.requests < budget else (None,)
            if number is not None:
                found.insert(0, Entry(*span, number))
            elif is_short or self._halted or self.requests >= budget:
                self.uncounted.append(span)
            else:
                middle = seam_near((span[0] + span[1]) // 2, *span)
                ahead += [(span[0], middle), (middle, span[1])]
        whole = sum(one.number for one in found)
        while self.requests < budget:
            large = [one for one in found if one.high - one.low > _SHORTEST]
            one = max(large, key=lambda entry: entry.number, default=None)
            if one is None or one.number <= max(whole // _ENTRIES, _FEWEST):
                break
            middle = seam_near((one.low + one.high) // 2, one.low, one.high)
            below, above = self._count_each([(one.low, middle), (middle, one.high)])
            if below is None or above is None:
                break
            place = found.index(one)
            found[place : place + 1] = [Entry(one.low, middle, below), Entry(middle, one.high, above)]
        return found

    def run(self, runs: Sequence[Sequence[Entry]]) -> None:
        """Compare runs of entries with the API's counts."""
        runs = self._with_seams_counted(runs)
        self._compare(runs)
        self._ask_otherwise()
        entries = [one for run in runs for one in run]
        self._look_within(one for one in entries if one.is_low)
        if self.limit is not None:
            self.beyond_limit = [one for one in entries if one.is_low or one.number >= self.limit]
            entries = [one for one in entries if one not in self.beyond_limit]
        elif not self.adds_up:
            return
        # Its turn is one of all entries, whatever failed before.
        self._halted, self._most_failures = self._refuses, inf
        turn = _turn(entries)
        self.compared = len(entries) if self.limit is None else len(turn)
        asked = [one for one in turn if self._alone.get(one.low) is None]
        for one, now in zip(asked, self._count_each([(one.low, one.high) for one in asked]), strict=True):
            self._note_alone(one, now)
        counted = {low for low, count in self._alone.items() if count is not None}
        if counted and not self._refuses:
            # An entry that fails each time is passed over: the warning names it.
            counted |= {one.low for one in turn}
        if counted:
            self.waiting = {one.low: 0 if one.low in counted else one.waited + 1 for one in entries}
        self.uncounted = [(low, high) for low, high in dict.fromkeys(self.uncounted) if self._alone.get(low) is None]

    def _with_seams_counted(self, runs: Sequence[Sequence[Entry]]) -> list[list[Entry]]:
        """Return the same runs, after counting what entries have in common about which that isn't known."""
        unknown = [(before, after) for run in runs for before, after in pairwise(run) if after.shared is None]
        self._count_seams(unknown)
        return [
            [
                run[0],
                *(
                    replace(after, shared=self.shared.get(seam_of(before, after), after.shared))
                    for before, after in pairwise(run)
                ),
            ]
            for run in runs
        ]

    def _count_seams(self, pairs: Sequence[tuple[Entry, Entry]]) -> bool:
        """Count what neighbors have in common: what both of their queries ask for. Tell whether all were counted."""
        counts = self._count_each([seam_of(*pair) for pair in pairs])
        self.shared.update(
            {seam_of(*pair): count for pair, count in zip(pairs, counts, strict=True) if count is not None}
        )
        return None not in counts

    def _compare(self, groups: Sequence[Sequence[Entry]]) -> None:
        """Compare groups of entries with their counts, and the parts of those that differ, down to single entries."""
        counts = self._count_groups(groups)
        while groups and self.adds_up:
            cut: list[tuple[Sequence[Entry], list[Sequence[Entry]], int | None]] = []
            for group, now in zip(groups, counts, strict=True):
                if len(group) == 1:
                    self._note_alone(group[0], now)
                elif now != expected(group):
                    cut.append((group, _parts(group), now))
            groups = [part for _, parts, _ in cut for part in parts]
            counts = below = self._count_groups(groups)
            for group, parts, now in cut:
                held, below = below[: len(parts)], below[len(parts) :]
                if now is not None and None not in held:
                    self._look_between(group, parts, now, [number or 0 for number in held])

    def _note_alone(self, entry: Entry, now: int | None) -> None:
        """Note what was counted of an entry alone."""
        self._alone[entry.low] = now
        if now is None:
            self.uncounted.append((entry.low, entry.high))
        elif now != entry.number:
            self.differing.append(Difference(entry, now))
        elif entry.is_doubtful:
            self.unsure.append((entry.low, entry.high))

    def _count_groups(self, groups: Sequence[Sequence[Entry]]) -> list[int | None]:
        spans = [(group[0].low, group[-1].high) for group in groups]
        return self._count_each(spans, [span for span, group in zip(spans, groups, strict=True) if len(group) > 1])

    def _look_between(
        self, group: Sequence[Entry], parts: Sequence[Sequence[Entry]], before: int, alone: Sequence[int]
    ) -> None:
        """Find out why a group holds another number than its parts, if it does.

        It may have changed meanwhile, or what two parts have in common has; or something lies between two parts that
        neither of them returns; or the API's counts don't add up, because it counts up to a limit for example.

        :param before: how many activities the group held before the parts were counted
        :param alone: how many activities the parts hold, each counted alone
        """
        if not self.adds_up:
            return
        seams = [(one[-1], other[0]) for one, other in pairwise(parts)]
        if before == (held := sum(alone) - sum(after.shared or 0 for _, after in seams)):
            return
        whole, spans = (group[0].low, group[-1].high), [(one[0].low, one[-1].high) for one in parts]
        (now,) = self._count_each([whole], [whole])
        if now is None or now == held or not self._count_seams(seams):
            return
        weighed = self._weigh(whole, spans, sum(self.shared[seam_of(*seam)] for seam in seams), before, alone)
        if weighed is None or not weighed.excess:
            return
        if weighed.excess > 0:
            self.between += [(before.low, after.high) for before, after in seams]
            return
        self._stop_at(weighed.now, whole, f"{weighed.now - weighed.excess} in the parts of that")
        # Without the last part, or the first one, it is less, unless that is the limit.
        most = self._count_each([(whole[0], spans[-2][1]), (spans[1][0], whole[1])])
        self._note_limit(weighed.now, (most[0], weighed.alone[-1]), (most[1], weighed.alone[0]))

    def _weigh(
        self, whole: Span, spans: Sequence[Span], twice: int, before: int | None = None, alone: Sequence[int] = ()
    ) -> "_Weighed | None":
        """Compare a span with its parts, several times: in a busy workspace they differ by chance.

        :param twice: how many activities parts have in common
        :param before: how many activities it held before its parts were counted, if that was done
        :param alone: what each part held then
        :return: None if a count failed
        """
        if before is None:
            (before,) = self._count_each([whole], [whole])
        found: list[_Weighed] = []
        while len(found) < _TIMES:
            counts = alone or self._count_each(spans, [whole])
            (now,) = self._count_each([whole], [whole])
            if before is None or now is None or None in counts:
                return None
            last, alone = [number or 0 for number in counts], ()
            held = sum(last) - twice
            excess = max(min(before, now) - held, 0) + min(max(before, now) - held, 0)
            if not excess or (found and (found[0].excess > 0) != (excess > 0)):
                return _Weighed(0, now, last)
            found.append(_Weighed(excess, now, last))
            before = now
        return found[-1]

    def _ask_otherwise(self) -> None:
        """Ask for one entry that differs as it was asked for when it was read: with its first page.

        If the API counts as many then, it counts otherwise if it is asked for nothing but the count. All entries would
        differ in each sync.
        """
        one = min(self.differing, key=lambda one: one.entry.number, default=None)
        if one is None or self._count_with_page is None or not self.adds_up:
            return
        span = one.entry.low, one.entry.high
        self.requests += 1
        try:
            number = self._count_with_page(*span)
        except (CountRefusedError, AirbyteTracedException):
            # If reading is refused as well, that fails the stream, with a message.
            return
        # It may have changed meanwhile.
        if number == one.entry.number and (now := self._count_each([span])[0]) not in {None, number}:
            self._stop_at(now, span, f"{number} if that is asked for with a page of them")

    def _look_within(self, low_ones: Iterable[Entry]) -> None:
        """Find out whether the API counts up to a limit: then the parts of an entry hold more than the entry.

        Its number stays the same then, whatever arrives. One of those of which more was received than was counted is
        cut into halves, until each half of it holds some.
        """
        one = max(low_ones, key=lambda one: one.number, default=None)
        if one is None or not self.adds_up:
            return
        low, high = one.low, one.high
        for _ in range(_HALVINGS):
            middle = seam_near((low + high) // 2, low, high)
            if not low < middle < high:
                return
            (first,) = self._count_each([(low, middle)])
            second = self._count_each([(middle, high)])[0] if first else first
            if first is None or second is None:
                return
            if first and second:
                break
            low, high = (low, middle) if first else (middle, high)
        else:
            return
        (twice,) = self._count_each([(middle, middle)])
        weighed = None if twice is None else self._weigh((low, high), [(low, middle), (middle, high)], twice)
        if weighed is None or twice is None:
            return
        if weighed.excess >= 0:
            self.sound.add(one.low)
            return
        first, second = weighed.alone
        self._stop_at(weighed.now, (low, high), f"{first + second - twice} in the parts of that")
        self._note_limit(weighed.now, (first, second - twice), (second, first - twice))

    def _note_limit(self, number: int, *parts: tuple[int | None, int]) -> None:
        """Note that the API counts up to a limit, if a part of a span has as many as the span, and the rest has some.

        :param number: how many activities the span has
        :param parts: how many a part of it has, and how many the rest
        """
        if any(part == number and rest > 0 for part, rest in parts):
            self.limit = number

    def _stop_at(self, number: int | None, span: Span, other: str) -> None:
        """End the audit, and take back what it found: the API's counts don't add up."""
        self.adds_up = False
        self.stopped = (
            f"its counts don't add up: it counts {number} activities from {format_timestamp(span[0])} to "
            f"{format_timestamp(span[1])}, and {other}"
        )
        self.differing, self.between, self.unsure, self.uncounted = [], [], [], []
        self._alone.clear()

    def _count_each(self, spans: Sequence[Span], together: Collection[Span] = ()) -> list[int | None]:
        """Return how many activities the API counts in each of some spans; None if a count failed.

        :param together: those of which a part is counted if they fail
        """
        found: list[int | None] = []
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="audit") as pool:
            for start in range(0, len(spans), _AT_ONCE):
                if self._halted:
                    break
                asked = spans[start : start + _AT_ONCE]
                answers = list(pool.map(self._answer, asked, [span in together for span in asked]))
                for (low, high), answer in zip(asked, answers, strict=True):
                    self._take(high - low, answer, is_group=(low, high) in together)
                    found.append(answer.number)
        return found + [None] * (len(spans) - len(found))

    def _take(self, length: int, answer: "_Answer", *, is_group: bool) -> None:
        """Note what an answer shows of others."""
        self.requests += answer.requests
        if answer.number is not None:
            self._failures = 0
            return
        if is_group:
            self._too_long = min(self._too_long, length)
        elif length < self._too_long:
            self._failures += 1
        if answer.refuses or self._failures >= self._most_failures:
            self._halted = True
            self._refuses = self._refuses or answer.refuses
            self.stopped = self.stopped or answer.reason

    def _answer(self, span: Span, is_group: bool) -> "_Answer":  # noqa: FBT001  # as a pool passes it
        """Ask how many activities a span has."""
        length, requests, reason = span[1] - span[0], 0, "it doesn't count spans as long as that"
        try:
            if length < (self._too_long if is_group else self._uncountable):
                requests += 1
                try:
                    return _Answer(self._count(*span), requests)
                except CountFailedError as failed:
                    reason = str(failed)
            if self._count_few:
                requests += 1
                return _Answer(self._count_few(*span), requests)
        except CountFailedError:
            pass
        except CountRefusedError as refused:
            return _Answer(None, requests, str(refused), refuses=True)
        except AirbyteTracedException as error:
            # If reading is refused as well, that fails the stream, with a message.
            return _Answer(None, requests, f"it refused the request: {error.message}", refuses=True)
        return _Answer(None, requests, reason)


class _Weighed(NamedTuple):
    """How a span compares with its parts."""

    excess: int
    """How many more activities it holds, at least; negative if it holds fewer; 0 if neither is so each time."""
    now: int
    alone: Sequence[int]
    """How many each of its parts holds."""


class _Answer(NamedTuple):
    """What the API answers to a request for a count."""

    number: int | None
    """None if it failed."""
    requests: int
    reason: str = ""
    refuses: bool = False
    """Whether another one would fail, too."""


def _parts(group: Sequence[Entry]) -> list[Sequence[Entry]]:
    """Return the parts of a group, of about equal numbers of entries."""
    number = min(_PARTS, len(group))
    edges = [len(group) * part // number for part in range(number + 1)]
    return [group[start:end] for start, end in pairwise(edges)]


def _turn(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries whose turn it is to be counted alone: those that have waited longest.

    They are an eighth of all, or as many more as it takes for none to wait longer than eight syncs. Neither new entries
    nor those that are joined keep another one waiting.
    """
    ordered = sorted(entries, key=lambda one: (-one.waited, one.low))
    number = -(-len(ordered) // _ROUNDS)
    for place, one in enumerate(ordered, 1):
        number = max(number, -(-place // max(_ROUNDS - one.waited, 1)))
    return ordered[: min(number, MOST_ENTRIES // _ROUNDS)]
