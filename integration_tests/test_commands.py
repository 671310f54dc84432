"""spec, check, discover and read as processes.

One run of each is an interpreter that was started, and not forked (see `fork_server.py`): the command as users run it,
with a configuration of two options.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from airbyte_cdk.models import (
    AirbyteStateBlob,
    AirbyteStateMessage,
    AirbyteStateType,
    AirbyteStreamState,
    AirbyteStreamStatus,
    FailureType,
    Status,
    StreamDescriptor,
    SyncMode,
    Type,
)

import source_commonroom
from integration_tests.conftest import RunCommand, Serve
from integration_tests.sandbox import Api, Workspace
from source_commonroom.table import load_manifest
from unit_tests.output import Output
from unit_tests.streams import STREAMS, Stream, by_key, complete

PACKAGE = Path(source_commonroom.__file__).parent


def keys(stream: Stream, records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The primary keys of some records, each as often as it came."""
    return sorted(str([record[name] for name in stream.primary_key]) for record in records)


def status_of(result: Output) -> tuple[Status, str]:
    (message,) = result.of_type(Type.CONNECTION_STATUS)
    assert message.connectionStatus
    return message.connectionStatus.status, message.connectionStatus.message or ""


def test_spec_is_the_manifests(serve: Serve, command: RunCommand) -> None:
    result = command("spec", serve(), afresh=True)

    (message,) = result.of_type(Type.SPEC)
    assert message.spec
    assert message.spec.connectionSpecification == load_manifest()["spec"]["connection_specification"]
    assert result.exit_code == 0


def test_given_a_good_token_when_checked_then_it_succeeds_with_one_cheap_request_for_each_list(
    serve: Serve, command: RunCommand
) -> None:
    sandbox = serve(latency=0.2)

    result = command("check", sandbox, afresh=True)

    assert status_of(result) == (Status.SUCCEEDED, "")
    assert result.warnings() == []
    assert result.exit_code == 0
    requests = sandbox.api.log.requests
    assert requests[0].path == "/v2/api-token-status"
    assert len(requests) == len(STREAMS)
    assert len({(request.path, *sorted(request.params.items())) for request in requests}) == len(requests)
    # All together: within the rate limit of 20 a second, and not one after the other.
    assert requests[-1].started_at - requests[0].started_at < 3


def test_given_a_token_without_prospector_when_checked_then_exactly_its_streams_are_listed(
    serve: Serve, command: RunCommand, generated: Workspace
) -> None:
    sandbox = serve(Api(generated, forbidden={"/v2/prospector-contacts", "/v2/prospector-companies"}), latency=0.2)

    result = command("check", sandbox)

    status, message = status_of(result)
    assert status == Status.SUCCEEDED
    assert "may not read these streams: prospector_contacts, prospector_companies. Deselect them" in message
    assert message in result.warnings()
    assert result.exit_code == 0


def test_given_a_wrong_token_when_checked_then_it_says_so_and_where_to_make_a_new_one(
    serve: Serve, command: RunCommand
) -> None:
    result = command("check", serve(), api_token="another-token-77aa")

    status, message = status_of(result)
    assert status == Status.FAILED
    assert "rejected the API token" in message
    assert "Settings | API tokens" in message
    assert result.exit_code == 0


def test_given_nothing_that_listens_when_checked_then_it_names_the_server(serve: Serve, command: RunCommand) -> None:
    sandbox = serve()

    # A port of the loopback that is free: the one of tcpmux.
    status, message = status_of(command("check", sandbox, api_url="http://127.0.0.1:1/community"))

    assert status == Status.FAILED
    assert "127.0.0.1:1" in message
    assert "refused the connection" in message


def test_discover_lists_the_streams_of_the_table(serve: Serve, command: RunCommand) -> None:
    sandbox = serve()

    result = command("discover", sandbox, afresh=True)

    (message,) = result.of_type(Type.CATALOG)
    assert message.catalog
    found = {stream.name: stream for stream in message.catalog.streams}
    of_types = {"object_deal_31", "object_subscription_32", "object_deal_1007", "object_type_4", "object_zayavka_55"}
    assert set(found) == {stream.name for stream in STREAMS} | of_types
    for stream in STREAMS:
        assert found[stream.name].source_defined_primary_key == [[key] for key in stream.primary_key]
        assert (SyncMode.incremental in found[stream.name].supported_sync_modes) == bool(stream.cursor_field)
        assert found[stream.name].default_cursor_field == ([stream.cursor_field] if stream.cursor_field else None)
    # A request for each type of entity, contacts, organizations and five of objects, and one for those types.
    assert len(sandbox.api.log.requests) == 8
    assert result.exit_code == 0


def test_read_brings_every_record_of_every_stream_once(serve: Serve, command: RunCommand, generated: Workspace) -> None:
    result = command("read", serve(), afresh=True)

    for stream in STREAMS:
        assert by_key(stream, result.records(stream.name)) == complete(stream, generated), stream.name
        assert result.status(stream.name) == AirbyteStreamStatus.COMPLETE
    assert result.exit_code == 0


@pytest.mark.parametrize("workers", [2, 40])
def test_given_few_or_many_workers_when_read_then_every_record_comes(
    workers: int, serve: Serve, command: RunCommand, generated: Workspace
) -> None:
    result = command("read", serve(), num_workers=workers)

    for stream in STREAMS:
        assert by_key(stream, result.records(stream.name)) == complete(stream, generated), stream.name
    assert result.exit_code == 0


