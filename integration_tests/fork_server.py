"""Python programs as processes that needn't import anything: forks of one process that has imported the connector.

To import the connector takes 0.9 s of CPU, more than most runs of it. `Forked(words)` runs `python *words` with a fork
of a server, of which this process has one for each interpreter. What the program meets is what it meets when an
interpreter starts:

* it is called `__main__`, at the top of the stack, so that Python itself ends it: by `sys.exit`, by an exception that
  nobody caught, by a signal; with threads waited for, `atexit`, and what is left in buffers;
* `sys.argv`, `sys.path`, the environment, the folder, and the files 0, 1 and 2 are those of the run, and no other file
  is open; no thread runs, no signal is blocked or handled.

What an interpreter decides as it starts isn't: the encodings of the locale and of `PYTHONIOENCODING`, the options of
`python`, and the seed of hashes are the server's; and a module that is broken was imported all the same. Tests of
these start `python` itself.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from select import select
from tempfile import TemporaryFile
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 300
"""Seconds after which a program hangs."""
_LARGEST = 2**17
"""Bytes of a request."""


class Interpreter(NamedTuple):
    """What programs are forks of."""

    path: str
    modules: tuple[str, ...]
    """What it has imported."""
    environment: tuple[tuple[str, str], ...] = ()
    """What is added to its environment as it imports them."""


# What comes after it is what the connector imports only as it reads.
CONNECTOR = Interpreter(sys.executable, ("source_commonroom.run", "encodings.utf_8_sig", "anyascii._data"))


class Forked:
    """A Python program that runs; used like a `subprocess.Popen`.

    :param words: what follows `python`: the path of a program and its arguments, or "-c" and a text
    """

    def __init__(
        self,
        words: Sequence[str],
        stdout: int,
        stderr: int,
        env: Mapping[str, str] | None = None,
        interpreter: Interpreter = CONNECTOR,
    ) -> None:
        self.args = words
        self.returncode: int | None = None
        environment = os.environ if env is None else env
        request = {"words": words, "env": dict(environment), "folder": str(Path.cwd())}
        self._status, status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with status, Path(os.devnull).open("rb") as stdin:
            files = [stdin.fileno(), stdout, stderr, status.fileno()]
            socket.send_fds(_server(interpreter), [json.dumps(request).encode()], files)
        self.pid = self._receive()

    def _receive(self) -> int:
        text = self._status.recv(64)
        if not text:
            raise RuntimeError("the fork server has ended")
        return int(text)

    def poll(self) -> int | None:
        """Tell the exit code, or that of a signal, below 0; None as long as it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and tell the exit code.

        :raises TimeoutExpired: if it takes longer than so many seconds
        """
        if self.returncode is None:
            if timeout is not None and not select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(list(self.args), timeout)
            self.returncode = self._receive()
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing if it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run(
    words: Sequence[str], env: Mapping[str, str] | None = None, interpreter: Interpreter = CONNECTOR
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, and return what it wrote, as `subprocess.run` does."""
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        code = Forked(words, stdout.fileno(), stderr.fileno(), env, interpreter).wait(LONGEST)
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(words, code, stdout.read(), stderr.read())


_servers: dict[Interpreter, socket.socket] = {}
_starting = threading.Lock()


def _server(interpreter: Interpreter) -> socket.socket:
    """Return what a server of this process takes requests from; start it if there is none yet."""
    with _starting:
        if interpreter not in _servers:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with its:
                words = [interpreter.path, "-m", __name__, str(its.fileno()), *interpreter.modules]
                # A pipe, as stdout is in a run.
                files: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
                env = os.environ | dict(interpreter.environment)
                process = subprocess.Popen(words, cwd=ROOT, env=env, pass_fds=[its.fileno()], **files)
            atexit.register(_end, ours, process)
            _servers[interpreter] = ours
        return _servers[interpreter]


def _end(requests: socket.socket, server: subprocess.Popen[bytes]) -> None:
    """End a server, and what it runs. It ends by itself as well if this process ends without a word."""
    requests.close()
    server.communicate()


class _Server:
    """Forks for each request that it takes, and tells how each fork ends."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: dict[int, socket.socket] = {}

    def serve(self) -> dict[str, Any]:
        """Return in each fork, what is to be run; the server itself doesn't come back."""
        # Ctrl-C is for who waits for the runs.
        self._at_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, self._report)
        while True:
            text, files, *_ = socket.recv_fds(self._requests, _LARGEST, 4)
            if not text:
                self._kill()
            status = socket.socket(fileno=files.pop())
            # A fork may end before it stands in the list.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            if pid := os.fork():
                self._running[pid] = status
                status.send(str(pid).encode())
            else:
                self._leave(files, status)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            for file in files:
                os.close(file)
            if not pid:
                request: dict[str, Any] = json.loads(text)
                return request

    def _report(self, *_: object) -> None:
        while self._running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with self._running.pop(ended[0]) as status, suppress(OSError):
                status.send(str(os.waitstatus_to_exitcode(ended[1])).encode())

    def _kill(self) -> NoReturn:
        """End with all that runs."""
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    def _leave(self, files: list[int], status: socket.socket) -> None:
        """Undo in a fork what is the server's, and take the files of the run."""
        for other in (self._requests, status, *self._running.values()):
            other.close()
        for target, file in enumerate(files):
            os.dup2(file, target)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, self._at_interrupt)


def _become(request: dict[str, Any]) -> None:
    """Run a program in this process, as the interpreter does that starts with it."""
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["folder"])
    program, *arguments = request["words"]
    module = sys.modules["__main__"] = ModuleType("__main__")
    if program == "-c":
        text, *arguments = arguments
        sys.path[0], name = "", "<string>"
    else:
        text, name = Path(program).read_text(encoding="utf-8"), program
        sys.path[0], module.__file__ = str(Path(program).resolve().parent), program
    sys.argv = [program, *arguments]
    exec(compile(text, name, "exec"), vars(module))  # noqa: S102  # what Python does


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    # Nor is what was imported copied, as it would be if it were searched for garbage.
    gc.collect()
    gc.freeze()
    _become(_Server(socket.socket(fileno=int(sys.argv[1]))).serve())
