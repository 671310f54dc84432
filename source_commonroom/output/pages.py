"""Pages: a page of records travels as one message."""

import threading
import time
from typing import Any

import orjson
from airbyte_cdk.models import AirbyteMessage, Type

from source_commonroom.api.exact_json import dumps_each
from source_commonroom.records.values import ChangedRecord

# Pages that are serialized and not written yet; a slow reader of stdout halts the walks here.
_BACKLOG_BYTES = 32 * 2**20


class PageMessage(AirbyteMessage):
    """The records of a page, serialized: one line of JSON each, as the Airbyte protocol has them.

    It is an ``AirbyteMessage``, so that the CDK's queue hands it on as it is; only :class:`PageEntrypoint` can write
    it. Unlike the CDK's serializer it keeps columns that are null.

    :param rows: the records, one or more
    """

    def __init__(self, stream: str, rows: list[dict[str, Any]]) -> None:
        super().__init__(type=Type.RECORD)
        self.stream = stream
        self.count = len(rows)
        before = b'{"type":"RECORD","record":{"stream":%b,"data":' % orjson.dumps(stream)
        emitted_at = b',"emitted_at":%d' % (time.time_ns() // 1_000_000)
        written = dumps_each(rows)
        if set(map(type, rows)) == {dict}:
            # Nearly all pages.
            self.lines = before + (emitted_at + b"}}\n" + before).join(written) + emitted_at + b"}}\n"
        else:
            ends = [emitted_at + _meta_of(row) + b"}}\n" for row in rows]
            self.lines = b"".join([before + line + end for line, end in zip(written, ends, strict=True)])


def _meta_of(row: dict[str, Any]) -> bytes:
    """Return what a record's message says of values that became null, as the protocol has it; nothing of others."""
    if not isinstance(row, ChangedRecord):
        return b""
    changes = [{"field": name, "change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"} for name in row.nulled]
    return b',"meta":' + orjson.dumps({"changes": changes})


class Backlog:
    """Bounds the bytes of all pages that were put on the queue and not written yet."""

    def __init__(self, limit: int = _BACKLOG_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._closed = False
        self._room = threading.Condition()

    def add(self, page: PageMessage) -> None:
        """Wait until there is room; a page that is larger than the bound alone passes when nothing else waits.

        :raises RuntimeError: once the output is closed, so that no walk goes on without a reader
        """
        size = len(page.lines)
        with self._room:
            self._room.wait_for(lambda: self._closed or not self._bytes or self._bytes + size <= self._limit)
            if self._closed:
                raise RuntimeError("the output was closed before the end of the sync")
            self._bytes += size

    def remove(self, page: PageMessage) -> None:
        """Make room: the page has been written."""
        with self._room:
            self._bytes -= len(page.lines)
            self._room.notify_all()

    def is_closed(self) -> bool:
        """Tell whether the output is closed."""
        return self._closed

    def close(self) -> None:
        """Release all that wait for room, with an error."""
        with self._room:
            self._closed = True
            self._room.notify_all()
