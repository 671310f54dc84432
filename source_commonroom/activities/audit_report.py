"""What the log says of an audit."""

import logging
from collections.abc import Callable, Sequence

from source_commonroom.activities.audit import Audit
from source_commonroom.activities.coverage import Coverage, Span
from source_commonroom.activities.ledger import Entry
from source_commonroom.activities.timestamps import format_timestamp

logger = logging.getLogger("airbyte")

# So many spans a message names.
_NAMED = 3

Clip = Callable[[int, int], Span]
"""Returns the part of a span that a sync reads."""


def report_begun(name: str, entries: Sequence[Entry]) -> None:
    """Log what was counted because no number was known of it."""
    logger.info(
        "%s: the saved state doesn't say how many activities were received from %s to %s. %d were counted now, in %s. "
        "What arrives late from now on is found, at any age. What arrived late before, and isn't in the "
        "lookback window, isn't found: refresh the stream once if that matters.",
        name,
        format_timestamp(entries[0].low),
        format_timestamp(entries[-1].high),
        sum(entry.number for entry in entries),
        _number(len(entries), "span"),
    )


def report(name: str, audit: Audit, unnumbered: Sequence[Span], again: Sequence[Span], clip: Clip) -> None:
    """Log what was compared with counts, and what differs.

    :param unnumbered: what is read again because no number is known of it
    :param again: all that is read again
    :param clip: returns the part of an entry that is read again
    """
    changes = [one.now - one.entry.number for one in audit.differing]
    more, fewer = sum(change for change in changes if change > 0), -sum(change for change in changes if change < 0)
    found = [
        f"{len(changes)} of them {'differs' if len(changes) == 1 else 'differ'}: the API counts "
        f"{_difference(more, fewer)}."
        if changes
        else "",
        f"Between {_number(len(audit.between), 'pair')} of spans more is counted than in the two alone."
        if audit.between
        else "",
        f"Of {_number(len(unnumbered), 'other span')} it isn't known exactly how many were received."
        if unnumbered
        else "",
        f"Read again: {_name_spans(again)}." if again else "",
    ]
    text = " ".join(filter(None, found))
    stopped = audit.stopped if audit.limit is None else ""
    if text or (audit.compared and not (stopped or audit.uncounted)):
        compared = (
            f"{_number(audit.compared, 'span')} of the history before the lookback window "
            f"{'was' if audit.compared == 1 else 'were'} compared with the API's counts, by "
            f"{_number(audit.requests, 'request')}. "
        )
        logger.info(
            "%s: %s%s",
            name,
            compared if audit.compared else "",
            text or "The API counts what was received.",
        )
    gone = [one for one in audit.differing if one.now < one.entry.number and not one.entry.is_doubtful]
    if gone:
        logger.warning(
            "%s: the API no longer lists %d of the activities from %s. They were deleted, or moved in time, and stay "
            "in the destination until the stream is refreshed.",
            name,
            sum(one.entry.number - one.now for one in gone),
            # All of them, because they are where to look in the destination.
            _name_spans(list(Coverage(clip(one.entry.low, one.entry.high) for one in gone)), len(gone)),
        )
    if audit.limit is not None:
        logger.log(
            logging.WARNING if audit.beyond_limit else logging.INFO,
            "%s: the API counts no more than %d activities. So each sync compares an eighth of the spans before the "
            "lookback window, one by one. What arrives late in them is found within eight syncs. %s",
            name,
            audit.limit,
            f"{_number(len(audit.beyond_limit), 'span')} can't be compared, because of as many activities or more: "
            f"{_name_spans([(one.low, one.high) for one in audit.beyond_limit])}. Refresh the stream from time to time."
            if audit.beyond_limit
            else "",
        )
    if stopped or audit.uncounted:
        logger.warning(
            "%s: the history before the lookback window couldn't be compared with the API's counts to its end (%s). "
            "What arrived late there may be missing. %s",
            name,
            stopped or f"no count of {_name_spans(list(Coverage(audit.uncounted)))}",
            "The next sync tries again."
            if audit.adds_up or audit.limit is not None
            else "Nothing of it is read again. Refresh the stream from time to time, and set audit_history to false if "
            "this goes on.",
        )


def _difference(more: int, fewer: int) -> str:
    """Return how many activities are counted beside those that were received, as text."""
    if not (more and fewer):
        return f"{_number(more or fewer, 'activity')} {'more' if more else 'fewer'} than were received"
    return f"{_number(more, 'activity')} more than were received in some, and {fewer} fewer in others"


def _number(number: int, noun: str) -> str:
    """Return a number of things as text."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _name_spans(spans: Sequence[Span], most: int = _NAMED) -> str:
    """Return the first of some spans as text, and how many others there are."""
    named = [f"{format_timestamp(low)} to {format_timestamp(high)}" for low, high in spans[:most]]
    return ", ".join(named) + (f" and {len(spans) - most} more" if len(spans) > most else "")
