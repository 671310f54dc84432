"""Playing a schedule: its runs one after the other, and the comparison after each."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

import orjson

from integration_tests.chaos import hurried
from integration_tests.chaos.avoid import PATHS, Avoidance
from integration_tests.chaos.changes import Changes
from integration_tests.chaos.chronicle import Chronicle
from integration_tests.chaos.clock import Clock
from integration_tests.chaos.figures import Figures
from integration_tests.chaos.laws import Played, Sync, breaches, converged_breaches, last_breaches, may_yet_come
from integration_tests.chaos.warehouse import Warehouse
from integration_tests.connector import start
from integration_tests.sandbox import Api, Fault, Sandbox, Workspace, counts
from integration_tests.sandbox.generate import END, Sizes, generate
from integration_tests.sandbox.messages import finer, iso
from unit_tests.streams import catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from signal import Signals

    from integration_tests.chaos.schedule import Run, Schedule
    from integration_tests.connector import Running
    from integration_tests.sandbox.messages import Answer, Call

    When = Callable[[Mapping[str, str]], bool]

PROGRAM = (sys.executable, str(Path(hurried.__file__)))
COLLECTIONS = {path: collection for collection, path in PATHS.items()}
LONGEST = 240
"""Seconds after which a run hangs."""
ROUNDS = 9
"""After so many syncs an addition that a deletion hid is found."""


class HungError(Exception):
    """A run doesn't come to its end."""


class ChaoticApi(Api):
    """An API whose workspace changes, and whose cursors expire, with the n-th request of a run."""

    run: Run | None = None
    changes: Changes
    notes_pages = False
    """Whether changes are told which pages were answered."""
    requests = 0
    """How many requests the run has made."""
    expired = 0

    def begin(self, run: Run) -> None:
        """Count the requests of a run."""
        self.run, self.requests = run, 0
        self.changes.forget_pages()

    def answer(self, call: Call) -> Answer:
        """Let happen what is due with this request, and answer it."""
        self.requests += 1
        if self.run is not None:
            for _ in range(self.run.changes.count(self.requests)):
                self.changes.make()
            if self.requests in self.run.expiries:
                self.expire_cursors()
                self.expired += 1
        answer = super().answer(call)
        if self.notes_pages and answer.status == 200 and call.params.get("limit") != "1":
            self._note_page(call, answer)
        return answer

    def _note_page(self, call: Call, answer: Answer) -> None:
        """Tell of a page that others follow, so that a row of it may be deleted behind the walk."""
        collection = COLLECTIONS.get(call.path)
        if collection is None:
            return
        try:
            content = orjson.loads(answer.body)
            if content["meta"]["nextCursor"] and content["data"]:
                self.changes.note_page(collection, [row["id"] for row in content["data"]])
        except (ValueError, KeyError, TypeError):
            # What a fault left of a page.
            return


