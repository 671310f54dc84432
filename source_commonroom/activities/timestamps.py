"""Timestamps: as milliseconds since 1970, and as the API and the state write them."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

CURSOR_FIELD = "activityTime"
"""The timestamp of an activity."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1000
"""In milliseconds."""
UP_TO_SECOND = len("2026-01-01T00:00:00")
"""The length of a timestamp up to its second."""
NEAR = 1_100
"""So close to where two windows meet, in milliseconds, both may return an activity, or neither: whatever the API's
resolution, up to this, and whether its bounds are inclusive."""
# No longer than this is the span of an activity that can't be served, in milliseconds.
_MAX_UNSERVED_SPAN = 8
_MILLISECOND = timedelta(milliseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
# A timestamp as the API writes it, but for February 29th. Two of them compare as texts do.
_TIMESTAMP = re.compile(
    r"(?!0000)[0-9]{4}-"
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{3}Z"
)
# Those of a page, each with a line of its own.
_TIMESTAMPS = re.compile(rf"(?:{_TIMESTAMP.pattern}\n)*+")


def to_milliseconds(timestamp: datetime) -> int:
    """Return a date-time as milliseconds since 1970, rounded down."""
    return (timestamp - _EPOCH) // _MILLISECOND


def parse_timestamp(text: str) -> int:
    """Return the milliseconds since 1970 of a timestamp in ISO 8601.

    :raises ValueError: if it is invalid, or has no time zone
    """
    timestamp = datetime.fromisoformat(text)
    if timestamp.tzinfo is None:
        raise ValueError("a timestamp without a time zone")
    return to_milliseconds(timestamp)


def format_timestamp(timestamp: int) -> str:
    """Return milliseconds as the API writes them; those before and after all years as the first and the last one."""
    at = _EPOCH + min(max(timestamp, _FIRST), LAST) * _MILLISECOND
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def floor_to_second(timestamp: int) -> int:
    """Return milliseconds rounded down to a whole second."""
    return timestamp - timestamp % SECOND


def seam_near(timestamp: int, low: int, high: int) -> int:
    """Return where two windows should meet that are to meet near a timestamp, between two others.

    At a whole second, unless they are shorter than that: if the API compares seconds, and neither bound of a window is
    inclusive, an activity at the beginning of a second would lie between windows that meet within it.
    """
    whole = floor_to_second(timestamp)
    return whole if whole > low and high - low > 2 * SECOND else timestamp


def widen_to_seconds(low: int, high: int, first: int, last: int) -> tuple[int, int]:
    """Return a span widened to whole seconds, but not beyond a first and a last millisecond.

    What is beside it was read, so that less than a second of it is received twice. A span of some milliseconds stays
    as it is: the API couldn't serve it, and can serve its neighbors.
    """
    if high - low <= _MAX_UNSERVED_SPAN:
        return low, high
    return max(floor_to_second(low), first), min(floor_to_second(high + SECOND - 1), last)


def timestamp_of(row: Mapping[str, Any]) -> str:
    """Return the timestamp of an activity as the API writes it; empty if it has none."""
    timestamp = row.get(CURSOR_FIELD)
    if not isinstance(timestamp, str):
        return ""
    if _TIMESTAMP.fullmatch(timestamp):
        # To parse each would cost as much as all else.
        return timestamp
    try:
        found = parse_timestamp(timestamp)
    except ValueError:
        return ""
    return format_timestamp(found) if _FIRST <= found <= LAST else ""


def timestamps_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the timestamp of each activity of a page, see :func:`timestamp_of`."""
    found: list[Any] = [row.get(CURSOR_FIELD) for row in rows]
    if set(map(type, found)) == {str} and _TIMESTAMPS.fullmatch("\n".join([*found, ""])):
        # Most pages, in half the time.
        return found
    return list(map(timestamp_of, rows))
