"""Answers: read whole, in so much time in all, and no larger than memory can hold."""

import heapq
import http.client
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
import urllib3
from airbyte_cdk.sources.http_config import MAX_CONNECTION_POOL_SIZE
from airbyte_cdk.sources.streams.http.tcp_keepalive import TcpKeepaliveHTTPAdapter

# At least so many bytes are read at once: requests asks for 10 KB, and each time costs as much as half a record.
# With 64 KB a sync takes 8 MB more of memory.
_MIN_CHUNK_BYTES = 2**14
# The largest answer, unpacked; real pages have some hundred thousand bytes.
MAX_BYTES = 256 * 2**20


class AnswerTooLargeError(requests.RequestException):
    """An answer is larger than any page; the text says how large it may be."""


class _Deadline:
    """A time by which one answer has to be complete."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.has_passed = False
        """Whether it passed before the answer was complete."""
        self._lock = threading.Lock()
        self._sock: Any = None
        self._closed = False

    def watch(self, sock: Any) -> None:
        """Watch the connection over which the answer arrives."""
        with self._lock:
            self._sock = sock
            if self.has_passed:
                _shut(sock)

    def close(self) -> None:
        """Stop watching: the answer is complete, or has failed."""
        with self._lock:
            self._closed, self._sock = True, None

    def end(self) -> None:
        """End the answer, if it is still waited for."""
        with self._lock:
            if self._closed:
                return
            self.has_passed = True
            if self._sock is not None:
                _shut(self._sock)


def _shut(sock: Any) -> None:
    # The reader meets the end of it, or an error. It may be closed already.
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class _DeadlineThread:
    """Ends answers whose time is over. One thread does so for all, and only while there are some."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._deadlines: list[tuple[float, int, _Deadline]] = []
        self._numbers = itertools.count()
        self._runs = False

    def add(self, deadline: _Deadline) -> None:
        with self._changed:
            heapq.heappush(self._deadlines, (deadline.at, next(self._numbers), deadline))
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="deadlines", daemon=True).start()
            elif self._deadlines[0][2] is deadline:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._deadlines:
                    self._runs = False
                    return
                left = self._deadlines[0][0] - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                deadline = heapq.heappop(self._deadlines)[2]
            deadline.end()


_deadlines = _DeadlineThread()
_current = threading.local()


@contextmanager
def one_deadline() -> Iterator[None]:
    """Let all requests that this thread sends meanwhile share the deadline of the first: redirects lead to the answer.

    Else a server that redirects each time just before the deadline would hold a worker for half an hour.
    """
    if getattr(_current, "shared", None) is not None:
        yield
        return
    _current.shared = []
    try:
        yield
    finally:
        _current.shared = None


def _ends_at(seconds: float) -> float:
    """Return until when an answer may take that may take so many seconds, but for one that is shared."""
    shared: list[float] | None = getattr(_current, "shared", None)
    if shared is None:
        return time.monotonic() + seconds
    if not shared:
        shared.append(time.monotonic() + seconds)
    return shared[0]


@contextmanager
def within(seconds: float, request: requests.PreparedRequest) -> Iterator[None]:
    """Let the requests that this thread sends take so many seconds together, up to the last byte of the answer.

    The time-outs of ``requests`` count between two bytes. A server that sends one each few seconds, in the headers or
    in the body, would hold a worker for ever.

    :raises requests.ReadTimeout: if they take longer
    """
    deadline = _Deadline(_ends_at(seconds))
    _current.deadline = deadline
    _deadlines.add(deadline)
    try:
        yield
    except Exception as error:
        if deadline.has_passed:
            raise _timed_out(seconds, request) from error
        raise
    finally:
        _current.deadline = None
        deadline.close()
    if deadline.has_passed:
        # The end of the connection looks like the end of an answer.
        raise _timed_out(seconds, request)


def _timed_out(seconds: float, request: requests.PreparedRequest) -> requests.ReadTimeout:
    return requests.ReadTimeout(f"the answer wasn't complete after {seconds:.0f} s", request=request)


class _Bounded:
    """The body of an answer, which ends if it gets larger than any page; all else is as it was."""

    def __init__(self, raw: urllib3.BaseHTTPResponse, request: requests.PreparedRequest) -> None:
        self._raw = raw
        self._request = request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amt: int, *, decode_content: bool) -> Iterator[bytes]:
        size = 0
        for chunk in self._raw.stream(max(amt, _MIN_CHUNK_BYTES), decode_content=decode_content):
            size += len(chunk)
            if size > MAX_BYTES:
                self._raw.close()
                raise AnswerTooLargeError(f"an answer of more than {MAX_BYTES // 2**20} MB", request=self._request)
            yield chunk


class _Response(http.client.HTTPResponse):
    """An answer, also that of a proxy, which is watched by the deadline of the thread that asks."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        deadline: _Deadline | None = getattr(_current, "deadline", None)
        if deadline is not None:
            deadline.watch(sock)
        super().__init__(sock, *args, **kwargs)


class _Watched(urllib3.connection.HTTPConnection):
    response_class = _Response


class _WatchedTls(urllib3.connection.HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Watched


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


_POOLS = {"http": _Pool, "https": _TlsPool}


class WatchedAdapter(TcpKeepaliveHTTPAdapter):
    """The CDK's adapter, but that it reads answers whole, in so much time in all, and no larger than :data:`MAX_BYTES`.

    Why not the CDK's as it is: it bounds neither, so that a slow or endless answer would hold a worker for ever.

    Seams: ``send``, ``build_response``, ``init_poolmanager`` and ``proxy_manager_for`` of the adapter of ``requests``;
    ``pool_classes_by_scheme`` of ``urllib3``; ``response_class`` of the standard library's connections. Pinned by
    integration_tests/test_answers.py.

    :param deadline: how many seconds an answer may take, from the connection on to its last byte
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        super().__init__(pool_connections=MAX_CONNECTION_POOL_SIZE, pool_maxsize=MAX_CONNECTION_POOL_SIZE)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Return the answer to a request, with its body.

        :raises requests.ReadTimeout: if it isn't complete in time
        :raises AnswerTooLargeError: if it is too large
        """
        with within(self._deadline, request):
            response = super().send(request, *args, **kwargs)
            # It is kept on the answer.
            _ = response.content
            return response

    def build_response(self, req: requests.PreparedRequest, resp: urllib3.BaseHTTPResponse) -> requests.Response:
        """Return the answer whose body is bounded."""
        response = super().build_response(req, resp)
        response.raw = _Bounded(resp, req)
        return response

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of connections."""
        super().init_poolmanager(*args, **kwargs)  # type: ignore[no-untyped-call]  # the CDK's
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **kwargs)  # type: ignore[no-untyped-call]
        manager.pool_classes_by_scheme = _POOLS
        return manager
