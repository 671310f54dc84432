"""Schedules: all that a seed decides before anything runs."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from integration_tests.chaos.style import ACTIVITIES, CONTACTS, ORGANIZATIONS, Style
from integration_tests.sandbox import Fault
from unit_tests.streams import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from integration_tests.sandbox.cursors import CursorStyle

RETRIED = (
    "rate_limited",
    "server_error_500",
    "success_false",
    "bad_gateway_502",
    "unavailable_503_html",
    "error_520",
    "ok_html",
    "ok_empty",
    "no_content_204",
    "truncated_json",
    "malformed_utf8",
    "malformed_nan",
    "data_null",
    "data_object",
    "missing_meta",
    "short_body",
    "reset",
    "hang",
)
"""What passes when it is asked again."""
ODD = ("empty_rows", "repeated_cursor", "missing_cursor", "bad_request_400")
"""What may go on or end a stream, loudly."""
FATAL = ("unauthorized_401", "forbidden_403", "not_found_404", "bad_request_400")
"""What ends a stream, loudly."""
ALWAYS = ("contacts", "activities")
LISTS = (
    "organizations",
    "website_visits",
    "objects",
    "segments",
    "segment_members",
    "locations",
    "prospector_contacts",
    "prospector_companies",
    "tags",
    "topics",
    "custom_fields",
    "activity_types",
    "segment_statuses",
    "user_defined_tags",
    "me",
)
# Where the API's description requires nextCursor. Elsewhere a page without it is the last one, and nobody could tell.
CURSOR_REQUIRED = (ACTIVITIES, ORGANIZATIONS)


@dataclass(frozen=True)
class Kill:
    """The end of a run by a signal: so many seconds after so many requests of the run."""

    signal: signal.Signals
    after: int
    delay: float


@dataclass(frozen=True)
class Run:
    """A run, and the trouble it gets into."""

    faults: tuple[Fault, ...] = ()
    changes: tuple[int, ...] = ()
    """With which requests the workspace changes."""
    expiries: tuple[int, ...] = ()
    """With which requests all cursors expire."""
    kill: Kill | None = None
    changes_before: int = 0
    """How many changes come before it starts, half of them before the days have passed."""
    withheld: Mapping[str, float] = field(default_factory=dict)
    """The share of the rows of a path that stand on no page, though they are counted."""
    lost_days: float | None = None
    """How old an activity has to be to be out of reach: windows fail, and later ones don't."""
    tail_arrives: bool = True
    """Whether the records that come behind the last state reach the warehouse; a platform may drop them."""

    unservable: Mapping[str, int] = field(default_factory=dict)
    """How many rows of a collection can't be served."""
    counts_fail: bool = False
    """Whether the counts fail that the style lets fail."""
    spares_counts: bool = False
    """Whether the faults leave requests alone that ask for a count."""
    rows_go: bool = False
    """Whether rows go while the connector reads, where one that comes could make up for it; else, rows come."""

    days_pass: bool = True
    """Whether the days between two runs pass before it."""

    @property
    def only_changes(self) -> bool:
        """Whether nothing goes wrong: the workspace changes, and no more."""
        return not (self.unservable or self.more_than_unservable)

    @property
    def more_than_unservable(self) -> bool:
        """Whether something goes wrong beside rows that can't be served."""
        wrong = self.faults or self.expiries or self.kill or self.withheld or self.counts_fail
        return bool(wrong) or self.lost_days is not None


@dataclass(frozen=True)
class Schedule:
    """What is played. The last run has no trouble."""

    seed: int
    sizes: Mapping[str, int]
    streams: tuple[str, ...]
    config: Mapping[str, Any]
    lookback_days: int
    days: float
    """How many days pass between two runs; with 0, the runs follow one another by the real clock."""
    grain: timedelta
    """What the times of activities are rounded down to: with days, many activities have the same."""
    cursor_style: CursorStyle
    requests_per_second: int | None
    latency: float
    jitter: float
    runs: tuple[Run, ...]
    style: Style = field(default_factory=Style)

    @classmethod
    def of(cls, seed: int) -> Schedule:
        """Draw a schedule, the same one for the same seed, of the style that this seed draws."""
        former, style = cls.former(seed), Style.of(seed)
        rng = Random(f"styled runs {seed}")
        *troubled, last = former.runs
        return replace(
            former,
            cursor_style=style.cursors or former.cursor_style,
            style=style,
            runs=(
                *(_styled(rng, run, former.streams, style) for run in troubled),
                replace(last, counts_fail=style.failing_counts is not None and style.fails_at_last),
            ),
        )

    @classmethod
    def former(cls, seed: int) -> Schedule:
        """Draw a schedule of an API that is what the connector assumes, the same one for the same seed."""
        rng = Random(f"schedule {seed}")
        streams = (*ALWAYS, *rng.sample(LISTS, rng.randint(1, 3)))
        lookback_days = rng.choice((0, 3, 30, 150, 150))
        sizes = {
            "contacts": rng.randint(50, 900),
            "organizations": rng.randint(20, 500),
            "activities": rng.randint(500, 6_000),
        }
        config = {
            "lookback_window_days": lookback_days,
            "num_workers": rng.choice((2, 3, 5, 10, 20)),
            "requests_per_second": rng.choice((20, 50, 100)),
            "walk_from_both_ends": rng.random() < 0.75,
        }
        # Where a list is read from one end, new records may stand for those that are held back.
        both = (CONTACTS, ORGANIZATIONS) if config["walk_from_both_ends"] else ()
        return cls(
            seed=seed,
            sizes=sizes,
            streams=streams,
            config=config,
            lookback_days=lookback_days,
            days=rng.choice((0, 1, 10, 20)),
            grain=rng.choice((timedelta(milliseconds=1), timedelta(hours=1), timedelta(days=1))),
            cursor_style=rng.choice(("keyset", "tricky")),
            requests_per_second=rng.choice((None, None, 10, 20, 50)),
            latency=rng.choice((0.0, 0.01, 0.03, 0.06)),
            jitter=rng.choice((0.0, 0.5, 1.0)),
            runs=(
                *(
                    replace(
                        _troubled(rng, streams, lookback_days),
                        withheld=_withheld(Random(f"withheld {seed} {run}"), (ACTIVITIES, *both)),
                    )
                    for run in range(rng.randint(1, 4))
                ),
                Run(changes_before=rng.randint(0, 10)),
            ),
        )

    @property
    def keeps_history(self) -> bool:
        """Whether no activity is deleted before the lookback, so that none can hide one that arrives there."""
        return Random(f"history {self.seed}").random() < 0.5

    def labels(self) -> list[str]:
        """Name what only schedules with a style have, for the figures."""
        pages = any(fault.kind == "repeated_page" for run in self.runs for fault in run.faults)
        rows = any(run.unservable for run in self.runs)
        return [*self.style.labels(), *(["pages repeated"] if pages else []), *(["rows unservable"] if rows else [])]


