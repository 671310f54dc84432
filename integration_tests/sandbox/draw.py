"""Drawing: a seeded randomness over the pools, and the small things that all records are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, TypeVar

from integration_tests.sandbox.messages import iso
from integration_tests.sandbox.pools import Pools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import SupportsLenAndGetItem

    from integration_tests.sandbox.messages import Record

T = TypeVar("T")

END = datetime(2026, 6, 30, 12, tzinfo=UTC)
SPAN = timedelta(days=730)


class Dice(Random):
    """Draws at a third of the cost of Random, with a bias that is below notice: a workspace takes millions of draws."""

    def choice(self, seq: SupportsLenAndGetItem[T]) -> T:
        return seq[int(self.random() * len(seq))]

    def randint(self, a: int, b: int) -> int:
        return a + int(self.random() * (b - a + 1))


class Draw:
    """Draws out of the pools: texts, moments, ids, and what may be missing."""

    def __init__(self, seed: int) -> None:
        self.rng = Dice(seed)
        self.pools = Pools.fill(seed)

    def row(self, required: Record, optional: Record) -> Record:
        """Make a record, out of which every sixth misses one of its optional columns."""
        missing = self.rng.choice(list(optional)) if self.rng.random() < 1 / 6 else None
        return required | {column: value for column, value in optional.items() if column != missing}

    def ids(self, prefix: str, count: int, *, first: int = 970) -> Iterator[str]:
        """Make ascending ids with gaps. They pass 1000, where an order by text goes wrong."""
        steps = (self.rng.randint(1, 7) for _ in range(count))
        return (f"{prefix}_{first + offset}" for offset in accumulate(steps))

    def maybe(self, make: Callable[[], T]) -> T | None:
        """Make a value, or leave every eighth null."""
        return make() if self.rng.random() < 7 / 8 else None

    def some(self, make: Callable[[], T], most: int) -> list[T]:
        """Make up to `most` values."""
        return [make() for _ in range(self.rng.randint(0, most))]

    def line(self) -> str:
        """Draw a short text."""
        return self.rng.choice(self.pools.lines)

    def text(self) -> str:
        """Draw a text of any length."""
        return self.rng.choice(self.pools.texts)

    def moment(self) -> str:
        """Draw a moment of the two years."""
        return iso(END - SPAN * self.rng.random())
