"""What a command of the connector left behind, in process or as a process."""

from dataclasses import dataclass
from typing import Any

import orjson
from airbyte_cdk.models import (
    AirbyteErrorTraceMessage,
    AirbyteMessage,
    AirbyteMessageSerializer,
    AirbyteRecordMessage,
    AirbyteStateMessage,
    AirbyteStreamStatus,
    Level,
    TraceType,
    Type,
)


def read_message(line: bytes) -> AirbyteMessage:
    """Read a line of stdout. A record, of which there are many, is read at a fraction of the usual cost."""
    content = orjson.loads(line)
    record = content.get("record")
    if record and record.keys() == {"stream", "data", "emitted_at"}:
        return AirbyteMessage(type=Type.RECORD, record=AirbyteRecordMessage(**record))
    message: AirbyteMessage = AirbyteMessageSerializer.load(content)
    return message


@dataclass(frozen=True)
class Output:
    """Messages, an exit code, and all that was printed."""

    exit_code: int
    messages: list[AirbyteMessage]
    text: str
    """All that it printed, on stdout and stderr."""

    def records(self, stream: str) -> list[dict[str, Any]]:
        return [
            message.record.data
            for message in self.messages
            if message.type == Type.RECORD and message.record and message.record.stream == stream
        ]

    def statuses(self, stream: str) -> list[AirbyteStreamStatus]:
        """List the statuses of a stream, in order."""
        traces = [message.trace for message in self.messages]
        return [
            trace.stream_status.status
            for trace in traces
            if trace and trace.stream_status and trace.stream_status.stream_descriptor.name == stream
        ]

    def status(self, stream: str) -> AirbyteStreamStatus:
        """Tell the last status of a stream."""
        return self.statuses(stream)[-1]

    def order(self) -> list[tuple[str, str]]:
        """List records, states and statuses as they came: what each is, and its stream."""
        found = []
        for message in self.messages:
            if message.record:
                found.append(("RECORD", message.record.stream))
            elif message.state and message.state.stream:
                found.append(("STATE", message.state.stream.stream_descriptor.name))
            elif message.trace and message.trace.stream_status:
                status = message.trace.stream_status
                found.append((status.status.value, status.stream_descriptor.name))
        return found

    def errors(self, stream: str | None = None) -> list[AirbyteErrorTraceMessage]:
        """List the error traces of a stream, or those of none."""
        errors = [
            message.trace.error for message in self.messages if message.trace and message.trace.type == TraceType.ERROR
        ]
        return [
            error
            for error in errors
            if error and (error.stream_descriptor.name if error.stream_descriptor else None) == stream
        ]

    def states(self, stream: str) -> list[AirbyteStateMessage]:
        return [
            message.state
            for message in self.messages
            if message.state and message.state.stream and message.state.stream.stream_descriptor.name == stream
        ]

    def of_type(self, kind: Type) -> list[AirbyteMessage]:
        return [message for message in self.messages if message.type == kind]

    def last_state(self, stream: str) -> tuple[AirbyteStateMessage, dict[str, Any]]:
        """Tell the last state message of a stream, and what it says of the stream."""
        message = self.states(stream)[-1]
        assert message.stream
        return message, vars(message.stream.stream_state)

    def lines(self) -> list[str]:
        """Return what was logged, in order."""
        return [message.log.message for message in self.messages if message.log]

    def warnings(self) -> list[str]:
        """List the warnings of the log."""
        return [message.log.message for message in self.messages if message.log and message.log.level == Level.WARN]