def test_read_keeps_what_the_platform_builds_on(serve: Serve, command: RunCommand) -> None:
    result = command("read", serve(), "contacts", "activities")

    for stream in ("contacts", "activities"):
        records = len(result.records(stream))
        counted = [state.sourceStats.recordCount for state in result.states(stream) if state.sourceStats]
        assert sum(count or 0 for count in counted) == records
        assert result.statuses(stream) == [
            AirbyteStreamStatus.STARTED,
            AirbyteStreamStatus.RUNNING,
            AirbyteStreamStatus.COMPLETE,
        ]
        assert f"Read {records} records from {stream} stream" in result.text
        order = [kind for kind, name in result.order() if name == stream]
        assert order.index("RUNNING") < order.index("RECORD")
        # The CDK queues the last STATE before it says COMPLETE, and takes it from the queue after.
        assert set(order[-2:]) == {"STATE", "COMPLETE"}


def test_given_a_read_when_its_states_are_followed_then_each_covers_only_what_was_emitted_before(
    serve: Serve, command: RunCommand
) -> None:
    result = command("read", serve(), "activities")

    emitted: list[str] = []
    for message in result.messages:
        if message.record:
            emitted.append(message.record.data["activityTime"])
        if message.state and message.state.stream:
            windows = vars(message.state.stream.stream_state)["slices"]
            done = [row for row in result.records("activities") if covers(windows, row["activityTime"])]
            assert len(done) <= len([time for time in emitted if covers(windows, time)])
    assert len(result.states("activities")) > 1
    assert len(done) == len(result.records("activities"))


def covers(windows: list[dict[str, str]], time: str) -> bool:
    return any(window["start"] <= time <= window["end"] for window in windows)


def test_given_the_state_of_a_first_run_when_read_again_then_only_the_lookback_comes_again(
    serve: Serve, command: RunCommand, generated: Workspace
) -> None:
    sandbox = serve()
    until = "2026-06-30T12:00:00.000Z"
    first = command("read", sandbox, "activities", lookback_window_days=1, end_date=until)
    state, newest = first.last_state("activities")

    second = command("read", sandbox, "activities", state=[state], lookback_window_days=1, end_date=until)

    assert len(first.records("activities")) == len(generated.records("activities"))
    assert sorted(row["id"] for row in second.records("activities")) == sorted(
        row["id"] for row in generated.records("activities") if row["activityTime"] >= "2026-06-29T11:59:00.000Z"
    )
    assert second.last_state("activities")[1]["slices"] == newest["slices"]


def state_of(content: dict[str, object]) -> AirbyteStateMessage:
    stream = AirbyteStreamState(
        stream_descriptor=StreamDescriptor(name="activities"), stream_state=AirbyteStateBlob(content)
    )
    return AirbyteStateMessage(type=AirbyteStateType.STREAM, stream=stream)


def test_given_a_state_that_cannot_be_read_when_read_then_it_ends_before_any_request_and_keeps_the_state(
    serve: Serve, command: RunCommand
) -> None:
    sandbox = serve()

    result = command("read", sandbox, "activities", "tags", state=[state_of({"updated_at": "2026-01-01"})])

    (error,) = result.errors()
    assert error.failure_type == FailureType.config_error
    assert "activities: the saved state can't be read" in error.message
    assert sandbox.api.log.requests == []
    # The platform would save what is emitted.
    assert result.of_type(Type.STATE) == []
    assert result.exit_code == 1


def test_given_a_state_far_ahead_when_read_then_it_warns_and_reads_everything(
    serve: Serve, command: RunCommand, generated: Workspace
) -> None:
    result = command("read", serve(), "activities", state=[state_of({"activityTime": "2999-01-01T00:00:00.000Z"})])

    assert len(result.records("activities")) == len(generated.records("activities"))
    assert any("further ahead of this machine's clock" in warning for warning in result.warnings())
    assert result.last_state("activities")[1]["slices"][-1]["end"] < "2999"
    assert result.exit_code == 0


def test_given_a_wrong_token_when_read_then_every_stream_is_incomplete(serve: Serve, command: RunCommand) -> None:
    sandbox = serve()

    result = command("read", sandbox, "contacts", "activities", "tags", api_token="another-token-77aa")

    assert len(sandbox.api.log.of("/v2/api-token-status")) == 1
    for stream in ("contacts", "activities", "tags"):
        assert result.status(stream) == AirbyteStreamStatus.INCOMPLETE
        assert {error.failure_type for error in result.errors(stream)} == {FailureType.config_error}
        assert all("rejected the API token" in error.message for error in result.errors(stream))
    assert result.exit_code == 1


def test_given_a_path_that_the_token_may_not_read_when_read_then_the_others_complete(
    serve: Serve, command: RunCommand, generated: Workspace
) -> None:
    result = command("read", serve(Api(generated, forbidden={"/v2/segments"})), "segments", "tags")

    assert result.status("segments") == AirbyteStreamStatus.INCOMPLETE
    assert all("doesn't include this stream" in error.message for error in result.errors("segments"))
    assert result.status("tags") == AirbyteStreamStatus.COMPLETE
    assert result.exit_code == 1


@pytest.mark.parametrize("name", ["check", "discover", "read"])
def test_given_a_bad_configuration_when_run_then_it_is_a_config_error(
    name: str, serve: Serve, command: RunCommand
) -> None:
    sandbox = serve()

    result = command(name, sandbox, "tags", num_workers="many")

    if name == "check":
        assert status_of(result)[0] == Status.FAILED
        assert result.exit_code == 0
    else:
        (error,) = result.errors()
        assert error.failure_type == FailureType.config_error
        assert "num_workers" in error.message
        assert result.exit_code == 1
    assert sandbox.api.log.requests == []