def play(schedule: Schedule, folder: Path, warehouse: Warehouse | None = None) -> tuple[Figures, list[str]]:
    """Play a schedule, and tell what it did and which laws were broken."""
    warehouse = warehouse or Warehouse()
    style = schedule.style
    clock = Clock(schedule.days, len(schedule.runs), style.ahead)
    workspace = _workspace(schedule, clock)
    chronicle = Chronicle(workspace, schedule.streams)
    api = ChaoticApi(
        workspace,
        cursor_style=schedule.cursor_style,
        requests_per_second=schedule.requests_per_second,
        traits=style.traits,
        clock=clock.seconds if style.traits.dates else time.time,
    )
    api.changes = Changes(workspace, chronicle, clock, schedule)
    api.notes_pages = style.cursors is not None
    first = chronicle.now("activities")
    figures, violations = Figures(["schedules", *schedule.labels()]), []
    with Sandbox(api, latency=schedule.latency, jitter=schedule.jitter, seed=schedule.seed) as sandbox:
        runs, sync = list(schedule.runs), None
        for number, run in enumerate(runs, 1):
            try:
                played = _play_run(schedule, run, sandbox, chronicle, clock, warehouse, folder, sync)
            except HungError:
                violations.append(f"run {number} of {len(schedule.runs)}: it hung")
                break
            warehouse.load(played.output, schedule.streams, tail_arrives=run.tail_arrives)
            found = list(breaches(played, warehouse, chronicle, schedule, first))
            if number >= len(schedule.runs):
                found += last_breaches(played, warehouse)
            violations += [f"run {number} of {len(schedule.runs)}: {breach}" for breach in found]
            figures.update(_figures_of(played, run))
            sync = played.sync
            quiet = replace(run, changes=(), changes_before=0)
            if number == len(schedule.runs) and played.goes_on:
                # What arrived late while the sync was cut off comes with the next one.
                runs.append(quiet)
            elif number == len(runs) and _is_counted(schedule, run):
                lacking = list(converged_breaches(played, warehouse))
                if lacking and may_yet_come(played, warehouse) and number < len(schedule.runs) + ROUNDS:
                    runs.append(replace(quiet, days_pass=False))
                else:
                    violations += [f"run {number}: {breach}" for breach in lacking]
    figures.update(
        {
            "requests": len(api.log.requests),
            "faults": sum(request.fault is not None for request in api.log.requests),
            "rate limited": api.log.rate_limited,
            "cursors expired": api.expired,
            "changes": api.changes.made.total(),
            "rows that had been read": api.changes.read_rows_gone,
            "changes left out": api.changes.left_out,
            "violations": len(violations),
        }
    )
    return figures, violations


def _workspace(schedule: Schedule, clock: Clock) -> Workspace:
    """Make a workspace whose activities end a minute ago."""
    collections = generate(schedule.seed, Sizes(**schedule.sizes))
    shift = clock.now() - timedelta(minutes=1) - END
    rng = Random(f"stored finer {schedule.seed}")
    for row in collections["activities"]:
        moment = datetime.fromisoformat(row["activityTime"]) + shift
        row["activityTime"] = iso(moment - (moment - END) % schedule.grain)
        if schedule.style.traits.stored_finer:
            row["activityTime"] = finer(row["activityTime"], rng)
    return Workspace(collections)


