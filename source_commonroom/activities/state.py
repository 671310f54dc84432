"""The saved state: which is understood, which is refused, and what of it is never used."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airbyte_cdk.models import (
    AirbyteStateBlob,
    AirbyteStateMessage,
    AirbyteStateType,
    AirbyteStreamState,
    FailureType,
    StreamDescriptor,
)
from airbyte_cdk.sources.streams import NO_CURSOR_STATE_KEY
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.activities.coverage import Span
from source_commonroom.activities.ledger import entries_of
from source_commonroom.activities.timestamps import (
    CURSOR_FIELD,
    LAST,
    format_timestamp,
    parse_timestamp,
    to_milliseconds,
)

logger = logging.getLogger("airbyte")

_STREAM = "activities"
_RANGES = "date-range"
LOOKBACK_FROM = "lookback_from"
"""The end of the earliest sync of which something in the state stems; absent for the end of its last span."""
IN_PROGRESS = "in_progress"
"""Whether a sync has begun that hasn't reached its end."""
LEDGER = "ledger"
"""How many activities were received of which span, see :func:`~source_commonroom.activities.ledger.content_of`."""
# Python writes earlier years with fewer digits.
_FIRST = to_milliseconds(datetime(1000, 1, 1, tzinfo=UTC))


class _UnreadableError(Exception):
    """The text says what is wrong with a state, without its content."""


def usable_state(
    state: Sequence[AirbyteStateMessage], streams: Collection[str] | None, lookback: timedelta
) -> list[AirbyteStateMessage]:
    """Return what is usable of a state, in the form in which the CDK reads it.

    Why not the CDK alone: it treats an unknown form as no state at all, crashes at an invalid timestamp, and treats
    what lies in the future as read. Pinned by unit_tests/test_state.py.

    :param state: as the platform sends it, a message a stream
    :param streams: what the configured catalog names; None if that isn't known
    :param lookback: how much a sync reads again before its state
    :return: the state of activities, or nothing; no other stream has one
    :raises AirbyteTracedException: (config_error) if it can't be read
    """
    found: Any = None
    others = set()
    for message in state:
        if message.type != AirbyteStateType.STREAM or message.stream is None:
            raise _unreadable_state(
                "The saved state is no list of states of streams, and this connector writes no other."
            )
        descriptor = message.stream.stream_descriptor
        if streams is not None and descriptor.name not in streams:
            others.add(descriptor.name)
        elif descriptor.name == _STREAM:
            found = vars(message.stream.stream_state) if message.stream.stream_state else None
    if others:
        names = ", ".join(sorted(others))
        logger.info("The saved state of these streams isn't used, as they aren't selected: %s.", names)
    if not found or found == {NO_CURSOR_STATE_KEY: True}:
        return []
    try:
        usable = _drop_future_spans(found, lookback)
    except _UnreadableError as error:
        raise _unreadable_state(f"{_STREAM}: the saved state can't be read: {error}.") from None
    if usable is None:
        return []
    stream = AirbyteStreamState(stream_descriptor=StreamDescriptor(name=_STREAM), stream_state=AirbyteStateBlob(usable))
    return [AirbyteStateMessage(type=AirbyteStateType.STREAM, stream=stream)]


def _unreadable_state(what: str) -> AirbyteTracedException:
    return AirbyteTracedException(
        message=f"{what} Another connector or another version of this one may have written it, or it was edited. "
        "Clear the state, by a refresh of the stream, and run the sync again: everything is read anew, and nothing is "
        "lost.",
        internal_message="the saved state is of an unknown form",
        failure_type=FailureType.config_error,
    )


def _drop_future_spans(state: Mapping[str, Any], lookback: timedelta) -> dict[str, Any] | None:
    """Return the state without what lies in the future, or None if nothing is left."""
    now = to_milliseconds(datetime.now(UTC))
    if set(state) == {CURSOR_FIELD}:
        end = _clamp_to_now(_timestamp(state[CURSOR_FIELD]), now, lookback)
        return None if end is None else {CURSOR_FIELD: format_timestamp(end)}
    optional = {LOOKBACK_FROM, IN_PROGRESS, LEDGER}
    if set(state) - optional != {"state_type", "slices"} or state["state_type"] != _RANGES:
        raise _UnreadableError("it is of an unknown form")
    # Neither is taken for absent if it can't be read: then what arrived late meanwhile could be missed.
    progress: dict[str, Any] = {}
    if LOOKBACK_FROM in state:
        progress[LOOKBACK_FROM] = format_timestamp(min(_timestamp(state[LOOKBACK_FROM]), now))
    if IN_PROGRESS in state:
        progress[IN_PROGRESS] = state[IN_PROGRESS]
        if not isinstance(state[IN_PROGRESS], bool):
            raise _UnreadableError(f"its {IN_PROGRESS} is neither true nor false")
    spans = [
        {"start": format_timestamp(start), "end": format_timestamp(usable)}
        for start, end in _spans(state["slices"])
        if (usable := _clamp_to_now(end, now, lookback)) is not None and start <= usable
    ]
    return {"state_type": _RANGES, "slices": spans, **progress, **_usable_ledger(state)} if spans else None


def _usable_ledger(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of activities that a state holds; nothing if they are damaged: they are counted anew then."""
    if LEDGER not in state:
        return {}
    try:
        entries_of(state[LEDGER])
    except ValueError as error:
        logger.warning(
            "%s: the saved state can't be read as far as it holds the number of activities of each span (%s). They are "
            "counted anew. Activities that arrived late since the last sync, and lie before the lookback window, "
            "aren't found: refresh the stream once if that matters.",
            _STREAM,
            error,
        )
        return {}
    return {LEDGER: state[LEDGER]}


def _clamp_to_now(end: int, now: int, lookback: timedelta) -> int | None:
    """Return up to when something was read, as far as that can be; None if it isn't usable at all."""
    if end <= now:
        return end
    ahead = timedelta(milliseconds=end - now)
    if ahead <= lookback:
        logger.info(
            "%s: the saved state lies %s ahead of this machine's clock. It is taken for now; the lookback window reads "
            "that time again.",
            _STREAM,
            ahead,
        )
        return now
    logger.warning(
        "%s: the saved state says that all was read up to %s, and that lies further ahead of this machine's clock than "
        "the lookback window is long. It can't have been read, so the whole span is read again. Is the clock right?",
        _STREAM,
        format_timestamp(end),
    )
    return None


def _spans(slices: Any) -> Iterator[Span]:
    if not isinstance(slices, list):
        raise _UnreadableError("its slices are no list")
    for span in slices:
        if not isinstance(span, dict) or not {"start", "end"} <= set(span):
            raise _UnreadableError("one of its slices has no start or no end")
        start, end = _timestamp(span["start"]), _timestamp(span["end"])
        if end < start:
            raise _UnreadableError("one of its slices ends before it begins")
        yield start, end


def _timestamp(text: Any) -> int:
    try:
        timestamp = parse_timestamp(text)
    except (TypeError, ValueError):
        timestamp = LAST + 1
    if not _FIRST <= timestamp <= LAST:
        raise _UnreadableError("it holds something that is no timestamp")
    return timestamp
