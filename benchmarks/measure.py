"""Running a process and measuring it, and it alone.

CPU is the rusage that `wait4` gives for the child: its own and that of the children it waited for, with nothing of
the sandbox, of this process, or of what else the machine does. The peak of memory is VmHWM, which the kernel keeps
and `exec` resets; `ru_maxrss` wouldn't do, because it begins with what the parent had when it forked. The kernel drops
VmHWM with the process, so it is read every few milliseconds: what is missed is a growth in the last of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

SAMPLING_SECONDS = 0.02
TIME_LIMIT_SECONDS = 3_600
STDOUT, STDERR = "stdout", "stderr"


@dataclass(frozen=True)
class Usage:
    """What a process used."""

    wall: float
    cpu: float
    """Seconds of CPU, user and system."""
    peak_mb: float
    exit_code: int
    """Negative if a signal ended it."""


def measure(
    command: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    kill_when: Callable[[], bool] | None = None,
) -> Usage:
    """Run a command in a folder, its output in the files `stdout` and `stderr` there.

    Files, because a reader at the other end of a pipe would compete for the cores while the process runs. As soon as
    `kill_when` says so, the process is killed, by SIGKILL and so without a chance to write anything more.
    """
    with (folder / STDOUT).open("wb") as stdout, (folder / STDERR).open("wb") as stderr:
        started = perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        try:
            with _Watcher(process.pid, kill_when) as watcher:
                _, status, rusage = os.wait4(process.pid, 0)
                wall = perf_counter() - started
        except BaseException:
            process.kill()
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here, not by Popen
    return Usage(wall, rusage.ru_utime + rusage.ru_stime, watcher.peak_mb, process.returncode)


class _Watcher:
    """Watches a process from a thread: its memory, its time, and whether it is to be killed."""

    def __init__(self, pid: int, kill_when: Callable[[], bool] | None) -> None:
        self.peak_mb = 0.0
        self._kill_when = kill_when or (lambda: False)
        self._deadline = perf_counter() + TIME_LIMIT_SECONDS
        # Both stay with this process: once it is gone they fail, even if another has got its number.
        self._handle = os.pidfd_open(pid)
        self._status = Path(f"/proc/{pid}/status").open("rb", buffering=0)  # noqa: SIM115  # closed in __exit__
        self._ended = Event()
        self._thread = Thread(target=self._watch, name="watcher")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._status.close()
        os.close(self._handle)

    def _watch(self) -> None:
        with suppress(ProcessLookupError):
            while not self._ended.wait(SAMPLING_SECONDS):
                self._sample()
                if self._kill_when() or perf_counter() > self._deadline:
                    signal.pidfd_send_signal(self._handle, signal.SIGKILL)
                    return

    def _sample(self) -> None:
        self._status.seek(0)
        for line in self._status.read().splitlines():
            if line.startswith(b"VmHWM:"):
                self.peak_mb = int(line.split()[1]) / 1024
