"""The probe's verdicts: what fails, changes or is too little to tell leaves a row open; it neither breaks nor holds."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from integration_tests.sandbox import ENDPOINTS, Api, Fault, Traits, Workspace
from integration_tests.sandbox.messages import Answer, Call, iso
from scripts.probe.answers import MOST_REPEATS, MOST_REQUESTS
from scripts.probe.findings import Verdict
from scripts.probe.report import report
from unit_tests.test_probe import (
    BREAKS,
    MORE_BREAKS,
    SIZES,
    STATUS,
    TODAY,
    WORKSPACE,
    Break,
    edited,
    rows_with,
    run,
    second_type,
    segment_of,
    usual,
    with_each,
    with_late_arrival,
    with_rows,
)

V1 = [path for path in ENDPOINTS if path.startswith("/v1")]
START = datetime(2026, 6, 1, 12, tzinfo=UTC)


def collections() -> dict[str, Any]:
    return {
        name: WORKSPACE.records(name)
        for name in {endpoint.collection for endpoint in ENDPOINTS.values()} | {"object_memberships"}
    }


def with_activities(*times: datetime, show: Callable[[str], str] = str) -> Api:
    rows = [
        {**WORKSPACE.records("activities")[0], "id": f"a_{place}", "activityTime": iso(at)}
        for place, at in enumerate(times, start=1)
    ]
    traits = with_each("/v2/activities", lambda row: {**row, "activityTime": show(row["activityTime"])})
    return usual(Workspace({**collections(), "activities": rows}), traits=traits)


def growing(collection: str, row: Callable[[int], dict[str, Any]]) -> Api:
    """Let a list grow by one with each request."""
    workspace = Workspace.generate(**SIZES)
    sent: list[str] = []

    def make(call: Call, answer: Answer) -> Answer:
        sent.append(call.path)
        workspace.insert(collection, row(len(sent)))
        return answer

    return usual(workspace, traits=Traits(otherwise=dict.fromkeys(ENDPOINTS, make)))


def without_numbers() -> Api:
    api = with_late_arrival("c_999999")
    named = with_each("/v2/contacts", lambda row: {**row, "id": f"{row['id']}-x"})
    api.traits = replace(api.traits, otherwise={**api.traits.otherwise, **named.otherwise})
    return api


def slow(seconds: float) -> Api:
    """Take so long for each answer, with a `Date` of when it began."""

    def make(_: Call, answer: Answer) -> Answer:
        time.sleep(seconds)
        return answer

    return usual(traits=Traits(otherwise=dict.fromkeys(ENDPOINTS, make)))


class Passing(Api):
    """Answers as one sandbox does, and what is asked again as another one does that is as it should be."""

    def __init__(self, api: Api) -> None:
        super().__init__(api.workspace, token=api.token)
        self._api, self._right = api, usual(api.workspace, token=api.token)
        self._seen: set[tuple[str, str, str | None]] = set()

    def answer(self, call: Call) -> Answer:
        """Answer a call."""
        asked = (call.path, call.query, call.authorization)
        api = self._right if asked in self._seen else self._api
        self._seen.add(asked)
        return api.answer(call)


@cache
def large() -> Workspace:
    """Make a workspace that takes as many questions as any; don't change it."""
    return Workspace.generate(segments=40)


# Clocks, limits, tokens and records aren't answers that pass; and two sandboxes with different cursors aren't one.
NOT_PASSING = {"A01", "A02", "A03", "A04", "A07", "A32", "A33", "A38", "A45", "A46"}


@pytest.mark.parametrize(
    "entry",
    [entry for entry in (*BREAKS, *MORE_BREAKS) if entry.row not in NOT_PASSING],
    ids=lambda entry: entry.row,
)
def test_given_an_odd_answer_that_is_not_repeated_when_probed_then_no_row_is_said_to_be_broken(entry: Break) -> None:
    outcome = run(Passing(entry.api()))

    assert rows_with(outcome, Verdict.BROKEN) == set()
    assert "its check failed" not in str(outcome.findings)


@pytest.mark.parametrize(
    "kind", ["server_error_500", "unavailable_503_html", "reset", "hang", "truncated_json", "forbidden_403_html"]
)
@pytest.mark.parametrize("every", [4, 7])
def test_given_an_api_that_fails_now_and_then_when_probed_then_every_row_is_asked_for_and_none_is_said_to_be_broken(
    kind: str, every: int
) -> None:
    api = usual(large(), faults=[Fault(kind, every=every)])

    outcome = run(api)

    assert outcome.ended_early == ""
    assert rows_with(outcome, Verdict.BROKEN) == set()
    assert [row for row, finding in outcome.findings.items() if "questions are used up" in finding.evidence] == []
    assert len(api.log.requests) <= MOST_REQUESTS
    assert len(rows_with(outcome, Verdict.HOLDS)) > 15


