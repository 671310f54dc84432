"""The streams of one type of objects each: ``object_<slug of the type's name>_<number of its id>``.

Why not ``dynamic_streams`` in the manifest: the CDK's resolver asks for the types on every read, also of other streams,
and ends the whole sync if it may not list them.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from source_commonroom.records.columns import slug_of

logger = logging.getLogger("airbyte")

_TYPE_ID = re.compile(r"cot_([0-9]+)")
# Postgres cuts the names of tables at 63 bytes, and the number stands at their end. 25 are left for a prefix.
_LONGEST = 63 - 25
_STREAM = re.compile(r"object_[a-z0-9_]+_([0-9]+)")


def name_streams(types: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the name of each type's stream, and the type's id. The number makes the name unique and lasting."""
    for row in types:
        match = _TYPE_ID.fullmatch(str(row.get("id")))
        if match:
            room = _LONGEST - len("object__") - len(match[1])
            slug = slug_of(str(row.get("name") or ""))[: max(room, 0)].strip("_")
            yield f"object_{slug or 'type'}_{match[1]}", match[0]
        else:
            logger.warning(
                "A type of custom objects has an id of an unknown form, so that it has no stream of its own."
            )


def type_of(stream: str) -> str:
    """Return the id of the type whose stream this is; empty for any other stream."""
    match = _STREAM.fullmatch(stream)
    return f"cot_{match[1]}" if match else ""
