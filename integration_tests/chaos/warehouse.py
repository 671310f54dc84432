"""The warehouse: what a platform and its destination make of the messages of several runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airbyte_cdk.models import AirbyteStreamStatus

from integration_tests.chaos.chronicle import Rows, keyed
from unit_tests.streams import BY_NAME, by_key

if TYPE_CHECKING:
    from airbyte_cdk.models import AirbyteStateMessage

    from unit_tests.output import Output

    Record = dict[str, Any]


class Warehouse:
    """Tables by stream: appended and deduplicated if a stream is incremental, overwritten if it isn't.

    A refresh that wasn't said to be COMPLETE doesn't replace the one before.
    """

    def __init__(self) -> None:
        self.tables: dict[str, Rows] = {}
        self._states: dict[str, AirbyteStateMessage] = {}

    @property
    def states(self) -> list[AirbyteStateMessage]:
        """What the next run gets as its state: the last one of each stream."""
        return list(self._states.values())

    def covered(self, name: str) -> list[tuple[str, str]]:
        """List the windows, first and last moment, that the state of an incremental stream tells to be done."""
        state = self._states.get(name)
        if state is None or state.stream is None:
            return []
        return [(window["start"], window["end"]) for window in vars(state.stream.stream_state)["slices"]]

    def counted(self, name: str) -> list[tuple[str, str]]:
        """List the spans of which the state of an incremental stream holds a number."""
        state = self._states.get(name)
        if state is None or state.stream is None:
            return []
        return [(start, end) for start, end, *_ in vars(state.stream.stream_state).get("ledger", [])]

    def in_progress(self, name: str) -> bool:
        """Tell whether the state is that of a sync that was cut off, so that the next run goes on with it."""
        state = self._states.get(name)
        return (
            state is not None and state.stream is not None and bool(vars(state.stream.stream_state).get("in_progress"))
        )

    def load(self, output: Output, streams: tuple[str, ...], *, tail_arrives: bool) -> None:
        """Take in what a run has brought.

        :param tail_arrives: whether the records behind the last state of an incremental stream arrive, too
        """
        for name in streams:
            stream = BY_NAME[name]
            if stream.cursor_field:
                rows = records_until_state(output, name) if not tail_arrives else output.records(name)
                self.tables[name] = {**self.tables.get(name, {}), **keyed(stream, self.arriving(rows))}
            elif AirbyteStreamStatus.COMPLETE in output.statuses(name):
                self.tables[name] = keyed(stream, by_key(stream, self.arriving(output.records(name))))
            if states := output.states(name):
                self._states[name] = states[-1]

    def arriving(self, rows: list[Record]) -> list[Record]:
        """Take the records as they came."""
        return rows


def records_until_state(output: Output, name: str) -> list[Record]:
    """List a stream's records up to its last state."""
    states = output.states(name)
    rows: list[Record] = []
    for message in output.messages:
        if message.record and message.record.stream == name:
            rows.append(message.record.data)
        if states and message.state is states[-1]:
            return rows
    return []
