"""Walks: what the API does in the middle of a list, and what becomes of it."""

import tracemalloc
from array import array
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from airbyte_cdk.models import AirbyteStreamStatus, FailureType
from freezegun.api import FrozenDateTimeFactory
from hypothesis import given
from hypothesis import strategies as st

from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.messages import Answer, Call
from source_commonroom.api import keys, walk
from source_commonroom.api.keys import Keys
from unit_tests.conftest import Read
from unit_tests.output import Output
from unit_tests.streams import BY_NAME, by_key, complete

CONTACTS = BY_NAME["contacts"]
SPAN = {"start_date": "2025-01-01T00:00:00Z", "end_date": "2026-01-01T00:00:00Z"}


def contacts(count: int) -> Workspace:
    return Workspace.of(contacts=[{"id": f"c_{number}", "name": f"Contact {number}"} for number in range(1, count + 1)])


def activities(count: int, apart: timedelta = timedelta(minutes=5)) -> Workspace:
    start = datetime.fromisoformat(SPAN["start_date"])
    return Workspace.of(activities=[activity(number, start + number * apart) for number in range(count)])


def activity(number: int, time: datetime) -> dict[str, Any]:
    return {
        "id": f"a_{number}",
        "type": "tweet",
        "activityTime": time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z",
    }


MAKERS: dict[str, Callable[[int], Workspace]] = {"contacts": contacts, "activities": activities}


def ids(output: Output, stream: str) -> list[str]:
    return [record["id"] for record in output.records(stream)]


def all_ids(api: Api, stream: str) -> list[str]:
    return [row["id"] for row in api.workspace.records(stream)]


class Meddling(Api):
    """Changes the pages of a list, or what they come from, as they are asked for.

    :param meddle: gets the API, how many pages came before, the call, and the page; returns the page
    """

    def __init__(
        self, workspace: Workspace, meddle: Callable[["Meddling", int, Call, Any], Any], **options: Any
    ) -> None:
        super().__init__(workspace, **options)
        self._meddle = meddle
        self._pages = -1

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if answer.status != 200 or call.params.get("limit") != "200":
            return answer
        self._pages += 1
        return replace(answer, body=orjson.dumps(self._meddle(self, self._pages, call, orjson.loads(answer.body))))


class WithoutCursors(Meddling):
    """Takes any cursor for none, so that those which the pages name may be made up."""

    def answer(self, call: Call) -> Answer:
        without = "&".join(part for part in call.query.split("&") if not part.startswith("cursor="))
        return super().answer(replace(call, query=without))


def expiring(at: int) -> Callable[[Meddling, int, Call, Any], Any]:
    def expire(api: Meddling, number: int, _: Call, page: Any) -> Any:
        if number == at:
            api.expire_cursors()
        return page

    return expire


@pytest.mark.parametrize("ends", ["both", "one"])
@pytest.mark.parametrize("at", range(6))
def test_given_a_cursor_that_expires_when_read_then_the_list_is_begun_again_and_nothing_comes_twice(
    at: int, ends: str, read: Read
) -> None:
    api = Meddling(contacts(1_500), expiring(at))

    output = read(api, "contacts", walk_from_both_ends=ends == "both")

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    # None is, if the two walks have met by then.
    refused = any(request.status == 400 for request in api.log.requests)
    assert refused or (ends == "both" and at > 1)
    assert refused == any("read again from its first page" in text for text in output.warnings())


