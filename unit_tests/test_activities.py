"""Activities: slices that meet exactly, and the state between two runs."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from airbyte_cdk.models import (
    AirbyteStateBlob,
    AirbyteStateMessage,
    AirbyteStateType,
    AirbyteStreamState,
    StreamDescriptor,
)

from integration_tests.sandbox import Api, Workspace
from unit_tests.conftest import NOW, Read
from unit_tests.output import Output
from unit_tests.streams import BY_NAME, expected

ACTIVITIES = BY_NAME["activities"]
MILLISECOND = timedelta(milliseconds=1)
START = "2025-06-30T00:00:00Z"


def activity(number: int, time: str) -> dict[str, Any]:
    return {"id": f"a_{number}", "type": "tweet", "activityTime": time}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def windows(api: Api) -> list[tuple[datetime, datetime]]:
    """List the windows of time that were asked for, in their order, each once whatever its pages."""
    asked = {
        (moment(request.params["startDate"]), moment(request.params["endDate"]))
        for request in api.log.of("/v2/activities")
    }
    return sorted(asked)


def ids(output: Output) -> list[str]:
    return sorted(record["id"] for record in output.records("activities"))


def state_of(time: str) -> AirbyteStateMessage:
    return AirbyteStateMessage(
        type=AirbyteStateType.STREAM,
        stream=AirbyteStreamState(
            stream_descriptor=StreamDescriptor(name="activities"),
            stream_state=AirbyteStateBlob({"activityTime": time}),
        ),
    )


@pytest.mark.parametrize("start_date", [None, START])
def test_when_read_then_the_windows_meet_at_a_millisecond(api: Api, read: Read, start_date: str | None) -> None:
    read(api, "activities", **({"start_date": start_date} if start_date else {}))

    asked = windows(api)
    assert asked[0][0] == moment(start_date or "1970-01-01T00:00:00Z")
    assert asked[-1][1] == moment(NOW)
    assert all(later[0] - earlier[1] == MILLISECOND for earlier, later in pairwise(asked))


def test_given_activities_at_every_edge_of_the_windows_when_read_then_each_comes_once(read: Read) -> None:
    first = Api(Workspace.of(activities=[]))
    read(first, "activities", start_date="2020-01-01T00:00:00Z")
    edges = {
        edge + shift
        for window in windows(first)
        for edge in window
        for shift in (-MILLISECOND, timedelta(0), MILLISECOND)
    }
    inside = sorted(edge for edge in edges if moment("2020-01-01T00:00:00Z") <= edge <= moment(NOW))
    times = [edge.strftime("%Y-%m-%dT%H:%M:%S.") + f"{edge.microsecond // 1000:03}Z" for edge in inside]
    api = Api(Workspace.of(activities=[activity(number, time) for number, time in enumerate(times)]))

    output = read(api, "activities", start_date="2020-01-01T00:00:00Z")

    assert ids(output) == sorted(f"a_{number}" for number in range(len(times)))


def test_given_450_activities_of_one_moment_when_read_then_none_is_lost_and_none_comes_twice(read: Read) -> None:
    moment_of_all = "2025-12-31T23:59:59.999Z"
    api = Api(Workspace.of(activities=[activity(number, moment_of_all) for number in range(450)]))

    output = read(api, "activities", start_date=START)

    assert ids(output) == sorted(f"a_{number}" for number in range(450))


def test_given_the_state_of_a_first_run_when_read_again_then_only_the_lookback_is_read(api: Api, read: Read) -> None:
    first = read(api, "activities", start_date=START)
    api.log.clear()

    second = read(
        api, "activities", start_date=START, state=[first.last_state("activities")[0]], lookback_window_days=2
    )

    newest = max(row["activityTime"] for row in api.workspace.records("activities"))
    since = moment(newest) - timedelta(days=2)
    assert windows(api)[0][0] == since
    assert ids(second) == sorted(
        row["id"] for row in api.workspace.records("activities") if moment(row["activityTime"]) >= since
    )
    assert second.last_state("activities")[1] == first.last_state("activities")[1]


def test_given_a_late_arrival_within_the_lookback_when_read_again_then_it_comes(read: Read) -> None:
    api = Api(Workspace.of(activities=[activity(1, "2026-06-29T00:00:00.000Z")]))
    first = read(api, "activities", start_date=START)
    api.workspace.insert("activities", activity(2, "2026-06-27T00:00:00.000Z"))

    second = read(api, "activities", start_date=START, state=[first.last_state("activities")[0]])

    assert ids(second) == ["a_1", "a_2"]


def test_given_start_and_end_date_when_read_then_only_what_lies_between_comes(api: Api, read: Read) -> None:
    output = read(api, "activities", start_date="2025-08-01T00:00:00Z", end_date="2025-10-01T00:00:00.500Z")

    assert windows(api)[-1][1] == moment("2025-10-01T00:00:00.500Z")
    assert ids(output) == sorted(
        row["id"]
        for row in api.workspace.records("activities")
        if "2025-08-01T00:00:00.000Z" <= row["activityTime"] <= "2025-10-01T00:00:00.500Z"
    )


def test_given_an_end_date_ahead_when_read_then_nothing_after_now_is_asked_for(read: Read) -> None:
    ahead = [activity(1, "2026-06-30T00:00:00.000Z"), activity(2, "2027-01-01T00:00:00.000Z")]
    api = Api(Workspace.of(activities=ahead))

    output = read(api, "activities", start_date=START, end_date="2030-01-01T00:00:00Z")

    assert windows(api)[-1][1] == moment(NOW)
    assert ids(output) == ["a_1"]
    assert output.last_state("activities")[1] == {"activityTime": "2026-06-30T00:00:00.000Z"}


def test_given_shards_that_share_no_moment_when_read_then_together_they_have_everything(api: Api, read: Read) -> None:
    early = read(api, "activities", end_date="2025-09-30T23:59:59.999Z", start_date="2020-01-01T00:00:00Z")
    late = read(api, "activities", start_date="2025-10-01T00:00:00Z")

    both = ids(early) + ids(late)
    assert sorted(both) == sorted(row["id"] for row in expected(ACTIVITIES, api.workspace))


def test_given_a_state_of_today_when_read_then_the_last_window_still_ends_now(read: Read) -> None:
    api = Api(Workspace.of(activities=[activity(1, "2026-06-30T23:59:59.999Z")]))

    output = read(api, "activities", state=[state_of("2026-06-30T23:59:59.999Z")], lookback_window_days=0)

    assert ids(output) == ["a_1"]
    assert windows(api) == [(moment("2026-06-30T23:59:59.999Z"), moment(NOW))]
    assert datetime.now(tz=UTC) == moment(NOW)
