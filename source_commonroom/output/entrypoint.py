"""The output: a page of records travels as one message, and is written as one.

What costs most in a read on the CDK is handing on records one by one: through its queue, its main thread, its
serializer, its print buffer. Here a worker thread serializes a page whole, the queue carries it as one item, and the
main thread writes its bytes. What the usual path does besides stays true: record counts in STATE messages, the RUNNING
status, "Read … records" in the log, the memory guard. See benchmarks/README.md for what it gained.
"""

import logging
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.logger import PRINT_BUFFER
from airbyte_cdk.models import AirbyteMessage, ConnectorSpecification, FailureType
from airbyte_cdk.sources import Source
from airbyte_cdk.sources.connector_state_manager import HashableStreamDescriptor
from airbyte_cdk.utils.memory_monitor import MemoryMonitor
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.masking import mask_config, masked, report_crash
from source_commonroom.output.pages import Backlog, PageMessage

# The CDK's guard of the memory looks after 5,000 messages, and after 100 once little is left. To be told of each record
# would cost it as much as to write it. It is told of so many at once: it looks after 5,000, and after 1,000 then.
_TOLD_AT_ONCE = 10
_LOOKS_AFTER = 5_000 // _TOLD_AT_ONCE


class _CountsInLog(logging.Filter):
    """Puts the number of records into the CDK's "Read 0 records from … stream": it counts none of those in pages."""

    _LINE = re.compile(r"Read 0 records from (\S+) stream")

    def __init__(self, counts: Mapping[str, int]) -> None:
        super().__init__()
        self._counts = counts

    def filter(self, record: logging.LogRecord) -> bool:
        """Correct the line; let every line pass."""
        line = self._LINE.fullmatch(record.getMessage())
        if line:
            record.msg = f"Read {self._counts[line[1]]} records from {line[1]} stream"
        return True


class _Failures:
    """What failed in a sync, by stream.

    Why: the CDK ends a sync in which a stream failed with an error that repeats all of the exceptions, as Python shows
    them, and is always a ``config_error``. Pinned by unit_tests/test_output.py.
    """

    OF_STREAMS = "Concurrent read failure"
    """The CDK's internal message of that error."""

    def __init__(self) -> None:
        self._kinds: defaultdict[str, set[FailureType | None]] = defaultdict(set)

    def note(self, message: AirbyteMessage) -> None:
        """Note a message if it is the error of a stream."""
        error = message.trace and message.trace.error
        if error and error.stream_descriptor:
            self._kinds[error.stream_descriptor.name].add(error.failure_type)

    def error(self) -> AirbyteTracedException:
        """Return the error that ends the sync.

        It is a config_error where only the user can help, and a transient_error where anything may come with the next
        try. What remains, system_error, is for us.
        """
        kinds = set().union(*self._kinds.values())
        if FailureType.transient_error in kinds:
            kind = FailureType.transient_error
        else:
            kind = FailureType.config_error if kinds == {FailureType.config_error} else FailureType.system_error
        return AirbyteTracedException(
            message=f"The sync is incomplete, because these streams failed: {', '.join(sorted(self._kinds))}. The "
            "error of each says why, and what to do. All other streams are complete.",
            internal_message=f"{len(self._kinds)} streams failed",
            failure_type=kind,
        )


class PageEntrypoint(AirbyteEntrypoint):
    """The CDK's entry point, which writes pages itself, and masks all other messages before the CDK writes them."""

    def __init__(self, source: Source, backlog: Backlog) -> None:
        super().__init__(source)
        # The CDK has just set its own.
        sys.excepthook = report_crash
        self._backlog = backlog
        self._counts: Counter[str] = Counter()
        self.logger.addFilter(_CountsInLog(self._counts))

    def read(
        self, source_spec: ConnectorSpecification, config: Any, catalog: Any, state: list[Any]
    ) -> Iterable[AirbyteMessage]:
        """Write the pages of a sync as they come, and yield all other messages, in order.

        :raises AirbyteTracedException: where a stream failed, naming all that did
        """
        failures, guard = _Failures(), MemoryMonitor(check_interval=_LOOKS_AFTER)
        try:
            for message in super().read(source_spec, config, catalog, state):
                if isinstance(message, PageMessage):
                    self._counts[message.stream] += message.count
                    self._write(message)
                    for _ in range(0, message.count, _TOLD_AT_ONCE):
                        guard.check_memory_usage()
                else:
                    failures.note(message)
                    yield masked(message)
        except AirbyteTracedException as error:
            if error.internal_message != failures.OF_STREAMS:
                raise
            raise failures.error() from None
        finally:
            self._backlog.close()

    def check(self, source_spec: ConnectorSpecification, config: Any) -> Iterable[AirbyteMessage]:
        """Yield the messages of a check."""
        return map(masked, super().check(source_spec, config))

    @staticmethod
    def set_up_secret_filter(config: Any, connection_specification: Mapping[str, Any]) -> None:  # noqa: ARG004
        """Mask the secrets of the configuration; the CDK would know them in one form only."""
        mask_config(config)

    def _write(self, page: PageMessage) -> None:
        stdout = sys.__stdout__
        assert stdout is not None, "a connector has an stdout"  # noqa: S101  # for the type checker
        with PRINT_BUFFER.lock:
            # What was yielded before, a STATE above all, goes out before.
            PRINT_BUFFER.flush()
            stdout.buffer.write(page.lines)
            stdout.buffer.flush()
        self._backlog.remove(page)

    @staticmethod
    def handle_record_counts(
        message: AirbyteMessage, stream_message_count: defaultdict[HashableStreamDescriptor, float]
    ) -> AirbyteMessage:
        """Count the records of a page towards the next STATE of its stream, as the CDK does those of records."""
        if isinstance(message, PageMessage):
            stream_message_count[HashableStreamDescriptor(name=message.stream, namespace=None)] += message.count
            return message
        return AirbyteEntrypoint.handle_record_counts(message, stream_message_count)
