"""Cursors: opaque tokens for "go on after this row", good for one set of parameters only."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from threading import Lock
from typing import Protocol

import orjson

Position = tuple[str | float, str | int]
"""The last row answered: its value of the sort key, and the key of its id, which breaks ties.

A position names no page number and no offset. Rows that come or go between two pages therefore neither repeat
nor hide others.
"""


class Cursors(Protocol):
    """A way to write positions as tokens. `scope` identifies the path and the parameters of the walk."""

    def write(self, scope: str, position: Position) -> str:
        """Make the token of a position, the same one whenever it is asked again."""

    def read(self, scope: str, token: str) -> Position | None:
        """Tell the position that a token was made for, or None where it is of no such walk."""


class KeysetCursors:
    """Tokens that carry their position, as base64url: nothing to remember."""

    def write(self, scope: str, position: Position) -> str:
        """Make the token of a position."""
        return urlsafe_b64encode(orjson.dumps([scope, *position])).decode()

    def read(self, scope: str, token: str) -> Position | None:
        """Tell the position. Only a token that reads and writes to the same text is one of ours."""
        try:
            token_scope, value, number = orjson.loads(urlsafe_b64decode(token))
        except ValueError:
            return None
        position = (value, number)
        return position if token_scope == scope and self.write(scope, position) == token else None


class TrickyCursors:
    """Tokens that a client mangles when it takes them for a number, a template, a list or a part of a URL."""

    TOKENS = ("1.10", "1e5", "None", "0x10", "007", "{{ 1 }}", "[1]", "a+b/c==", "% 20&x=y")

    def __init__(self) -> None:
        self._lock = Lock()
        self._tokens: dict[tuple[str, Position], str] = {}
        self._positions: dict[str, tuple[str, Position]] = {}

    def write(self, scope: str, position: Position) -> str:
        """Give the position the next token; when the tokens run out, the same ones get a number behind."""
        with self._lock:
            if (scope, position) not in self._tokens:
                lap, place = divmod(len(self._tokens), len(self.TOKENS))
                token = self.TOKENS[place] + (f"~{lap}" if lap else "")
                self._tokens[scope, position] = token
                self._positions[token] = (scope, position)
            return self._tokens[scope, position]

    def read(self, scope: str, token: str) -> Position | None:
        """Look the token up."""
        token_scope, position = self._positions.get(token, (None, None))
        return position if token_scope == scope else None


class ExpiringCursors:
    """Tokens of another style, all of which can be made to expire."""

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors
        self._generation = 0

    def expire(self) -> None:
        """Let no token be good any more that was written until now."""
        self._generation += 1

    def write(self, scope: str, position: Position) -> str:
        """Make the token of a position, the same one until it expires."""
        return self._cursors.write(f"{scope}.{self._generation}", position)

    def read(self, scope: str, token: str) -> Position | None:
        """Tell the position that a token was made for, or None where it is of no such walk, or has expired."""
        return self._cursors.read(f"{scope}.{self._generation}", token)


CURSOR_STYLES: dict[str, type[KeysetCursors | TrickyCursors]] = {"keyset": KeysetCursors, "tricky": TrickyCursors}
