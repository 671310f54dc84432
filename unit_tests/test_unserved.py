"""Activities that the API can't serve: all others come, and the next sync asks for those alone."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStateMessage, AirbyteStreamStatus, FailureType

from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.messages import iso
from integration_tests.sandbox.traits import Traits
from unit_tests.conftest import Read
from unit_tests.output import Output

START = "2026-01-01T00:00:00Z"
FROM = datetime.fromisoformat(START)
MINUTE = timedelta(minutes=1)
MILLISECOND = timedelta(milliseconds=1)
COUNT = 5_021


def activity(number: int, time: datetime) -> dict[str, Any]:
    return {"id": f"a_{number}", "type": "tweet", "activityTime": iso(time)}


def workspace(apart: timedelta = 40 * MINUTE) -> Workspace:
    return Workspace.of(activities=[activity(number, FROM + number * apart) for number in range(COUNT)])


def ids(output: Output) -> set[str]:
    found = [record["id"] for record in output.records("activities")]
    assert len(found) == len(set(found))
    return set(found)


def time_of(api: Api, record_id: str) -> str:
    return next(str(row["activityTime"]) for row in api.workspace.records("activities") if row["id"] == record_id)


def content(output: Output) -> dict[str, Any]:
    return output.last_state("activities")[1]


def holes(output: Output) -> list[tuple[str, str]]:
    spans = content(output)["slices"]
    return [(before["end"], after["start"]) for before, after in pairwise(spans)]


ROWS = {
    "the first": {"a_0"},
    "in the first page": {"a_150"},
    "in the middle": {"a_2600"},
    "the last": {f"a_{COUNT - 1}"},
    "three of one window": {"a_700", "a_702", "a_1200"},
    "neighbors": {"a_3000", "a_3001"},
    "of several windows": {"a_100", "a_1900", "a_3500", "a_5000"},
}


@pytest.mark.parametrize(
    "traits",
    [
        Traits(unservable={"a_2600"}, exclusive_start=True, exclusive_end=True),
        Traits(unservable={"a_2600"}, exclusive_end=True),
        Traits(unservable={"a_2600"}, date_resolution=timedelta(seconds=1)),
    ],
    ids=["exclusive", "exclusive end", "seconds"],
)
def test_given_bounds_of_any_kind_when_an_activity_cannot_be_served_then_no_state_covers_it(
    traits: Traits, read: Read
) -> None:
    api = Api(workspace(), traits=traits)
    first = read(api, "activities", start_date=START, lookback_window_days=0)
    api.unservable = set()

    second = read(api, "activities", start_date=START, lookback_window_days=0, state=first.states("activities")[-1:])

    assert ids(first) == {f"a_{number}" for number in range(COUNT)} - {"a_2600"}
    assert first.status("activities") == AirbyteStreamStatus.INCOMPLETE
    assert "a_2600" in ids(second)
    assert len(ids(second)) < 10
    assert second.status("activities") == AirbyteStreamStatus.COMPLETE


@pytest.mark.parametrize("which", ROWS)
def test_given_activities_that_cannot_be_served_when_read_then_all_others_come_and_they_are_named(
    which: str, read: Read, waits: list[float]
) -> None:
    bad = ROWS[which]
    api = Api(workspace(), traits=Traits(unservable=bad))

    output = read(api, "activities", start_date=START)

    assert ids(output) == {f"a_{number}" for number in range(COUNT)} - bad
    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    errors = output.errors("activities")
    assert all(error.failure_type == FailureType.transient_error for error in errors)
    times = {time_of(api, record_id) for record_id in bad}
    holes_of = holes(output)
    for time in times:
        named = [error for error in errors for low, high in spans_in(error.message) if low <= time <= high]
        assert named
    # No more than milliseconds are left out of the state, and the sync counts as one that came to its end.
    inner = [(low, high) for low, high in holes_of if any(low <= time <= high for time in times)]
    assert len(inner) == len(holes_of)
    assert all(datetime.fromisoformat(high) - datetime.fromisoformat(low) <= 5 * MILLISECOND for low, high in holes_of)
    assert "in_progress" not in content(output)
    assert sum(waits) < 60 * (len(bad) + 1)
    assert len(api.log.of("/v2/activities")) < 60 + 135 * len(bad)


def spans_in(message: str) -> list[tuple[str, str]]:
    words = message.replace(",", " ").replace(":", " :").split()
    joined = message.rsplit("activities of ", maxsplit=1)[-1].split(": each", maxsplit=1)[0]
    del words
    return [tuple(part.split(" to ")) for part in joined.split(", ")]  # type: ignore[misc]


def test_given_an_activity_that_could_not_be_served_when_read_again_then_it_alone_is_asked_for(read: Read) -> None:
    api = Api(workspace(), traits=Traits(unservable={"a_2600"}))
    first = read(api, "activities", start_date=START, lookback_window_days=3)
    api.log.clear()

    second = read(api, "activities", start_date=START, lookback_window_days=3, state=first.states("activities")[-1:])

    asked = {(request.params["startDate"], request.params["endDate"]) for request in api.log.of("/v2/activities")}
    since = datetime.fromisoformat("2026-06-27T23:00:00Z")
    long = [
        (low, high)
        for low, high in asked
        if datetime.fromisoformat(high) - datetime.fromisoformat(low) > timedelta(seconds=1)
        and datetime.fromisoformat(low) < since
    ]
    # What is asked beside it tells whether the API is up.
    assert [pair for pair in long if not is_look_beside(api, pair)] == []
    assert second.status("activities") == AirbyteStreamStatus.INCOMPLETE
    assert holes(second) == holes(first)
    assert "in_progress" not in content(second)
    assert spans_in(second.errors("activities")[0].message) == spans_in(first.errors("activities")[0].message)
    api.unservable = set()

    third = read(api, "activities", start_date=START, lookback_window_days=0, state=second.states("activities")[-1:])

    assert ids(third) == {"a_2600"}
    assert third.status("activities") == AirbyteStreamStatus.COMPLETE
    assert len(content(third)["slices"]) == 1


def is_look_beside(api: Api, pair: tuple[str, str]) -> bool:
    return all(
        request.params["limit"] == "1"
        for request in api.log.of("/v2/activities")
        if (request.params["startDate"], request.params["endDate"]) == pair
    )


def test_given_an_activity_that_cannot_be_served_when_synced_daily_then_the_lookback_is_read_each_time(
    read: Read,
) -> None:
    api = Api(workspace(), traits=Traits(unservable={"a_2600"}))
    state: list[AirbyteStateMessage] = []
    for number in range(3):
        late = activity(90_000 + number, FROM + (COUNT - 3 - number) * 40 * MINUTE + MINUTE)
        if number:
            api.workspace.insert("activities", late)
        output = read(api, "activities", start_date=START, state=state, lookback_window_days=60)
        assert (late["id"] in ids(output)) == bool(number)
        state = output.states("activities")[-1:]


FAULTS: dict[str, Callable[[Callable[..., bool]], Fault]] = {
    "500": lambda when: Fault("status", status=500, when=when),
    "no page": lambda when: Fault("ok_html", when=when),
    "time-out": lambda when: Fault("hang", seconds=100, when=when),
    "reset": lambda when: Fault("reset", when=when),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_given_a_page_that_fails_in_any_passing_way_when_read_then_its_moment_alone_is_left_out(
    kind: str, read: Read
) -> None:
    api = Api(workspace())
    bad = time_of(api, "a_2600")

    def holds_it(params: Mapping[str, str]) -> bool:
        # Whatever the page is: a day, or what is left of the window.
        low, high = params["startDate"], params["endDate"]
        day = iso(datetime.fromisoformat(bad) - timedelta(days=1))
        return low <= bad <= high and (low >= day or high <= iso(datetime.fromisoformat(bad) + timedelta(days=30)))

    api.faults.add(FAULTS[kind](holds_it))

    output = read(api, "activities", start_date=START)

    assert ids(output) == {f"a_{number}" for number in range(COUNT)} - {"a_2600"}
    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    assert len(holes(output)) == 1


def test_given_an_outage_when_read_then_it_is_not_cut_for_minutes(read: Read, waits: list[float]) -> None:
    api = Api(workspace())
    api.faults.add(Fault("status", status=503, after=12))

    output = read(api, "activities", start_date=START, num_workers=2)

    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    failed = [request for request in api.log.of("/v2/activities") if request.status == 503]
    # Three windows and the plan, with some 25 tries in ten minutes and two quick looks at most of them.
    assert len(failed) <= 4 * 25 * 3
    assert all("can't serve" not in error.message for error in output.errors("activities"))
    assert content(output)["in_progress"]
    assert sum(waits) < 5 * 660


def test_given_an_api_that_is_down_from_the_beginning_when_read_then_it_ends_after_ten_minutes(
    read: Read, waits: list[float]
) -> None:
    api = Api(workspace())
    api.faults.add(Fault("status", status=503))

    output = read(api, "activities", start_date=START)

    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    assert len(api.log.of("/v2/activities")) <= 120
    assert 560 < sum(waits) < 720
    assert all("503" in error.message for error in output.errors("activities"))


def test_given_an_outage_while_a_window_is_cut_when_read_again_then_what_came_is_not_read_again(read: Read) -> None:
    api = Api(workspace(), traits=Traits(unservable={"a_2600"}))
    cut = 0

    def begins(_: Any) -> bool:
        nonlocal cut
        cut += sum(request.status == 500 for request in api.log.of("/v2/activities")) > 12
        return cut > 0

    api.faults.add(Fault("status", status=503, when=begins))
    first = read(api, "activities", start_date=START, num_workers=2)
    api.faults.clear()

    second = read(api, "activities", start_date=START, num_workers=2, state=first.states("activities")[-1:])

    assert content(first)["in_progress"]
    assert ids(first) | ids(second) == {f"a_{number}" for number in range(COUNT)} - {"a_2600"}
    assert len(ids(second)) < COUNT


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("counted", [True, False])
def test_given_bounds_that_are_compared_by_the_second_when_one_cannot_be_served_then_its_second_alone_is_missing(
    read: Read, *, counted: bool, exclusive: bool
) -> None:
    """Parts that meet within a second have neither what lies at its beginning, or both have."""
    rows = [activity(number, FROM + number // 40 * timedelta(hours=1)) for number in range(COUNT)]
    traits = Traits(
        exclusive_start=exclusive,
        exclusive_end=exclusive,
        date_resolution=timedelta(seconds=1),
        unservable=["a_2600"],
        uncounted=() if counted else ["/v2/activities"],
    )
    api = Api(Workspace.of(activities=rows), traits=traits)

    output = read(api, "activities", start_date=START)

    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    came = ids(output)
    missing = [row for row in rows if row["id"] not in came]
    # Those of the same hour, of which no page can be had apart.
    assert {row["activityTime"] for row in missing} == {time_of(api, "a_2600")}
    spans = content(output)["slices"]
    assert not any(span["start"] <= row["activityTime"] <= span["end"] for span in spans for row in missing)
    # A few seconds are asked for again, and no more: if bounds are inclusive, neighbors hold it too.
    (hole,) = holes(output)
    assert datetime.fromisoformat(hole[1]) - datetime.fromisoformat(hole[0]) < timedelta(seconds=7)
