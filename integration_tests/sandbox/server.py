"""The mount over HTTP: an ASGI application, and uvicorn to run it beside a test or as a process."""

from __future__ import annotations

import asyncio
import socket
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from integration_tests.sandbox.api import Api
from integration_tests.sandbox.messages import Answer, Call, Delivery
from integration_tests.sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

BASE_PATH = "/community"


class Application:
    """The ASGI application. `latency` seconds pass before an answer, give or take the fraction `jitter` of them.

    Waiting holds no thread, so any number of requests wait at once.
    """

    def __init__(self, api: Api, *, latency: float = 0.0, jitter: float = 0.0, seed: int = 0) -> None:
        self.api = api
        self.latency = latency
        self.jitter = jitter
        self._rng = Random(seed)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request."""
        with self.api.log.in_flight():
            answer = self.api.answer(_call_of(scope))
            delay = answer.delay + self.latency * self._rng.uniform(1 - self.jitter, 1 + self.jitter)
            if delay:
                await _wait(delay, receive)
            if answer.delivery is Delivery.WHOLE:
                await _send_whole(answer, send)
            elif answer.delivery in {Delivery.TRICKLED, Delivery.TRICKLED_HEAD}:
                await _trickle(answer, scope["extensions"]["transport"], receive, send)
            else:
                await _break_off(answer, scope["extensions"]["transport"], receive, send)


def _call_of(scope: Message) -> Call:
    authorization = dict(scope["headers"]).get(b"authorization")
    return Call(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1").removeprefix(BASE_PATH),
        query=scope["query_string"].decode("latin-1"),
        authorization=authorization and authorization.decode("latin-1"),
    )


async def _wait(delay: float, receive: Receive) -> None:
    """Wait, but not for a client that has gone."""
    try:
        await asyncio.wait_for(_disconnected(receive), delay)
    except TimeoutError:
        return


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_head(answer: Answer, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})


async def _send_whole(answer: Answer, send: Send) -> None:
    await _send_head(answer, send)
    await send({"type": "http.response.body", "body": answer.body})


async def _break_off(answer: Answer, transport: asyncio.Transport, receive: Receive, send: Send) -> None:
    """Close the connection early.

    uvicorn logs an application that stops early as an error, unless it learns that the connection is gone: hence
    the wait for that.
    """
    if answer.delivery is Delivery.HALF_BODY:
        await _send_head(answer, send)
        half = answer.body[: len(answer.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
    transport.close()
    await _disconnected(receive)


async def _trickle(answer: Answer, transport: asyncio.Transport, receive: Receive, send: Send) -> None:
    """Send an answer byte by byte, or a header without an end, as long as the client listens."""
    gone = asyncio.ensure_future(_disconnected(receive))
    if answer.delivery is Delivery.TRICKLED:
        await _send_head(answer, send)
        for place in range(len(answer.body)):
            await send({"type": "http.response.body", "body": answer.body[place : place + 1], "more_body": True})
            await asyncio.wait([gone], timeout=answer.pace)
            if gone.done():
                return
        await send({"type": "http.response.body", "body": b""})
        gone.cancel()
        return
    transport.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not gone.done():
        transport.write(b"x")
        await asyncio.wait([gone], timeout=answer.pace)


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which shows the application its transport: ASGI has no way to break a connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"transport": self.transport}  # type: ignore[dict-item]


class Sandbox:
    """A server of the emulated API in a thread, as long as the `with` block runs.

    Port 0 takes a free one. `api_url` is the address to configure a client with. With a `certificate`, a PEM file that
    holds its key too, it is served over TLS.
    """

    def __init__(
        self,
        api: Api | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        jitter: float = 0.0,
        seed: int = 0,
        certificate: Path | None = None,
    ) -> None:
        self.api = api or Api(Workspace.generate())
        self._address = (host, port)
        self._scheme = "https" if certificate else "http"
        self._server = uvicorn.Server(
            uvicorn.Config(
                Application(self.api, latency=latency, jitter=jitter, seed=seed),
                http=_Protocol,
                loop="asyncio",
                ws="none",
                lifespan="off",
                access_log=False,
                server_header=False,
                date_header=False,
                log_config=None,
                timeout_graceful_shutdown=1,
                ssl_certfile=certificate,
            )
        )

    @property
    def token(self) -> str:
        """The token that the API accepts."""
        return self.api.token

    @property
    def api_url(self) -> str:
        """The address below which the API is served."""
        host, port = self._socket.getsockname()[:2]
        return f"{self._scheme}://{host}:{port}{BASE_PATH}"

    def __enter__(self) -> Self:
        # The socket listens before the thread runs: a client that is faster waits in its queue.
        self._socket = socket.create_server(self._address, backlog=1024)
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="sandbox")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
