"""What the API's description leaves open: each trait of the sandbox does what it says, and nothing else."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import requests_mock
from hypothesis import given, settings
from hypothesis import strategies as st

from integration_tests.sandbox import (
    ENDPOINTS,
    Api,
    Fault,
    Sandbox,
    Traits,
    Workspace,
    counts,
    counts_longer_than,
    mount,
)
from integration_tests.sandbox.__main__ import read_arguments
from integration_tests.sandbox.messages import finer, shown, stored
from integration_tests.test_sandbox import MOCK_URL, REQUIRED_PARAMETERS, activity, call, flat, get, ids, walk

if TYPE_CHECKING:
    from collections.abc import Callable

    Record = dict[str, Any]


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    """A workspace that no test changes."""
    return Workspace.generate()


def contact(number: int) -> Record:
    return {"id": f"c_{number}", "name": f"Contact {number}"}


def contacts(*numbers: int) -> Workspace:
    return Workspace.of(contacts=map(contact, numbers))


def content(api: Api, path: str, **params: str) -> Any:
    answer = call(api, path, **params)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


# Cursors by offset


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize(
    ("path", "sort"), [(path, sort) for path, endpoint in ENDPOINTS.items() for sort in endpoint.sorts]
)
def test_a_walk_by_offset_brings_the_same_pages_as_one_by_key_where_nothing_changes(
    workspace: Workspace, path: str, sort: str, direction: str
) -> None:
    params = {**REQUIRED_PARAMETERS.get(path, {}), "sort": sort, "direction": direction, "limit": "150"}
    assert walk(Api(workspace, cursor_style="offset"), path, params) == walk(Api(workspace), path, params)


@pytest.mark.parametrize("path", ["/v2/tags", "/v2/topics", "/v2/locations", "/v2/website-visits"])
def test_so_does_one_of_a_list_that_takes_no_order(workspace: Workspace, path: str) -> None:
    params = {**REQUIRED_PARAMETERS.get(path, {}), "limit": "7"}
    assert walk(Api(workspace, cursor_style="offset"), path, params) == walk(Api(workspace), path, params)


def once(change: Callable[[], None]) -> Callable[[], None]:
    pending = iter([change])

    def change_first() -> None:
        for due in islice(pending, 1):
            due()

    return change_first


@pytest.mark.parametrize(
    ("direction", "gone", "read"),
    [
        ("asc", 2, [1, 2, 3, 5, 6, 7, 8, 9]),
        ("asc", 3, [1, 2, 3, 5, 6, 7, 8, 9]),
        ("asc", 4, [1, 2, 3, 5, 6, 7, 8, 9]),
        ("asc", 8, [1, 2, 3, 4, 5, 6, 7, 9]),
        ("desc", 8, [9, 8, 7, 5, 4, 3, 2, 1]),
        ("desc", 2, [9, 8, 7, 6, 5, 4, 3, 1]),
    ],
)
def test_a_row_that_goes_before_an_offset_hides_another(direction: str, gone: int, read: list[int]) -> None:
    api = Api(contacts(*range(1, 10)), cursor_style="offset")
    change = once(lambda: api.workspace.delete("contacts", f"c_{gone}"))
    pages = walk(api, "/v2/contacts", {"limit": "3", "direction": direction}, change)
    assert ids(flat(pages)) == [f"c_{number}" for number in read]


@pytest.mark.parametrize(
    ("direction", "comes", "read"),
    [
        ("asc", 0, [1, 2, 3, 3, 4, 5, 6]),
        ("asc", 9, [1, 2, 3, 4, 5, 6, 9]),
        ("desc", 9, [6, 5, 4, 4, 3, 2, 1]),
        ("desc", 0, [6, 5, 4, 3, 2, 1, 0]),
    ],
)
def test_a_row_that_comes_before_an_offset_repeats_one_at_the_border(
    direction: str, comes: int, read: list[int]
) -> None:
    api = Api(contacts(*range(1, 7)), cursor_style="offset")
    change = once(lambda: api.workspace.insert("contacts", contact(comes)))
    pages = walk(api, "/v2/contacts", {"limit": "3", "direction": direction}, change)
    assert ids(flat(pages)) == [f"c_{number}" for number in read]


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.sets(st.integers(0, 60), max_size=40),
    limit=st.integers(1, 9),
    direction=st.sampled_from(["asc", "desc"]),
    changes=st.lists(st.integers(0, 60), max_size=30),
)
def test_an_offset_is_the_number_of_rows_before_the_page_and_nothing_else(
    numbers: set[int], limit: int, direction: str, changes: list[int]
) -> None:
    workspace = contacts(*numbers)
    pending = iter(changes)
    orders = [sorted(numbers, reverse=direction == "desc")]

    def change() -> None:
        for number in islice(pending, 2):
            if f"c_{number}" in ids(workspace.records("contacts")):
                workspace.delete("contacts", f"c_{number}")
            else:
                workspace.insert("contacts", contact(number))
        present = [int(row["id"][2:]) for row in workspace.records("contacts")]
        orders.append(sorted(present, reverse=direction == "desc"))

    params = {"limit": str(limit), "direction": direction}
    pages = walk(Api(workspace, cursor_style="offset"), "/v2/contacts", params, change)
    expected = [order[page * limit : (page + 1) * limit] for page, order in enumerate(orders)]
    assert [ids(page) for page in pages] == [[f"c_{number}" for number in page] for page in expected]


def test_offsets_are_bound_to_their_parameters_and_expire(workspace: Workspace) -> None:
    api = Api(workspace, cursor_style="offset")
    cursor = content(api, "/v2/contacts", limit="5")["meta"]["nextCursor"]
    assert call(api, "/v2/contacts", limit="5", cursor=cursor).status == 200
    assert call(api, "/v2/contacts", limit="6", cursor=cursor).status == 400
    assert call(api, "/v2/contacts", limit="5", cursor="5").status == 400
    assert call(api, "/v2/contacts", limit="5", cursor="NQ==").status == 400
    api.expire_cursors()
    assert call(api, "/v2/contacts", limit="5", cursor=cursor).status == 400


# Times and dates


MOMENTS = ("00.000000", "00.000500", "00.001000", "00.001001", "00.999999", "01.000000", "01.500000")


def timed(*moments: str) -> Workspace:
    return Workspace.of(activities=[activity(n, f"2026-01-01T00:00:{m}Z") for n, m in enumerate(moments, 1)])


def numbers_between(api: Api, start: str | None, end: str | None, **params: str) -> list[int]:
    dates = {name: f"2026-01-01T00:00:{at}Z" for name, at in (("startDate", start), ("endDate", end)) if at}
    rows = flat(walk(api, "/v2/activities", {**params, **dates}))
    counted = content(api, "/v2/activities", cols="recordCount", limit="1", **dates)["meta"]["recordCount"]
    assert counted == len(rows)
    return [int(row["id"][2:]) for row in rows]


@pytest.mark.parametrize("sort", ["id", "activityTime"])
@pytest.mark.parametrize("style", ["keyset", "offset"])
@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, "00.000", [1]),
        (None, "00.0005", [1, 2]),
        ("00.000", "00.001", [1, 2, 3]),
        ("00.001", "00.999", [3, 4]),
        ("00.0010005", "00.999999", [3, 4, 5]),
        ("01", None, [6, 7]),
    ],
)
def test_times_that_are_stored_finer_are_compared_in_full_and_answered_in_milliseconds(
    start: str | None, end: str | None, expected: list[int], style: Any, sort: str
) -> None:
    api = Api(timed(*MOMENTS), cursor_style=style, traits=Traits(stored_finer=True))
    assert numbers_between(api, start, end, sort=sort, limit="1") == expected
    answered = content(api, "/v2/activities")["data"]
    times = [f"2026-01-01T00:00:{moment[:6]}Z" for moment in MOMENTS]
    assert [row["activityTime"] for row in answered] == times


def test_what_a_sync_has_to_bring_is_the_workspace_as_it_is_shown() -> None:
    workspace = Workspace.generate(activities=50)
    rng = Random(1)
    for row in workspace.records("activities"):
        workspace.replace("activities", {**row, "activityTime": finer(row["activityTime"], rng)})
    api = Api(workspace, traits=Traits(stored_finer=True))
    columns = ",".join(ENDPOINTS["/v2/activities"].on_request)
    rows = flat(walk(api, "/v2/activities", {"cols": columns, "sort": "id"}))
    assert rows == sorted(workspace.as_shown().records("activities"), key=lambda row: int(row["id"][2:]))
    assert rows != sorted(workspace.records("activities"), key=lambda row: int(row["id"][2:]))
    assert workspace.as_shown().records("contacts") == workspace.records("contacts")
    assert len({row["activityTime"][23:] for row in workspace.records("activities")}) > 10


def test_times_of_either_resolution_compare_as_the_moments_do() -> None:
    assert stored("2026-01-01T00:00:00.001Z") == "2026-01-01T00:00:00.001000Z"
    assert stored("2026-01-01T00:00:00.001002Z") == "2026-01-01T00:00:00.001002Z"
    assert shown("2026-01-01T00:00:00.001999Z") == shown("2026-01-01T00:00:00.001Z") == "2026-01-01T00:00:00.001Z"
    api = Api(timed("00.001", "00.001000", "00.0015", "00.002"), traits=Traits(stored_finer=True))
    assert numbers_between(api, "00.001", "00.001") == [1, 2]


@pytest.mark.parametrize("sort", ["id", "activityTime"])
@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        (Traits(), [1, 2, 3]),
        (Traits(exclusive_end=True), [1, 2]),
        (Traits(exclusive_start=True), [2, 3]),
        (Traits(exclusive_start=True, exclusive_end=True), [2]),
    ],
)
def test_a_date_that_is_exclusive_leaves_out_its_own_moment(traits: Traits, expected: list[int], sort: str) -> None:
    workspace = timed("00.001", "00.002", "00.003")
    assert numbers_between(Api(workspace, traits=traits), "00.001", "00.003", sort=sort) == expected
    # The same workspace under other traits: nothing is remembered of one API for another.
    assert numbers_between(Api(workspace), "00.001", "00.003", sort=sort) == [1, 2, 3]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [("00.001", "00.999", [1, 2]), ("00.999", "01.999", [1, 2, 3, 4, 5, 6]), ("01.600", None, [6, 7])],
)
def test_dates_are_cut_down_to_their_resolution(start: str, end: str | None, expected: list[int]) -> None:
    traits = Traits(date_resolution=timedelta(seconds=1))
    moments = ("00.000", "00.000", "00.001", "00.002", "00.999", "01.000", "01.500")
    assert numbers_between(Api(timed(*moments), traits=traits), start, end) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [("00.001", "00.999", []), ("00.999", "02.000", [6, 7]), (None, "01.999", [1, 2, 3, 4, 5])],
)
def test_times_are_cut_down_as_dates_are(start: str | None, end: str, expected: list[int]) -> None:
    traits = Traits(date_resolution=timedelta(seconds=1), coarse_times=True, exclusive_start=True, exclusive_end=True)
    moments = ("00.000", "00.000", "00.001", "00.002", "00.999", "01.000", "01.500")
    assert numbers_between(Api(timed(*moments), traits=traits), start, end) == expected


# Orders


@pytest.mark.parametrize(
    ("params", "first"),
    [
        ({}, 3),
        ({"sort": "activityTime"}, 3),
        ({"direction": "asc"}, 1),
        ({"sort": "id"}, 3),
        ({"sort": "id", "direction": "asc"}, 1),
    ],
)
def test_the_order_is_another_one_where_none_is_asked_for(params: dict[str, str], first: int) -> None:
    api = Api(timed("00.000", "01.000", "02.000"), traits=Traits(order={"/v2/activities": ("activityTime", "desc")}))
    rows = flat(walk(api, "/v2/activities", {**params, "limit": "1"}))
    assert rows[0]["id"] == f"a_{first}"
    assert len(set(ids(rows))) == 3


def test_a_list_that_takes_no_order_may_have_another_one() -> None:
    tags = [{"id": f"t_{number}", "name": name} for number, name in enumerate("bca")]
    api = Api(Workspace.of(tags=tags), traits=Traits(order={"/v2/tags": ("name", "desc")}))
    assert [row["name"] for row in flat(walk(api, "/v2/tags", {"limit": "1"}))] == ["c", "b", "a"]
    assert call(api, "/v2/tags", sort="name").status == 400


@pytest.mark.parametrize("style", ["keyset", "offset"])
@pytest.mark.parametrize(("order", "expected"), [({}, [1, 2, 3]), ({"/v2/contacts": ("id", "desc")}, [3, 2, 1])])
def test_a_path_may_ignore_the_order_that_is_asked_for(order: Any, expected: list[int], style: Any) -> None:
    traits = Traits(order=order, ignores_order={"/v2/contacts"})
    api = Api(contacts(1, 2, 3), cursor_style=style, traits=traits)
    for direction in ("asc", "desc"):
        params = {"sort": "name", "direction": direction, "limit": "1"}
        assert ids(flat(walk(api, "/v2/contacts", params))) == [f"c_{number}" for number in expected]
    assert call(api, "/v2/contacts", direction="up").status == 400


@pytest.mark.parametrize("style", ["keyset", "tricky", "offset"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_ids_may_be_compared_as_texts(style: Any, direction: str) -> None:
    workspace = contacts(8, 9, 10, 100, 999, 1000)
    api = Api(workspace, cursor_style=style, traits=Traits(text_sorted_ids=True))
    by_text = ["c_10", "c_100", "c_1000", "c_8", "c_9", "c_999"]
    rows = ids(flat(walk(api, "/v2/contacts", {"limit": "1", "direction": direction})))
    assert rows == (by_text if direction == "asc" else by_text[::-1])
    assert ids(content(Api(workspace), "/v2/contacts")["data"]) == [f"c_{n}" for n in (8, 9, 10, 100, 999, 1000)]


def test_rows_that_are_equal_in_the_sort_key_come_by_id_as_text() -> None:
    api = Api(Workspace.of(activities=[activity(number) for number in (9, 10)]), traits=Traits(text_sorted_ids=True))
    assert ids(flat(walk(api, "/v2/activities", {"limit": "1"}))) == ["a_10", "a_9"]


# Counts, and records that can't be served


def test_a_path_may_take_a_count_and_never_answer_it(workspace: Workspace) -> None:
    api = Api(workspace, traits=Traits(uncounted={"/v2/contacts"}))
    assert content(api, "/v2/contacts", cols="recordCount,url")["meta"].keys() == {"nextCursor"}
    assert content(api, "/v2/organizations", cols="recordCount")["meta"].keys() == {"nextCursor", "recordCount"}


@pytest.mark.parametrize("style", ["keyset", "offset"])
def test_a_page_that_would_hold_an_unservable_record_fails(style: Any) -> None:
    api = Api(contacts(*range(1, 10)), cursor_style=style, traits=Traits(unservable={"c_5"}))
    first = content(api, "/v2/contacts", limit="3", cols="recordCount")
    assert first["meta"]["recordCount"] == 9
    refused = call(api, "/v2/contacts", limit="3", cursor=first["meta"]["nextCursor"], cols="recordCount")
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (500, "internal_server_error")
    assert call(api, "/v2/contacts", limit="5").status == 500
    assert call(api, "/v2/contacts", limit="4", direction="desc").status == 200
    assert content(api, "/v2/contacts", limit="1", cols="recordCount")["meta"]["recordCount"] == 9
    api.unservable.clear()
    assert len(flat(walk(api, "/v2/contacts", {"limit": "3"}))) == 9
    api.unservable.add("c_1")
    assert call(api, "/v2/contacts", limit="1", cols="recordCount").status == 500


def test_a_list_without_pages_fails_as_a_whole_with_an_unservable_record(workspace: Workspace) -> None:
    record_id = workspace.records("custom_fields")[3]["id"]
    api = Api(workspace, traits=Traits(unservable={record_id}))
    assert call(api, "/v2/custom-fields").status == 500
    assert call(api, "/v2/activity-types").status == 200


@pytest.mark.parametrize(
    ("when", "params", "status"),
    [
        (counts, {}, 200),
        (counts, {"cols": "url"}, 200),
        (counts, {"cols": "recordCount", "limit": "1"}, 504),
        (counts, {"cols": "url,recordCount"}, 504),
        (counts_longer_than(2), {"cols": "recordCount"}, 504),
        (counts_longer_than(2), {"cols": "recordCount", "startDate": "2026-01-01T00:00:00Z"}, 504),
        (counts_longer_than(2), {"startDate": "2026-01-01T00:00:00Z", "endDate": "2026-01-04T00:00:00Z"}, 200),
        (
            counts_longer_than(2),
            {"cols": "recordCount", "startDate": "2026-01-01T00:00:00Z", "endDate": "2026-01-03T00:00:00.001Z"},
            504,
        ),
        (
            counts_longer_than(2),
            {"cols": "recordCount", "startDate": "2026-01-01T00:00:00Z", "endDate": "2026-01-03T00:00:00Z"},
            200,
        ),
    ],
)
def test_counts_can_fail_where_the_same_page_without_one_comes(
    workspace: Workspace, when: Any, params: dict[str, str], status: int
) -> None:
    api = Api(workspace, faults=[Fault("status", status=504, when=when)])
    assert call(api, "/v2/activities", **params).status == status


# A page that comes twice


@pytest.mark.parametrize("style", ["keyset", "tricky", "offset"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_a_page_can_come_twice_under_two_cursors(style: Any, direction: str) -> None:
    api = Api(contacts(*range(10)), cursor_style=style, faults=[Fault("repeated_page", after=2, times=1)])
    pages = [ids(page) for page in walk(api, "/v2/contacts", {"limit": "3", "direction": direction})]
    right = [ids(page) for page in walk(api, "/v2/contacts", {"limit": "3", "direction": direction})]
    assert [len(page) for page in right] == [3, 3, 3, 1]
    assert pages == [right[0], right[1], right[1], right[3]]


def test_a_first_page_has_none_before_it(workspace: Workspace) -> None:
    api = Api(workspace, faults=[Fault("repeated_page", times=1)])
    assert call(api, "/v2/contacts").body == call(api, "/v2/contacts").body


# The clock


@pytest.mark.parametrize("ahead", [0, 5 * 86_400, -3_600])
def test_answers_carry_a_date_by_the_apis_own_clock(workspace: Workspace, ahead: float) -> None:
    api = Api(workspace, traits=Traits(dates=True), clock=lambda: time.time() + ahead)
    api.faults.add(Fault("bad_gateway_502", path="/v2/tags"))
    with Sandbox(api) as sandbox, requests_mock.Mocker(real_http=True) as mocker:
        mount(mocker, api, MOCK_URL)
        for url in (sandbox.api_url, MOCK_URL):
            for path in ("/v2/contacts", "/v2/tags", "/v2/nothing"):
                date = parsedate_to_datetime(get(url, path).headers["Date"])
                assert -2 <= date.timestamp() - ahead - time.time() <= 1


def test_a_date_is_written_as_rfc_9110_has_it(workspace: Workspace) -> None:
    api = Api(workspace, traits=Traits(dates=True), requests_per_second=1, clock=lambda: 784_111_777.9)
    answers = [call(api, "/v2/me") for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert [answer.headers["Date"] for answer in answers] == ["Sun, 06 Nov 1994 08:49:37 GMT"] * 2


def test_there_is_no_date_unless_it_is_asked_for(workspace: Workspace) -> None:
    with Sandbox(Api(workspace)) as sandbox:
        assert "Date" not in get(sandbox.api_url, "/v2/me").headers


# Choosing them


@pytest.mark.parametrize(
    "options",
    [
        {"order": {"/v2/nothing": ("id", "asc")}},
        {"order": {"/v2/contacts": ("age", "asc")}},
        {"ignores_order": {"/v2/nothing"}},
        {"ignores_order": {"/v2/tags"}},
        {"uncounted": {"/v2/tags"}},
    ],
)
def test_traits_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"/v2/|age"):
        Traits(**options)


@pytest.mark.parametrize(("limit", "statuses"), [(3, [200, 504]), (1, [200, 200, 200, 200, 200]), (9, [504])])
def test_a_page_that_is_too_large_for_a_heavy_record_fails(limit: int, statuses: list[int]) -> None:
    api = Api(contacts(1, 2, 3, 4, 5), traits=Traits(heavy={"c_4": 1}))

    params = {"limit": str(limit)}
    for status in statuses:
        answer = call(api, "/v2/contacts", **params)
        assert answer.status == status
        if status == 200:
            params["cursor"] = json.loads(answer.body)["meta"]["nextCursor"]


@pytest.mark.parametrize(("free", "status"), [(True, 200), (False, 400)])
def test_a_cursor_may_be_good_for_another_limit(*, free: bool, status: int) -> None:
    api = Api(contacts(1, 2, 3), traits=Traits(limit_may_change=free))
    cursor = content(api, "/v2/contacts", limit="1")["meta"]["nextCursor"]

    assert call(api, "/v2/contacts", limit="2", cursor=cursor).status == status
    assert call(api, "/v2/contacts", limit="1", sort="name", cursor=cursor).status == 400


def test_the_command_line_chooses_traits() -> None:
    text = "--cursor-style offset --text-sorted-ids --stored-finer --exclusive-end --date-header --date-resolution 1000"
    text += " --order /v2/activities=activityTime:desc --ignore-order /v2/contacts --uncounted /v2/topics"
    text += " --unservable a_7 --misfits --limit-may-change --clock-ahead -5 --failing-counts 90"
    arguments = read_arguments(text.split())
    assert arguments.traits == Traits(
        stored_finer=True,
        exclusive_end=True,
        date_resolution=timedelta(seconds=1),
        order={"/v2/activities": ("activityTime", "desc")},
        ignores_order=("/v2/contacts",),
        text_sorted_ids=True,
        uncounted=("/v2/topics",),
        unservable=("a_7",),
        dates=True,
        misfits=True,
        limit_may_change=True,
    )
    assert (arguments.cursor_style, arguments.clock_ahead, arguments.failing_counts) == ("offset", -5, 90)
    assert read_arguments([]).traits == Traits()


@pytest.mark.parametrize(
    "option", [["--uncounted", "/v2/tags"], ["--order", "/v2/activities=activityTime"], ["--cursor-style", "page"]]
)
def test_the_command_line_refuses_traits_that_cannot_be(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments(option)
    assert option[0] in capsys.readouterr().err or option[1] == "/v2/tags"


# Rate limits, and other answers


def test_a_rate_limit_may_count_for_longer_than_a_second(workspace: Workspace) -> None:
    now = 1_000_000_000.0
    api = Api(workspace, requests_per_second=2, traits=Traits(rate_interval=10), clock=lambda: now)

    answers = [call(api, "/v2/me") for _ in range(21)]

    assert [answer.status for answer in answers] == [200] * 20 + [429]
    assert answers[0].headers["X-RateLimit-Limit"] == "20"
    assert json.loads(answers[-1].body)["rateLimit"] == {
        "intervalLimit": 20,
        "intervalRemaining": 0,
        "intervalResetSeconds": 10,
        "waitMs": 10_000,
    }


def test_a_path_may_be_answered_in_another_way(workspace: Workspace) -> None:
    traits = Traits(otherwise={"/v1/segments/{id}/status": lambda _, right: replace(right, status=202)})
    api = Api(workspace, traits=traits)
    number = workspace.records("segments")[0]["id"].removeprefix("s_")

    assert call(api, f"/v1/segments/{number}/status").status == 202
    assert call(api, "/v1/tags").status == 200


def test_no_other_path_may_be() -> None:
    with pytest.raises(ValueError, match="there is no endpoint /v2/nothing"):
        Traits(otherwise={"/v2/nothing": lambda _, right: right})
