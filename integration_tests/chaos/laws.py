"""The laws: what has to hold after a run, whatever its trouble was. A breach is a sentence."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airbyte_cdk.models import AirbyteStreamStatus

from integration_tests.chaos.chronicle import Rows, key_of
from integration_tests.sandbox.messages import iso
from source_commonroom.activities.ledger import entries_of
from unit_tests.streams import BY_NAME, by_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from signal import Signals

    from integration_tests.chaos.chronicle import Chronicle
    from integration_tests.chaos.schedule import Schedule
    from integration_tests.chaos.warehouse import Warehouse
    from unit_tests.output import Output

ENDS = {AirbyteStreamStatus.COMPLETE, AirbyteStreamStatus.INCOMPLETE}
ACTIVITIES = "activities"
NEAR = timedelta(milliseconds=5)
"""How near to another row one may lie that isn't told from it by the dates of a query."""
_GONE = re.compile(r"the API no longer lists (\d+) of the activities")
MOST_ENTRIES, MOST_CHARACTERS = 128, 12_000
"""How much a state may hold."""
LATEST = timedelta(seconds=2)
"""How near to the beginning of a run a row may lie that doesn't belong to it, as a `Date` is told in seconds."""


@dataclass(frozen=True)
class Sync:
    """Activities as they were when a sync of them was begun.

    Where one is cut off, the runs after it go on, and read nothing again that is done: else one that is cut off again
    and again would never end. What comes late in the meantime is owed by the sync after it, whose lookback is counted
    from the beginning of this one.
    """

    before: Rows
    covered: list[tuple[str, str]]
    """What the state said that it began with."""


@dataclass(frozen=True)
class Played:
    """A run that is over, and loaded into the warehouse."""

    output: Output
    streams: tuple[str, ...]
    killed: Signals | None
    """The signal that ended it."""
    before: dict[str, Rows]
    """What the workspace was when the run began, by stream."""
    after: dict[str, Rows]
    """What it was when the run had ended."""
    covered_before: list[tuple[str, str]]
    """What the state said that the run began with."""
    arrived_before: frozenset[tuple[str, ...]]
    """The keys of the activities that the warehouse held when the run began."""
    sync: Sync
    """The sync of activities that the run began, or went on with."""
    goes_on: bool
    """Whether it went on with one that was cut off."""
    begun: str
    """The moment when it began, by the slower one of the API's clock and the machine's."""
    until: str
    """The moment that it was to read up to."""
    unservable: frozenset[str]
    """The ids of rows that couldn't be served."""
    only_unservable: bool
    """Whether that was all its trouble, if it was any."""
    token: str

    def completed(self, name: str) -> bool:
        """Tell whether a stream was said to be COMPLETE."""
        return AirbyteStreamStatus.COMPLETE in self.output.statuses(name)

    def stable(self, name: str) -> Rows:
        """Tell the records that were there, and the same, from the beginning of the run to its end."""
        after = self.after[name]
        return {key: row for key, row in self.before[name].items() if after.get(key) == row}

    def owed(self, rows: Rows) -> Rows:
        """Choose of activities those that the run owes, as they are.

        Of a sync that was cut off that isn't what came, or changed, where it had been read. The next sync owes it.
        """
        if not self.goes_on:
            return rows
        done = _within(rows, self.covered_before, timedelta())
        return {key: row for key, row in rows.items() if key not in done or self.sync.before.get(key) == row}


def breaches(
    played: Played, warehouse: Warehouse, chronicle: Chronicle, schedule: Schedule, first: Rows
) -> Iterator[str]:
    """Tell what doesn't hold after a run.

    :param first: the activities that were there before the first run
    """
    edge = schedule.style.edge
    yield from _manners(played)
    for name in played.streams:
        if BY_NAME[name].cursor_field is None:
            yield from _refresh(played, name, chronicle)
    yield from _state(warehouse, played, first, edge)
    yield from _activities(played, warehouse, chronicle, schedule.lookback_days)
    yield from _gone(played, warehouse)
    if played.unservable and played.only_unservable:
        hides = may_hide(played, warehouse.tables.get(ACTIVITIES, {}))
        since = _lookback(played.sync.covered, schedule.lookback_days) if hides else ""
        yield from _all_but_unservable(played, edge, since)


def last_breaches(played: Played, warehouse: Warehouse) -> Iterator[str]:
    """Tell what doesn't hold after the last run, which had no trouble: all is there now, and as it is."""
    if played.output.exit_code != 0:
        yield f"the last run had no trouble and ended with {played.output.exit_code}"
    for name in played.streams:
        if not played.completed(name):
            yield f"{name}: the last run had no trouble and the stream isn't COMPLETE"
        elif name != ACTIVITIES:
            yield from _compare(name, warehouse.tables[name], played.after[name], "after the last refresh")
        elif len(covered := warehouse.covered(name)) != 1:
            yield f"{name}: the last run is COMPLETE, and its state has gaps: {covered}"


