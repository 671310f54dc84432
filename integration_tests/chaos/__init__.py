"""Chaos: seeded schedules of what can go wrong, played by the connector against a workspace that changes meanwhile.

    figures, violations = play(Schedule.of(seed=7), tmp_path)

A schedule is a workspace, a configuration, a style, a few runs in trouble (faults, cursors that expire, kills), and one
last run without trouble. The style is what the API is like where its description doesn't say (`style.py`); what nobody
could know under one is left out (`avoid.py`). `Schedule.former` draws the same schedule without a style, of an API that
is what the connector assumes.

Each run begins with the state that the one before left behind, as Airbyte does it, and while it runs the workspace
changes: with the n-th request of the run, so that a seed brings the same again as far as threads do. After each run the
warehouse is compared with the workspace; `laws.py` says what has to hold.

What is not as in production: waits between tries are shorter and windows smaller (`hurried.py`), and a schedule's years
of activities end at the moment when it is played, because the connector's clock is the real one.
"""

from integration_tests.chaos.figures import Figures
from integration_tests.chaos.play import play
from integration_tests.chaos.schedule import Schedule

__all__ = ["Figures", "Schedule", "play"]