def _play_run(
    schedule: Schedule,
    run: Run,
    sandbox: Sandbox,
    chronicle: Chronicle,
    clock: Clock,
    warehouse: Warehouse,
    folder: Path,
    sync: Sync | None,
) -> Played:
    """Play a run.

    :param sync: the sync that the run before it began, or went on with
    """
    api = sandbox.api
    assert isinstance(api, ChaoticApi)
    for _ in range(run.changes_before // 2):
        api.changes.make()
    if run.days_pass:
        clock.pass_days()
    for _ in range(run.changes_before - run.changes_before // 2):
        api.changes.make()
    before = {name: chronicle.now(name) for name in schedule.streams}
    covered = warehouse.covered("activities")
    arrived = frozenset(warehouse.tables.get("activities", {}))
    goes_on = warehouse.in_progress("activities")
    if not (goes_on and sync):
        sync = Sync(before["activities"], covered)
    for fault in _faults(schedule, run, clock):
        api.faults.add(fault)
    api.withheld.update(run.withheld)
    api.unservable.update(_unservable(schedule, run, api.workspace))
    api.heavy.update(_heavy(schedule, run, api.workspace))
    api.changes.avoidance = Avoidance(schedule, run)
    api.begin(run)
    begun = min(clock.now(), datetime.now(UTC))
    end = _end_date(schedule, clock)
    running = start(
        folder,
        "read",
        config={"api_token": sandbox.token, "api_url": sandbox.api_url, **schedule.config, **end},
        catalog=catalog(*schedule.streams),
        state=warehouse.states,
        program=(*PROGRAM, str(schedule.style.checkpoint)),
    )
    killed = _end(running, run, api)
    output = running.wait()
    assert output.messages or killed, f"the connector doesn't begin:\n{output.text[-2000:]}"
    api.changes.avoidance = None
    api.faults.clear()
    api.withheld.clear()
    unservable = frozenset(api.unservable)
    api.unservable.clear()
    api.heavy.clear()
    return Played(
        output=output,
        streams=schedule.streams,
        killed=killed,
        before=before,
        after={name: chronicle.now(name) for name in schedule.streams},
        covered_before=covered,
        arrived_before=arrived,
        sync=sync,
        goes_on=goes_on,
        begun=iso(begun),
        until=end.get("end_date", iso(min(clock.now(), datetime.now(UTC)))),
        unservable=unservable,
        only_unservable=not run.more_than_unservable,
        token=sandbox.token,
    )


def _is_counted(schedule: Schedule, run: Run) -> bool:
    """Tell whether the API counts activities in a run."""
    return schedule.style.counted("/v2/activities", failing=run.counts_fail)


def _faults(schedule: Schedule, run: Run, clock: Clock) -> list[Fault]:
    """List what fails in a run."""
    faults = list(run.faults)
    if run.spares_counts:
        faults = [replace(fault, when=_sparing_counts(fault.when)) for fault in faults]
    return [*(schedule.style.failures() if run.counts_fail else ()), *faults, *_loss(run, clock)]


def _sparing_counts(when: When | None) -> When:
    return lambda params: not counts(params) and (when is None or when(params))


def _unservable(schedule: Schedule, run: Run, workspace: Workspace) -> list[str]:
    """Draw the ids of the rows that can't be served."""
    if not run.unservable:
        return []
    rng = Random(f"unservable {schedule.seed} {schedule.runs.index(run)}")
    ids = {collection: [row["id"] for row in workspace.records(collection)] for collection in run.unservable}
    return [
        record_id
        for collection, number in run.unservable.items()
        for record_id in rng.sample(ids[collection], min(number, len(ids[collection])))
    ]


def _heavy(schedule: Schedule, run: Run, workspace: Workspace) -> dict[str, int]:
    """Draw the ids of the rows with which a large page takes too long, and how large a page may be."""
    if not schedule.style.heavy:
        return {}
    # The last run isn't one of them.
    number = schedule.runs.index(run) if run in schedule.runs else len(schedule.runs)
    rng = Random(f"heavy {schedule.seed} {number}")
    rows = [row["id"] for name in ("contacts", "organizations", "activities") for row in workspace.records(name)]
    return {record_id: rng.choice((25, 60, 110)) for record_id in rng.sample(rows, min(6, len(rows)))}


def _end_date(schedule: Schedule, clock: Clock) -> dict[str, str]:
    """Tell the connector when it is, if the real clock doesn't, and the API doesn't either."""
    if not schedule.days or schedule.style.traits.dates:
        return {}
    # If dates are cut to a second, nothing tells that what came in the last one wasn't asked for.
    now = clock.now()
    return {"end_date": iso(now.replace(microsecond=0) if schedule.style.traits.date_resolution else now)}


def _loss(run: Run, clock: Clock) -> list[Fault]:
    """Put activities out of reach that are older than so many days."""
    if run.lost_days is None:
        return []
    since = iso(clock.now() - timedelta(days=run.lost_days))
    when = lambda params: params.get("endDate", since) < since  # noqa: E731
    return [Fault("server_error_500", path="/v2/activities", when=when)]


def _end(running: Running, run: Run, api: ChaoticApi) -> Signals | None:
    """Wait for the end of a run, or bring it about; tell the signal that it was sent."""
    process = running.process
    deadline = time.monotonic() + LONGEST
    kill = run.kill
    while process.poll() is None:
        if kill is not None and api.requests >= kill.after:
            time.sleep(kill.delay)
            process.send_signal(kill.signal)
            kill = None
        try:
            process.wait(0.005 if kill else max(deadline - time.monotonic(), 0))
        except TimeoutExpired:
            if time.monotonic() >= deadline:
                process.kill()
                running.wait()
                raise HungError from None
    return run.kill.signal if run.kill and not kill else None


def _figures_of(played: Played, run: Run) -> Figures:
    failed = int(not played.killed and played.output.exit_code != 0)
    return Figures(
        {
            "runs": 1,
            "runs that failed": failed,
            "failed by changes alone": failed * run.only_changes,
            "with rows held back": int(bool(run.withheld)),
            "with rows unservable": int(bool(run.unservable)),
            "with counts that fail": int(run.counts_fail),
            **({played.killed.name: 1} if played.killed else {}),
            "records": sum(len(played.output.records(name)) for name in played.streams),
        }
    )
