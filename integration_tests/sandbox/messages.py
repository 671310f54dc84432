"""What goes over the wire, free of any transport: a call and its answer.

Both mounts (`server` over HTTP, `mock` under requests-mock) translate to and from these two classes, so that
a client sees the same bytes either way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

Record = dict[str, Any]

SHOWN_LENGTH = len("2026-01-01T00:00:00.000Z")
JSON_TYPE = {"Content-Type": "application/json; charset=utf-8"}


@dataclass(frozen=True)
class Call:
    """A request as the API sees it. `path` stands below the base path: `/v2/contacts`."""

    method: str
    path: str
    query: str = ""
    authorization: str | None = None

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """The query parameters in the order sent, repeated ones included."""
        return parse_qsl(self.query, keep_blank_values=True)

    @cached_property
    def params(self) -> dict[str, str]:
        """The query parameters by name; of a repeated one, the last."""
        return dict(self.pairs)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, template.split("{id}"))))


def is_at(template: str, path: str) -> bool:
    """Tell whether a path is the one named, where `{id}` stands for any one part: `/v1/segments/{id}/status`."""
    return template == path or bool(_pattern(template).fullmatch(path))


def iso(moment: datetime) -> str:
    """Write a moment as the API does: UTC, milliseconds, Z. Such texts sort as the moments do."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def iso_stored(moment: datetime) -> str:
    """Write a moment to the microsecond: as finely as any time is stored."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def stored(time: str) -> str:
    """Fill a time of a record up to the microsecond, so that times of either resolution sort as the moments do."""
    return f"{time[:-1]}000Z" if len(time) == SHOWN_LENGTH else time


def shown(time: str) -> str:
    """Cut a time of a record to the millisecond, which is what the API answers of it."""
    return f"{time[: SHOWN_LENGTH - 1]}Z" if len(time) > SHOWN_LENGTH else time


def finer(time: str, rng: Random) -> str:
    """Draw the microseconds of a time, as they may be stored; one in ten has none."""
    return f"{shown(time)[:-1]}{rng.choice((0, *(rng.randrange(1_000) for _ in range(9)))):03}Z"


class Delivery(Enum):
    """How much of an answer reaches the client before the connection closes."""

    WHOLE = auto()
    HALF_BODY = auto()
    NOTHING = auto()
    TRICKLED = auto()
    """All of it, byte by byte, the body as slowly as `pace` says."""
    TRICKLED_HEAD = auto()
    """Nothing but a header that doesn't end."""


@dataclass(frozen=True)
class Answer:
    """A response, and what becomes of it on its way.

    `delay` is the seconds that pass before the first byte, beside the latency of the server.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: Delivery = Delivery.WHOLE
    delay: float = 0.0
    pace: float = 0.0
    """The seconds between two bytes of what is trickled."""


def json_answer(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with `content` as JSON."""
    return Answer(status, orjson.dumps(content), {**JSON_TYPE, **(headers or {})})


def refusal(status: int, code: str, message: str) -> Answer:
    """Answer with the API's error envelope."""
    return json_answer(status, {"success": False, "error": {"code": code, "message": message}})
