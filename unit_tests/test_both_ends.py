"""Both ends: two walks that meet, and one if the API doesn't sort as it should."""

import threading
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import orjson
import pytest
from airbyte_cdk.models import AirbyteStreamStatus
from airbyte_cdk.sources.types import StreamSlice

from integration_tests.sandbox import Api, Fault, Workspace
from integration_tests.sandbox.messages import Answer, Call
from source_commonroom.api.retriever import PageRetriever
from unit_tests.conftest import Read
from unit_tests.streams import BY_NAME, by_key, complete

CONTACTS = BY_NAME["contacts"]


def contact(number: int) -> dict[str, Any]:
    return {"id": f"c_{number}", "name": f"Contact {number}"}


def contacts(count: int) -> Workspace:
    return Workspace.of(contacts=[contact(number) for number in range(1, 3 * count + 1, 3)])


LetFirst = Callable[[str, int], None]


@pytest.fixture
def let_first(monkeypatch: pytest.MonkeyPatch) -> LetFirst:
    """Let the walk of one direction have so many pages before the other one goes on: ``let_first("desc", 3)``.

    Which of two threads is first can't be predicted: one walk may be over before the other has begun. The API
    can't make one wait, since requests-mock lets one in at a time.
    """
    page_of = PageRetriever.page_of

    def wait_for(direction: str, pages: int) -> None:
        came, enough = [0], threading.Event()

        def page_in_turn(
            self: PageRetriever, params: Mapping[str, Any], stream_slice: StreamSlice | None, **options: Any
        ) -> Mapping[str, Any]:
            first = params.get("direction") == direction
            if "cursor" in params and not first:
                assert enough.wait(30)
            page = page_of(self, params, stream_slice, **options)
            # A count asks for one row.
            came[0] += first and params.get("limit") != 1
            if came[0] >= pages:
                enough.set()
            return page

        monkeypatch.setattr(PageRetriever, "page_of", page_in_turn)

    return wait_for


def directions(api: Api) -> list[str | None]:
    return [request.params.get("direction") for request in api.log.pages("/v2/contacts")]


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 399, 400, 401, 999, 2_000])
def test_given_a_list_when_read_then_each_record_comes_once(count: int, read: Read) -> None:
    api = Api(contacts(count))

    output = read(api, "contacts")

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE


def test_given_a_long_list_when_read_then_both_walks_take_their_part_and_cost_little_more_than_one(
    read: Read, let_first: LetFirst
) -> None:
    let_first("desc", 5)
    api = Api(contacts(6_000))

    read(api, "contacts")

    assert directions(api).count("desc") >= 5
    assert len(directions(api)) <= 30 + 2


def test_given_a_list_of_one_page_when_read_then_it_is_walked_once(read: Read) -> None:
    api = Api(contacts(150))

    read(api, "contacts")

    assert directions(api) == ["asc"]


def test_given_the_option_is_off_when_read_then_it_is_walked_once(read: Read) -> None:
    api = Api(contacts(1_000))

    output = read(api, "contacts", walk_from_both_ends=False)

    assert "desc" not in directions(api)
    assert len(output.records("contacts")) == 1_000


def test_given_an_api_that_refuses_direction_when_read_then_one_walk_brings_all(read: Read) -> None:
    api = Api(contacts(1_000))
    api.faults.add(Fault("bad_request_400", when=lambda params: "direction" in params))

    output = read(api, "contacts")

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    # Known by the count, which asks for the highest id.
    # Three pages are asked for again, since nothing tells which records are newer than the count.
    assert directions(api) == [None] * (5 + 3)


class Deaf(Api):
    """Ignores ``direction``."""

    def answer(self, call: Call) -> Answer:
        parts = [part for part in call.query.split("&") if not part.startswith("direction=")]
        return super().answer(Call(call.method, call.path, "&".join(parts), call.authorization))


def test_given_an_api_that_ignores_direction_when_read_then_one_walk_brings_all(read: Read) -> None:
    api = Deaf(contacts(1_000))

    output = read(api, "contacts")

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE


def test_given_ids_without_numbers_when_read_then_one_walk_brings_all(api: Api, read: Read) -> None:
    companies = {row["id"] for row in api.workspace.records("prospector_companies")}
    assert len(companies) > 200  # more than a page

    output = read(api, "prospector_companies")

    assert {row["id"] for row in output.records("prospector_companies")} == companies
    assert len(output.records("prospector_companies")) == len(companies)
    assert [request.params.get("direction") for request in api.log.pages("/v2/prospector-companies")] == ["asc"] * 4