def test_given_a_cursor_that_expires_late_when_read_then_what_came_before_is_walked_again_to_its_end(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_PATIENCE", 3)  # pages that bring nothing, which those that came before aren't
    api = Meddling(contacts(1_500), expiring(5))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE


@pytest.mark.parametrize("ends", ["both", "one"])
def test_given_cursors_that_are_always_refused_when_read_then_the_stream_is_incomplete(
    ends: str, api: Api, read: Read
) -> None:
    api.faults.add(Fault("bad_request_400", path="/v2/contacts", when=lambda params: "cursor" in params))

    output = read(api, "contacts", walk_from_both_ends=ends == "both")

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    assert {error.failure_type for error in output.errors("contacts")} == {FailureType.transient_error}
    assert all("refused" in error.message and "once more" in error.message for error in output.errors("contacts"))
    assert len(ids(output, "contacts")) == len(set(ids(output, "contacts")))


@pytest.mark.parametrize("at", [0, 1, 3, 7])
def test_given_a_cursor_of_activities_that_expires_when_read_then_it_goes_on_from_the_last_moment_seen(
    at: int, read: Read
) -> None:
    api = Meddling(activities(2_500), expiring(at))

    output = read(api, "activities", num_workers=2, **SPAN)

    assert sorted(ids(output, "activities")) == sorted(all_ids(api, "activities"))
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    refused = [place for place, request in enumerate(api.log.of("/v2/activities")) if request.status == 400]
    assert 1 <= len(refused) <= 3  # as many windows as were being read
    assert sum("The rest is read from 2025-" in text for text in output.warnings()) == len(refused)
    # It asks for what is left alone.
    # And three pages again, since the pages that follow a refusal carry no count.
    assert len(api.log.pages("/v2/activities")) <= 14 + 2 * len(refused) + 3


def test_given_a_moment_that_lies_on_two_pages_when_the_cursor_between_them_expires_then_none_of_it_is_lost(
    read: Read,
) -> None:
    # The 150th to the 249th are of one moment.
    times = [number if number < 150 else max(number - 99, 150) for number in range(450)]
    start = datetime.fromisoformat(SPAN["start_date"])
    rows = [activity(number, start + minutes * timedelta(minutes=1)) for number, minutes in enumerate(times)]
    api = Meddling(Workspace.of(activities=rows), expiring(0))

    output = read(api, "activities", **SPAN)

    assert sorted(ids(output, "activities")) == sorted(all_ids(api, "activities"))
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    # One warning: that it goes on there, and none that what it missed is read once more.
    (warning,) = output.warnings()
    assert "The rest is read from 2025-01-01T02:29:59.000Z on" in warning


def test_given_activities_of_one_moment_and_cursors_that_are_refused_when_read_then_it_is_incomplete(
    read: Read,
) -> None:
    api = Api(activities(450, apart=timedelta(0)))
    api.faults.add(Fault("bad_request_400", when=lambda params: "cursor" in params))

    output = read(api, "activities", **SPAN)

    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    (error,) = output.errors("activities")
    assert error.failure_type == FailureType.transient_error
    assert len(ids(output, "activities")) == len(set(ids(output, "activities"))) == 200


def test_given_activities_out_of_order_and_a_cursor_that_expires_when_read_then_the_window_is_begun_again(
    read: Read,
) -> None:
    def reverse_and_expire(api: Meddling, number: int, _: Call, page: Any) -> Any:
        page["data"].reverse()
        if number == 2:
            api.expire_cursors()
        return page

    api = Meddling(activities(1_000), reverse_and_expire)

    output = read(api, "activities", **SPAN)

    assert sorted(ids(output, "activities")) == sorted(all_ids(api, "activities"))
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    assert any("from the window's first page on" in text for text in output.warnings())


def test_given_a_page_that_comes_once_more_when_read_then_it_is_left_out_and_reported(read: Read) -> None:
    kept: list[Any] = []

    class Repeating(Meddling):
        """Answers the second page twice, under two cursors."""

        def answer(self, call: Call) -> Answer:
            if call.params.get("cursor") != "again":
                return super().answer(call)
            return Answer(200, orjson.dumps(kept[0]))

    def twice(_: Meddling, number: int, __: Call, page: Any) -> Any:
        if number == 1:
            kept.append(page)
            return {**page, "meta": {"nextCursor": "again"}}
        return page

    api = Repeating(contacts(900), twice)

    output = read(api, "contacts", walk_from_both_ends=False)

    assert sorted(ids(output, "contacts")) == sorted(all_ids(api, "contacts"))
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert any("the same page for two cursors" in text for text in output.warnings())


@pytest.mark.parametrize("ends", ["both", "one"])
@pytest.mark.parametrize("stream", ["contacts", "activities"])
def test_given_empty_and_short_pages_in_the_middle_when_read_then_the_walk_goes_on(
    stream: str, ends: str, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sandbox's pages are cut in pieces: some hold nothing, some little, and each names the next piece."""
    monkeypatch.setattr(walk, "_PATIENCE", 3)  # in a row, and not in all
    sizes = (0, 7, 0, 150, 43)
    cut: dict[str, tuple[Any, int]] = {}

    class Choppy(Api):
        def answer(self, call: Call) -> Answer:
            if call.params.get("limit") != "200":
                return super().answer(call)
            cursor = call.params.get("cursor", "")
            if cursor in cut:
                page, piece = cut[cursor]
            else:
                page, piece = orjson.loads(super().answer(call).body), 0
            done = sum(sizes[:piece])
            rows = page["data"][done : done + sizes[piece]]
            meta = page["meta"]
            if piece + 1 < len(sizes):
                key = f"{call.query} {cursor} {piece + 1}"
                cut[key] = (page, piece + 1)
                meta = {**meta, "nextCursor": key}
            return Answer(200, orjson.dumps({**page, "data": rows, "meta": meta}))

    api = Choppy(
        Workspace.of(contacts=contacts(900).records("contacts"), activities=activities(900).records("activities"))
    )

    output = read(
        api, stream, walk_from_both_ends=ends == "both", lookback_window_days=0, start_date=SPAN["start_date"]
    )

    assert sorted(ids(output, stream)) == sorted(all_ids(api, stream))
    assert output.status(stream) == AirbyteStreamStatus.COMPLETE


def test_given_a_page_that_comes_again_and_again_under_new_cursors_when_read_then_the_walk_ends(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_PATIENCE", 5)

    class Stuck(Meddling):
        def answer(self, call: Call) -> Answer:
            without = "&".join(part for part in call.query.split("&") if not part.startswith("cursor="))
            return super().answer(replace(call, query=without))

    api = Stuck(
        contacts(900), lambda _, number, __, page: {**page, "meta": {"nextCursor": f"c{number}" * (number < 50)}}
    )

    output = read(api, "contacts", walk_from_both_ends=False)

    (error,) = output.errors("contacts")
    assert "5 pages in a row contained nothing new" in error.message
    assert len(ids(output, "contacts")) == 200


def test_given_a_row_that_is_no_record_when_the_list_is_begun_again_then_it_hides_no_loss(read: Read) -> None:
    def spoil(api: Meddling, number: int, _: Call, page: Any) -> Any:
        page["data"] = [None if row["id"] == "c_10" else row for row in page["data"] if row["id"] != "c_20"]
        if number == 1:
            api.expire_cursors()
        return page

    output = read(Meddling(contacts(900), spoil), "contacts", walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    assert any("counted 900 records and returned 898 of them" in text for text in output.warnings())


def test_given_empty_pages_without_end_when_read_then_the_walk_ends_and_the_stream_is_incomplete(read: Read) -> None:
    def barren(_: Meddling, number: int, __: Call, page: Any) -> Any:
        return {**page, "data": [], "meta": {"nextCursor": f"more {number}"}}

    api = WithoutCursors(contacts(900), barren)

    output = read(api, "contacts", walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    (error,) = output.errors("contacts")
    assert "500 pages in a row contained nothing new" in error.message
    assert error.failure_type == FailureType.transient_error


def test_given_pages_that_go_round_when_read_then_the_walk_ends_though_no_two_are_the_same(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_PATIENCE", 5)
    rows = [{"id": f"c_{number}", "name": "Contact"} for number in range(900)]

    def going_round(_: Meddling, number: int, __: Call, page: Any) -> Any:
        start = number * 199 % len(rows)
        shown = [*rows, *rows][start : start + 200 - number]
        return {**page, "data": shown, "meta": {**page["meta"], "nextCursor": f"more {number}"}}

    api = WithoutCursors(contacts(900), going_round)

    output = read(api, "contacts", walk_from_both_ends=False)

    assert output.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    (error,) = output.errors("contacts")
    assert "contained no new record" in error.message
    assert len(api.log.of("/v2/contacts")) < 30


def test_given_a_long_list_that_is_begun_again_when_read_then_it_does_not_count_as_going_round(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_PATIENCE", 2)

    output = read(Meddling(contacts(4_000), expiring(17)), "contacts", walk_from_both_ends=False)

    assert len(ids(output, "contacts")) == len(set(ids(output, "contacts"))) == 4_000
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE


def test_given_activities_without_a_time_when_read_then_they_are_emitted_and_reported(read: Read) -> None:
    odd: dict[int, Any] = {
        0: "the day before",
        3: None,
        4: "yesterday",
        5: 1_700_000_000,
        250: "2025-13-45T99:00:00.000Z",
        251: {"a": 1},
        252: "9999-12-31T23:59:59.999-14:00",
        600: "2025-02-29T00:00:00.000Z",
    }

    def spoil(_: Meddling, __: int, ___: Call, page: Any) -> Any:
        for row in page["data"]:
            number = int(row["id"][2:])
            if number in odd:
                row["activityTime"] = odd[number]
            if number == 6:
                del row["activityTime"]
            if number == 7:
                row["activityTime"] = row["activityTime"].replace("Z", "+00:00")  # another way to write a moment
        return page

    odd[601] = "2025-04-31T00:00:00.000Z"
    api = Meddling(activities(602), spoil)

    output = read(api, "activities", **SPAN)

    times = {row["id"]: row.get("activityTime") for row in output.records("activities")}
    assert sorted(times) == sorted(all_ids(api, "activities"))
    # They are no moments of any calendar, so that they are null.
    assert {number: times[f"a_{number}"] for number in odd} == dict.fromkeys(odd)
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE
    first, summary = [text for text in output.warnings() if "have no valid activityTime" in text]
    assert first.startswith("activities: ")
    assert summary.startswith("activities: ")
    assert int(first.split()[1]) + int(summary.split(", ")[1].split()[0]) == 10


@pytest.fixture
def slowly(clock: FrozenDateTimeFactory) -> Callable[[Meddling, int, Call, Any], Any]:
    """Let each page take 20 seconds."""

    def wait(_: Meddling, __: int, ___: Call, page: Any) -> Any:
        clock.tick(20)
        return page

    return wait


def second_by_second() -> Workspace:
    """Two activities of each moment, so that a page may end between them."""
    workspace = activities(3_000, apart=timedelta(seconds=1))
    for number in range(3_000, 4_500):
        time = datetime.fromisoformat(SPAN["start_date"]) + (number - 3_000) * timedelta(seconds=1)
        workspace.insert("activities", activity(number, time))
    return workspace


def never_covered(output: Output, workspace: Workspace) -> int:
    """Check that no state covers what didn't come before it, and count the states that end within a window."""
    times = {row["id"]: row["activityTime"] for row in workspace.records("activities")}
    seen: set[str] = set()
    within = 0
    for message in output.messages:
        if message.record:
            seen.add(message.record.data["id"])
        if message.state and message.state.stream:
            windows = vars(message.state.stream.stream_state)["slices"]
            assert {key for key, time in times.items() if any(w["start"] <= time <= w["end"] for w in windows)} <= seen
            within += any(f"{window['end'][:-4]}000Z" in times.values() for window in windows)
    return within


def test_given_a_window_that_takes_minutes_when_read_then_its_state_is_kept_each_minute(
    slowly: Callable[[Meddling, int, Call, Any], Any], read: Read
) -> None:
    api = Meddling(second_by_second(), slowly)

    output = read(api, "activities", num_workers=2, **SPAN)

    assert sorted(ids(output, "activities")) == sorted(all_ids(api, "activities"))
    assert never_covered(output, api.workspace)
    # 23 pages of 20 s each; a state at each minute at the latest.
    assert len(output.states("activities")) >= 23 * 20 // 60


def test_given_one_window_that_takes_four_minutes_when_read_then_its_state_is_kept_each_minute(
    slowly: Callable[[Meddling, int, Call, Any], Any], read: Read
) -> None:
    # As many as make one window: nothing else closes meanwhile.
    api = Meddling(activities(2_400, apart=timedelta(seconds=1)), slowly)

    output = read(api, "activities", num_workers=2, lookback_window_days=0, start_date=SPAN["start_date"])

    # At a checkpoint, the walk goes on with a row that was received already.
    assert len(api.log.pages("/v2/activities")) <= 13
    assert len(output.states("activities")) >= 12 * 20 // 60


def test_given_rows_held_back_in_a_window_that_takes_minutes_when_read_then_no_state_covers_them(
    slowly: Callable[[Meddling, int, Call, Any], Any], read: Read
) -> None:
    api = Meddling(second_by_second(), slowly, withheld={"/v2/activities": 0.01})

    output = read(api, "activities", num_workers=2, **SPAN)

    assert 4_000 < len(output.records("activities")) < 4_500
    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    never_covered(output, api.workspace)


def test_given_counts_that_fail_in_a_window_that_takes_minutes_when_read_then_no_state_covers_a_part_of_it(
    slowly: Callable[[Meddling, int, Call, Any], Any], read: Read
) -> None:
    quick = Api(second_by_second())
    read(quick, "activities", num_workers=2, **SPAN)
    windows = {(request.params["startDate"], request.params["endDate"]) for request in quick.log.requests}
    api = Meddling(second_by_second(), slowly, withheld={"/v2/activities": 0.01})
    api.faults.add(
        Fault("server_error_500", when=lambda params: (params["startDate"], params["endDate"]) not in windows)
    )

    output = read(api, "activities", num_workers=2, **SPAN)

    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    never_covered(output, api.workspace)


def test_given_an_api_that_does_not_count_when_a_window_takes_minutes_then_its_state_is_kept_all_the_same(
    slowly: Callable[[Meddling, int, Call, Any], Any], read: Read
) -> None:
    api = Meddling(second_by_second(), slowly)
    api.faults.add(Fault("bad_request_400", when=lambda params: "recordCount" in params.get("cols", "")))

    output = read(api, "activities", num_workers=2, **SPAN)

    assert never_covered(output, api.workspace)
    assert len(output.states("activities")) >= 23 * 20 // 60


def test_given_one_row_held_back_before_pages_of_one_moment_when_they_take_minutes_then_no_state_covers_it(
    slowly: Callable[[Meddling, int, Call, Any], Any], read: Read
) -> None:
    start = datetime.fromisoformat(SPAN["start_date"])
    rows = [activity(number, start + min(number, 300) * timedelta(minutes=1)) for number in range(1_500)]

    def hold_back(api: Meddling, number: int, call: Call, page: Any) -> Any:
        page["data"] = [row for row in page["data"] if row["id"] != "a_10"]
        return slowly(api, number, call, page)

    api = Meddling(Workspace.of(activities=rows), hold_back)

    output = read(api, "activities", num_workers=2, **SPAN)

    assert len(output.records("activities")) == 1_499
    assert output.status("activities") == AirbyteStreamStatus.INCOMPLETE
    never_covered(output, api.workspace)


@pytest.mark.parametrize("early", [{"a_100", "a_399"}, {"a_399"}], ids=["of two pages", "the last one"])
def test_given_activities_out_of_order_that_are_not_counted_when_they_take_minutes_then_no_state_covers_what_follows(
    early: set[str], slowly: Callable[[Meddling, int, Call, Any], Any], read: Read
) -> None:
    workspace = activities(1_500)
    rows = {row["id"]: row for row in workspace.records("activities")}

    def come_early(api: Meddling, number: int, call: Call, page: Any) -> Any:
        for row in page["data"]:
            # A row of the first page, and the last one of the second, after which the state is due.
            if row["id"] in early:
                row["activityTime"] = rows["a_1499"]["activityTime"]
        return slowly(api, number, call, page)

    api = Meddling(workspace, come_early)
    api.faults.add(Fault("bad_request_400", when=lambda params: "recordCount" in params.get("cols", "")))

    output = read(api, "activities", num_workers=2, **SPAN)

    never_covered(output, api.workspace)
    assert output.status("activities") == AirbyteStreamStatus.COMPLETE


def test_given_a_cursor_refused_late_in_a_long_list_when_read_again_then_few_bytes_a_record_are_kept(
    read: Read,
) -> None:
    """A list of 12,000 is begun again, and so remembers what came before: 8 bytes of each record, and as much again."""
    count, page = 12_000, {"size": 0}

    class Late(Api):
        def answer(self, call: Call) -> Answer:
            page["size"] += call.path == "/v2/contacts"
            if page["size"] == 58:
                self.expire_cursors()
                page["size"] += 1
                tracemalloc.start()
            return super().answer(call)

    output = read(Late(contacts(count)), "contacts", walk_from_both_ends=False)
    kept = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.Filter(inclusive=True, filename_pattern=str(module.__file__)) for module in (keys, walk)]
    )
    tracemalloc.stop()

    assert len(ids(output, "contacts")) == len(set(ids(output, "contacts"))) == count
    assert sum(trace.size for trace in kept.traces) < 40 * count


@given(keys=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)), other=st.integers(-5, 5))
def test_keys_are_a_set(keys: list[int], other: int) -> None:
    half = len(keys) // 2
    found = Keys([array("q", keys[:half]), array("q", keys[half:])])

    assert sorted(found) == sorted(set(keys))
    assert len(found) == len(set(keys))
    assert all(key in found for key in keys)
    assert (other in found) == (other in keys)


def test_keys_of_many_records_are_a_set_in_eight_bytes_each() -> None:
    keys = array("q", range(-150_000, 150_000))
    tracemalloc.start()

    found = Keys([keys, keys])

    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 9 * len(keys)
    # While it is made, both copies of each key.
    assert peak < 36 * len(keys)
    assert len(found) == len(keys)
    assert 149_999 in found
    assert 150_000 not in found
