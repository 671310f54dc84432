"""The workspaces that scenarios read: the sandbox's own, or the same with its activities spread over years."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from integration_tests.sandbox.generate import END
from integration_tests.sandbox.messages import iso
from integration_tests.sandbox.workspace import DEFAULT_SEED, Workspace

if TYPE_CHECKING:
    from benchmarks.site import Site

YEAR = timedelta(days=365)
BURST_AT = 0.6
"""How far into the years the burst begins: neither slicing from the left nor from the right meets it at once."""
BURST_SPAN = timedelta(hours=1)
GROWTH = 0.6
"""An exponent below 1 puts more of the activities towards the end, as a workspace that grows does."""


def build(site: Site, seed: int = DEFAULT_SEED) -> Workspace:
    """Make a site's workspace, the same one for the same site."""
    workspace = Workspace.generate(
        seed=seed, contacts=site.contacts, organizations=site.organizations, activities=site.activities
    )
    if site.years is not None:
        times = activity_times(Random(seed), site.activities, site.years, site.burst)
        for activity, time in zip(workspace.records("activities"), times, strict=True):
            workspace.replace("activities", {**activity, "activityTime": time})
    return workspace


def activity_times(rng: Random, count: int, years: float, burst: float) -> list[str]:
    """Draw times over the years before the generator's end, a part of them within one hour.

    Their order is that of chance: the ids, which the records keep, tell nothing of the time. The first and the last
    moment of the span are taken.
    """
    span, hour = _milliseconds(years * YEAR), _milliseconds(BURST_SPAN)
    bursting = int(count * burst)
    offsets = [int(span * rng.random() ** GROWTH) for _ in range(count - bursting)]
    offsets[:2] = [0, span][: len(offsets)]
    offsets += [int(span * BURST_AT) + rng.randrange(hour) for _ in range(bursting)]
    rng.shuffle(offsets)
    start = END - years * YEAR
    return [iso(start + timedelta(milliseconds=offset)) for offset in offsets]


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
