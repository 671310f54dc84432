"""Lists that are whole, or said not to be: whatever kind of cursors, order and counts the API has."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

import orjson
import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType

from integration_tests.sandbox import Api, Fault, Traits, Workspace
from integration_tests.sandbox.messages import Answer, Call
from unit_tests.conftest import Read
from unit_tests.output import Output

Change = Callable[[Workspace], None]

PATHS = {
    "contacts": "/v2/contacts",
    "organizations": "/v2/organizations",
    "website_visits": "/v2/website-visits",
    "topics": "/v2/topics",
    "tags": "/v2/tags",
    "providers": "/v2/providers",
}


def row(stream: str, number: int) -> dict[str, Any]:
    prefix = {"contacts": "c", "organizations": "o", "website_visits": "w", "topics": "tp", "tags": "l"}.get(
        stream, "p"
    )
    return {
        "id": f"{prefix}_{number}",
        "name": f"N {number:06}",
        **({"visitTime": "2026-06-01T00:00:00.000Z"} if stream == "website_visits" else {}),
        **({"entityTypes": []} if stream == "tags" else {}),
    }


def rows(stream: str, count: int, first: int = 1) -> list[dict[str, Any]]:
    return [row(stream, number) for number in range(first, first + count)]


def ids(output: Output, stream: str) -> list[str]:
    return [record["id"] for record in output.records(stream)]


def there(api: Api, stream: str) -> set[str]:
    return {record["id"] for record in api.workspace.records(stream)}


def is_count(params: Mapping[str, str]) -> bool:
    return params.get("cols") == "recordCount" and params.get("limit") == "1"


class Eventful(Api):
    """Changes the workspace after the n-th page of a path, and at a count: ``{3: change}``, ``{"count 2": change}``."""

    def __init__(self, workspace: Workspace, path: str, events: Mapping[int | str, Change], **more: Any) -> None:
        super().__init__(workspace, **more)
        self._path = path
        self._events = dict(events)
        self._pages = self._counts = 0

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.path == self._path and answer.status == 200:
            if is_count(call.params):
                self._counts += 1
                event = self._events.pop(f"count {self._counts}", None)
            else:
                self._pages += 1
                event = self._events.pop(self._pages, None)
            if event:
                event(self.workspace)
        return answer


def deleting(stream: str, *numbers: int) -> Change:
    def delete(workspace: Workspace) -> None:
        for number in numbers:
            workspace.delete(stream, row(stream, number)["id"])

    return delete


def creating(stream: str, *numbers: int) -> Change:
    def create(workspace: Workspace) -> None:
        for number in numbers:
            workspace.insert(stream, row(stream, number))

    return create


def both(*changes: Change) -> Change:
    def change(workspace: Workspace) -> None:
        for one in changes:
            one(workspace)

    return change


def assert_whole(output: Output, api: Api, stream: str, *, gone: int = 0) -> None:
    """All that is there came, and each record once; so many besides that are gone by now."""
    came = ids(output, stream)
    assert len(came) == len(set(came))
    assert there(api, stream) <= set(came)
    assert len(came) <= len(there(api, stream)) + gone
    assert output.status(stream) == AirbyteStreamStatus.COMPLETE
    assert output.exit_code == 0


def assert_incomplete(output: Output, stream: str) -> str:
    assert output.status(stream) == AirbyteStreamStatus.INCOMPLETE
    assert output.exit_code == 1
    (error,) = output.errors(stream)
    assert error.failure_type == FailureType.transient_error
    return str(error.message)


# Records that are never served, while others come and go.


@pytest.mark.parametrize("ends", ["both", "one"])
@pytest.mark.parametrize("created_at", ["count 2", 9, 12], ids=["before", "while it is read again", "late"])
def test_given_rows_never_served_and_as_many_created_while_read_again_then_it_is_incomplete(
    ends: str, created_at: int | str, read: Read
) -> None:
    api = Withholding(
        Workspace.of(contacts=rows("contacts", 1_499)),
        "/v2/contacts",
        {created_at: creating("contacts", 2_001, 2_002, 2_003)},
        hidden={"c_400", "c_500", "c_600"},
    )

    output = read(api, "contacts", walk_from_both_ends=ends == "both")

    assert "the API counted" in assert_incomplete(output, "contacts")
    assert len(set(ids(output, "contacts"))) >= 1_496


@pytest.mark.parametrize("ends", ["both", "one"])
def test_given_rows_never_served_and_as_many_deleted_after_they_came_then_it_is_incomplete(
    ends: str, read: Read
) -> None:
    api = Withholding(
        Workspace.of(contacts=rows("contacts", 1_499)),
        "/v2/contacts",
        {5: deleting("contacts", 1, 2, 3), 8: creating("contacts", 2_001, 2_002)},
        hidden={"c_400", "c_500", "c_600"},
    )

    output = read(api, "contacts", walk_from_both_ends=ends == "both")

    assert_incomplete(output, "contacts")


class Withholding(Eventful):
    """Counts some records that stand on no page."""

    def __init__(self, *arguments: Any, hidden: set[str], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._hidden = hidden

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.path != self._path or answer.status != 200:
            return answer
        page = orjson.loads(answer.body)
        page["data"] = [record for record in page["data"] if record["id"] not in self._hidden]
        return replace(answer, body=orjson.dumps(page))


# Deletions under cursors that count rows.

LISTS = ["contacts", "organizations", "website_visits", "topics", "tags"]


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("ends", ["both", "one"])
@pytest.mark.parametrize("stream", LISTS)
def test_given_cursors_that_count_rows_and_a_row_deleted_after_it_came_then_none_that_lives_is_skipped(
    stream: str, ends: str, after: int, read: Read
) -> None:
    # A text-sorted list begins with its lowest number as well.
    path, first = PATHS[stream], 100_001
    workspace = Workspace.of(**{stream: rows(stream, 700, first)})
    api = Eventful(workspace, path, {after: deleting(stream, first + 3)}, cursor_style="offset")

    output = read(api, stream, walk_from_both_ends=ends == "both")

    assert_whole(output, api, stream, gone=1)


@pytest.mark.parametrize("stream", ["contacts", "organizations"])
def test_given_cursors_that_count_rows_and_rows_deleted_at_either_end_when_walked_from_both_then_none_is_skipped(
    stream: str, read: Read
) -> None:
    workspace = Workspace.of(**{stream: rows(stream, 3_000)})
    events: dict[int | str, Change] = {
        4: deleting(stream, 1, 2_999),
        7: both(deleting(stream, 2, 3_000), creating(stream, 3_001)),
        9: both(deleting(stream, 3, 2_998), creating(stream, 3_002)),
    }
    api = Eventful(workspace, PATHS[stream], events, cursor_style="offset")

    output = read(api, stream)

    came = ids(output, stream)
    assert len(came) == len(set(came))
    assert there(api, stream) - {"c_3001", "c_3002", "o_3001", "o_3002"} <= set(came)
    assert output.status(stream) == AirbyteStreamStatus.COMPLETE


@pytest.mark.parametrize("ends", ["both", "one"])
def test_given_a_row_deleted_and_one_created_under_cursors_that_count_rows_then_the_new_one_pays_for_none(
    ends: str, read: Read
) -> None:
    workspace = Workspace.of(contacts=rows("contacts", 1_500))
    change = both(deleting("contacts", 3), creating("contacts", 1_501))
    api = Eventful(workspace, "/v2/contacts", {2: change}, cursor_style="offset")

    output = read(api, "contacts", walk_from_both_ends=ends == "both")

    came = set(ids(output, "contacts"))
    assert there(api, "contacts") - {"c_1501"} <= came
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE


def test_given_cursors_that_name_a_row_and_rows_deleted_after_they_came_then_the_list_is_read_once(read: Read) -> None:
    workspace = Workspace.of(contacts=rows("contacts", 2_000))
    api = Eventful(workspace, "/v2/contacts", {3: deleting("contacts", 1, 2, 3)})

    output = read(api, "contacts", walk_from_both_ends=False)

    assert_whole(output, api, "contacts", gone=3)
    assert len(api.log.pages("/v2/contacts")) == 10


@pytest.mark.parametrize("after", [1, 2, 3])
def test_given_a_long_list_and_cursors_that_count_rows_when_rows_are_deleted_at_both_sides_then_none_is_skipped(
    after: int, read: Read
) -> None:
    workspace = Workspace.of(contacts=rows("contacts", 12_000))
    events: dict[int | str, Change] = {after: deleting("contacts", 1, 2, 11_000), 60: deleting("contacts", 5)}
    api = Eventful(workspace, "/v2/contacts", events, cursor_style="offset")

    output = read(api, "contacts", walk_from_both_ends=False)

    assert_whole(output, api, "contacts", gone=4)


@pytest.mark.parametrize("ends", ["both", "one"])
@pytest.mark.parametrize(
    ("count", "deletions"),
    [(12_000, {30: [1, 2]}), (1_499, {8: [1], 13: [2]})],
    ids=["after they came", "while read again"],
)
def test_given_a_row_never_served_and_others_deleted_while_read_then_they_do_not_pay_for_it(
    count: int, deletions: dict[int, list[int]], ends: str, read: Read
) -> None:
    events: dict[int | str, Change] = {after: deleting("contacts", *gone) for after, gone in deletions.items()}
    api = Withholding(Workspace.of(contacts=rows("contacts", count)), "/v2/contacts", events, hidden={"c_400"})

    output = read(api, "contacts", walk_from_both_ends=ends == "both")

    assert_incomplete(output, "contacts")


@pytest.mark.parametrize("seed", range(6))
def test_given_cursors_that_count_rows_and_random_deletions_when_walked_from_both_ends_then_none_is_skipped(
    seed: int, read: Read
) -> None:
    rng, count = Random(seed), 10_600
    places = [rng.randint(1, 400), rng.randint(count - 400, count), *(rng.randint(1, count) for _ in range(4))]
    events: dict[int | str, Change] = {
        after: deleting("contacts", number) for after, number in zip(rng.sample(range(1, 54), 6), places, strict=True)
    }
    api = Eventful(Workspace.of(contacts=rows("contacts", count)), "/v2/contacts", events, cursor_style="offset")

    output = read(api, "contacts")

    assert there(api, "contacts") <= set(ids(output, "contacts"))
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE


def test_given_rows_never_served_and_others_created_when_the_second_count_fails_then_it_is_incomplete(
    read: Read,
) -> None:
    api = Withholding(
        Workspace.of(contacts=rows("contacts", 1_499)),
        "/v2/contacts",
        {2: creating("contacts", 2_001, 2_002, 2_003)},
        hidden={"c_400", "c_500", "c_600"},
    )
    api.faults.add(Fault("server_error_500", path="/v2/contacts", when=is_count, after=1))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert "returned 1496 of them" in assert_incomplete(output, "contacts")


@pytest.mark.parametrize("stream", ["topics", "website_visits"])
def test_given_a_list_not_sorted_by_id_when_one_is_deleted_and_one_created_then_the_skipped_one_comes(
    stream: str, read: Read
) -> None:
    workspace = Workspace.of(**{stream: rows(stream, 700, 100_001)})
    events: dict[int | str, Change] = {1: deleting(stream, 100_003), 2: creating(stream, 100_900)}
    api = Eventful(workspace, PATHS[stream], events, cursor_style="offset")

    output = read(api, stream)

    assert_whole(output, api, stream, gone=1)


def test_given_a_list_in_which_records_are_created_all_the_time_when_one_is_deleted_then_it_is_complete(
    read: Read,
) -> None:
    workspace = Workspace.of(topics=rows("topics", 700, 100_001))
    events: dict[int | str, Change] = {after: creating("topics", 100_000 - after) for after in range(2, 60)}
    api = Eventful(workspace, "/v2/topics", {1: deleting("topics", 100_690), **events})

    output = read(api, "topics")

    assert output.status("topics") == AirbyteStreamStatus.COMPLETE


def test_given_cursors_that_count_rows_and_a_bulk_import_before_the_walk_when_read_then_none_comes_twice(
    read: Read,
) -> None:
    workspace = Workspace.of(topics=rows("topics", 1_500, 100_001))
    imported = creating("topics", *range(99_000, 99_300))
    api = Eventful(workspace, "/v2/topics", {2: imported}, cursor_style="offset")

    output = read(api, "topics")

    assert_whole(output, api, "topics")


@pytest.mark.parametrize("style", ["keyset", "offset"])
def test_given_a_list_without_a_count_that_does_not_change_when_read_then_it_is_read_once(
    style: Any, read: Read
) -> None:
    api = Api(Workspace.of(tags=rows("tags", 1_500)), cursor_style=style)

    output = read(api, "tags")

    assert_whole(output, api, "tags")
    # Its first page, its last, and one in the middle are asked for again.
    assert len(api.log.pages("/v2/tags")) == 8 + 3


def test_given_a_list_that_changes_with_every_reading_when_read_then_it_is_incomplete_after_four(read: Read) -> None:
    workspace = Workspace.of(tags=rows("tags", 1_500, 100_001))
    events: dict[int | str, Change] = {
        number: both(deleting("tags", 100_000 + number), creating("tags", 200_000 + number)) for number in range(1, 60)
    }
    api = Eventful(workspace, "/v2/tags", events, cursor_style="offset")

    output = read(api, "tags")

    assert "each reading of the list contained" in assert_incomplete(output, "tags")
    came = ids(output, "tags")
    assert len(came) == len(set(came))


# Counts that fail.


def test_given_one_count_that_fails_when_read_then_only_that_list_is_not_compared(read: Read) -> None:
    types = [{"id": f"cot_{number}", "name": f"T {number}", "assocs": []} for number in (1, 2, 3)]
    objects = [{"id": f"co_{number}", "name": "O", "objectTypeId": f"cot_{1 + number % 3}"} for number in range(1, 901)]
    of_first = lambda params: is_count(params) and params.get("objectTypeId") == "cot_1"  # noqa: E731
    api = Withholding(Workspace.of(object_types=types, objects=objects), "/v2/objects", {}, hidden={"co_7"})
    api.faults.add(Fault("server_error_500", path="/v2/objects", when=of_first))

    output = read(api, "objects")

    assert "objectTypeId cot_2" in assert_incomplete(output, "objects")
    (warning,) = [text for text in output.warnings() if "didn't count the records" in text]
    assert "objectTypeId cot_1" in warning
    assert len(ids(output, "objects")) == 899


def test_given_counts_left_out_where_they_are_0_when_read_then_other_lists_are_compared(read: Read) -> None:
    class LeavesOut(Withholding):
        def answer(self, call: Call) -> Answer:
            answer = super().answer(call)
            return replace(answer, body=answer.body.replace(b'"recordCount":0', b'"total":0'))

    types = [{"id": f"cot_{number}", "name": f"T {number}", "assocs": []} for number in (1, 2, 3)]
    objects = [{"id": f"co_{number}", "name": "O", "objectTypeId": f"cot_{2 + number % 2}"} for number in range(1, 901)]
    api = LeavesOut(Workspace.of(object_types=types, objects=objects), "/v2/objects", {}, hidden={"co_7"})

    output = read(api, "objects")

    assert "objectTypeId cot_3" in assert_incomplete(output, "objects")


# Rows that are no records.


class Blanks(Api):
    """Answers an empty row in place of a contact, for so many requests of its page."""

    def __init__(self, workspace: Workspace, times: int) -> None:
        super().__init__(workspace)
        self._left = times

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        page = orjson.loads(answer.body)
        if self._left and any(row.get("id") == "c_7" for row in page.get("data", [])):
            self._left -= 1
            page["data"] = [{} if row["id"] == "c_7" else row for row in page["data"]]
        return replace(answer, body=orjson.dumps(page))


@pytest.mark.parametrize("both_ends", [True, False])
def test_given_an_empty_row_in_place_of_a_record_when_read_then_it_does_not_stand_for_it(
    read: Read, *, both_ends: bool
) -> None:
    api = Blanks(Workspace.of(contacts=rows("contacts", 1_500)), 99)

    output = read(api, "contacts", walk_from_both_ends=both_ends)

    assert "counted 1500 records and returned 1499 of them" in assert_incomplete(output, "contacts")


@pytest.mark.parametrize("both_ends", [True, False])
def test_given_an_empty_row_once_when_read_then_another_reading_brings_the_record(
    read: Read, *, both_ends: bool
) -> None:
    api = Blanks(Workspace.of(contacts=rows("contacts", 1_500)), 1)

    output = read(api, "contacts", walk_from_both_ends=both_ends)

    assert_whole(output, api, "contacts")


# Ids, orders, pages.


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("first", [1, 800, 9_000])
@pytest.mark.parametrize("style", ["keyset", "offset"])
def test_given_ids_that_sort_as_texts_when_read_then_each_comes_once(
    first: int, style: Any, read: Read, *, counts: bool
) -> None:
    traits = Traits(text_sorted_ids=True, uncounted=() if counts else ["/v2/contacts"])
    api = Api(Workspace.of(contacts=rows("contacts", 5_000, first)), cursor_style=style, traits=traits)

    output = read(api, "contacts")

    assert_whole(output, api, "contacts")


@pytest.mark.parametrize("order", [("id", "desc"), ("name", "asc"), ("name", "desc")])
@pytest.mark.parametrize("ignored", [True, False])
def test_given_another_default_order_when_read_then_each_comes_once(order: Any, read: Read, *, ignored: bool) -> None:
    path = "/v2/contacts"
    traits = Traits(order={path: order}, ignores_order=[path] if ignored else [])
    api = Api(Workspace.of(contacts=rows("contacts", 2_000)), traits=traits)

    output = read(api, "contacts")

    assert_whole(output, api, "contacts")
    assert len(api.log.of(path)) <= 10 + 7


@pytest.mark.parametrize("times", [1, None])
def test_given_a_page_that_comes_twice_under_two_cursors_when_read_then_the_rest_comes_or_it_is_incomplete(
    times: int | None, read: Read
) -> None:
    api = Api(Workspace.of(tags=rows("tags", 1_000)))
    api.faults.add(Fault("repeated_page", path="/v2/tags", after=2, times=times))

    output = read(api, "tags")

    if times:
        assert_whole(output, api, "tags")
    else:
        assert_incomplete(output, "tags")
    assert not any("do nothing" in text for text in output.warnings())


# Walks from both ends.


@pytest.mark.parametrize("after", [2, 3, 4, 5, 6])
def test_given_cursors_that_count_rows_and_contacts_created_meanwhile_when_walked_from_both_ends_then_all_come(
    after: int, read: Read
) -> None:
    workspace = Workspace.of(contacts=rows("contacts", 3_000))
    api = Eventful(workspace, "/v2/contacts", {after: creating("contacts", 3_001, 3_002)}, cursor_style="offset")

    output = read(api, "contacts")

    came = ids(output, "contacts")
    assert len(came) == len(set(came))
    assert {f"c_{number}" for number in range(1, 3_001)} <= set(came)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert not any("walked from one end only" in text for text in output.warnings())


@pytest.mark.parametrize("bad", [1, 1_500, 3_000])
def test_given_a_row_that_cannot_be_served_when_read_then_all_but_its_page_come_and_the_gap_is_named(
    bad: int, read: Read
) -> None:
    api = Api(Workspace.of(contacts=rows("contacts", 3_000)), traits=Traits(unservable=[f"c_{bad}"]))

    output = read(api, "contacts")

    message = assert_incomplete(output, "contacts")
    came = {int(record_id[2:]) for record_id in ids(output, "contacts")}
    missing = set(range(1, 3_001)) - came
    assert bad in missing
    assert len(missing) <= 400
    low, high = min(missing) - 1, max(missing) + 1
    names = [f"c_{low}" if low else "the first record", f"c_{high}" if high <= 3_000 else "the last record"]
    assert f"between {names[0]} and {names[1]}" in message


def test_given_an_outage_of_one_walk_when_read_then_the_other_one_brings_the_rest(read: Read) -> None:
    api = Api(Workspace.of(contacts=rows("contacts", 3_000)))
    up = lambda params: params.get("direction") == "asc" and "cursor" in params  # noqa: E731
    api.faults.add(Fault("bad_gateway_502", path="/v2/contacts", after=3, when=up))

    output = read(api, "contacts")

    assert_whole(output, api, "contacts")


def test_given_many_short_lists_when_read_then_each_is_walked_once_and_none_waits_for_another(read: Read) -> None:
    types = [{"id": f"cot_{number}", "name": f"T {number}", "assocs": []} for number in range(1, 61)]
    objects = [
        {"id": f"co_{number}", "name": "O", "objectTypeId": f"cot_{1 + number % 60}"} for number in range(1, 6_001)
    ]
    api = Api(Workspace.of(object_types=types, objects=objects))

    output = read(api, "objects")

    assert len(output.records("objects")) == 6_000
    # A count and a page of each.
    assert len(api.log.of("/v2/objects")) == 120
