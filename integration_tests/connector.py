"""The connector as a process, run as Airbyte runs it: files in, messages on stdout, an exit code.

A program in Python is forked from one that has imported the connector already; `fork_server.py` tells what is different
then, and saves most of the CPU that the tests would take. With `afresh`, an interpreter is started.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from airbyte_cdk.models import (
    AirbyteMessageSerializer,
    AirbyteStateMessage,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteCatalogSerializer,
)
from airbyte_cdk.models.airbyte_protocol_serializers import AirbyteStateMessageSerializer

from integration_tests.fork_server import LONGEST, Forked
from unit_tests.output import Output

MAIN = Path(__file__).resolve().parent.parent / "main.py"


@dataclass(frozen=True)
class Running:
    """A command that runs. What it wrote stays, in files, however it ends."""

    process: Forked | subprocess.Popen[bytes]
    stdout: Path
    stderr: Path
    reader: Thread

    def lines(self) -> list[str]:
        """List the whole lines that stand on stdout so far."""
        return _whole_lines(self.stdout.read_bytes())

    def wait(self, timeout: float = LONGEST) -> Output:
        """Wait for the end, and kill what hangs. Every line on stdout has to be a valid Airbyte message.

        Where SIGKILL was the end, the last line may be torn; it is left out then.

        :raises TimeoutExpired: where it hung
        """
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.reader.join()
        text = self.stdout.read_bytes()
        torn = text.rpartition(b"\n")[2]
        assert not torn or code == -signal.SIGKILL, f"stdout ends in the middle of a line: {torn[:200]!r}"
        messages = [AirbyteMessageSerializer.load(json.loads(line)) for line in _whole_lines(text)]
        return Output(code, messages, text.decode(errors="replace") + self.stderr.read_text())


def _whole_lines(text: bytes) -> list[str]:
    # Not splitlines(): texts hold U+2028 and the like, which JSON doesn't escape.
    return [line.decode() for line in text.split(b"\n")[:-1]]


def start(  # noqa: PLR0913  # three files, and how it is run
    folder: Path,
    command: str,
    config: Any = None,
    catalog: ConfiguredAirbyteCatalog | None = None,
    state: list[AirbyteStateMessage] | None = None,
    program: Sequence[str] = (sys.executable, str(MAIN)),
    options: Sequence[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
    afresh: bool = False,
) -> Running:
    """Start a command; ``folder`` takes its files, and those of one command at a time.

    :param program: what comes before the command, the connector by default
    :param options: what comes after its own arguments
    :param environment: what is added to that of this process
    :param afresh: start an interpreter
    """
    arguments = write_files(folder, config, catalog, state)
    stdout, stderr = folder / "stdout", folder / "stderr"
    words, env = [*program, command, *arguments, *options], {**os.environ, **(environment or {})}
    source, sink = os.pipe()
    process: Forked | subprocess.Popen[bytes]
    with stderr.open("wb") as err, os.fdopen(sink, "wb") as out:
        if program[0] == sys.executable and not afresh:
            process = Forked(words[1:], out.fileno(), err.fileno(), env)
        else:
            process = subprocess.Popen(words, stdout=out, stderr=err, env=env)
    stdout.write_bytes(b"")
    reader = Thread(target=_copy, args=(source, stdout), name="stdout")
    reader.start()
    return Running(process, stdout, stderr, reader)


def write_files(
    folder: Path,
    config: Any = None,
    catalog: ConfiguredAirbyteCatalog | None = None,
    state: list[AirbyteStateMessage] | None = None,
) -> list[str]:
    """Write the files of a command; return the arguments that name them."""
    files = {
        "config": config,
        "catalog": catalog and ConfiguredAirbyteCatalogSerializer.dump(catalog),
        "state": state and [AirbyteStateMessageSerializer.dump(message) for message in state],
    }
    arguments: list[str] = []
    for name, content in files.items():
        if content is not None:
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content))
            arguments += [f"--{name}", str(path)]
    return arguments


def _copy(source: int, path: Path) -> None:
    # A pipe, as Airbyte has it, and no file: a page is more than fits into one, so that a kill can tear it.
    with os.fdopen(source, "rb", buffering=0) as pipe, path.open("wb", buffering=0) as file:
        while some := pipe.read(2**16):
            file.write(some)


def run(folder: Path, command: str, *arguments: Any, **options: Any) -> Output:
    """Run a command to its end; see `start`, and `Running.wait`."""
    return start(folder, command, *arguments, **options).wait()
