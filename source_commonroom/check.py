"""The check: what the token may read, and how long it lasts."""

import base64
import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from airbyte_cdk.models import AirbyteConnectionStatus, FailureType, Status
from airbyte_cdk.sources.streams.concurrent.partitions.stream_slicer import StreamSlicer
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.api.errors import MAKE_ANOTHER, RequestFailedError
from source_commonroom.api.page import is_paged
from source_commonroom.api.retriever import ColumnsRefusedError, PageRetriever
from source_commonroom.lists.cached import fetch_cached
from source_commonroom.lists.partitions import ChosenSegments
from source_commonroom.records.shape import RecordShape

logger = logging.getLogger("airbyte")

_EVERYTHING = StreamSlice(partition={}, cursor_slice={})
_AT_ONCE = 40
_SOON = timedelta(days=14)
# The stream whose records others need, too.
_DEFINITIONS = "custom_fields"
_REFUSALS = {"forbidden", "token_rejected", "forbidden_or_rejected"}


@dataclass(frozen=True)
class StreamProbe:
    """What one stream needs to be probed.

    :param slicer: names the parts that the stream is read in; None if it is read by time: a page without dates is one
        as well
    """

    retriever: PageRetriever
    slicer: StreamSlicer | None


@dataclass(frozen=True)
class Findings:
    """What the probes found, by stream, in their order."""

    refused: Sequence[str]
    """The streams that the token may not read."""
    unanswered: Mapping[str, str]
    """The streams that couldn't be asked now, and why."""
    mistakes: Sequence[str]
    """What is wrong with the configuration, in sentences."""
    consequences: Sequence[str] = ()
    """What else fails because a stream or a column is refused, and what to do, in sentences."""


@dataclass
class SharedList(PageRetriever):
    """A list that names the slices of several streams. If it fails, it fails for all of them at once.

    :param whole: whether the pages after the first one are asked for; one has a part of a stream to ask for
    :param failures: how lists have failed so far, by address
    """

    whole: bool = False
    failures: dict[str, AirbyteTracedException] = field(default_factory=dict)

    def page_of(
        self, params: Mapping[str, Any], stream_slice: StreamSlice | None, *, as_large: bool = False
    ) -> Mapping[str, Any]:
        """Return a page. ``fetch_cached`` lets one ask at a time."""
        url = self.requester.get_url()
        if url in self.failures:
            raise self.failures[url]
        try:
            page = super().page_of(params, stream_slice, as_large=as_large)
        except AirbyteTracedException as error:
            self.failures[url] = error
            raise
        if self.whole or not is_paged(self.page):
            return page
        return {**page, "meta": {**page["meta"], "nextCursor": None}}


def refusal_of(status: StreamProbe) -> str | None:
    """Return why the token isn't accepted, or can't be asked about, in a sentence; None if it may read its status.

    Asked twice at the most: for this, a check waits.
    """
    status.retriever.requester.use_short_timeouts(retries=1)
    error = _error_of(status, {})
    return str(error) if error else None


def ask_for_each(probes: Sequence[StreamProbe]) -> Findings:
    """Ask for one record of each stream, all at once and each once: of a stream in parts, of its first part.

    Of what others are read by, such as segments, the first page is asked for, once for all; and all of them if the
    configuration names some, so that they can be looked up. The rate limit holds.
    """
    shared = _share_parents(probes)
    for probe in probes:
        probe.retriever.requester.use_short_timeouts(retries=0)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check") as pool:
        errors = list(pool.map(lambda probe: _error_of(probe, shared), probes))
    failed = {probe.retriever.name: error for probe, error in zip(probes, errors, strict=True) if error}
    refused = [name for name, error in failed.items() if _kind(error) in _REFUSALS]
    lacking = {name: str(error) for name, error in failed.items() if isinstance(error, ColumnsRefusedError)}
    mistakes = {
        name: str(error)
        for name, error in failed.items()
        if not _kind(error) and error.failure_type == FailureType.config_error and name not in lacking
    }
    unanswered = {name: str(error) for name, error in failed.items() if name not in {*refused, *mistakes, *lacking}}
    consequences = [*lacking.values(), *(_without_definitions(probes) if _DEFINITIONS in refused else [])]
    return Findings(refused, unanswered, list(mistakes.values()), consequences)