def test_given_more_questions_than_may_be_asked_when_probed_then_the_report_names_the_rows_that_it_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scripts.probe.run.MOST_QUESTIONS", 90)

    outcome = run(usual())

    short = [row for row, finding in outcome.findings.items() if finding.short_of_requests]
    assert "A49" in short
    assert outcome.findings["A49"].evidence == "all 84 questions are used up"
    assert f"- **Requests ran out** for {', '.join(short)}: " in report(outcome, "a workspace", TODAY)


def test_given_failures_that_last_when_probed_then_repeats_are_told_and_take_no_question_from_another_row() -> None:
    outcome = run(usual(faults=[Fault("server_error_500", path=path) for path in ("/v2/tags", "/v2/topics")]))

    client = outcome.survey.client
    assert 0 < client.repeats <= MOST_REPEATS
    assert client.sent == client.questions + client.repeats
    assert "A49" in rows_with(outcome, Verdict.HOLDS)
    text = report(outcome, "a workspace", TODAY)
    assert f"{client.sent} requests, {client.repeats} of them repeats, in" in text
    assert f"- Asked again: {client.repeats} times" in text


def test_given_many_rows_that_are_broken_when_probed_then_each_is_asked_again_within_all_requests() -> None:
    rows = ("A12", "A15", "A22", "A28", "A31", "A39", "A47", "A48")
    traits = [entry.api().traits.otherwise for entry in BREAKS if entry.row in rows]
    together = Traits(otherwise={path: make for each in traits for path, make in each.items()})
    api = usual(large(), traits=together)

    outcome = run(api)

    assert rows_with(outcome, Verdict.BROKEN) == set(rows)
    assert outcome.survey.client.repeats == len(rows)
    assert len(api.log.requests) <= MOST_REQUESTS


def test_given_what_is_seen_once_when_stopped_before_it_is_asked_again_then_the_row_is_left_open() -> None:
    def stop(number: int) -> None:
        if number == 100:
            raise KeyboardInterrupt

    broken = next(entry for entry in BREAKS if entry.row == "A22")

    outcome = run(broken.api(), told=stop)

    assert outcome.findings["A22"].verdict is Verdict.UNTOLD
    assert outcome.findings["A22"].evidence.startswith("seen once: contacts: `title` in 40 records")
    assert outcome.findings["A22"].evidence.endswith("the run ended before it was asked again")


@dataclass(frozen=True)
class Open:
    """A workspace, or an API, of which a row can't be told."""

    rows: str
    api: Callable[[], Api]
    reason: str = ""


def fails(row: str, path: str | None, when: Callable[[Any], bool] | None = None) -> Open:
    return Open(row, lambda: usual(faults=[Fault("server_error_500", path=path, when=when)]))


WHOLE = [START + timedelta(seconds=20 * place) for place in range(20)]
OPEN = (
    fails("A05", None, lambda params: int(params.get("limit", "0")) > 100),
    fails("A07", None, lambda params: "cursor" in params and params.get("limit") == "3"),
    fails("A14", f"/v1/segments/{segment_of('organization').removeprefix('s_')}/status"),
    fails("A17", "/v2/objects", lambda params: "segmentId" in params and params["objectTypeId"] == second_type()),
    fails("A18", "/v2/organizations", lambda params: "segmentId" in params),
    fails("A19", "/v2/contacts", lambda params: params.get("segmentId") == segment_of("organization")),
    fails("A20", "/v2/custom-fields", lambda params: second_type() in params.values()),
    fails("A25", "/v2/contacts", lambda params: len(re.findall(r"cf_\d+", params.get("cols", ""))) > 3),
    fails("A39", STATUS),
    fails("A41", "/v2/activities", lambda params: "," in params.get("cols", "")),
    fails("A42", "/v2/topics", lambda params: params.get("cols") == "recordCount" and params["limit"] == "1"),
    fails("A43", "/v2/tags", lambda params: "cols" in params),
    fails("A44", None, lambda params: params.get("cursor") == "not-a-cursor"),
    fails("A45", "/v2/contacts", lambda params: params.get("direction") == "desc" and "cols" not in params),
    Open(
        "A14 A15",
        lambda: usual(faults=[Fault("not_found_404", path=path) for path in V1]),
        "v1 is answered 404 altogether",
    ),
    Open("A01 A02", lambda: slow(1.5), ""),
    Open("A01", lambda: usual(traits=Traits(rate_interval=10)), "it isn't told that it counts for a second"),
    Open(
        "A17 A20",
        lambda: usual(faults=[Fault("server_error_500", path="/v2/object-types")]),
        "`v2/object-types` answered 500",
    ),
    Open(
        "A46",
        without_numbers,
        "the ids of contacts have no numbers",
    ),
    Open(
        "A29 A30",
        lambda: with_activities(*WHOLE),
        "times are shown in whole seconds",
    ),
)