def _troubled(rng: Random, streams: tuple[str, ...], lookback_days: int) -> Run:
    return Run(
        faults=tuple(_fault(rng, streams) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))),
        changes=tuple(sorted(rng.randint(1, 60) for _ in range(rng.randint(0, 15)))),
        expiries=tuple(sorted(rng.randint(1, 60) for _ in range(rng.choice((0, 1, 2, 3))))),
        kill=_kill(rng) if rng.random() < 0.4 else None,
        changes_before=rng.randint(0, 10),
        lost_days=rng.random() * 1.3 * max(lookback_days, 30) if rng.random() < 0.3 else None,
        tail_arrives=rng.random() < 0.5,
    )


def _styled(rng: Random, run: Run, streams: tuple[str, ...], style: Style) -> Run:
    """Add to a run what only schedules with a style have, and take from it what makes no sense under that style."""
    collections = ["activities", "activities", "contacts", *({"organizations"} & {*streams})]
    unservable = {rng.choice(collections): rng.randint(1, 3)} if rng.random() < 0.2 else {}
    repeated = [_repeated_page(rng, streams)] if rng.random() < 0.2 else []
    counts_fail = style.failing_counts is not None and rng.random() < 0.8
    alone = bool(unservable) and rng.random() < 0.5
    if alone:
        run = replace(run, faults=(), expiries=(), kill=None, lost_days=None)
        counts_fail, repeated = False, []
    withheld = {
        path: share
        for path, share in run.withheld.items()
        # Rows that are held back are missing in a count only; and where new ones can't be told from old ones, those
        # may stand for them.
        if style.counted(path, failing=counts_fail)
        and (path == ACTIVITIES or not (style.traits.text_sorted_ids or path in style.traits.ignores_order))
    }
    return replace(
        run,
        faults=(*repeated, *run.faults),
        withheld={} if alone else withheld,
        unservable=unservable,
        counts_fail=counts_fail,
        spares_counts=bool(withheld) or rng.random() < 0.5,
        rows_go=rng.random() < 0.5,
    )


def _repeated_page(rng: Random, streams: tuple[str, ...]) -> Fault:
    path = rng.choice((ACTIVITIES, CONTACTS, *([ORGANIZATIONS] if "organizations" in streams else [])))
    after, times = rng.randint(0, 5), rng.choice((1, 1, 2))
    return Fault("repeated_page", path=path, after=after, times=times, when=_in_the_middle)


def _withheld(rng: Random, paths: tuple[str, ...]) -> Mapping[str, float]:
    return {rng.choice(paths): 0.1} if rng.random() < 0.2 else {}


def _kill(rng: Random) -> Kill:
    return Kill(
        signal=rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)),
        after=rng.choice((rng.randint(0, 5), rng.randint(5, 80))),
        delay=rng.choice((0.0, rng.random() * 0.3)),
    )


def _in_the_middle(params: Mapping[str, str]) -> bool:
    return "cursor" in params


def _fault(rng: Random, streams: tuple[str, ...]) -> Fault:
    path = rng.choice((None, *(BY_NAME[name].path for name in streams if "(" not in BY_NAME[name].path)))
    sort = rng.random()
    if sort < 0.3:
        # An outage: what is asked fails, until so many requests have failed.
        return Fault(rng.choice(RETRIED), after=rng.randint(0, 30), times=rng.randint(1, 40), path=path, seconds=0.05)
    if sort < 0.85:
        return Fault(
            rng.choice(RETRIED),
            every=rng.choice((2, 3, 5, 8, 13)),
            after=rng.randint(0, 8),
            times=rng.choice((None, 1, 5, 20)),
            path=path,
            seconds=rng.uniform(0.05, 0.8),
        )
    if sort < 0.95:
        kind = rng.choice(ODD)
        return Fault(
            kind,
            every=rng.choice((1, 3, 7)),
            times=rng.choice((1, 3)),
            path=rng.choice(CURSOR_REQUIRED) if kind == "missing_cursor" else path,
            when=_in_the_middle if kind == "bad_request_400" else None,
        )
    return Fault(rng.choice(FATAL), after=rng.randint(0, 15), times=rng.choice((1, 2)), path=path)
