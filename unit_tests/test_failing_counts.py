"""Counts that fail, and orders that weren't asked for: everything is read all the same, and in few requests."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus

from integration_tests.sandbox import Api, Fault, Workspace, counts, counts_longer_than
from integration_tests.sandbox.messages import Answer, Call, iso
from integration_tests.sandbox.traits import Traits
from unit_tests.conftest import NOW, Read
from unit_tests.output import Output

NOW_AT = datetime.fromisoformat(NOW)
COUNT = 5_021
PAGES = -(-COUNT // 200)


def activity(number: int, time: datetime) -> dict[str, Any]:
    return {"id": f"a_{number}", "type": "tweet", "activityTime": iso(time)}


def history(years: float = 3, count: int = COUNT) -> Workspace:
    rng = Random(9)
    return Workspace.of(
        activities=[
            activity(number, NOW_AT - timedelta(days=years * 365) * rng.random() ** 1.5) for number in range(count)
        ]
    )


def assert_all_came(output: Output, api: Api) -> None:
    found = [record["id"] for record in output.records("activities")]
    assert len(found) == len(set(found))
    assert set(found) == {row["id"] for row in api.workspace.records("activities")}
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    state = output.last_state("activities")[1]
    assert [span["end"] for span in state["slices"]] == [iso(NOW_AT)]
    assert set(state) == {"state_type", "slices", "ledger"}


FAULTS = {
    "504": lambda when: Fault("status", status=504, when=when),
    "time-out": lambda when: Fault("hang", seconds=100, when=when),
    "no page": lambda when: Fault("ok_html", when=when),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("start", [None, "2020-01-01T00:00:00Z"])
def test_given_counts_that_all_fail_when_read_then_everything_comes_with_one_warning(
    start: str | None, kind: str, read: Read, waits: list[float]
) -> None:
    api = Api(history())
    api.faults.add(FAULTS[kind](counts))

    output = read(api, "activities", **({"start_date": start} if start else {}))

    assert_all_came(output, api)
    (warning,) = output.warnings()
    assert "can't be compared with a count" in warning
    assert len(api.log.of("/v2/activities")) <= 2 * PAGES + 70
    # What isn't needed isn't waited for.
    assert sum(waits) < 5
    # In windows, so that workers share it, and a state is kept.
    assert len(output.states("activities")) >= 3


@pytest.mark.parametrize("days", [1.5, 30, 200, 1000])
def test_given_counts_of_long_spans_that_fail_when_read_then_shorter_ones_are_counted(days: float, read: Read) -> None:
    api = Api(history())
    api.faults.add(Fault("status", status=504, when=counts_longer_than(days)))

    output = read(api, "activities")

    assert_all_came(output, api)
    # What lies before the first activity that was shown is counted once it was read, or named.
    earlier = [line for line in output.warnings() if "startDate 1970-01-01T00:00:00.000Z" in line]
    (warning,) = [line for line in output.warnings() if line not in earlier]
    assert len(earlier) == 1
    assert "Shorter ones were counted" in warning
    assert len(api.log.of("/v2/activities")) <= 2 * PAGES + 60 + 2.5 * 365 * 3 / days


def test_given_counts_of_long_spans_that_fail_when_read_then_they_are_asked_for_once_each_length(read: Read) -> None:
    api = Api(history())
    api.faults.add(Fault("status", status=504, when=counts_longer_than(30)))

    read(api, "activities")

    failed = [
        datetime.fromisoformat(request.params["endDate"]) - datetime.fromisoformat(request.params["startDate"])
        for request in api.log.of("/v2/activities")
        if request.status == 504
    ]
    # The first is tried twice, and once with a small page. Of each length a page with a count is asked for, and a count
    # alone. No length is tried again, nor a longer one; but for the span before the first activity, at the end.
    assert failed[0] == failed[1] == failed[2]
    assert failed[-2] == failed[-1] > timedelta(days=30)
    del failed[-2:]
    assert max(Counter(failed[3:]).values()) <= 2
    assert all(later <= earlier for earlier, later in pairwise(failed))


def test_given_rows_held_back_and_counts_of_long_spans_that_fail_when_read_then_it_shows(read: Read) -> None:
    api = Api(history(), withheld={"/v2/activities": 0.01})
    api.faults.add(Fault("status", status=504, when=counts_longer_than(200)))

    output = read(api, "activities")

    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE


def test_given_counts_that_fail_when_nothing_is_there_then_it_costs_few_requests(read: Read) -> None:
    api = Api(Workspace.of(activities=[]))
    api.faults.add(Fault("status", status=504, when=counts))

    output = read(api, "activities")

    assert output.exit_code == 0
    assert len(api.log.of("/v2/activities")) <= 60


@pytest.mark.parametrize("days", [20, 400])
def test_given_counts_that_fail_for_long_spans_and_are_refused_for_shorter_ones_when_read_then_nothing_is_read_twice(
    days: float, read: Read
) -> None:
    is_long = counts_longer_than(days)
    api = Api(history())
    api.faults.add(Fault("status", status=504, when=is_long))
    api.faults.add(Fault("status", status=400, when=lambda params: counts(params) and not is_long(params)))

    output = read(api, "activities")

    assert_all_came(output, api)
    (warning,) = output.warnings()
    assert "the API doesn't count records (it refused the request)" in warning
    assert len(api.log.of("/v2/activities")) <= 2 * PAGES + 60


class Odd(Api):
    """Shows all activities at one time far from their own."""

    def __init__(self, workspace: Workspace, shown: str) -> None:
        super().__init__(workspace)
        self.shown = shown

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        return Answer(
            answer.status,
            answer.body.replace(b'"activityTime":"2', b'"activityTime":"' + self.shown.encode() + b'","was":"2'),
            answer.headers,
        )


@pytest.mark.parametrize("shown", ["1999-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"])
def test_given_moments_outside_their_window_when_read_then_the_sync_ends_and_everything_comes(
    shown: str, read: Read
) -> None:
    api = Odd(history(), shown)

    output = read(api, "activities")

    found = [record["id"] for record in output.records("activities")]
    assert set(found) == {row["id"] for row in api.workspace.records("activities")}
    assert len(api.log.of("/v2/activities")) <= 4 * PAGES + 60
    assert output.exit_code == 0


def test_when_read_then_every_request_asks_for_the_order(read: Read) -> None:
    api = Api(history())

    read(api, "activities")

    assert {(request.params["sort"], request.params["direction"]) for request in api.log.of("/v2/activities")} == {
        ("activityTime", "asc")
    }


ORDERS: Mapping[str, Traits] = {
    "downwards by default": Traits(order={"/v2/activities": ("activityTime", "desc")}),
    "always downwards": Traits(order={"/v2/activities": ("activityTime", "desc")}, ignores_order=["/v2/activities"]),
}


@pytest.mark.parametrize("order", ORDERS)
def test_given_another_order_when_read_then_everything_comes_in_a_bounded_number_of_requests(
    order: str, read: Read
) -> None:
    api = Api(history(), traits=ORDERS[order])

    output = read(api, "activities")

    assert_all_came(output, api)
    assert len(api.log.of("/v2/activities")) <= 4 * PAGES + 60
