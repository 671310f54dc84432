"""The connector in a hurry, and on a small scale. All else is as `main.py` has it.

It waits a hundredth as long before it tries again, so that ten minutes of patience are six seconds. A window of
activities has three pages where it has eight, so that few records make many windows, and its state is kept as often as
the first argument says, in seconds, where it is kept twice a minute. If that is "wait", it waits a hundredth as long
for the rate limit, too, and all else is as usual; if it is "impatient", it waits 0.3 s for an answer, and tries twice.
"""

import sys
import time
from types import ModuleType
from typing import Any

from source_commonroom.activities import slices, windows
from source_commonroom.api import http, rate_limit
from source_commonroom.run import run

HURRY = 100


class _Hurried:
    """The module `time`, but that its seconds pass sooner."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def monotonic() -> float:
        return time.monotonic() * HURRY

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / HURRY)


def _set(module: ModuleType, **names: Any) -> None:
    for name, value in names.items():
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, value)


if __name__ == "__main__":
    # Not time.sleep itself: the request budget has to wait as long as an API says whose seconds are usual ones.
    _set(http, time=_Hurried())
    if (checkpoint := sys.argv.pop(1)) == "wait":
        _set(rate_limit, time=_Hurried())
    elif checkpoint == "impatient":
        _set(http, _TIMEOUTS=(0.3, 0.3), _RETRIES=1, PATIENCE=0.0)
    else:
        _set(slices, _SMALLEST=3, _LARGEST=8)
        _set(windows, _CHECKPOINT=float(checkpoint))
    run()