def _manners(played: Played) -> Iterator[str]:
    """What a platform builds on: statuses, exit codes, and nothing secret in the output."""
    if played.token in played.output.text:
        yield "the token is in the output"
    if played.killed:
        return
    for name in played.streams:
        statuses = played.output.statuses(name)
        if not statuses or statuses[-1] not in ENDS:
            yield f"{name}: the run ended and the stream's last status is {statuses[-1:]}"
        if statuses[-1:] == [AirbyteStreamStatus.INCOMPLETE] and not played.output.errors(name):
            yield f"{name}: INCOMPLETE without an error that says why"
    complete = all(played.completed(name) for name in played.streams)
    if played.output.exit_code != (0 if complete else 1):
        yield f"exit code {played.output.exit_code} although {'all' if complete else 'not all'} streams are COMPLETE"


def _refresh(played: Played, name: str, chronicle: Chronicle) -> Iterator[str]:
    """Each record comes once, and is one; a stream that is COMPLETE has all that stayed the same meanwhile."""
    stream = BY_NAME[name]
    rows = by_key(stream, played.output.records(name))
    counts = Counter(key_of(stream, row) for row in rows)
    if twice := [key for key, count in counts.items() if count > 1]:
        yield f"{name}: {len(twice)} records came more than once, as {some(twice)}"
    if unknown := [key_of(stream, row) for row in rows if not chronicle.knows(name, row)]:
        yield f"{name}: {len(unknown)} records are none that ever were, as {some(unknown)}"
    if played.completed(name):
        yield from _missing(name, counts.keys(), played.stable(name), "though it was said to be COMPLETE")


def _state(warehouse: Warehouse, played: Played, first: Rows, edge: timedelta) -> Iterator[str]:
    """A state lies in the past, and covers only what has arrived."""
    covered = warehouse.covered(ACTIVITIES)
    if ahead := [end for _, end in covered if end > played.until]:
        yield f"{ACTIVITIES}: the state lies in the future: {ahead}, at {played.until}"
    there = {key: row for key, row in played.after[ACTIVITIES].items() if key in first}
    arrived = warehouse.tables.get(ACTIVITIES, {}).keys()
    yield from _missing(ACTIVITIES, arrived, _within(there, covered, edge), "though the state covers them")
    # A kill could have made any state the last one: what each covers has to stand before it.
    came = set(played.arrived_before)
    for number, message in enumerate(played.output.messages, 1):
        if message.record and message.record.stream == ACTIVITIES:
            came.add(key_of(BY_NAME[ACTIVITIES], message.record.data))
        if message.state and message.state.stream and message.state.stream.stream_descriptor.name == ACTIVITIES:
            content = vars(message.state.stream.stream_state)
            yield from _ledger(content, number)
            spans = [(span["start"], span["end"]) for span in content["slices"]]
            breach = list(
                _missing(ACTIVITIES, came, _within(there, spans, edge), f"though message {number} covers them")
            )
            if breach:
                yield from breach
                return


def _ledger(content: Mapping[str, Any], number: int) -> Iterator[str]:
    """The numbers of a state can be read by the next run, and are few."""
    try:
        entries = entries_of(content.get("ledger", []))
    except ValueError as error:
        yield f"{ACTIVITIES}: the ledger of message {number} can't be read: {error}"
    else:
        if len(entries) > MOST_ENTRIES or len(json.dumps(content)) > MOST_CHARACTERS:
            yield f"{ACTIVITIES}: the state of message {number} is large: {len(entries)} spans"


def _within(rows: Rows, covered: Collection[tuple[str, str]], edge: timedelta) -> Rows:
    """Choose the rows that lie within spans of the state.

    What lies nearer to an end of a span than dates tell may not have come. It has to come with the span that begins
    there, and the last run has to bring it.
    """
    spans = [(_moved(start, edge), _moved(end, -edge)) for start, end in covered]
    return {key: row for key, row in rows.items() if any(start <= row["activityTime"] <= end for start, end in spans)}


def _moved(moment: str, by: timedelta) -> str:
    return iso(datetime.fromisoformat(moment) + by) if by else moment


def _activities(played: Played, warehouse: Warehouse, chronicle: Chronicle, lookback_days: int) -> Iterator[str]:
    """Nothing is lost, and what lies within the lookback is as it is."""
    table = warehouse.tables.get(ACTIVITIES, {})
    if unknown := [key for key, row in table.items() if not chronicle.knows(ACTIVITIES, row)]:
        yield f"{ACTIVITIES}: {len(unknown)} records are none that ever were, as {some(unknown)}"
    if not played.completed(ACTIVITIES):
        return
    end = max(end for _, end in warehouse.covered(ACTIVITIES))
    due = played.owed({key: row for key, row in played.before[ACTIVITIES].items() if row["activityTime"] <= end})
    there = {key: row for key, row in due.items() if key in played.after[ACTIVITIES]}
    since = _lookback(played.sync.covered, lookback_days)
    if may_hide(played, table):
        there = {key: row for key, row in there.items() if row["activityTime"] >= since}
    yield from _missing(ACTIVITIES, table.keys(), there, "though the stream was said to be COMPLETE")
    stable = played.stable(ACTIVITIES)
    recent = {key: row for key, row in due.items() if row["activityTime"] >= since and key in stable}
    if changed := [key for key, row in recent.items() if key in table and table[key] != row]:
        yield f"{ACTIVITIES}: {len(changed)} records within the lookback are not as they are now, as {some(changed)}"


