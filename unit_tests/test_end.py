"""The end of a sync in which streams failed: one sentence, and the kind that tells whether to try again."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airbyte_cdk.models import AirbyteMessage, AirbyteStreamStatus, FailureType, StreamDescriptor
from airbyte_cdk.utils.stream_status_utils import as_airbyte_message
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.sandbox import Api, Fault, Workspace, mount
from integration_tests.sandbox.messages import iso
from source_commonroom import SourceCommonroom
from source_commonroom.output.entrypoint import PageEntrypoint
from source_commonroom.output.pages import Backlog
from unit_tests.conftest import API_URL
from unit_tests.streams import catalog

KINDS = {"topics": "forbidden_403", "tags": "server_error_500", "providers": "bad_request_400"}
PATHS = {"topics": "/v2/topics", "tags": "/v2/tags", "providers": "/v2/providers"}


def read_to_the_end(
    api: Api, config: dict[str, Any], *streams: str
) -> tuple[list[AirbyteMessage], AirbyteTracedException]:
    """Read as the command does, and return all messages but pages, and the error that it ends with."""
    configured, backlog = catalog(*streams), Backlog()
    messages: list[AirbyteMessage] = []
    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        source = SourceCommonroom(catalog=configured, config=config, backlog=backlog)
        entrypoint = PageEntrypoint(source, backlog)
        spec = source.spec(logging.getLogger("airbyte"))
        with pytest.raises(AirbyteTracedException) as ended:
            # Not a list of them, because what came before the error counts.
            messages.extend(entrypoint.read(spec, config, configured, []))
        # A sync that ends early leaves its walks behind; none may go on to the API of the next test.
        for thread in threading.enumerate():
            if thread.name.startswith("workerpool"):
                thread.join()
    return messages, ended.value


@pytest.mark.parametrize(
    ("failing", "kind"),
    [
        (["topics"], FailureType.config_error),
        (["tags"], FailureType.transient_error),
        (["providers"], FailureType.system_error),
        (["providers", "topics"], FailureType.system_error),
        (["tags", "topics"], FailureType.transient_error),
        (["providers", "tags", "topics"], FailureType.transient_error),
    ],
)
def test_given_streams_that_fail_when_read_then_the_last_error_names_them_and_nothing_else(
    failing: list[str], kind: FailureType, api: Api, config: dict[str, Any]
) -> None:
    for stream in failing:
        api.faults.add(Fault(KINDS[stream], path=PATHS[stream]))

    messages, error = read_to_the_end(api, config, "topics", "tags", "providers", "me")

    assert error.message == (
        f"The sync is incomplete, because these streams failed: {', '.join(failing)}. The error of each says why, and "
        "what to do. All other streams are complete."
    )
    assert error.failure_type == kind
    trace = error.as_airbyte_message().trace
    assert trace
    assert trace.error
    # No traceback of a stream's error.
    assert "RequestFailedError" not in str(trace.error.stack_trace)
    named = [
        message.trace.error.stream_descriptor.name
        for message in messages
        if message.trace and message.trace.error and message.trace.error.stream_descriptor
    ]
    assert sorted(named) == failing


def test_given_an_error_of_another_kind_when_read_then_it_stays_what_it_is(
    api: Api, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = AirbyteTracedException(message="out of memory", failure_type=FailureType.transient_error)

    def check_memory(_: Any) -> None:
        raise full

    monkeypatch.setattr("airbyte_cdk.utils.memory_monitor.MemoryMonitor.check_memory_usage", check_memory)

    _, error = read_to_the_end(api, config, "tags")

    assert error is full


class BreaksOff(SourceCommonroom):
    """The source, with a read that ends in the middle, after a stream failed and before the other ended."""

    ERROR = AirbyteTracedException(message="the disk is full", failure_type=FailureType.transient_error)

    def read(self, *_: Any, **__: Any) -> Iterator[AirbyteMessage]:
        yield as_airbyte_message(StreamDescriptor(name="tags"), AirbyteStreamStatus.STARTED)
        failed = AirbyteTracedException(message="refused", failure_type=FailureType.config_error)
        yield failed.as_airbyte_message(stream_descriptor=StreamDescriptor(name="topics"))
        raise self.ERROR


def test_given_an_error_of_another_kind_after_a_stream_failed_when_read_then_it_stays_what_it_is(
    config: dict[str, Any],
) -> None:
    source = BreaksOff(catalog=catalog("topics", "tags"), config=config)
    entrypoint = PageEntrypoint(source, Backlog())

    with pytest.raises(AirbyteTracedException) as ended:
        list(entrypoint.read(source.spec(logging.getLogger("airbyte")), config, catalog("topics", "tags"), []))

    # The error of failed streams would say that all others are complete.
    assert ended.value is BreaksOff.ERROR


class Filling:
    """The file that tells how much memory is used, in percent: much, and then too much."""

    def __init__(self) -> None:
        self._told = iter(["91"])

    def exists(self) -> bool:
        return True

    def read_text(self) -> str:
        return next(self._told, "99")


def test_given_memory_that_fills_up_when_pages_are_written_then_their_records_count_as_messages_of_the_guard(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "max").write_text("100")
    (tmp_path / "stat").write_text("anon 99")
    for name, file in {"CURRENT": Filling(), "MAX": tmp_path / "max", "STAT": tmp_path / "stat"}.items():
        monkeypatch.setattr(f"airbyte_cdk.utils.memory_monitor._CGROUP_V2_{name}", file)
    visits = [{"id": f"w_{number}", "visitTime": "2026-01-01T00:00:00.000Z"} for number in range(8_000)]

    _, error = read_to_the_end(Api(Workspace.of(website_visits=visits)), config, "website_visits")

    assert "memory usage exceeded" in str(error.message)


def test_given_an_output_that_is_closed_when_activities_are_planned_then_the_planning_ends(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_memory(_: Any) -> None:
        raise AirbyteTracedException(message="out of memory", failure_type=FailureType.transient_error)

    monkeypatch.setattr("airbyte_cdk.utils.memory_monitor.MemoryMonitor.check_memory_usage", check_memory)
    since = datetime(2025, 7, 1, tzinfo=UTC)
    rows = [
        {"id": f"a_{number}", "activityTime": iso(since + number * timedelta(minutes=2))} for number in range(200_000)
    ]
    api = Api(Workspace.of(activities=rows))

    read_to_the_end(api, config, "activities")

    # There are some 50 windows. A few of them were planned before the first page came.
    assert len(api.log.requests) <= 12