@pytest.mark.parametrize("entry", OPEN, ids=lambda entry: entry.rows)
def test_given_what_tells_nothing_of_a_row_when_probed_then_it_is_left_open(entry: Open) -> None:
    outcome = run(entry.api())

    for row in entry.rows.split():
        assert outcome.findings[row].verdict is Verdict.UNTOLD, outcome.findings[row]
        assert outcome.findings[row].evidence.startswith(entry.reason)


def ends_too_early(*, again: bool) -> Api:
    """Let a list be longer than its full page that names no next one; or only from the second time on."""
    topic = WORKSPACE.records("topics")[0]
    rows = [{**topic, "id": f"tp_{number}"} for number in range(1, 201)]
    workspace = Workspace({**collections(), "topics": rows})
    asked: list[str] = []

    def make(call: Call, answer: Answer) -> Answer:
        content = json.loads(answer.body)
        counts = call.params.get("cols") == "recordCount" and "query" not in call.params
        asked.extend(["count"] * counts)
        if counts:
            # A count that was taken before or after records were deleted, or one that goes on to say so.
            content["meta"]["recordCount"] = 200 + (len(asked) == 1 or again)
        return replace(answer, body=json.dumps(content).encode())

    return usual(workspace, traits=Traits(otherwise={"/v2/topics": make}))


def test_given_a_full_page_without_a_cursor_when_probed_then_it_is_held_against_counts_before_and_after_it() -> None:
    assert run(ends_too_early(again=False)).findings["A10"].verdict is Verdict.HOLDS
    finding = run(ends_too_early(again=True)).findings["A10"]
    assert finding.verdict is Verdict.BROKEN
    assert finding.evidence.startswith("topics: none on a page of 200 of 201")


def walked_while_it_changes() -> Api:
    """Delete the first contact as soon as its page is left, so that cursors that count rows lose one."""
    workspace = Workspace.generate(**SIZES)
    deleted: list[str] = []

    def make(call: Call, answer: Answer) -> Answer:
        if call.params.get("limit") == "2" and "cursor" in call.params:
            first = workspace.records("contacts")[0]["id"]
            workspace.delete("contacts", first)
            deleted.append(first)
        return answer

    return usual(workspace, cursor_style="offset", traits=Traits(otherwise={"/v2/contacts": make}))


def test_given_records_that_are_deleted_while_they_are_walked_when_probed_then_cursors_are_not_blamed() -> None:
    finding = run(walked_while_it_changes()).findings["A08"]

    assert finding.verdict is Verdict.UNTOLD
    assert "meanwhile" in finding.evidence or "all the time" in finding.evidence


@pytest.mark.parametrize("status", [403, 400, 404])
def test_given_types_of_objects_that_may_not_be_read_when_probed_then_their_members_are_left_open(status: int) -> None:
    kind = {403: "forbidden_403", 400: "bad_request_400", 404: "not_found_404"}[status]

    outcome = run(usual(faults=[Fault(kind, path="/v2/objects")]))

    assert outcome.findings["A17"].verdict is Verdict.UNTOLD
    assert outcome.findings["A17"].evidence == f"all types are answered {status}"


def test_given_a_segment_whose_members_may_not_be_read_when_probed_then_they_are_left_open() -> None:
    outcome = run(usual(faults=[Fault("forbidden_403", path="/v2/objects", when=lambda params: "segmentId" in params)]))

    assert outcome.findings["A17"].evidence == "all types are answered 403"
    assert outcome.findings["A17"].verdict is Verdict.UNTOLD


