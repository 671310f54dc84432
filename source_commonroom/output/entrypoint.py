"""The output: a page of records travels as one message, and is written as one.

What costs most in a read on the CDK is handing on records one by one: through its queue, its main thread, its
serializer, its print buffer. Here a worker thread serializes a page whole, the queue carries it as one item, and the
main thread writes its bytes. What the usual path does besides stays true: record counts in STATE messages, the RUNNING
status, "Read … records" in the log, the memory guard. See benchmarks/README.md for what it gained.
"""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.logger import PRINT_BUFFER
from airbyte_cdk.models import AirbyteMessage, AirbyteStreamStatus, ConnectorSpecification, FailureType
from airbyte_cdk.sources import Source
from airbyte_cdk.sources.connector_state_manager import HashableStreamDescriptor
from airbyte_cdk.utils.memory_monitor import MemoryMonitor
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.masking import mask_config, masked, report_crash
from source_commonroom.output.pages import Backlog, PageMessage

# The CDK's memory guard checks every 5,000 messages, and every 100 once little is left. To call it for each record
# would cost as much as writing it. It is called once for so many: it checks every 5,000 records, and every 1,000 then.
_TOLD_AT_ONCE = 10
_LOOKS_AFTER = 5_000 // _TOLD_AT_ONCE


class _Progress:
    """What a sync has read so far, and what failed, by stream.

    :param log: takes a line about each stream that has ended
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._started_at: dict[str, float] = {}
        self._records: Counter[str] = Counter()
        self._failures: defaultdict[str, set[FailureType | None]] = defaultdict(set)

    def note(self, message: AirbyteMessage) -> None:
        """Note a page, the status of a stream, or its error; other messages say nothing of progress."""
        if isinstance(message, PageMessage):
            self._records[message.stream] += message.count
        elif message.trace and (error := message.trace.error) and error.stream_descriptor:
            self._failures[error.stream_descriptor.name].add(error.failure_type)
        elif message.trace and (change := message.trace.stream_status):
            stream = change.stream_descriptor.name
            if change.status == AirbyteStreamStatus.STARTED:
                self._started_at[stream] = time.monotonic()
            elif change.status in {AirbyteStreamStatus.COMPLETE, AirbyteStreamStatus.INCOMPLETE}:
                seconds = time.monotonic() - self._started_at.pop(stream, time.monotonic())
                self._log(f"Read {self._records[stream]} records from {stream} stream in {seconds:.1f} seconds")

    def failed_at_end(self) -> bool:
        """Tell whether a stream has failed, and all that started have ended."""
        return bool(self._failures) and not self._started_at

    def error(self) -> AirbyteTracedException:
        """Return the error that ends a sync in which streams failed.

        Why not the CDK's: it repeats all of the exceptions, as Python shows them, and is always a ``config_error``.
        This one is a config_error if only the user can help, and a transient_error if the next try may succeed. What
        remains, system_error, is for us.
        """
        kinds = set().union(*self._failures.values())
        if FailureType.transient_error in kinds:
            kind = FailureType.transient_error
        else:
            kind = FailureType.config_error if kinds == {FailureType.config_error} else FailureType.system_error
        return AirbyteTracedException(
            message=f"The sync is incomplete, because these streams failed: {', '.join(sorted(self._failures))}. The "
            "error of each says why, and what to do. All other streams are complete.",
            internal_message=f"{len(self._failures)} streams failed",
            failure_type=kind,
        )


class PageEntrypoint(AirbyteEntrypoint):
    """The CDK's entry point, which writes pages itself, and masks all other messages before the CDK writes them."""

    def __init__(self, source: Source, backlog: Backlog) -> None:
        super().__init__(source)
        # The CDK has just set its own.
        sys.excepthook = report_crash
        self._backlog = backlog

    def read(
        self, source_spec: ConnectorSpecification, config: Any, catalog: Any, state: list[Any]
    ) -> Iterable[AirbyteMessage]:
        """Write the pages of a sync as they arrive, and yield all other messages, in order.

        :raises AirbyteTracedException: if a stream failed, naming all that did
        """
        progress, guard = _Progress(self.logger.info), MemoryMonitor(check_interval=_LOOKS_AFTER)
        try:
            for message in self._until_the_end(progress, super().read(source_spec, config, catalog, state)):
                if isinstance(message, PageMessage):
                    self._write(message)
                    for _ in range(0, message.count, _TOLD_AT_ONCE):
                        guard.check_memory_usage()
                else:
                    yield masked(message)
        finally:
            self._backlog.close()

    @staticmethod
    def _until_the_end(progress: _Progress, messages: Iterable[AirbyteMessage]) -> Iterator[AirbyteMessage]:
        """Yield the messages of a sync, noted; raise an error of ours instead of the CDK's if streams failed."""
        try:
            for message in messages:
                progress.note(message)
                yield message
        except AirbyteTracedException:
            # One that ends the sync while streams are being read is about something else.
            if not progress.failed_at_end():
                raise
            raise progress.error() from None

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