def _without_definitions(probes: Sequence[StreamProbe]) -> list[str]:
    """Say what fails if the definitions of custom fields are refused, although no stream of them is selected."""
    named, hidden = [], []
    for retriever in (probe.retriever for probe in probes):
        if isinstance(retriever.shape, RecordShape):
            names, hides = retriever.shape.needs_definitions
            named += [retriever.name] * names
            hidden += [retriever.name] * hides
    sentences = []
    if named:
        sentences.append(
            f"Without {_DEFINITIONS} the columns for custom fields of {', '.join(named)} can't be named, so that no "
            'schema can be discovered at all: set "Custom Field Columns" to none, or have the token widened.'
        )
    if hidden:
        sentences.append(
            f"Without {_DEFINITIONS} it isn't known which custom fields of {', '.join(hidden)} are personal, so that "
            "these streams fail unless personal data is kept: have the token widened, or deselect them."
        )
    return sentences


def _share_parents(probes: Sequence[StreamProbe]) -> Mapping[str, PageRetriever]:
    """Let routers share the lists that they ask for, and return one of each by its address."""
    shared: dict[str, PageRetriever] = {}
    failures: dict[str, AirbyteTracedException] = {}
    for slicer in (probe.slicer for probe in probes if probe.slicer is not None):
        parents = {name: part for name, part in vars(slicer).items() if isinstance(part, PageRetriever)}
        for name, parent in parents.items():
            parent.requester.use_short_timeouts(retries=0)
            # Nothing is compared with a count: whether the list can be read is all that matters.
            parts = {part.name: getattr(parent, part.name) for part in fields(parent)} | {"counts": False}
            chosen = isinstance(slicer, ChosenSegments) and bool(slicer.chosen)
            part = SharedList(**parts, whole=chosen, failures=failures)
            setattr(slicer, name, part)
            shared[parent.requester.get_url()] = part
    return shared


def _kind(error: AirbyteTracedException) -> str:
    return error.failure.name if isinstance(error, RequestFailedError) else ""


def _error_of(probe: StreamProbe, shared: Mapping[str, PageRetriever]) -> AirbyteTracedException | None:
    name = probe.retriever.name
    try:
        _ask(probe, shared)
    except RequestFailedError as error:
        return error.for_stream(name)
    except AirbyteTracedException as error:
        return error
    except Exception as error:
        # Whatever it is, a check ends with a status.
        # Pinned by test_given_a_probe_that_breaks_when_checked_then_there_is_a_status_and_the_log_says_why.
        logger.exception("%s: the probe broke.", name)
        return AirbyteTracedException(
            message=f"{name}: what the API answered broke the connector ({type(error).__name__}). Report it as an "
            "issue of the connector, with the log of this check.",
            internal_message=type(error).__name__,
            failure_type=FailureType.system_error,
        )
    return None


def _ask(probe: StreamProbe, shared: Mapping[str, PageRetriever]) -> None:
    retriever = probe.retriever
    part = _EVERYTHING if probe.slicer is None else next(iter(probe.slicer.stream_slices()), None)
    if part is None:
        return
    url = retriever.requester.get_url(stream_slice=part)
    if url in shared and not part.partition:
        fetch_cached(shared[url])
        return
    # All columns: the token may lack one.
    params = dict(retriever.params(part))
    if is_paged(retriever.page):
        params["limit"] = 1
    retriever.page_of(params, part)


def status_of(findings: Findings, expiry: str) -> AirbyteConnectionStatus:
    """Return the status of a check whose token was accepted, and log as a warning what it says.

    :param expiry: what is to be said of the token's end
    :return: FAILED only if the configuration is wrong: a token may well be meant for some of the streams
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
    sentences += findings.consequences
    message = " ".join(filter(None, sentences))
    if message:
        logger.warning("%s", message)
    return AirbyteConnectionStatus(
        status=Status.FAILED if findings.mistakes else Status.SUCCEEDED, message=message or None
    )


def expiry_of(token: str) -> datetime | None:
    """Return when a token expires; None if it doesn't say, or is no JWT. Its signature isn't checked."""
    parts = token.strip().split(".")
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=="))
        expires_at = claims["exp"]
        if isinstance(expires_at, bool) or not math.isfinite(expires_at):
            return None
        return datetime.fromtimestamp(expires_at, UTC)
    except (LookupError, TypeError, ValueError, OverflowError, OSError):
        return None


def sentence_of_expiry(token: str) -> tuple[str, bool]:
    """Say that a token has expired, or will within 14 days; empty if there is nothing to say.

    :return: the sentence, and whether it is over
    """
    expires_at = expiry_of(token)
    left = expires_at - datetime.now(UTC) if expires_at else None
    if expires_at is None or left is None or left >= _SOON:
        return "", False
    day = f"{expires_at:%Y-%m-%d} (UTC)"
    if left <= timedelta(0):
        return f"The API token expired on {day}. {MAKE_ANOTHER}", True
    days = "less than a day" if left.days == 0 else "one day" if left.days == 1 else f"{left.days} days"
    return f"The API token expires on {day}, in {days}. {MAKE_ANOTHER}", False
