"""Windows of activities that are whole, or said not to be, whatever is deleted meanwhile and can't be served."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus

from integration_tests.sandbox import Api, Fault, Traits, Workspace
from integration_tests.sandbox.messages import iso
from unit_tests.conftest import Read
from unit_tests.output import Output
from unit_tests.test_whole_lists import Eventful

PATH = "/v2/activities"
START = datetime(2025, 1, 1, tzinfo=UTC)
SPAN: dict[str, Any] = {"start_date": "2025-01-01T00:00:00Z", "lookback_window_days": 0}


def activity(number: int, after: timedelta) -> dict[str, Any]:
    return {"id": f"a_{number}", "type": "tweet", "activityTime": iso(START + after)}


def activities(count: int) -> Workspace:
    return Workspace.of(activities=[activity(number, number * timedelta(minutes=10)) for number in range(count)])


def came(*outputs: Output) -> set[str]:
    return {record["id"] for output in outputs for record in output.records("activities")}


def there(api: Api) -> set[str]:
    return {record["id"] for record in api.workspace.records("activities")}


@pytest.mark.parametrize("every", [300, 200, 100])
def test_given_many_activities_of_a_window_that_cannot_be_served_when_read_then_all_others_come(
    every: int, read: Read
) -> None:
    bad = {f"a_{number}" for number in range(every // 2, 1_500, every)}
    api = Api(activities(1_500), traits=Traits(unservable=bad))

    output = read(api, "activities", **SPAN)

    assert came(output) == there(api) - bad
    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE


def test_given_a_deletion_and_an_outage_in_a_window_when_read_on_then_the_state_covers_nothing_that_was_skipped(
    read: Read,
) -> None:
    delete = lambda workspace: workspace.delete("activities", "a_3")  # noqa: E731
    api = Eventful(activities(1_500), PATH, {2: delete}, cursor_style="offset")
    api.faults.add(Fault("server_error_500", path=PATH, when=lambda params: "cursor" in params, after=3, times=6))

    first = read(api, "activities", **SPAN)
    second = read(api, "activities", state=first.states("activities")[-1:], **SPAN)

    assert there(api) <= came(first, second)
    assert second.status("activities") == AirbyteStreamStatus.COMPLETE


def test_given_a_deletion_and_a_late_arrival_in_a_window_when_read_then_the_one_does_not_hide_what_the_other_skipped(
    read: Read,
) -> None:
    api = Eventful(
        activities(1_500),
        PATH,
        {
            1: lambda workspace: workspace.delete("activities", "a_3"),
            3: lambda workspace: workspace.insert("activities", activity(9_999, timedelta(days=9))),
        },
        cursor_style="offset",
    )

    output = read(api, "activities", **SPAN)

    assert there(api) <= came(output)
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE


def test_given_a_short_gap_whose_count_fails_when_read_then_the_others_are_compared_all_the_same(read: Read) -> None:
    workspace = Workspace.of(
        activities=[activity(number, number * timedelta(minutes=5)) for number in range(12 * 24 * 12)]
    )
    first = read(Api(workspace), "activities", end_date="2025-01-03T00:00:00Z", **SPAN)
    (state,) = first.states("activities")[-1:]
    assert state.stream
    assert state.stream.stream_state
    # Two gaps, of 20 hours and of nine days.
    done = [("2025-01-01T20:00:00.000Z", "2025-01-03T00:00:00.000Z")]
    vars(state.stream.stream_state)["slices"] = [{"start": low, "end": high} for low, high in done]
    api = Api(workspace, withheld={PATH: 0.001})
    api.faults.add(Fault("bad_gateway_502", path=PATH, when=lambda params: "recordCount" in params["cols"], times=3))

    output = read(api, "activities", state=[state], end_date="2025-01-12T00:00:00Z", **SPAN)

    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    assert any(
        "failed to count the records of the spans 2025-01-01T00:00:00.000Z to" in text for text in output.warnings()
    )
