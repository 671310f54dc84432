"""The connector in a hurry, and on a small scale. All else is as `main.py` has it.

It waits a hundredth as long before it tries again. A window of activities has three pages where it has eight, so
that few records make many windows, and its state is kept as often as the first argument says, in seconds, where it is
kept twice a minute.
"""

import sys
import time
from types import ModuleType
from typing import Any

from source_commonroom import slices, windows
from source_commonroom.components import retries
from source_commonroom.run import run

HURRY = 100


class _Hurried:
    """The module `time`, but for its `sleep`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / HURRY)


def _set(module: ModuleType, **names: Any) -> None:
    for name, value in names.items():
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, value)


if __name__ == "__main__":
    # Not time.sleep itself: the request budget has to wait as long as it says.
    _set(retries, time=_Hurried())
    _set(slices, _SMALLEST=3, _LARGEST=8)
    _set(windows, _CHECKPOINT=float(sys.argv.pop(1)))
    run()
