"""Estimates: how many records the platform may expect of each stream."""

import threading
import time
from collections import Counter

from airbyte_cdk.models import (
    AirbyteEstimateTraceMessage,
    AirbyteMessage,
    AirbyteTraceMessage,
    EstimateType,
    TraceType,
    Type,
)
from airbyte_cdk.sources.message import MessageRepository


class Estimates:
    """Tells the platform how many records to expect of each stream: an ESTIMATE each time that more is known.

    :param repository: takes messages of any thread
    """

    def __init__(self, repository: MessageRepository) -> None:
        self._repository = repository
        self._records: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, stream: str, records: int) -> None:
        """Expect so many records more."""
        with self._lock:
            self._records[stream] += records
            estimate = AirbyteEstimateTraceMessage(
                name=stream, type=EstimateType.STREAM, row_estimate=self._records[stream]
            )
            self._repository.emit_message(
                AirbyteMessage(
                    type=Type.TRACE,
                    trace=AirbyteTraceMessage(
                        type=TraceType.ESTIMATE, emitted_at=time.time_ns() // 1_000_000, estimate=estimate
                    ),
                )
            )
