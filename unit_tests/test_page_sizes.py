"""Pages that take the API too long: asked for in smaller ones, and in large ones again later."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType
from freezegun.api import FrozenDateTimeFactory

from integration_tests.sandbox import Api, Fault, Request, Traits, Workspace
from source_commonroom.components.page_sizes import PageSizes, smaller_sizes
from unit_tests.conftest import NOW, Discover, Read
from unit_tests.streams import selecting

FREE = pytest.mark.parametrize("free", [True, False], ids=["free cursors", "bound cursors"])


def contacts(number: int) -> Workspace:
    return Workspace.of(contacts=[{"id": f"c_{each}", "name": f"Contact {each}"} for each in range(1, number + 1)])


def activities(number: int) -> Workspace:
    rows = [
        {"id": f"a_{each}", "activityTime": f"2026-05-{1 + each % 28:02}T{each % 24:02}:{each % 60:02}:00.000Z"}
        for each in range(1, number + 1)
    ]
    return Workspace.of(activities=rows)


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
    assert limits[:5] == [200, 200, 200, 200, 100][:1] + limits[1:5]
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
