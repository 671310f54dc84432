"""The sandbox is what all other tests believe, so it is tested like a product: strict, exact, and able to fail."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import requests_mock
from hypothesis import given, settings
from hypothesis import strategies as st

from integration_tests.sandbox import DEFAULT_TOKEN, ENDPOINTS, KINDS, Api, Fault, Sandbox, Workspace, mount
from integration_tests.sandbox.cursors import TrickyCursors
from integration_tests.sandbox.messages import Answer, Call
from integration_tests.sandbox.workspace import id_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Record = dict[str, Any]

ROOT = Path(__file__).parents[1]
MOCK_URL = "https://api.commonroom.io/community"
ALL_ACTIVITY_COLUMNS = ",".join(ENDPOINTS["/v2/activities"].on_request)

# What a client has to ask by; the workspace's records tell it, even where the API's don't.
REQUIRED_PARAMETERS = {"/v2/objects": {"objectTypeId": "cot_31"}, "/v2/locations": {"locationType": "city"}}


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    """A workspace that no test changes."""
    return Workspace.generate()


@pytest.fixture
def api(workspace: Workspace) -> Api:
    return Api(workspace)


@pytest.fixture(scope="module")
def shared_sandbox(workspace: Workspace) -> Iterator[Sandbox]:
    with Sandbox(Api(workspace)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    shared_sandbox.api.faults.clear()
    shared_sandbox.api.log.clear()
    return shared_sandbox


def call(api: Api, path: str, **params: str) -> Answer:
    query = str(requests.Request("GET", "http://sandbox", params=params).prepare().url).partition("?")[2]
    return api.answer(Call("GET", path, query, f"Bearer {DEFAULT_TOKEN}"))


def get(api_url: str, path: str, **params: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {DEFAULT_TOKEN}"}
    return requests.get(f"{api_url}{path}", params=params, headers=headers, timeout=10)


def walk(
    api: Api, path: str, params: dict[str, str] | None = None, between: Callable[[], None] = lambda: None
) -> list[list[Record]]:
    """Read all pages, doing `between` after each."""
    pages = []
    cursor: dict[str, str] = {}
    while True:
        answer = call(api, path, **(params or {}), **cursor)
        assert answer.status == 200, answer.body
        content = json.loads(answer.body)
        pages.append(content["data"])
        if content["meta"]["nextCursor"] is None:
            return pages
        cursor = {"cursor": content["meta"]["nextCursor"]}
        between()


def flat(pages: list[list[Record]]) -> list[Record]:
    return [record for page in pages for record in page]


def ids(records: list[Record]) -> list[str]:
    return [record["id"] for record in records]


def activity(number: int, when: str = "2026-01-01T00:00:00.000Z") -> Record:
    return {"id": f"a_{number}", "type": "tweet", "activityTime": when, "contactId": "c_1"}


# Strictness


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v2/contacts", "limits=50"),
        ("/v2/contacts", "limit=10&limit=10"),
        ("/v2/contacts", "limit=0"),
        ("/v2/contacts", "limit=201"),
        ("/v2/contacts", "limit="),
        ("/v2/contacts", "limit=1e2"),
        ("/v2/contacts", "limit=%D9%A1"),
        ("/v2/contacts", "cols="),
        ("/v2/contacts", "cols=email"),
        ("/v2/contacts", "cols=tags,tags"),
        ("/v2/contacts", "cols=tags,"),
        ("/v2/contacts", "cols=contactsCount"),
        ("/v2/contacts", "cols=cf_999999"),
        ("/v2/contacts", "cursor="),
        ("/v2/contacts", "cursor=abc"),
        ("/v2/contacts", "cursor=2"),
        ("/v2/contacts", "sort=activityTime"),
        ("/v2/contacts", "sort=cf_15"),
        ("/v2/contacts", "direction=ASC"),
        ("/v2/contacts", "segmentId=12"),
        ("/v2/contacts", "organizationId=c_12"),
        ("/v2/contacts", "startDate=2025-01-01T00:00:00Z"),
        ("/v2/organizations", "segmentId=s_12"),
        ("/v2/activities", "cols=cf_*"),
        ("/v2/activities", "startDate=2025-01-01"),
        ("/v2/activities", "startDate=2025-01-01T00:00:00"),
        ("/v2/activities", "startDate=2025-13-01T00:00:00Z"),
        ("/v2/activities", "startDate=2025-01-01T00:00:00+01:00"),
        ("/v2/activities", "startDate=2025-01-02T00:00:00Z&endDate=2025-01-01T00:00:00Z"),
        ("/v2/segments", "sort=id"),
        ("/v2/tags", "cols=recordCount"),
        ("/v2/custom-fields", "limit=200"),
        ("/v2/custom-fields", "entityType=object"),
        ("/v2/activity-types", "cursor=abc"),
        ("/v2/api-token-status", "limit=1"),
        ("/v2/activity-categories", "limit=1"),
        ("/v2/activity-sentiment", "cursor=abc"),
        ("/v2/lead-scores", "limit=1"),
        ("/v2/locations", ""),
        ("/v2/locations", "locationType="),
        ("/v2/locations", "locationType=region"),
        ("/v2/locations", "locationType=City"),
        ("/v2/locations", "locationType=city&cols=city"),
        ("/v2/locations", "locationType=city&direction=asc"),
        ("/v2/topics", "cols=name"),
        ("/v2/topics", "sort=name"),
        ("/v2/providers", "cols=recordCount"),
        ("/v2/object-types", "limit=1"),
        ("/v2/objects", ""),
        ("/v2/objects", "segmentId=s_31"),
        ("/v2/objects", "objectTypeId="),
        ("/v2/objects", "objectTypeId=31"),
        ("/v2/objects", "objectTypeId=co_31"),
        ("/v2/objects", "objectTypeId=cot_31&segmentId=31"),
        ("/v2/objects", "objectTypeId=cot_31&cols=objectTypeId"),
        ("/v2/objects", "objectTypeId=cot_31&cols=segments"),
        ("/v2/objects", "objectTypeId=cot_31&sort=recordKey"),
        ("/v2/website-visits", "cols=visitTime"),
        ("/v2/website-visits", "sort=id"),
        ("/v2/website-visits", "startDate=2025-01-01T00:00:00Z"),
        ("/v2/website-visits", "contactId=12"),
        ("/v2/website-visits", "organizationId=c_12"),
        ("/v2/prospector-contacts", "cols=primaryEmail"),
        ("/v2/prospector-contacts", "sort=lastOrgChange"),
        ("/v2/prospector-contacts", "segmentId=s_31"),
        ("/v2/prospector-companies", "cols=cf_*"),
        ("/v2/prospector-companies", "sort=score"),
        ("/v2/industries", "cols=recordCount"),
        ("/v2/industries", "sort=id"),
        ("/v2/tech-stack-products", "cols=vendor"),
        ("/v2/me", "cols=name"),
        ("/v2/me", "limit=1"),
    ],
)
def test_refuses_what_the_api_does_not_document(api: Api, path: str, query: str) -> None:
    answer = api.answer(Call("GET", path, query, f"Bearer {DEFAULT_TOKEN}"))
    content = json.loads(answer.body)
    assert answer.status == 400
    assert content["success"] is False
    assert content["error"]["code"] == "invalid_parameters"
    assert content["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "authorization", "status"),
    [
        ("GET", "/v2/contacts", None, 403),
        ("GET", "/v2/contacts", "Bearer wrong", 403),
        ("GET", "/v2/contacts", DEFAULT_TOKEN, 403),
        ("GET", "/v2/segments", f"Bearer {DEFAULT_TOKEN}", 403),
        ("GET", "/v2/nothing", f"Bearer {DEFAULT_TOKEN}", 404),
        ("GET", "/v2/contacts/", f"Bearer {DEFAULT_TOKEN}", 404),
        ("POST", "/v2/contacts", f"Bearer {DEFAULT_TOKEN}", 405),
    ],
)
def test_refuses_tokens_paths_and_methods(
    workspace: Workspace, method: str, path: str, authorization: str | None, status: int
) -> None:
    answer = Api(workspace, forbidden={"/v2/segments"}).answer(Call(method, path, "", authorization))
    assert answer.status == status
    assert status != 403 or json.loads(answer.body) == {"status": "forbidden"}


@pytest.mark.parametrize("style", ["keyset", "tricky"])
@pytest.mark.parametrize(
    "changed",
    [{"limit": "6"}, {"cols": "tags"}, {"direction": "desc"}, {"sort": "name"}, {"segmentId": "s_1"}],
)
def test_a_cursor_is_good_for_the_parameters_it_was_made_for_only(
    workspace: Workspace, style: Any, changed: dict[str, str]
) -> None:
    api = Api(workspace, cursor_style=style)
    params = {"limit": "5", "cols": "url"}
    cursor = json.loads(call(api, "/v2/contacts", **params).body)["meta"]["nextCursor"]
    assert call(api, "/v2/contacts", **params, cursor=cursor).status == 200
    assert call(api, "/v2/contacts", **{**params, **changed}, cursor=cursor).status == 400
    assert call(api, "/v2/organizations", **params, cursor=cursor).status == 400
    assert call(api, "/v2/contacts", **params, cursor=f"{cursor} ").status == 400


# Answers


def test_a_list_is_thin_unless_asked_and_pages_by_fifty(api: Api) -> None:
    content = json.loads(call(api, "/v2/contacts").body)
    assert content.keys() == {"success", "data", "meta"}
    assert content["success"] is True
    assert content["meta"].keys() == {"nextCursor"}
    assert len(content["data"]) == 50
    assert all(row.keys() == {"id", "name"} for row in content["data"])


def test_custom_fields_come_as_far_as_asked(api: Api) -> None:
    wanted = api.workspace.records("custom_fields")[0]["id"]
    some = json.loads(call(api, "/v2/contacts", cols=wanted).body)["data"]
    every = json.loads(call(api, "/v2/contacts", cols=f"{wanted},cf_*").body)["data"]
    assert {key for row in some for key in row["customFields"]} == {wanted}
    assert len({key for row in every for key in row["customFields"]}) > 1


def test_record_count_counts_what_matches(api: Api) -> None:
    contact = api.workspace.records("activities")[0]["contactId"]
    params = {"contactId": contact, "startDate": "2025-06-01T00:00:00Z"}
    expected = [
        row
        for row in api.workspace.records("activities")
        if row.get("contactId") == contact and row["activityTime"] >= "2025-06-01"
    ]
    content = json.loads(call(api, "/v2/activities", cols="recordCount", limit="1", **params).body)
    assert content["meta"]["recordCount"] == len(expected) > 0
    assert len(flat(walk(api, "/v2/activities", params))) == len(expected)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [1, 2, 3, 4]),
        ("2026-01-01T00:00:00.001Z", None, [2, 3, 4]),
        ("2026-01-01T01:00:00.001+01:00", "2026-01-01T00:00:00.999Z", [2, 3]),
        ("2026-01-01T00:00:00.002Z", "2026-01-01T00:00:00.9989999Z", []),
        ("2026-01-01T00:00:01Z", "2026-01-01T00:00:01Z", [4]),
    ],
)
@pytest.mark.parametrize("sort", ["id", "activityTime"])
def test_dates_bound_inclusively_to_the_millisecond(
    start: str | None, end: str | None, expected: list[int], sort: str
) -> None:
    moments = ("00:00.000", "00:00.001", "00:00.999", "00:01.000")
    api = Api(Workspace.of(activities=[activity(n, f"2026-01-01T00:{m}Z") for n, m in enumerate(moments, 1)]))
    dates = {name: date for name, date in (("startDate", start), ("endDate", end)) if date}
    assert ids(flat(walk(api, "/v2/activities", {"sort": sort, **dates}))) == [f"a_{number}" for number in expected]


# Paging


@pytest.mark.parametrize("style", ["keyset", "tricky"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize(
    ("path", "sort"),
    [(path, sort) for path, endpoint in ENDPOINTS.items() for sort in endpoint.sorts],
)
def test_a_walk_brings_every_record_once_in_order(
    workspace: Workspace, path: str, sort: str, direction: str, style: Any
) -> None:
    api = Api(workspace, cursor_style=style)
    asked_by = REQUIRED_PARAMETERS.get(path, {})
    pages = walk(api, path, {**asked_by, "sort": sort, "direction": direction, "limit": "150"})
    rows = flat(pages)
    expected = [row for row in workspace.records(ENDPOINTS[path].collection) if asked_by.items() <= row.items()]
    assert [len(page) for page in pages[:-1]] == [150] * (len(pages) - 1)
    assert sorted(ids(rows)) == sorted(ids(expected))
    if sort in {"id", "name", "activityTime"}:
        keys = [id_key(row["id"]) if sort == "id" else row[sort] for row in rows]
        assert keys == sorted(keys, reverse=direction == "desc")


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 400, 450])
def test_rows_of_one_moment_are_paged_exactly(count: int, direction: str) -> None:
    api = Api(Workspace.of(activities=[activity(number) for number in range(count)]))
    pages = walk(api, "/v2/activities", {"limit": "200", "direction": direction})
    assert len(pages) == max(1, -(-count // 200))
    assert sorted(ids(flat(pages))) == sorted(f"a_{number}" for number in range(count))


@settings(max_examples=60, deadline=None)
@given(
    moments=st.lists(st.integers(0, 9), max_size=40),
    limit=st.integers(1, 9),
    direction=st.sampled_from(["asc", "desc"]),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 9)), max_size=30),
)
def test_rows_that_come_and_go_neither_repeat_nor_hide_others(
    moments: list[int], limit: int, direction: str, changes: list[tuple[bool, int, int]]
) -> None:
    def at(number: int, second: int) -> Record:
        return activity(number, f"2026-01-01T00:00:0{second}.000Z")

    workspace = Workspace.of(activities=[at(number, second) for number, second in enumerate(moments)])
    untouched = set(ids(workspace.records("activities")))
    deleted = set()
    pending = iter(changes)

    def change() -> None:
        for inserts, number, second in islice(pending, 2):
            row = at(number, second)
            present = row["id"] in ids(workspace.records("activities"))
            # A deleted id never comes back: a row that moves may well be read twice.
            if inserts and not present and row["id"] not in deleted:
                workspace.insert("activities", row)
            elif present and not inserts:
                workspace.delete("activities", row["id"])
                untouched.discard(row["id"])
                deleted.add(row["id"])

    params = {"limit": str(limit), "direction": direction}
    read = ids(flat(walk(Api(workspace), "/v2/activities", params, change)))
    assert len(read) == len(set(read))
    assert untouched <= set(read)


def test_tricky_cursors_look_like_other_things_and_never_repeat() -> None:
    cursors = TrickyCursors()
    tokens = [cursors.write("scope", (number, number)) for number in range(40)]
    assert tokens[: len(cursors.TOKENS)] == list(cursors.TOKENS)
    assert len(set(tokens)) == 40
    assert cursors.write("scope", (0, 0)) == tokens[0]


@pytest.mark.parametrize("style", ["keyset", "tricky"])
def test_cursors_that_expired_are_refused_and_a_new_walk_gets_new_ones(workspace: Workspace, style: Any) -> None:
    api = Api(workspace, cursor_style=style)
    cursor = json.loads(call(api, "/v2/contacts").body)["meta"]["nextCursor"]
    assert call(api, "/v2/contacts", cursor=cursor).status == 200
    api.expire_cursors()
    refused = call(api, "/v2/contacts", cursor=cursor)
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (400, "invalid_parameters")
    assert sorted(ids(flat(walk(api, "/v2/contacts")))) == sorted(ids(workspace.records("contacts")))


def test_rows_that_are_withheld_stand_on_no_page_and_are_counted(workspace: Workspace) -> None:
    api = Api(workspace, withheld={"/v2/contacts": 0.03})
    up = walk(api, "/v2/contacts", {"limit": "200", "cols": "recordCount"})
    down = walk(api, "/v2/contacts", {"limit": "50", "direction": "desc"})
    missing = set(ids(workspace.records("contacts"))) - set(ids(flat(up)))
    assert 0.01 < len(missing) / len(workspace.records("contacts")) < 0.06
    assert set(ids(flat(down))) == set(ids(flat(up)))
    assert [len(page) for page in up[:-1]] == [200] * (len(up) - 1)
    answer = json.loads(call(api, "/v2/contacts", cols="recordCount", limit="1").body)
    assert answer["meta"]["recordCount"] == len(workspace.records("contacts"))
    assert len(flat(walk(api, "/v2/organizations"))) == len(workspace.records("organizations"))


def test_all_rows_of_a_path_can_be_withheld(workspace: Workspace) -> None:
    api = Api(workspace, withheld={"/v2/activities": 1})
    answer = json.loads(call(api, "/v2/activities", cols="recordCount").body)
    assert answer["data"] == []
    assert answer["meta"] == {"nextCursor": None, "recordCount": len(workspace.records("activities"))}


def test_a_workspace_refuses_impossible_changes() -> None:
    workspace = Workspace.of(activities=[activity(1)])
    with pytest.raises(KeyError):
        workspace.insert("activities", activity(1))
    with pytest.raises(KeyError):
        workspace.replace("activities", activity(2))
    with pytest.raises(KeyError):
        workspace.delete("activities", "a_2")
    workspace.replace("activities", activity(1, "2026-02-02T00:00:00.000Z"))
    assert workspace.records("activities") == [activity(1, "2026-02-02T00:00:00.000Z")]


# The rate limit and the log


def test_the_rate_limit_counts_per_token_and_second(workspace: Workspace) -> None:
    now = 1_000.25
    api = Api(workspace, requests_per_second=2, clock=lambda: now)
    answers = [call(api, "/v2/tags") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"2"}
    assert answers[2].headers["X-RateLimit-Reset"] == "1001"
    assert answers[2].headers["Retry-After"] == "1970-01-01T00:16:41.000Z"
    assert json.loads(answers[2].body)["rateLimit"] == {
        "intervalLimit": 2,
        "intervalRemaining": 0,
        "intervalResetSeconds": 1,
        "waitMs": 750,
    }
    assert api.answer(Call("GET", "/v2/tags", "", "Bearer other")).status == 403
    now = 1_001.0
    assert call(api, "/v2/tags").status == 200
    assert api.log.rate_limited == 1


def test_the_log_tells_every_request(workspace: Workspace) -> None:
    api = Api(workspace, clock=lambda: 5.0, faults=[Fault("bad_gateway_502", path="/v2/tags")])
    call(api, "/v2/contacts", limit="7")
    call(api, "/v2/tags")
    assert api.log.statuses() == [200, 502]
    request = api.log.of("/v2/contacts")[0]
    assert (request.params, request.started_at, request.fault) == ({"limit": "7"}, 5.0, None)
    assert api.log.of("/v2/tags")[0].fault == "bad_gateway_502"


# Faults


@pytest.mark.parametrize(
    ("options", "struck"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"times": 2}, [1, 2]),
        ({"every": 3}, [3, 6]),
        ({"every": 2, "times": 1}, [2]),
        ({"after": 4}, [5, 6]),
        ({"path": "/v2/tags"}, []),
        ({"when": lambda params: params.get("limit") == "2"}, [2]),
    ],
)
def test_a_fault_strikes_the_requests_of_its_rule(api: Api, options: dict[str, Any], struck: list[int]) -> None:
    api.faults.add(Fault("server_error_500", **options))
    statuses = [call(api, "/v2/contacts", limit=str(number)).status for number in range(1, 7)]
    assert [number for number, status in enumerate(statuses, 1) if status == 500] == struck


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="bad_gateway_502"):
        Fault("bad_gatway")


STATUS_OF_KIND = {
    "rate_limited": 429,
    "bad_request_400": 400,
    "unauthorized_401": 401,
    "forbidden_403": 403,
    "forbidden_403_html": 403,
    "status": 418,
    "not_found_404": 404,
    "server_error_500": 500,
    "bad_gateway_502": 502,
    "unavailable_503_html": 503,
    "error_520": 520,
    "no_content_204": 204,
}


CONTENT_OF_KIND: dict[str, Callable[[Any], bool]] = {
    "success_false": lambda content: content["success"] is False,
    "data_null": lambda content: content["data"] is None,
    "data_object": lambda content: content["data"] == {},
    "missing_meta": lambda content: "meta" not in content,
    "missing_cursor": lambda content: content["meta"] == {},
    "repeated_cursor": lambda content: bool(content["meta"]["nextCursor"]),
    "empty_rows": lambda content: [content["data"][at] for at in (0, 1, -1)] == [{}, None, 5],
    "rate_limited": lambda content: content["rateLimit"]["waitMs"] == 200,
}

NO_JSON = {"ok_html", "ok_empty", "no_content_204", "truncated_json"}
NO_ANSWER = {
    # The next byte comes later than anybody waits here.
    "trickle": requests.RequestException,
    "trickle_head": requests.ReadTimeout,
    "short_body": requests.exceptions.ChunkedEncodingError,
    "reset": requests.ConnectionError,
    "hang": requests.ReadTimeout,
}


@pytest.fixture(params=["http", "requests-mock"])
def api_url(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[str]:
    if request.param == "http":
        yield sandbox.api_url
    else:
        with requests_mock.Mocker() as mocker:
            mount(mocker, sandbox.api, MOCK_URL)
            yield MOCK_URL


# A bomb would unpack here; test_answers.py has it.
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"gzip_bomb"}))
def test_every_kind_of_fault_reaches_the_client(sandbox: Sandbox, api_url: str, kind: str) -> None:
    sandbox.api.faults.add(Fault(kind, times=1))
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    url = f"{api_url}/v2/contacts"
    if kind in NO_ANSWER:
        with pytest.raises(NO_ANSWER[kind]):
            requests.get(url, headers=headers, timeout=0.1)
    else:
        response = requests.get(url, headers=headers, timeout=5)
        assert response.status_code == STATUS_OF_KIND.get(kind, 200)
        assert kind not in {"unavailable_503_html", "ok_html", "forbidden_403_html"} or "<html>" in response.text
        if kind in NO_JSON:
            with pytest.raises(requests.JSONDecodeError):
                response.json()
        assert kind not in CONTENT_OF_KIND or CONTENT_OF_KIND[kind](response.json())
        assert kind != "malformed_nan" or b"NaN" in response.content
        assert kind != "malformed_utf8" or b"\xff" in response.content
    assert sandbox.api.log.requests[0].fault == kind
    assert requests.get(url, headers=headers, timeout=5).json()["success"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_befits_every_answer(api: Api, kind: str) -> None:
    api.faults.add(Fault(kind))
    for path in [*ENDPOINTS, "/v2/nothing", "/v1/nothing"]:
        there = path.replace("{id}", "9")
        call(api, there, **REQUIRED_PARAMETERS.get(path, {}))
        call(api, there, limit="1")
        call(api, there, cursor="unknown")
    assert {request.fault for request in api.log.requests} == {kind}


def test_a_repeated_cursor_leads_in_a_circle(api: Api) -> None:
    api.faults.add(Fault("repeated_cursor"))
    cursor = json.loads(call(api, "/v2/contacts").body)["meta"]["nextCursor"]
    circle = [json.loads(call(api, "/v2/contacts", cursor=cursor).body) for _ in range(2)]
    assert circle[0] == circle[1]
    assert circle[0]["meta"]["nextCursor"] == cursor


# The mounts


@pytest.mark.parametrize("style", ["keyset", "tricky"])
def test_both_mounts_answer_the_same_bytes(workspace: Workspace, style: Any) -> None:
    api = Api(workspace, cursor_style=style)
    with Sandbox(api) as sandbox, requests_mock.Mocker(real_http=True) as mocker:
        mount(mocker, api, MOCK_URL)
        params = {"limit": "200", "cols": ALL_ACTIVITY_COLUMNS}
        pages = 0
        while "cursor" not in params or params["cursor"]:
            served = get(sandbox.api_url, "/v2/activities", **params)
            mocked = get(MOCK_URL, "/v2/activities", **params)
            assert served.content == mocked.content
            assert {**served.headers} == {key.lower(): value for key, value in mocked.headers.items()}
            params["cursor"] = served.json()["meta"]["nextCursor"]
            pages += 1
        refused = [get(url, "/v2/activities", sort="x") for url in (sandbox.api_url, MOCK_URL)]
    assert pages == 15
    assert refused[0].content == refused[1].content


def test_latency_overlaps_and_connections_are_kept(workspace: Workspace) -> None:
    with Sandbox(Api(workspace), latency=0.3, jitter=0.1) as sandbox:

        def read_twice() -> None:
            with requests.Session() as session:
                for _ in range(2):
                    url = f"{sandbox.api_url}/v2/tags"
                    session.get(url, headers={"Authorization": f"Bearer {sandbox.token}"}, timeout=5).raise_for_status()

        threads = [threading.Thread(target=read_twice) for _ in range(8)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started >= 0.54
        # If one waited for the other it would be 1; on a busy machine the threads don't all begin within a latency.
        assert sandbox.api.log.max_in_flight > 1
        assert sandbox.api.log.statuses() == [200] * 16


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_process_serves_until_a_signal_and_ends_cleanly(ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "integration_tests.sandbox", "--port", "0", "--contacts", "5", "--activities", "9"]
    command += ["--organizations", "2", "--token", "mine", "--fault", "bad_gateway_502=2", "--withhold", "/v2/tags=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        config = json.loads(lines[2].partition(":")[2])
        answers = [
            requests.get(f"{config['api_url']}/v2/{path}", headers={"Authorization": "Bearer mine"}, timeout=5)
            for path in ("contacts", "contacts", "tags")
        ]
        process.send_signal(ending)
        _, errors = process.communicate(timeout=5)
    assert [answer.status_code for answer in answers] == [200, 502, 200]
    assert [len(answer.json()["data"]) for answer in (answers[0], answers[2])] == [5, 0]
    assert (process.returncode, errors) == (0, "")
