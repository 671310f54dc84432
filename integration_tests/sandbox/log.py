"""The log of requests: what tests assert on and benchmarks count."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from integration_tests.sandbox.messages import is_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Request:
    """A request that was answered."""

    method: str
    path: str
    params: Mapping[str, str]
    status: int
    """The status answered, 0 if the connection was closed instead."""
    started_at: float
    """By the clock of the API."""
    fault: str | None = None
    """The kind of the fault that struck it."""


class RequestLog:
    """All requests in the order of their arrival, safe to read while more arrive."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.max_in_flight = 0
        self._in_flight = 0
        self._lock = Lock()

    def add(self, request: Request) -> None:
        """Note a request."""
        self.requests.append(request)

    def of(self, path: str) -> list[Request]:
        """List the requests of a path, or of all paths that one with `{id}` stands for."""
        return [request for request in list(self.requests) if is_at(path, request.path)]

    def pages(self, path: str) -> list[Request]:
        """List those that ask for pages: not for a count alone, with a page of one."""
        return [request for request in self.of(path) if request.params.get("limit") != "1"]

    def counts(self, path: str) -> list[Request]:
        """List those that ask for a count alone."""
        return [
            request
            for request in self.of(path)
            if request.params.get("limit") == "1" and "recordCount" in request.params.get("cols", "").split(",")
        ]

    def statuses(self) -> list[int]:
        """List the statuses answered, in order."""
        return [request.status for request in list(self.requests)]

    @property
    def rate_limited(self) -> int:
        """How many requests were answered 429."""
        return self.statuses().count(429)

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a request as being in flight, as long as the block runs."""
        with self._lock:
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def clear(self) -> None:
        """Forget all requests."""
        self.requests.clear()
        self.max_in_flight = 0
