"""Styles: what the API of a schedule is like where its description doesn't say, and what fails for as long as it lasts.

The style of a seed is drawn apart from all else that the seed decides: without it, its schedule is the former one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from integration_tests.sandbox import ENDPOINTS, Fault, Traits, counts, counts_longer_than

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from integration_tests.sandbox.cursors import CursorStyle
    from integration_tests.sandbox.traits import Direction

ACTIVITIES = "/v2/activities"
CONTACTS = "/v2/contacts"
ORGANIZATIONS = "/v2/organizations"
# Locations are ordered by their members, which change with the contacts. Without a count nobody could tell that one of
# them has moved from a page that isn't read yet to one that is, whatever cursors are.
LOCATIONS = "/v2/locations"
COUNTED = tuple(path for path, endpoint in ENDPOINTS.items() if endpoint.counts and path != LOCATIONS)

CURSORS: tuple[CursorStyle, ...] = ("keyset", "tricky", "offset")
ORDERS: tuple[tuple[str, Direction], ...] = (
    ("activityTime", "desc"),
    ("activityTime", "desc"),
    ("id", "asc"),
    ("id", "desc"),
)
ALL_COUNTS = 0.0


@dataclass(frozen=True)
class Style:
    """A style; by default, the former one."""

    cursors: CursorStyle | None = None
    """How cursors work; None for what the schedule has drawn without a style."""
    traits: Traits = field(default_factory=Traits)
    failing_counts: float | None = None
    """Counts of activities fail if they span more than so many days; with `ALL_COUNTS`, all counts of all lists."""
    fails_at_last: bool = False
    """Whether they fail in the last run, too, and not in those before it alone."""
    ahead: timedelta = timedelta()
    """By how much the API's clock is ahead of the machine's. It isn't where nothing tells: without a `Date`."""

    heavy: bool = False
    """Whether there are records with which a large page takes too long, others in each run."""
    checkpoint: float = 0.0
    """How many seconds pass before a state keeps a part of a window: none is after each page, many are never."""

    @classmethod
    def of(cls, seed: int) -> Style:
        """Draw a style, the same one for the same seed."""
        rng = Random(f"style {seed}")
        cursors = rng.choice(CURSORS)
        exclusive = rng.choice(((), (), (), ("end",), ("start",), ("start", "end")))
        order, ignores_order = _orders(rng)
        uncounted = _uncounted(rng)
        dates = rng.random() < 0.35
        aheads = (timedelta(), timedelta(days=-5), timedelta(seconds=-90), timedelta(hours=1))
        finer, coarse = rng.random() < 0.3, rng.random()
        # Drawn apart, so that a seed goes on to mean what it did.
        sizes = Random(f"sizes {seed}")
        return cls(
            cursors=cursors,
            traits=Traits(
                stored_finer=finer,
                exclusive_start="start" in exclusive,
                exclusive_end="end" in exclusive,
                date_resolution=timedelta(seconds=1) if coarse < 0.25 else None,
                coarse_times=coarse < 0.125,
                order=order,
                ignores_order=ignores_order,
                text_sorted_ids=rng.random() < 0.2,
                uncounted=uncounted,
                dates=dates,
                limit_may_change=sizes.random() < 0.5,
            ),
            heavy=sizes.random() < 0.3,
            failing_counts=rng.choice((ALL_COUNTS, ALL_COUNTS, 30.0, 400.0)) if rng.random() < 0.25 else None,
            fails_at_last=rng.random() < 0.7,
            ahead=rng.choice(aheads) if dates else timedelta(),
            checkpoint=rng.choice((0.0, 0.0, 0.2, 30.0)),
        )

    @property
    def edge(self) -> timedelta:
        """How near to a date what isn't asked for by it may lie, though the date is before or after it."""
        traits = self.traits
        by_moment = traits.exclusive_start or traits.exclusive_end or traits.stored_finer
        return (traits.date_resolution or timedelta()) + by_moment * timedelta(milliseconds=1)

    def failures(self) -> Iterator[Fault]:
        """Make the counts fail that fail."""
        if self.failing_counts == ALL_COUNTS:
            yield Fault("status", status=504, when=_counts_other_than_of_locations)
        elif self.failing_counts is not None:
            yield Fault("status", status=504, path=ACTIVITIES, when=counts_longer_than(self.failing_counts))

    def counted(self, path: str, *, failing: bool) -> bool:
        """Tell whether all requests for counts of a path are answered, as far as the style goes.

        :param failing: whether the counts fail now that the style lets fail
        """
        fails = self.failing_counts == ALL_COUNTS or (self.failing_counts is not None and path == ACTIVITIES)
        return ENDPOINTS[path].counts and path not in self.traits.uncounted and not (failing and fails)

    def labels(self) -> list[str]:
        """Name what the style has of its own, for the figures."""
        traits = self.traits
        named = {
            f"{self.cursors} cursors": self.cursors is not None,
            "times stored finer": traits.stored_finer,
            "endDate exclusive": traits.exclusive_end,
            "startDate exclusive": traits.exclusive_start,
            "dates cut to a second": traits.date_resolution is not None,
            "times cut to a second": traits.coarse_times,
            "another default order": bool(traits.order),
            "order ignored": bool(traits.ignores_order),
            "ids sorted as text": traits.text_sorted_ids,
            "lists not counted": bool(traits.uncounted),
            "counts failing": self.failing_counts is not None,
            "counts failing at last": self.failing_counts is not None and self.fails_at_last,
            "large pages too slow": self.heavy,
            "and limit may change": self.heavy and traits.limit_may_change,
            "Date answered": traits.dates,
            "clock not the machine's": self.ahead != timedelta(),
        }
        return [name for name, there in named.items() if there]


def _orders(rng: Random) -> tuple[Mapping[str, tuple[str, Direction]], tuple[str, ...]]:
    order: dict[str, tuple[str, Direction]] = {}
    ignores: list[str] = []
    if rng.random() < 0.35:
        order[ACTIVITIES] = rng.choice(ORDERS)
        ignores += [ACTIVITIES] * (rng.random() < 0.5)
    if rng.random() < 0.15:
        # Not by name: names change, and a contact whose name does would move from page to page.
        order[CONTACTS] = ("id", "desc")
        ignores += [CONTACTS] * (rng.random() < 0.7)
    return order, tuple(ignores)


def _uncounted(rng: Random) -> tuple[str, ...]:
    draw = rng.random()
    if draw < 0.1:
        return COUNTED
    return tuple(rng.sample((ACTIVITIES, CONTACTS, ORGANIZATIONS, "/v2/website-visits"), 2)) if draw < 0.2 else ()


def _counts_other_than_of_locations(params: Mapping[str, str]) -> bool:
    # For the same reason that they aren't among those that are never counted.
    return counts(params) and "locationType" not in params
