"""Running contenders against sites, in turn, and what came of each run."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.emulator import Emulator, Traffic
from benchmarks.job import Job
from benchmarks.measure import STDERR, measure
from benchmarks.outputs import Delivered
from benchmarks.site import STREAMS, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from benchmarks.contenders import Contender

# No contender calls home while being measured, and what dlt keeps for a user stays out of the user's folder.
QUIET = {"DO_NOT_TRACK": "1", "RUNTIME__DLTHUB_TELEMETRY": "false"}


@dataclass(frozen=True)
class Case:
    """A contender at a site: one row of the table."""

    name: str
    contender: Contender
    site: Site | None = None
    """None for a program that asks no API."""
    streams: tuple[str, ...] = STREAMS
    config: Mapping[str, Any] = field(default_factory=dict)
    """More properties of the connector's configuration."""
    whole: bool = True
    """Whether it has to deliver all records; a run that is killed, or goes on from a state, hasn't."""
    exit_code: int = 0
    """How it has to end."""


@dataclass(frozen=True)
class Run:
    """One run of a case, measured."""

    case: str
    wall: float
    cpu: float
    peak_mb: float
    exit_code: int
    requests: int = 0
    rate_limited: int = 0
    in_flight: int = 0
    records: int = 0
    floor: float | None = None
    """Seconds; None without a rate limit."""
    problem: str = ""
    """What makes it no measurement: it failed, or it delivered too little."""
    requests_of: Mapping[str, int] = field(default_factory=dict)
    """Requests by path."""
    activity_counts: int = 0
    """How many of them asked for nothing but a count of activities."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """What only its scenario measures."""


@dataclass(frozen=True)
class Row:
    """A case over its runs: the medians of them."""

    case: str
    runs: Sequence[Run]

    def median(self, metric: str) -> float:
        """Tell the median of a metric that every run has."""
        return median(float(getattr(run, metric)) for run in self.runs)

    def fact(self, name: str) -> float:
        """Tell the median of what only the scenario measures."""
        return median(run.facts[name] for run in self.runs)

    @property
    def over_floor(self) -> float | None:
        """The wall time as a multiple of the least that the rate limit allows."""
        floor = self.runs[0].floor
        return floor and self.median("wall") / floor

    @property
    def cpu_per_record(self) -> float | None:
        """Microseconds of CPU a record, the start included."""
        records = self.median("records")
        return self.median("cpu") / records * 1e6 if records else None

    @property
    def problems(self) -> list[str]:
        """What went wrong, over all runs."""
        return sorted({run.problem for run in self.runs if run.problem})


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """Group runs by their case, in the order of their first appearance."""
    return [Row(case, [run for run in runs if run.case == case]) for case in dict.fromkeys(run.case for run in runs)]


class Bench:
    """Where runs happen: it starts a site's sandbox when a run first needs it, and ends them all at the end."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._emulators: dict[Site, Emulator] = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def emulator(self, site: Site) -> Emulator:
        """Give the sandbox of a site."""
        if site not in self._emulators:
            say(f"starting the sandbox: {site}")
            self._emulators[site] = self._stack.enter_context(Emulator(site))
        return self._emulators[site]

    def in_turn(self, cases: Sequence[Case], rounds: int) -> list[Run]:
        """Run all cases one after the other, and that so many times: what slows the machine slows all of them."""
        runs = []
        for _ in range(rounds):
            for case in cases:
                with new_folder() as folder:
                    runs.append(self.run(case, folder))
        return runs

    def run(
        self,
        case: Case,
        folder: Path,
        *,
        state: list[Any] | None = None,
        kill_when: Callable[[Traffic], bool] | None = None,
    ) -> Run:
        """Run a case once, in a folder that is empty and keeps its output."""
        if case.site is None:
            job = Job(folder, "", "", case.streams)
            return _said(self._measured(case, job, None))
        emulator = self.emulator(case.site)
        emulator.reset()
        job = Job(
            folder=folder,
            api_url=emulator.api_url,
            token=emulator.token,
            streams=case.streams,
            requests_per_second=case.site.requests_per_second,
            start_date=case.site.start_date,
            config=case.config,
            state=state,
        )
        run = self._measured(case, job, kill_when and (lambda: kill_when(emulator.traffic())))
        traffic = emulator.traffic()
        run = replace(
            run,
            requests=traffic.requests,
            rate_limited=traffic.rate_limited,
            in_flight=traffic.in_flight,
            requests_of=traffic.by_path,
            activity_counts=traffic.activity_counts,
        )
        if case.contender.deliveries is None:
            return _said(run)
        delivered = Delivered.of(case.contender.deliveries(folder))
        if case.whole and not run.problem and not delivered.is_all(case.site, case.streams):
            found = {stream: len(ids) for stream, ids in delivered.ids.items()}
            run = replace(run, problem=f"delivered only {found}")
        return _said(replace(run, records=delivered.records, floor=case.site.floor(case.streams)))

    def _measured(self, case: Case, job: Job, kill_when: Callable[[], bool] | None) -> Run:
        usage = measure(case.contender.command(job), job.folder, environment=os.environ | QUIET, kill_when=kill_when)
        problem = ""
        if usage.exit_code != case.exit_code:
            last_words = (job.folder / STDERR).read_text(errors="replace").strip().splitlines()[-1:]
            problem = " ".join([f"exit code {usage.exit_code}, not {case.exit_code}", *last_words])
        return Run(case.name, usage.wall, usage.cpu, usage.peak_mb, usage.exit_code, problem=problem)


@contextmanager
def new_folder() -> Iterator[Path]:
    """Make a folder for a run, which goes with all that was written there."""
    with TemporaryDirectory(prefix="benchmark-") as folder:
        yield Path(folder)


def say(text: str) -> None:
    """Tell how it goes, on stderr: stdout is for the table."""
    sys.stderr.write(f"    {text}\n")
    sys.stderr.flush()


def _said(run: Run) -> Run:
    counts = f", {run.records:,} records, {run.requests:,} requests" if run.requests else ""
    say(f"{run.case}: {run.wall:.1f} s, {run.cpu:.2f} s of CPU, {run.peak_mb:.0f} MB{counts} {run.problem}")
    return run
