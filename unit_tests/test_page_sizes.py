"""Pages that take the API too long: asked for in smaller ones, and in large ones again later."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType
from freezegun.api import FrozenDateTimeFactory

from integration_tests.sandbox import Api, Fault, Request, Traits, Workspace, counts
from integration_tests.sandbox.messages import Answer, Call, json_answer
from source_commonroom.api.page_sizes import PageSizes, smaller_sizes
from unit_tests.conftest import NOW, Discover, Read
from unit_tests.streams import selecting
from unit_tests.test_whole_lists import rows

FREE = pytest.mark.parametrize("free", [True, False], ids=["free cursors", "bound cursors"])


def contacts(number: int) -> Workspace:
    return Workspace.of(contacts=[{"id": f"c_{each}", "name": f"Contact {each}"} for each in range(1, number + 1)])


def activities(number: int) -> Workspace:
    found = [
        {"id": f"a_{each}", "activityTime": f"2026-05-{1 + each % 28:02}T{each % 24:02}:{each % 60:02}:00.000Z"}
        for each in range(1, number + 1)
    ]
    return Workspace.of(activities=found)


def pages(api: Api, path: str = "/v2/contacts") -> list[Request]:
    """List the requests for pages, those for a count apart."""
    return [request for request in api.log.of(path) if request.params["limit"] != "1"]


def sizes(api: Api, path: str = "/v2/contacts") -> Counter[int]:
    return Counter(int(request.params["limit"]) for request in pages(api, path))


def ids(output: Any, stream: str) -> list[str]:
    return sorted(record["id"] for record in output.records(stream))


def too_large(rows: int) -> Fault:
    """A server that answers no page of more rows."""
    return Fault("status", status=504, when=lambda params: int(params.get("limit", 0)) > rows)


@FREE
@pytest.mark.parametrize("rows", [100, 50, 25])
@pytest.mark.parametrize("both_ends", [True, False])
def test_given_a_server_that_serves_no_large_page_when_read_then_smaller_ones_bring_all(
    rows: int, read: Read, *, both_ends: bool, free: bool
) -> None:
    api = Api(contacts(1_100), traits=Traits(limit_may_change=free), faults=[too_large(rows)])

    output = read(api, "contacts", walk_from_both_ends=both_ends)

    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert ids(output, "contacts") == sorted(f"c_{number}" for number in range(1, 1_101))
    first = [int(request.params["limit"]) for request in pages(api)]
    wanted = [200, 200, *(size for size in (100, 50, 25) if size >= rows)]
    if not both_ends:
        assert first[: len(wanted)] == wanted
    refused = sum(int(request.params["limit"]) > rows for request in pages(api))
    assert refused <= 2 * len(wanted) + 4


@FREE
@pytest.mark.parametrize("style", ["keyset", "offset"])
@pytest.mark.parametrize("heavy", [{"c_450": 50}, {"c_450": 30, "c_451": 110}, {"c_201": 100, "c_900": 60}])
def test_given_a_page_in_the_middle_that_is_too_large_when_read_then_all_comes_once(
    style: Any, heavy: dict[str, int], read: Read, *, free: bool
) -> None:
    api = Api(contacts(1_000), cursor_style=style, traits=Traits(limit_may_change=free, heavy=heavy))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert ids(output, "contacts") == sorted(f"c_{number}" for number in range(1, 1_001))
    begun_again = any("The list is read again from its first page" in text for text in output.warnings())
    assert begun_again == (not free)


def test_given_a_page_that_is_too_large_when_read_on_then_larger_ones_are_asked_for_again(read: Read) -> None:
    api = Api(contacts(6_000), traits=Traits(limit_may_change=True, heavy={"c_450": 50}))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    limits = [int(request.params["limit"]) for request in pages(api)]
    # Two pages, the third twice, then smaller ones; and once more as large, because it may have been an outage.
    assert limits[:7] == [200, 200, 200, 200, 100, 50, 200]
    assert sizes(api)[50] in range(20, 24)
    assert sizes(api)[100] in range(20, 24)
    assert limits[-10:] == [200] * 10


@pytest.mark.parametrize("status", [502, 503, 504, 524])
@FREE
def test_given_an_outage_in_the_middle_when_read_then_the_walk_is_not_begun_again(
    status: int, read: Read, clock: FrozenDateTimeFactory, *, free: bool
) -> None:
    clock.move_to(NOW)
    api = Api(contacts(4_000), traits=Traits(limit_may_change=free))
    began: list[float] = []

    def in_outage(params: Any) -> bool:
        if "cursor" in params and len(api.log.requests) > 8:
            began.append(clock().timestamp())
        return bool(began) and clock().timestamp() - began[0] < 120

    api.faults.add(Fault("status", status=status, when=in_outage))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert ids(output, "contacts") == sorted(f"c_{number}" for number in range(1, 4_001))
    firsts = [request for request in pages(api) if "cursor" not in request.params and request.status == 200]
    assert len(firsts) == 1


def test_given_pages_that_fail_however_small_when_read_then_the_error_names_the_expensive_columns(
    read: Read, discover: Discover
) -> None:
    api = Api(contacts(300))
    found = discover(api)["contacts"]
    api.faults.add(too_large(1))

    output = read(api, configured=selecting(found, "id", "name", "recentActivities", "title"))

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    (error,) = output.errors("contacts")
    assert error.failure_type == FailureType.transient_error
    assert "Even pages of 25 records take too long" in str(error.message)
    assert "recentActivities take the API longest: deselect" in str(error.message)
    assert "sparkSummary" not in str(error.message)


@FREE
def test_given_activities_whose_pages_are_too_large_when_read_then_smaller_ones_bring_all(
    read: Read, *, free: bool
) -> None:
    api = Api(activities(3_000), traits=Traits(limit_may_change=free), faults=[too_large(60)])

    output = read(api, "activities")

    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    assert ids(output, "activities") == sorted(f"a_{number}" for number in range(1, 3_001))


@FREE
def test_given_single_activities_that_are_heavy_when_read_then_all_comes_once(read: Read, *, free: bool) -> None:
    heavy = {f"a_{number}": 40 for number in (700, 1_400, 2_100)}
    api = Api(activities(3_000), traits=Traits(limit_may_change=free, heavy=heavy))

    output = read(api, "activities")

    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    assert ids(output, "activities") == sorted(f"a_{number}" for number in range(1, 3_001))


@pytest.mark.parametrize(
    ("size", "smaller"), [(200, [100, 50, 25]), (100, [50, 25]), (50, [25]), (49, []), (25, []), (1, []), (0, [])]
)
def test_given_a_size_when_halved_then_it_ends_at_25(size: int, smaller: list[int]) -> None:
    assert smaller_sizes(size) == smaller


def test_given_larger_pages_that_fail_again_when_tried_then_they_are_tried_less_often() -> None:
    page_sizes = PageSizes(200)
    tried = []
    for page in range(2_000):
        if page_sizes.now == 200:
            tried.append(page)
            page_sizes.shrink_to(100)
        else:
            page_sizes.served(100)

    assert [after - before for before, after in pairwise(tried)] == [21, 41, 81, 161, 321, 641]


class PageNumbers(Api):
    """Cursors are numbers of pages, of whatever size is asked for: the same one is another place in smaller pages."""

    slow: tuple[int, ...] = ()
    asked = 0

    def answer(self, call: Call) -> Answer:
        limit = int(call.params.get("limit", 0))
        if limit <= 1:
            return super().answer(call)
        self.asked += 1
        if self.asked in self.slow and limit > 100:
            return Answer(504, body=b"{}")
        rows = self.workspace.records(call.path.rpartition("/")[2].replace("-", "_"))
        page = int(call.params.get("cursor", 1))
        meta = {"nextCursor": str(page + 1) if page * limit < len(rows) else None}
        return json_answer(200, {"success": True, "data": rows[(page - 1) * limit : page * limit], "meta": meta})


@pytest.mark.parametrize("stream", ["tags", "topics", "contacts", "website_visits"])
@pytest.mark.parametrize("slow", [(5, 6), (5, 6, 8), (5, 6, 7, 8, 9), (1, 2, 4, 9, 10, 12)])
def test_given_cursors_that_number_pages_and_slow_pages_when_read_then_each_record_comes_once(
    slow: tuple[int, ...], stream: str, read: Read
) -> None:
    api = PageNumbers(Workspace.of(**{stream: rows(stream, 6_000)}))
    api.slow = slow
    api.faults.add(Fault("status", status=504, when=counts))

    output = read(api, stream, walk_from_both_ends=False)

    assert output.status(stream) == AirbyteStreamStatus.COMPLETE
    assert ids(output, stream) == sorted(row["id"] for row in rows(stream, 6_000))


@FREE
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("heavy", [150, 60, 30])
def test_given_many_activities_of_one_moment_and_a_heavy_one_when_read_then_all_comes_once(
    heavy: int, read: Read, *, counted: bool, free: bool
) -> None:
    burst = [{"id": f"a_{number}", "activityTime": "2026-05-01T10:00:00.000Z"} for number in range(1, 1_501)]
    uncounted = () if counted else ("/v2/activities",)
    traits = Traits(limit_may_change=free, heavy={"a_1100": heavy}, uncounted=uncounted)

    output = read(Api(Workspace.of(activities=burst), traits=traits), "activities")

    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    assert ids(output, "activities") == sorted(row["id"] for row in burst)


def test_given_cursors_that_expire_once_after_pages_became_smaller_when_read_then_the_list_is_complete(
    read: Read,
) -> None:
    api = Api(contacts(3_000), traits=Traits(heavy={"c_450": 150}))
    small: list[Any] = []

    def expire(params: Any) -> bool:
        if params.get("limit") == "100" and "cursor" in params:
            small.append(params)
            if len(small) == 15:
                api.expire_cursors()
        return False

    api.faults.add(Fault("status", when=expire))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert ids(output, "contacts") == sorted(f"c_{number}" for number in range(1, 3_001))


def test_given_cursors_that_take_fewer_rows_and_not_more_when_read_then_smaller_pages_bring_the_rest(
    read: Read,
) -> None:
    class Shrinking(Api):
        """A cursor says where it is, and the size of the page that it came with."""

        slow = 0

        def answer(self, call: Call) -> Answer:
            limit = int(call.params.get("limit", 0))
            if limit <= 1:
                return super().answer(call)
            place, size = map(int, call.params.get("cursor", "0.200").split("."))
            if limit > size:
                return json_answer(400, {"success": False})
            if place == 1_000 and limit == 200 and self.slow < 3:
                self.slow += 1
                return Answer(504, body=b"{}")
            rows = self.workspace.records("topics")
            end = place + limit
            meta = {"nextCursor": f"{end}.{limit}" if end < len(rows) else None}
            return json_answer(200, {"success": True, "data": rows[place:end], "meta": meta})

    api = Shrinking(Workspace.of(topics=rows("topics", 6_000)))

    output = read(api, "topics")

    assert output.status("topics") == AirbyteStreamStatus.COMPLETE
    assert ids(output, "topics") == sorted(row["id"] for row in rows("topics", 6_000))
    assert output.warnings() == []


@FREE
def test_given_a_short_outage_at_the_first_page_when_read_then_pages_stay_as_large(read: Read, *, free: bool) -> None:
    api = Api(contacts(2_000), traits=Traits(limit_may_change=free))
    api.faults.add(Fault("status", status=504, times=2, when=lambda params: params.get("limit") == "200"))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert sizes(api)[200] >= 10


@FREE
@pytest.mark.parametrize("heavy", ["c_410", "c_450"])
def test_given_a_record_that_no_page_can_be_served_with_when_read_then_the_error_names_the_expensive_columns(
    heavy: str, read: Read, discover: Discover, *, free: bool
) -> None:
    api = Api(contacts(600), traits=Traits(limit_may_change=free, heavy={heavy: 24}))
    found = discover(api)["contacts"]

    configured = selecting(found, "id", "name", "recentActivities")
    output = read(api, configured=configured, walk_from_both_ends=False)

    (error,) = output.errors("contacts")
    assert "Even pages of 25 records take too long" in str(error.message)
    assert "recentActivities take the API longest" in str(error.message)


@pytest.mark.parametrize("turn", [5, 6, 7])
def test_given_a_walk_down_that_is_begun_again_after_a_creation_when_read_then_nothing_comes_twice(
    turn: int, read: Read
) -> None:
    api = Api(contacts(3_000))
    down: list[Any] = []

    def refuse(params: Any) -> bool:
        if params.get("direction") != "desc" or "cursor" not in params:
            return False
        down.append(params)
        if len(down) == turn:
            api.workspace.insert("contacts", {"id": "c_3001", "name": "New"})
        return len(down) == turn

    api.faults.add(Fault("status", status=400, when=refuse))

    output = read(api, "contacts", num_workers=4)

    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert max(Counter(ids(output, "contacts")).values()) == 1


def test_given_counts_that_fail_and_heavy_activities_when_read_then_smaller_pages_bring_them(read: Read) -> None:
    heavy = {f"a_{number}": 40 for number in (700, 1_400, 2_100)}
    api = Api(activities(3_000), traits=Traits(heavy=heavy), faults=[Fault("status", status=504, when=counts)])

    output = read(api, "activities")

    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    assert ids(output, "activities") == sorted(f"a_{number}" for number in range(1, 3_001))
