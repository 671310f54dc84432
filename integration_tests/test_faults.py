"""Faults over real HTTP: every fifth request, and every request."""

import re
from collections.abc import Mapping

import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType

from integration_tests.conftest import HURRIED, PROGRAM, RunCommand, Serve
from integration_tests.sandbox import Api, Fault, Workspace
from unit_tests.streams import BY_NAME, STREAMS, by_key, complete

KINDS = (
    "rate_limited",
    "server_error_500",
    "bad_gateway_502",
    "unavailable_503_html",
    "ok_html",
    "ok_empty",
    "truncated_json",
    "short_body",
    "success_false",
    "reset",
)
PATHS = ("/v2/prospector-contacts", "/v2/organizations", "/v2/topics", "/v2/tags", "/v2/activity-types")
# A rate limit that lasts ends all streams of the token; see test_errors.py.
FOR_EVER = (*KINDS[1:], "error_520")
NAMES = {stream.path: stream.name for stream in STREAMS}


@pytest.mark.parametrize("kind", KINDS)
def test_given_a_server_that_fails_every_fifth_request_when_read_then_every_record_comes_once(
    kind: str, serve: Serve, command: RunCommand, generated: Workspace
) -> None:
    sandbox = serve(Api(generated, faults=[Fault(kind, every=5)]))

    # A rate limit says itself how long to wait.
    result = command("read", sandbox, program=PROGRAM if kind == "rate_limited" else HURRIED)

    assert [request.fault for request in sandbox.api.log.requests].count(kind) >= 3
    for stream in STREAMS:
        assert by_key(stream, result.records(stream.name)) == complete(stream, generated), stream.name
        assert result.status(stream.name) == AirbyteStreamStatus.COMPLETE, stream.name
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "faults",
    [dict(zip(PATHS, FOR_EVER[:5], strict=True)), dict(zip(PATHS, FOR_EVER[5:], strict=True))],
    ids=lambda faults: "+".join(faults.values()),
)
def test_given_a_server_that_always_fails_a_stream_when_read_then_it_is_incomplete_and_the_others_complete(
    faults: Mapping[str, str], serve: Serve, command: RunCommand, generated: Workspace
) -> None:
    sandbox = serve(Api(generated, faults=[Fault(kind, path=path, seconds=0.02) for path, kind in faults.items()]))

    result = command("read", sandbox, program=HURRIED)

    failing = {NAMES[path] for path in faults}
    for stream in STREAMS:
        if stream.name not in failing:
            assert result.status(stream.name) == AirbyteStreamStatus.COMPLETE, stream.name
            assert by_key(stream, result.records(stream.name)) == complete(stream, generated)
            continue
        assert result.status(stream.name) == AirbyteStreamStatus.INCOMPLETE, stream.name
        (error,) = result.errors(stream.name)
        assert error.failure_type == FailureType.transient_error
        assert error.message.startswith(f"{stream.name}: ")
        # Some 25 times in ten minutes; fewer on a busy machine, where time is short. One sorted by id is tried once
        # from its other end.
        tries = re.search(r"\((\d+) tries", error.message)
        assert tries
        assert int(tries[1]) >= 6
        assert len(sandbox.api.log.pages(stream.path)) == int(tries[1]) + (stream.sorted_by == "id")
    assert result.exit_code == 1


def test_given_activities_that_always_fail_when_read_then_the_state_does_not_move(
    serve: Serve, command: RunCommand, generated: Workspace
) -> None:
    api = Api(generated, faults=[Fault("ok_html", path="/v2/activities", after=1)])

    result = command("read", serve(api), "activities", "tags", start_date="2025-01-01T00:00:00Z", program=HURRIED)

    assert result.status("activities") == AirbyteStreamStatus.INCOMPLETE
    assert result.status("tags") == AirbyteStreamStatus.COMPLETE
    assert result.exit_code == 1
    assert result.last_state("activities")[1]["slices"] == []


def test_given_450_activities_of_one_moment_when_read_then_none_is_lost(serve: Serve, command: RunCommand) -> None:
    rows = [{"id": f"a_{number}", "type": "tweet", "activityTime": "2025-12-31T23:59:59.999Z"} for number in range(450)]

    result = command("read", serve(Api(Workspace.of(activities=rows))), "activities", start_date="2020-01-01T00:00:00Z")

    assert by_key(BY_NAME["activities"], result.records("activities")) == by_key(BY_NAME["activities"], rows)
