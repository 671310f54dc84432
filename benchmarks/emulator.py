"""The emulated API seen from the benchmark: starting its process, and asking it what it was asked."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from benchmarks.site import Site

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Traffic:
    """What reached the API since the last reset."""

    requests: int
    rate_limited: int
    """How many of them were answered 429."""
    in_flight: int
    """The most that were under way at once."""
    by_path: dict[str, int]
    activity_counts: int
    """How many asked for nothing but a count of activities."""
    pages: int
    """How many full-size pages were answered; it leaves out what only probes."""
    statuses: dict[str, int]


class Emulator:
    """A site's process (`benchmarks.server`), as long as the `with` block runs."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.api_url = ""
        self.token = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", json.dumps(asdict(self.site))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started = self._hear()
        self.api_url, self.token = started["api_url"], started["token"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Closes stdin, which ends it, and waits.
        self._process.__exit__(kind, error, traceback)

    def reset(self) -> None:
        """Forget the traffic so far."""
        self._ask("reset")

    def traffic(self) -> Traffic:
        """Tell the traffic since the last reset."""
        return Traffic(**self._ask("stats"))

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sandbox's process has ended; its error stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer
