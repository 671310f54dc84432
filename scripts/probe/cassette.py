"""The cassette: the answers of a run, scrubbed, as a file of JSON with one answer a line.

    {"version": 1, "made": "2026-08-01", "answers": [{"path", "params", "status", "headers", "body"}, …]}

`unit_tests/replay.py` serves the connector from it; a cassette in `unit_tests/cassettes/` is a test.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scripts.probe.answers import whole_number
from scripts.probe.scrub import Scrubber

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from scripts.probe.answers import Answer

VERSION = 1
_COUNTS = ("X-RateLimit-Limit", "X-RateLimit-Remaining")
_TYPE, _TYPES = "Content-Type", ("application/json", "text/html")


def cassette(answers: Sequence[Answer], today: date, key: bytes) -> str:
    """Return the answers as a cassette, but for what was answered to a made-up token.

    :param key: random bytes that decide what values become; they are needed no more
    """
    kept = [answer for answer in answers if answer.status and not answer.made_up_token]
    scrubber = Scrubber(
        [part for answer in kept for part in (answer.body, dict(answer.params), _path_ids(answer))], key
    )
    lines = ",\n".join(json.dumps(_line(answer, scrubber)) for answer in kept)
    return f'{{"version": {VERSION}, "made": "{today.isoformat()}", "answers": [\n{lines}\n]}}\n'


def _line(answer: Answer, scrubber: Scrubber) -> dict[str, Any]:
    return {
        "path": scrubber.path(answer.path, answer.ids),
        "params": scrubber.params(answer.params),
        "status": answer.status,
        "headers": dict(_headers(answer)),
        "body": scrubber.body(answer.body, answer.path, ok=answer.ok),
    }


def _headers(answer: Answer) -> Iterator[tuple[str, str]]:
    """Yield those that are kept, without what stands beside it: others may tell of the workspace, or the way to it."""
    kind = answer.headers.get(_TYPE, "").partition(";")[0].strip().lower()
    if kind in _TYPES:
        yield _TYPE, kind
    for name in _COUNTS:
        if (number := whole_number(answer.headers.get(name, ""))) is not None:
            yield name, str(number)


def _path_ids(answer: Answer) -> dict[str, list[str]]:
    """Return the ids of a path, as a part of a body would hold them."""
    return {"id": list(answer.ids.values())}