def _gone(played: Played, warehouse: Warehouse) -> Iterator[str]:
    """No more activities are called gone than are."""
    named = sum(int(number) for line in played.output.lines() for number in _GONE.findall(line))
    if named > len(warehouse.tables.get(ACTIVITIES, {}).keys() - played.after[ACTIVITIES].keys()):
        yield f"{ACTIVITIES}: {named} records were called gone, and fewer are"


def may_hide(played: Played, table: Rows) -> bool:
    """Tell whether an activity that arrived before the lookback may be missing after a run that is COMPLETE.

    If it was said that the history couldn't be compared with counts; or for some syncs, if others were deleted.
    """
    compared = [line for line in played.output.lines() if "compared with the API's counts" in line]
    said = any("isn't compared" in line or "couldn't be compared" in line for line in compared)
    return said or bool(table.keys() - played.after[ACTIVITIES].keys())


def hidden(played: Played, warehouse: Warehouse) -> Rows:
    """Choose the activities of the workspace that the warehouse doesn't hold, up to the end of its state."""
    end = max((end for _, end in warehouse.covered(ACTIVITIES)), default="")
    table = warehouse.tables.get(ACTIVITIES, {})
    return {
        key: row for key, row in played.after[ACTIVITIES].items() if key not in table and row["activityTime"] <= end
    }


def may_yet_come(played: Played, warehouse: Warehouse) -> bool:
    """Tell whether another sync may bring what the warehouse lacks, because something that is gone hides it."""
    return bool(hidden(played, warehouse)) and may_hide(played, warehouse.tables.get(ACTIVITIES, {}))


def converged_breaches(played: Played, warehouse: Warehouse) -> Iterator[str]:
    """Tell what the warehouse lacks after the last clean sync: no activity, of whatever age.

    But one that was added to a span from which one was deleted: no count shows it.
    """
    rows, table = hidden(played, warehouse), warehouse.tables.get(ACTIVITIES, {})
    gone = {key: row for key, row in table.items() if key not in played.after[ACTIVITIES]}
    for low, high in warehouse.counted(ACTIVITIES):
        within = _within(rows, [(low, high)], -NEAR)
        if len(within) <= len(_within(gone, [(low, high)], -NEAR)):
            rows = {key: row for key, row in rows.items() if key not in within}
    yield from _missing(ACTIVITIES, (), rows, "after the last clean sync")


def _all_but_unservable(played: Played, edge: timedelta, since: str) -> Iterator[str]:
    """What can't be served costs itself and what nobody can tell from it by a date, and nothing else.

    Of activities it does. Of a list, what lies on the same page can't be had either.

    :param since: from when on what arrived is owed
    """
    stable = played.stable(ACTIVITIES)
    lost = [row["activityTime"] for row in stable.values() if row["id"] in played.unservable]
    spans = [(_moved(time, -edge - NEAR), _moved(time, edge + NEAR)) for time in lost]
    until = _moved(played.begun, -LATEST)
    due = {
        key: row
        for key, row in stable.items()
        if since <= row["activityTime"] <= until and not any(low <= row["activityTime"] <= high for low, high in spans)
    }
    came = {key_of(BY_NAME[ACTIVITIES], row) for row in played.output.records(ACTIVITIES)} | played.arrived_before
    yield from _missing(ACTIVITIES, came, played.owed(due), "though all but a few others could be served")


def _lookback(covered: list[tuple[str, str]], days: int) -> str:
    """Tell from when on a run has to read again, by the state that it begins with."""
    if not covered:
        return ""
    return iso(datetime.fromisoformat(max(end for _, end in covered)) - timedelta(days=days))


def _compare(name: str, found: Rows, expected: Rows, when: str) -> Iterator[str]:
    yield from _missing(name, found.keys(), expected, when)
    if more := found.keys() - expected.keys():
        yield f"{name}: {len(more)} records too many {when}, as {some(more)}"
    if other := [key for key, row in expected.items() if key in found and found[key] != row]:
        yield f"{name}: {len(other)} records are not as they are now {when}, as {some(other)}"


def _missing(name: str, found: Collection[Any], expected: Rows, why: str) -> Iterator[str]:
    if missing := expected.keys() - found:
        times = sorted(expected[key]["activityTime"] for key in missing) if name == ACTIVITIES else []
        span = f" of {times[0]} to {times[-1]}" if times else ""
        yield f"{name}: {len(missing)} of {len(expected)} records are missing {why}, as {some(missing)}{span}"


def some(keys: Collection[tuple[str, ...]]) -> str:
    """Name a few keys."""
    return ", ".join("/".join(key) for key in sorted(keys)[:3])