CLUSTER = [START - timedelta(milliseconds=place) for place in range(250)]
LONELY = [START + timedelta(seconds=15 + 20 * place, milliseconds=123) for place in range(20)]
LIVING: dict[str, Callable[[], Api]] = {
    "contacts": lambda: growing("contacts", lambda number: {"id": f"c_{900_000 + number}", "name": "New"}),
    "organizations": lambda: growing("organizations", lambda number: {"id": f"o_{900_000 + number}", "name": "New"}),
    "activities": lambda: growing(
        "activities",
        lambda number: {
            "id": f"a_{9_000_000 + number}",
            "type": "tweet",
            "activityTime": iso(datetime.fromtimestamp(time.time(), UTC)),
        },
    ),
    "a stale `entityCount`": lambda: usual(
        traits=with_each("/v2/segments", lambda row: {**row, "entityCount": row.get("entityCount", 0) + 1})
    ),
    "slow answers": lambda: slow(3.0),
    "a crowd before a lonely activity": lambda: with_activities(*CLUSTER, *LONELY),
    "fractions of zero left out": lambda: with_activities(
        *(START + timedelta(seconds=place // 2, milliseconds=500 * (place % 2)) for place in range(40)),
        show=lambda text: text.replace(".000Z", "Z"),
    ),
    "another offset": lambda: with_activities(
        *LONELY, show=lambda text: datetime.fromisoformat(text).astimezone(None).isoformat() if "3.1" in text else text
    ),
}


@pytest.mark.parametrize("make", LIVING.values(), ids=LIVING)
def test_given_what_is_as_assumed_and_looks_odd_when_probed_then_no_row_is_said_to_be_broken(
    make: Callable[[], Api],
) -> None:
    assert rows_with(run(make()), Verdict.BROKEN) == set()


def test_given_cursors_that_lead_nowhere_when_probed_then_they_do_not_hold() -> None:
    outcome = run(usual(faults=[Fault("repeated_page")]))

    assert outcome.findings["A06"].verdict is Verdict.BROKEN


TOO_LITTLE = "A05 A06 A08 A11 A13 A15 A16 A20 A21 A22 A23 A24 A25 A28 A31 A34 A40 A45 A47 A48"
NOTHING = "A09 A10 A12 A26 A17 A18 A19 A33 A41 A42"


@pytest.mark.parametrize("most", [0, 1])
def test_given_too_few_records_when_probed_then_what_takes_more_is_left_open(most: int) -> None:
    outcome = run(
        usual(Workspace({name: rows[:most] for name, rows in collections().items()}) if most else Workspace.of())
    )

    assert rows_with(outcome, Verdict.BROKEN) == set()
    assert rows_with(outcome, Verdict.HOLDS).isdisjoint(TOO_LITTLE.split())
    if not most:
        assert rows_with(outcome, Verdict.HOLDS).isdisjoint(NOTHING.split())


@dataclass(frozen=True)
class Little:
    """An API of which there is a little less than a row takes."""

    row: str
    api: Callable[[], Api]
    seen: str


def only(*listed: str) -> Api:
    """Let a few lists have records."""
    return usual(Workspace({name: rows if name in listed else [] for name, rows in collections().items()}))


def refused_except(*paths: str, when: Callable[[Any], bool]) -> Api:
    """Fail questions of all lists but a few."""
    return usual(
        faults=[Fault("server_error_500", path=path, when=when) for path in ENDPOINTS if path not in {*paths, STATUS}]
    )


LITTLE = (
    Little("A09", lambda: only("contacts", "organizations", "segments"), "2 of at least 3 last pages with records"),
    Little(
        "A11",
        lambda: usual(traits=with_rows("/v2/custom-fields", lambda rows: rows[:50])),
        "50 of at least 51 rows in the longest of them",
    ),
    Little(
        "A12",
        lambda: usual(
            traits=Traits(
                otherwise={
                    **edited("/v1/tags", lambda content, _: {**content, "labels": []}).otherwise,
                    **edited("/v1/members/customFields", lambda _, __: []).otherwise,
                }
            )
        ),
        "1 of at least 2 bodies that have any",
    ),
    Little("A22", lambda: only("contacts", "organizations"), "2 of at least 5 streams that have any"),
    Little(
        "A23",
        lambda: usual(
            traits=with_rows(
                "/v2/custom-fields", lambda rows: [row for row in rows if row["valueType"] in {"string", "boolean"}]
            )
        ),
        "2 of at least 3 types of custom fields that have values",
    ),
    Little(
        "A44",
        lambda: refused_except("/v2/contacts", when=lambda params: "cursor" in params),
        "1 of at least 2 lists that refuse",
    ),
    Little("A47", lambda: only("contacts", "organizations"), "2 of at least 3 lists that have any"),
    Little(
        "A49",
        lambda: refused_except("/v2/contacts", when=lambda params: "notAParameter" in params),
        "1 of at least 2 lists that refuse",
    ),
)


@pytest.mark.parametrize("entry", LITTLE, ids=lambda entry: entry.row)
def test_given_a_little_less_than_a_row_takes_when_probed_then_it_is_left_open_and_says_how_much_was_seen(
    entry: Little,
) -> None:
    outcome = run(entry.api())

    assert outcome.findings[entry.row].verdict is Verdict.UNTOLD
    assert entry.seen in outcome.findings[entry.row].evidence
