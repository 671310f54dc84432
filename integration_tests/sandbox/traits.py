"""Traits: what the API's description leaves open, to be chosen if a test needs it otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from integration_tests.sandbox.endpoints import ENDPOINTS, SORT_KEYS
from integration_tests.sandbox.rate_limit import INTERVAL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from integration_tests.sandbox.messages import Answer, Call

Direction = Literal["asc", "desc"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Traits:
    """What an emulated API is like where its description doesn't say. The defaults are what the connector assumes.

    Paths are those of `ENDPOINTS`, as "/v2/activities".
    """

    stored_finer: bool = False
    """Whether times of activities are stored finer than they are shown.

    The workspace's records may then hold microseconds, and the API compares with those, but answers milliseconds.
    `Workspace.as_shown` is what a sync has to bring.
    """
    exclusive_start: bool = False
    """Whether a row of the very moment of `startDate` is left out."""
    exclusive_end: bool = False
    """Whether a row of the very moment of `endDate` is left out."""
    date_resolution: timedelta | None = None
    """What the dates of a query are cut down to; without one, to the resolution at which times are stored."""
    coarse_times: bool = False
    """Whether the times that they are compared with are cut down to it, too."""
    order: Mapping[str, tuple[str, Direction]] = field(default_factory=dict)
    """How the rows of a path are ordered if `sort` or `direction` isn't sent."""
    ignores_order: Collection[str] = ()
    """The paths that take `sort` and `direction`, and order their rows as if neither had been sent."""
    text_sorted_ids: bool = False
    """Whether ids are compared as texts, so that `c_1000` comes before `c_999`."""
    uncounted: Collection[str] = ()
    """The paths that take `recordCount`, and never answer it."""
    unservable: Collection[str] = ()
    """The ids of records that can't be served: a page that would hold one is answered 500."""
    heavy: Mapping[str, int] = field(default_factory=dict)
    """The ids of records that take long: a page of more rows than this that holds one is answered 504."""
    limit_may_change: bool = False
    """Whether a cursor is good for another `limit` than it was made for, too."""
    misfits: bool = False
    """Whether each fifth record or so holds values of other types than documented, see `misfits.spoilt`."""
    dates: bool = False
    """Whether answers carry a `Date`, by the API's own clock."""
    rate_interval: int = INTERVAL_SECONDS
    """The seconds for which the rate limit counts."""
    otherwise: Mapping[str, Callable[[Call, Answer], Answer]] = field(default_factory=dict)
    """By path, what a test wants answered in the place of the right answer."""

    def __post_init__(self) -> None:
        named = {*self.order, *self.ignores_order, *self.uncounted, *self.otherwise}
        if unknown := named - ENDPOINTS.keys():
            raise ValueError(f"there is no endpoint {', '.join(sorted(unknown))}")
        if unknown := {path for path in self.ignores_order if not ENDPOINTS[path].sorts}:
            raise ValueError(f"no order can be asked for of {', '.join(sorted(unknown))}")
        if unknown := {path for path in self.uncounted if not ENDPOINTS[path].counts}:
            raise ValueError(f"nothing is counted of {', '.join(sorted(unknown))}")
        if unknown := {sort for sort, _ in self.order.values()} - SORT_KEYS.keys():
            raise ValueError(f"nothing is sorted by {', '.join(sorted(unknown))}")

    @property
    def comparing(self) -> tuple[bool, ...]:
        """What of this decides which records match and in which order, beside the query."""
        return (self.exclusive_start, self.exclusive_end, self.text_sorted_ids, self.coarse_times)

    def cut(self, moment: datetime) -> datetime:
        """Cut a date of a query down to the resolution at which dates are compared."""
        stored = timedelta(microseconds=1) if self.stored_finer else timedelta(milliseconds=1)
        return moment - (moment - EPOCH) % (self.date_resolution or stored)
