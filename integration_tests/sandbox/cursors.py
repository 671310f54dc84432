"""Cursors: opaque tokens for "go on after this row", good for one set of parameters only."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

Position = tuple[str | float, str | int]
"""The last row answered: its value of the sort key, and the key of its id, which breaks ties.

A position names no page number and no offset. Rows that come or go between two pages therefore neither repeat
nor hide others.
"""

Place = Position | int
"""Where a page begins: behind a position, or behind so many rows, whichever those are by now.

Where a row goes that stood before such an offset, all behind it move up by one and the next page misses one that
stays; where one comes, the next page begins with the last row of the page before.
"""


class Cursors(Protocol):
    """A way to write places as tokens. `scope` identifies the path and the parameters of the walk."""

    @property
    def by_offset(self) -> bool:
        """Whether the places are offsets, and not positions."""

    def write(self, scope: str, place: Place) -> str:
        """Make the token of a place, the same one whenever it is asked again."""

    def read(self, scope: str, token: str) -> Place | None:
        """Tell the place that a token was made for, or None if it is of no such walk."""


class KeysetCursors:
    """Tokens that carry their place, as base64url: nothing to remember."""

    by_offset: ClassVar[bool] = False

    def write(self, scope: str, place: Place) -> str:
        """Make the token of a place."""
        return urlsafe_b64encode(orjson.dumps([scope, place])).decode()

    def read(self, scope: str, token: str) -> Place | None:
        """Tell the place. Only a token that reads and writes to the same text is one of ours."""
        try:
            token_scope, content = orjson.loads(urlsafe_b64decode(token))
        except (ValueError, TypeError):
            return None
        place: Place = tuple(content) if isinstance(content, list) else content
        return place if token_scope == scope and self.write(scope, place) == token else None


class OffsetCursors(KeysetCursors):
    """Tokens of the same form that carry the number of rows before the page, and nothing else."""

    by_offset = True


class TrickyCursors:
    """Tokens that a client mangles when it takes them for a number, a template, a list or a part of a URL."""

    by_offset: ClassVar[bool] = False

    TOKENS = ("1.10", "1e5", "None", "0x10", "007", "{{ 1 }}", "[1]", "a+b/c==", "% 20&x=y")

    def __init__(self) -> None:
        self._lock = Lock()
        self._tokens: dict[tuple[str, Place], str] = {}
        self._places: dict[str, tuple[str, Place]] = {}

    def write(self, scope: str, place: Place) -> str:
        """Give the place the next token; when the tokens run out, the same ones get a number behind."""
        with self._lock:
            if (scope, place) not in self._tokens:
                lap, turn = divmod(len(self._tokens), len(self.TOKENS))
                token = self.TOKENS[turn] + (f"~{lap}" if lap else "")
                self._tokens[scope, place] = token
                self._places[token] = (scope, place)
            return self._tokens[scope, place]

    def read(self, scope: str, token: str) -> Place | None:
        """Look the token up."""
        token_scope, place = self._places.get(token, (None, None))
        return place if token_scope == scope else None


class ExpiringCursors:
    """Tokens of another style, all of which can be made to expire."""

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors
        self._generation = 0

    @property
    def by_offset(self) -> bool:
        """Whether the places are offsets."""
        return self._cursors.by_offset

    def expire(self) -> None:
        """Let no token be good any more that was written until now."""
        self._generation += 1

    def write(self, scope: str, place: Place) -> str:
        """Make the token of a place, the same one until it expires."""
        return self._cursors.write(f"{scope}.{self._generation}", place)

    def read(self, scope: str, token: str) -> Place | None:
        """Tell the place that a token was made for, or None if it is of no such walk, or has expired."""
        return self._cursors.read(f"{scope}.{self._generation}", token)


CursorStyle = Literal["keyset", "tricky", "offset"]
CURSOR_STYLES: dict[CursorStyle, Callable[[], Cursors]] = {
    "keyset": KeysetCursors,
    "tricky": TrickyCursors,
    "offset": OffsetCursors,
}