class Restless(Api):
    """Inserts and deletes records before every answer."""

    def __init__(self, workspace: Workspace, seed: int) -> None:
        super().__init__(workspace)
        self._rng = Random(seed)
        self._top = max(int(row["id"][2:]) for row in workspace.records("contacts"))
        self.touched: set[str] = set()

    def answer(self, call: Call) -> Answer:
        with self.workspace.lock:
            for row in self._rng.sample(self.workspace.records("contacts"), 15):
                self.workspace.delete("contacts", row["id"])
                self.touched.add(row["id"])
            for _ in range(20):
                self._top += self._rng.randrange(1, 4)
                self.workspace.insert("contacts", contact(self._top))
                self.touched.add(f"c_{self._top}")
            return super().answer(call)


@pytest.mark.parametrize("seed", range(12))
def test_given_inserts_and_deletes_meanwhile_when_read_then_every_other_record_comes_once(
    seed: int, read: Read
) -> None:
    api = Restless(contacts(1_500), seed)
    before = {row["id"] for row in api.workspace.records("contacts")}

    output = read(api, "contacts")

    found = [row["id"] for row in output.records("contacts")]
    assert len(found) == len(set(found))
    assert before - api.touched <= set(found)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE


def test_given_an_order_that_breaks_after_both_began_when_read_then_one_walk_brings_the_rest_once(read: Read) -> None:
    api = Shuffled(contacts(3_000))

    output = read(api, "contacts")

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert any("walked from one end only" in text for text in output.warnings())


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_given_a_walk_that_fails_when_read_then_the_other_one_brings_all(direction: str, read: Read) -> None:
    api = Api(contacts(1_000))
    is_walk = lambda params: params.get("direction") == direction and params.get("limit") != "1"  # noqa: E731
    api.faults.add(Fault("ok_html", when=is_walk))

    output = read(api, "contacts")

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert output.exit_code == 0


class Shuffled(Api):
    """Answers every page upwards in reverse, once the walk down is at its second page.

    Till then it gets another page of contacts with each answer: whichever thread is first, the walks haven't met yet.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._down = 0
        self._top = max(int(row["id"][2:]) for row in workspace.records("contacts"))

    def answer(self, call: Call) -> Answer:
        down = call.params.get("direction") == "desc" and call.params.get("limit") != "1"
        if not down and self._down < 2:
            for number in range(self._top + 1, self._top + 201):
                self.workspace.insert("contacts", contact(number))
            self._top += 200
        answer = super().answer(call)
        self._down += down
        return reverse(answer) if self._down >= 2 and not down else answer


def reverse(answer: Answer) -> Answer:
    content = orjson.loads(answer.body)
    content["data"].reverse()
    return Answer(answer.status, orjson.dumps(content), answer.headers)


def member(number: int, *, inside: bool = True) -> dict[str, Any]:
    return {**contact(number), "segments": [{"id": "s_1", "name": "S"}] if inside else []}


class Refusing(Api):
    """Lets a record come to stand behind a walk, and then refuses its cursor, once."""

    def __init__(self, workspace: Workspace, direction: str, row: dict[str, Any]) -> None:
        super().__init__(workspace)
        self._pages = 0
        self._direction = direction
        self._row = row

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.path == "/v2/contacts" and call.params.get("limit") == "200":
            self._pages += call.params.get("direction") == self._direction
            if self._pages == 3:
                self._pages += 1
                self.workspace.insert("contacts", self._row)
                self.expire_cursors()
        return answer


@pytest.mark.parametrize(("direction", "late"), [("desc", 100_001), ("asc", 2)])
def test_given_a_cursor_that_is_refused_after_an_insertion_when_read_then_the_order_is_not_taken_for_broken(
    direction: str, late: int, read: Read, let_first: LetFirst
) -> None:
    let_first(direction, 3)
    rows = [member(number) for number in range(1, 9_000, 3)]
    segment = {"id": "s_1", "name": "S", "entityType": "contact"}
    api = Refusing(Workspace.of(contacts=rows, segments=[segment]), direction, member(late))

    output = read(api, "contacts", segment_ids=["s_1"])

    came = [row["id"] for row in output.records("contacts")]
    assert sorted(came) == sorted({row["id"] for row in [*rows, member(late)]})
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert any("refused, in the middle of a list, the cursor" in text for text in output.warnings())


class OneEyed(Api):
    """Leaves out every tenth contact when it sorts downwards."""

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if call.params.get("direction") != "desc":
            return answer
        page = orjson.loads(answer.body)
        page["data"] = [row for row in page["data"] if not row["id"].endswith("0")]
        return Answer(answer.status, orjson.dumps(page), answer.headers)


def test_given_records_that_one_walk_leaves_to_the_other_and_that_do_not_come_when_read_then_the_other_goes_on(
    read: Read, let_first: LetFirst
) -> None:
    let_first("desc", 1)
    api = OneEyed(Workspace.of(contacts=[contact(number) for number in range(1, 2_002)]))

    output = read(api, "contacts")

    assert by_key(CONTACTS, output.records("contacts")) == complete(CONTACTS, api.workspace)
    assert output.status("contacts") == AirbyteStreamStatus.COMPLETE
