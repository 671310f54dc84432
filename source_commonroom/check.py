"""The check: what the token may read, and how long it lasts."""

import base64
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
from airbyte_cdk.models import AirbyteConnectionStatus, FailureType, Status
from airbyte_cdk.sources.streams.concurrent.cursor import Cursor
from airbyte_cdk.sources.streams.concurrent.partitions.stream_slicer import StreamSlicer
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.errors import PageErrorHandler, RequestFailedError
from source_commonroom.components.once import rows_once
from source_commonroom.components.pages import is_paged
from source_commonroom.components.walk import PageRetriever

logger = logging.getLogger("airbyte")

_EVERYTHING = StreamSlice(partition={}, cursor_slice={})
_AT_ONCE = 10
_SOON = timedelta(days=14)
_MAKE_ANOTHER = (
    "Make a new one in Common Room under Settings | API tokens (as an admin), and enter it in the configuration."
)
_REFUSALS = {"forbidden", "token_rejected", "forbidden_or_rejected"}


@dataclass(frozen=True)
class Probe:
    """What one stream needs to be probed.

    :param retriever: asks
    :param slicer: names the parts that the stream is read in
    """

    retriever: PageRetriever
    slicer: StreamSlicer


@dataclass(frozen=True)
class Findings:
    """What the probes found, by stream, in their order."""

    refused: Sequence[str]
    """The streams that the token may not read."""
    unanswered: Mapping[str, str]
    """The streams that couldn't be asked now, and why."""
    mistakes: Sequence[str]
    """What is wrong with the configuration, in sentences."""


def ask_for_each(probes: Sequence[Probe]) -> Findings:
    """Ask for one record of each stream, all at once and each once: of a stream in parts, of its first part.

    What others are read by, such as segments, is asked for as a whole, once for all. The rate limit holds.
    """
    shared = {parent.requester.get_url(): parent for probe in probes for parent in _parents(probe.slicer)}
    for retriever in (*shared.values(), *(probe.retriever for probe in probes)):
        handler = retriever.requester.error_handler
        assert isinstance(handler, PageErrorHandler)  # noqa: S101  # the manifest names no other
        # One try: what fails now is named, and the check doesn't take half a minute.
        handler.max_retries = 0
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check") as pool:
        errors = list(pool.map(lambda probe: _error_of(probe, shared), probes))
    failed = {probe.retriever.name: error for probe, error in zip(probes, errors, strict=True) if error}
    refused = [name for name, error in failed.items() if _kind(error) in _REFUSALS]
    mistakes = {
        name: str(error)
        for name, error in failed.items()
        if not _kind(error) and error.failure_type == FailureType.config_error
    }
    unanswered = {name: str(error) for name, error in failed.items() if name not in {*refused, *mistakes}}
    return Findings(refused, unanswered, list(mistakes.values()))


def _parents(slicer: StreamSlicer) -> Iterable[PageRetriever]:
    """Return what a router asks for to name the parts."""
    return (part for part in vars(slicer).values() if isinstance(part, PageRetriever))


def _kind(error: AirbyteTracedException) -> str:
    return error.failure.name if isinstance(error, RequestFailedError) else ""


def _error_of(probe: Probe, shared: Mapping[str, PageRetriever]) -> AirbyteTracedException | None:
    try:
        _ask(probe, shared)
    except AirbyteTracedException as error:
        return error
    return None


def _ask(probe: Probe, shared: Mapping[str, PageRetriever]) -> None:
    retriever = probe.retriever
    # The cursor's windows aren't asked for: a page without dates is one as well.
    part = _EVERYTHING if isinstance(probe.slicer, Cursor) else next(iter(probe.slicer.stream_slices()), None)
    if part is None:
        return
    url = retriever.requester.get_url(stream_slice=part)
    if url in shared and not part.partition:
        rows_once(shared[url])
        return
    params = {name: value for name, value in retriever.params(part).items() if name != "cols"}
    if is_paged(retriever.page):
        params["limit"] = 1
    retriever.page_of(params, part)


def status_of(findings: Findings, expiry: str) -> AirbyteConnectionStatus:
    """Return the status of a check whose token was accepted, and log as a warning what it says.

    :param expiry: what is to be said of the token's end
    :return: FAILED only where the configuration is wrong: a token may well be meant for some of the streams
    """
    if findings.unanswered:
        logger.warning(
            "Whether the token may read these streams could not be told now. %s",
            " ".join(findings.unanswered.values()),
        )
    refused = ", ".join(findings.refused)
    sentences = [*findings.mistakes, expiry]
    if refused:
        sentences.append(
            f"The API token is valid, but may not read these streams: {refused}. Deselect them, or have an admin of "
            "Common Room widen what the token may read; the plan of the workspace may exclude them, too."
        )
    message = " ".join(filter(None, sentences))
    if message:
        logger.warning("%s", message)
    return AirbyteConnectionStatus(
        status=Status.FAILED if findings.mistakes else Status.SUCCEEDED, message=message or None
    )


def expiry_of(token: str) -> datetime | None:
    """Return when a token expires; None where it doesn't say, or is no JWT. Its signature isn't checked."""
    parts = token.strip().split(".")
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=="))
        moment = claims["exp"]
        if isinstance(moment, bool) or not math.isfinite(moment):
            return None
        return datetime.fromtimestamp(moment, UTC)
    except (LookupError, TypeError, ValueError, OverflowError, OSError):
        return None


def sentence_of_expiry(token: str) -> tuple[str, bool]:
    """Say that a token has expired, or will within 14 days; empty where there is nothing to say.

    :return: the sentence, and whether it is over
    """
    moment = expiry_of(token)
    left = moment - datetime.now(UTC) if moment else None
    if moment is None or left is None or left >= _SOON:
        return "", False
    day = f"{moment:%Y-%m-%d} (UTC)"
    if left <= timedelta(0):
        return f"The API token expired on {day}. {_MAKE_ANOTHER}", True
    days = "less than a day" if left.days == 0 else "one day" if left.days == 1 else f"{left.days} days"
    return f"The API token expires on {day}, in {days}. {_MAKE_ANOTHER}", False
