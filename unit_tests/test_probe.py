"""The probe: of the sandbox as it is, every row holds that can be told; and whatever row it breaks, the probe says."""

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest
import requests_mock

from integration_tests.sandbox import ENDPOINTS, Api, Fault, Traits, Workspace, mount
from integration_tests.sandbox.messages import Answer, Call, iso, json_answer
from scripts.probe.__main__ import main
from scripts.probe.answers import MOST_QUESTIONS, MOST_REQUESTS, Client
from scripts.probe.assumptions import assumptions
from scripts.probe.cassette import cassette
from scripts.probe.checks import CHECKS
from scripts.probe.findings import Verdict
from scripts.probe.report import report
from scripts.probe.run import Outcome, probe
from unit_tests.conftest import API_URL

SIZES = {
    "contacts": 40,
    "organizations": 30,
    "activities": 120,
    "tags": 12,
    "objects": 60,
    "website_visits": 210,
    "prospector_contacts": 30,
    "prospector_companies": 30,
    "topics": 20,
    "industries": 20,
    "tech_stack_products": 20,
}
WORKSPACE = Workspace.generate(**SIZES)
TODAY = date(2026, 7, 1)
# Without a 429, without a token that ends, and without a record that is created meanwhile.
NOT_TOLD = {"A03", "A04", "A38", "A46"}


def usual(workspace: Workspace = WORKSPACE, **more: Any) -> Api:
    """Make the sandbox that `make probe` serves, but for what is named."""
    traits = replace(more.pop("traits", Traits()), dates=True)
    # By the clock that stands still, which the default of the sandbox isn't.
    clock = lambda: time.time()  # noqa: E731, PLW0108
    return Api(workspace, traits=traits, **{"requests_per_second": 20, "clock": clock, **more})


def run(api: Api, *, provoke: bool = False, told: Callable[[int], None] = lambda _: None) -> Outcome:
    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        return probe(Client(API_URL, api.token, told), provoke=provoke)


def rows_with(outcome: Outcome, verdict: Verdict) -> set[str]:
    return {row for row, finding in outcome.findings.items() if finding.verdict is verdict}


class OneByOne:
    """Sends what a thread pool would send at once: in its threads, the clock doesn't stand still."""

    def __init__(self, _: int) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    map = staticmethod(map)


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.probe.checks.answers.ThreadPoolExecutor", OneByOne)


# Ways to break a row


Edit = Callable[[Any, Mapping[str, str]], Any]


def edited(path: str, edit: Edit) -> Traits:
    """Answer a path with what an edit makes of the content of a 200, and of the parameters."""

    def make(call: Call, answer: Answer) -> Answer:
        if answer.status != 200:
            return answer
        return replace(answer, body=json.dumps(edit(json.loads(answer.body), call.params)).encode())

    return Traits(otherwise={path: make})


def with_rows(path: str, edit: Callable[[list[Any]], list[Any]]) -> Traits:
    """Answer a path with other rows."""
    return edited(path, lambda content, _: {**content, "data": edit(content["data"])})


def with_each(path: str, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Traits:
    """Answer a path with each row edited."""
    return with_rows(path, lambda rows: list(map(edit, rows)))


def answered(path: str, when: Callable[[Mapping[str, str]], bool], answer: Answer) -> Traits:
    """Answer a path otherwise for some parameters."""
    return Traits(otherwise={path: lambda call, right: answer if when(call.params) else right})


def refused_token(answer: Answer) -> Traits:
    """Answer otherwise to a token that isn't good."""
    return Traits(otherwise={"/v2/api-token-status": lambda _, right: answer if right.status == 403 else right})


def page(*rows: Any, count: int = 0) -> Answer:
    return json_answer(200, {"success": True, "data": list(rows), "meta": {"nextCursor": None, "recordCount": count}})


def jwt(expiry: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expiry}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


def refuse_old_cursors() -> Api:
    end = time.time() + 50
    return usual(faults=[Fault("bad_request_400", when=lambda params: "cursor" in params and time.time() > end)])


def with_late_arrival(contact_id: str) -> Api:
    """Let a contact be created while the probe runs."""
    workspace = Workspace.generate(**SIZES)

    def make(_: Call, answer: Answer) -> Answer:
        workspace.insert("contacts", {"id": contact_id, "name": "New"})
        return answer

    return usual(workspace, traits=Traits(otherwise={"/v2/activity-types": make}))


def before_1970() -> Api:
    workspace = Workspace.generate(**SIZES)
    workspace.insert("activities", {"id": "a_1", "type": "tweet", "activityTime": "1965-04-03T02:01:00.000Z"})
    return usual(workspace)


def shown_late(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "activityTime": iso(datetime.fromisoformat(row["activityTime"]) + timedelta(hours=1))}


def with_custom_value(kind: str, change: Callable[[Any], Any]) -> Traits:
    """Answer contacts with other values of the custom fields of a type."""

    def edit(row: dict[str, Any]) -> dict[str, Any]:
        fields = row.get("customFields", {})
        changed = {
            key: {**entry, "value": change(entry["value"])} for key, entry in fields.items() if entry["type"] == kind
        }
        return {**row, "customFields": {**fields, **changed}} if fields else row

    return with_each("/v2/contacts", edit)


def unless_asked(content: Any, params: Mapping[str, str]) -> Any:
    thin = [{key: value for key, value in row.items() if key != "name"} for row in content["data"]]
    return content if "cols" in params else {**content, "data": thin}


def without_first_of_small_pages(content: Any, params: Mapping[str, str]) -> Any:
    return {**content, "data": content["data"][1:]} if "cursor" in params and params["limit"] == "2" else content


def last_twice(content: Any, params: Mapping[str, str]) -> Any:
    rows = content["data"]
    return content if "contactId" in params else {**content, "data": [*rows, *rows[-1:]]}


def without_count_beside_columns(content: Any, params: Mapping[str, str]) -> Any:
    if "," in params.get("cols", ""):
        content["meta"].pop("recordCount", None)
    return content


def segment_of(entity: str) -> str:
    return next(str(row["id"]) for row in WORKSPACE.records("segments") if row["entityType"] == entity)


def second_type() -> str:
    return str(WORKSPACE.records("object_types")[1]["id"])


def custom_fields_in(params: Mapping[str, str]) -> int:
    return len(re.findall(r"cf_\d+", params.get("cols", "")))


@dataclass(frozen=True)
class Break:
    """A way to break a row, and no other one."""

    row: str
    api: Callable[[], Api]
    provoke: bool = False


def fault(kind: str, path: str | None = None, **more: Any) -> Callable[[], Api]:
    return lambda: usual(faults=[Fault(kind, path=path, **more)])


def trait(traits: Traits) -> Callable[[], Api]:
    return lambda: usual(traits=traits)


def unlimited(*faults: Fault) -> Callable[[], Api]:
    return lambda: usual(requests_per_second=None, faults=faults)


STATUS, OTHER = "/v2/api-token-status", "/v2/activity-types"
BREAKS = (
    Break("A01", lambda: usual(requests_per_second=10)),
    Break("A02", trait(Traits(rate_interval=10))),
    Break(
        "A03",
        unlimited(Fault("status", path=STATUS, status=429, after=2), Fault("status", path=OTHER, status=429, after=1)),
        provoke=True,
    ),
    Break("A04", lambda: usual(token=jwt(time.time() - 3_600))),
    Break("A05", fault("bad_request_400", when=lambda params: int(params.get("limit", "0")) > 100)),
    Break("A06", refuse_old_cursors),
    Break("A07", trait(Traits(limit_may_change=True))),
    Break("A08", trait(edited("/v2/contacts", without_first_of_small_pages))),
    Break("A09", fault("missing_cursor", "/v2/tags")),
    Break("A10", fault("missing_cursor", "/v2/website-visits")),
    Break("A11", trait(edited("/v2/activity-types", lambda content, _: {**content, "meta": {"nextCursor": "x"}}))),
    Break("A12", trait(edited("/v1/members/customFields", lambda content, _: {"data": content}))),
    Break(
        "A13",
        trait(
            edited("/v1/members/customFields", lambda content, _: [{**row, "id": row["id"] + 0.5} for row in content])
        ),
    ),
    Break("A14", fault("not_found_404", f"/v1/segments/{segment_of('organization').removeprefix('s_')}/status")),
    Break("A15", trait(edited("/v1/segments/{id}/status", lambda content, _: content * 2))),
    Break("A16", trait(edited("/v2/website-visits", last_twice))),
    Break(
        "A17",
        fault(
            "bad_request_400",
            "/v2/objects",
            when=lambda params: "segmentId" in params and params["objectTypeId"] == second_type(),
        ),
    ),
    Break("A18", trait(answered("/v2/organizations", lambda params: "segmentId" in params, page(count=3)))),
    Break(
        "A19",
        trait(
            answered(
                "/v2/contacts",
                lambda params: params.get("segmentId") == segment_of("organization"),
                page({"id": "c_1", "name": "Somebody"}, count=1),
            )
        ),
    ),
    Break("A20", fault("bad_request_400", "/v2/custom-fields", when=lambda params: second_type() in params.values())),
    Break(
        "A21",
        trait(with_each("/v2/custom-fields", lambda row: {key: row[key] for key in row if key != "valueType"})),
    ),
    Break("A22", trait(with_each("/v2/contacts", lambda row: {**row, "title": 7}))),
    Break("A23", trait(with_custom_value("int", lambda _: "51-200"))),
    Break("A24", trait(with_custom_value("string", lambda value: [value]))),
    Break("A25", fault("bad_request_400", when=lambda params: custom_fields_in(params) > 3)),
    Break("A26", fault("forbidden_403", "/v2/contacts", when=lambda params: "sparkSummary" in params.get("cols", ""))),
    Break("A27", trait(edited("/v2/contacts", unless_asked))),
    Break("A28", trait(with_rows("/v2/tags", lambda rows: [{**rows[0], "id": None}, *rows[1:]]))),
    Break("A29", trait(Traits(date_resolution=timedelta(minutes=1)))),
    Break("A30", trait(with_each("/v2/activities", shown_late))),
    Break(
        "A31", trait(with_each("/v2/website-visits", lambda row: {**row, "visitTime": row["visitTime"].rstrip("Z")}))
    ),
    Break("A32", lambda: usual(requests_per_second=None, clock=lambda: 1_782_864_000.0)),
    Break("A33", before_1970),
    Break("A34", trait(Traits(ignores_order=["/v2/activities"]))),
    Break("A35", trait(refused_token(json_answer(401, {"reason": "Token not valid"})))),
    Break("A36", trait(refused_token(Answer(403, b"<html>", {"Content-Type": "text/html"})))),
    Break("A37", fault("redirect", "/v2/lead-scores", location="https://elsewhere.example/")),
    Break("A38", unlimited(Fault("rate_limited", path=STATUS, after=2)), provoke=True),
    Break("A39", trait(edited(STATUS, lambda content, _: {"success": True, "data": content}))),
    Break("A40", lambda: usual(withheld={"/v2/segments": 0.3})),
    Break("A41", trait(edited("/v2/activities", without_count_beside_columns))),
    Break("A42", trait(Traits(uncounted=["/v2/topics"]))),
    Break("A43", trait(answered("/v2/providers", lambda params: "cols" in params, page(count=7)))),
    Break("A44", trait(answered("/v2/contacts", lambda params: params.get("cursor") == "not-a-cursor", page()))),
    Break("A45", trait(Traits(text_sorted_ids=True))),
    Break("A46", lambda: with_late_arrival("c_1")),
    Break("A47", trait(with_each("/v2/organizations", lambda row: {**row, "updatedAt": "2026-01-01T00:00:00.000Z"}))),
    Break("A48", trait(with_rows("/v2/industries", lambda rows: [*rows, *rows[:1]]))),
    Break("A49", trait(answered("/v2/contacts", lambda params: "notAParameter" in params, page()))),
    Break("A50", fault("hang", "/v2/lead-scores")),
)


def count_beside(params: Mapping[str, str]) -> bool:
    return "recordCount" in params.get("cols", "") and "," in params["cols"]


# What happens in more than one way.
MORE_BREAKS = (
    Break("A41", fault("bad_request_400", "/v2/activities", when=count_beside)),
    Break(
        "A26", fault("bad_request_400", "/v2/activities", when=lambda params: "replyCount" in params.get("cols", ""))
    ),
    Break("A05", trait(with_rows("/v2/website-visits", lambda rows: rows[:100]))),
    Break("A10", fault("missing_meta", "/v2/topics")),
    Break("A34", trait(with_rows("/v2/activities", lambda rows: [*rows[1:], *rows[:1]]))),
    Break("A36", fault("forbidden_403_html", "/v2/prospector-contacts")),
)


# The table


def test_the_checks_are_those_of_the_assumptions() -> None:
    assert [check.row for check in CHECKS] == list(assumptions())


def test_every_row_that_can_be_told_has_a_way_to_break_it() -> None:
    assert [entry.row for entry in BREAKS] == list(assumptions())


def test_given_the_sandbox_as_it_is_when_probed_then_every_row_holds_that_can_be_told() -> None:
    api = usual()

    outcome = run(api)

    assert rows_with(outcome, Verdict.BROKEN) == set()
    assert rows_with(outcome, Verdict.UNTOLD) == NOT_TOLD
    assert outcome.ended_early == ""
    assert {request.method for request in api.log.requests} == {"GET"}


def test_given_a_provoked_429_when_probed_then_what_it_says_is_told() -> None:
    outcome = run(usual(), provoke=True)

    assert rows_with(outcome, Verdict.BROKEN) == set()
    assert rows_with(outcome, Verdict.UNTOLD) == NOT_TOLD - {"A03", "A38"}


def test_given_a_token_that_ends_later_when_probed_then_that_row_holds() -> None:
    assert run(usual(token=jwt(time.time() + 3_600))).findings["A04"].verdict is Verdict.HOLDS


def test_given_a_new_contact_with_a_higher_id_when_probed_then_ids_grow() -> None:
    assert run(with_late_arrival("c_999999")).findings["A46"].verdict is Verdict.HOLDS


@pytest.mark.parametrize("entry", [*BREAKS, *MORE_BREAKS], ids=lambda entry: entry.row)
def test_given_a_row_that_is_broken_when_probed_then_it_and_no_other_does_not_hold(entry: Break) -> None:
    outcome = run(entry.api(), provoke=entry.provoke)

    assert rows_with(outcome, Verdict.BROKEN) == {entry.row}
    text = report(outcome, "the sandbox", TODAY)
    assert f"- **{entry.row}** {assumptions()[entry.row].claim}" in text


# Ends


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("forbidden_403", "403. Is the token right"),
        ("forbidden_403_html", "403, without JSON. Something else than the API answers"),
        ("rate_limited", "429. Does another program use the token?"),
        ("ok_html", "200, without JSON. Something else than the API answers"),
        ("unavailable_503_html", "503, without JSON. Something else than the API answers"),
        ("server_error_500", "500. Is the API disturbed?"),
        ("reset", "nothing (ConnectionError). Can the API be reached from here?"),
        ("hang", "nothing (ReadTimeout). Can the API be reached from here?"),
    ],
)
def test_given_an_api_that_answers_nothing_of_use_when_probed_then_it_ends_soon_and_reports_what_it_met(
    kind: str, advice: str
) -> None:
    api = usual(faults=[Fault(kind)])

    outcome = run(api)

    assert len(api.log.requests) <= 6
    number = 3 if kind == "hang" else 5
    assert outcome.ended_early.startswith(f"{number} requests in a row were of no use, the last one {advice}")
    assert list(outcome.findings) == list(assumptions())
    assert rows_with(outcome, Verdict.HOLDS) == set()
    assert f"**It ended early:** {outcome.ended_early}" in report(outcome, "a workspace", TODAY)


def test_given_an_api_that_fails_in_the_middle_when_probed_then_what_it_told_before_stays_told() -> None:
    outcome = run(usual(faults=[Fault("bad_gateway_502", after=70)]))

    assert outcome.ended_early
    assert {"A05", "A07", "A09"} <= rows_with(outcome, Verdict.HOLDS)
    assert outcome.findings["A49"].verdict is Verdict.UNTOLD
    assert "| contacts | `primaryEmail` |" in report(outcome, "a workspace", TODAY)


def test_given_ctrl_c_when_probed_then_what_was_told_before_is_reported() -> None:
    def stop(number: int) -> None:
        if number == 60:
            raise KeyboardInterrupt

    outcome = run(usual(), told=stop)

    assert outcome.ended_early == "stopped by hand"
    assert len(outcome.survey.client.answers) == 60
    assert "A05" in rows_with(outcome, Verdict.HOLDS)
    assert "stopped by hand" in report(outcome, "a workspace", TODAY)


def test_given_lists_that_the_token_may_not_read_when_probed_then_the_others_are() -> None:
    forbidden = {"/v2/contacts", "/v2/prospector-contacts", "/v2/prospector-companies", "/v1/segments/{id}/status"}

    outcome = run(usual(forbidden=forbidden))

    assert outcome.ended_early == ""
    assert rows_with(outcome, Verdict.BROKEN) == set()
    assert rows_with(outcome, Verdict.UNTOLD) >= {"A14", "A15", "A24"}
    assert rows_with(outcome, Verdict.HOLDS) >= {"A05", "A06", "A29", "A34", "A45"}
    assert "the token may not ask for `v1/segments/{id}/status`, `v2/contacts`" in outcome.findings["A35"].evidence


def test_given_full_pages_that_take_too_long_when_probed_then_shorter_ones_show_the_columns() -> None:
    slow = Fault(
        "status",
        status=504,
        path="/v2/contacts",
        when=lambda params: "," in params.get("cols", "") and params["limit"] == "200",
    )

    outcome = run(usual(faults=[slow]))

    assert rows_with(outcome, Verdict.BROKEN) == set()
    assert (
        "contacts: a full page is answered 504; contacts: 22 columns of 20 records" in outcome.findings["A26"].evidence
    )
    assert "- Statuses: `v2/contacts`: 504 (2)" in report(outcome, "a workspace", TODAY)


def test_given_an_empty_workspace_when_probed_then_no_row_is_said_to_be_broken() -> None:
    outcome = run(usual(Workspace.of()))

    assert outcome.ended_early == ""
    assert rows_with(outcome, Verdict.BROKEN) == set()


def test_however_large_the_workspace_when_probed_then_few_requests_are_sent_and_slowly() -> None:
    api = usual(Workspace.generate(segments=40))

    outcome = run(api)

    assert rows_with(outcome, Verdict.UNTOLD) == NOT_TOLD
    assert len(api.log.requests) <= MOST_QUESTIONS < MOST_REQUESTS
    times = [request.started_at for request in api.log.requests]
    assert min(later - earlier for earlier, later in zip(times, times[5:], strict=False)) > 0.99


def test_given_a_header_and_a_field_that_no_one_documented_when_probed_then_they_are_named() -> None:
    def make(_: Call, answer: Answer) -> Answer:
        content = json.loads(answer.body)
        for row in content.get("data", ()):
            row["warmth"] = {"level": 3}
            content["meta"]["hasMore"] = False
        return replace(
            answer, body=json.dumps(content).encode(), headers={**answer.headers, "X-Cell": "eu-7", "CF-Ray": "eu-7"}
        )

    text = report(run(usual(traits=Traits(otherwise={"/v2/topics": make}))), "a workspace", TODAY)

    assert re.search(
        r"^- Headers: `cf-ray` \([0-9] answers?\), `x-<4 letters>` \([0-9] answers?\)$", text, re.MULTILINE
    )
    assert re.search(
        r"^- Fields: meta: `hasMore` \([0-9] answers?\), topics: `warmth` \(20 records\)$", text, re.MULTILINE
    )
    assert "eu-7" not in text


@pytest.mark.parametrize(
    "value", [None, 7, [{}], {"a": [1]}, "x" * 40], ids=["null", "number", "list", "object", "text"]
)
@pytest.mark.parametrize("place", ["body", "data", "meta", "row", "values"])
def test_given_answers_that_no_one_foresaw_when_probed_then_a_report_is_written_of_every_row(
    place: str, value: Any
) -> None:
    def make(_: Call, answer: Answer) -> Answer:
        content = json.loads(answer.body)
        rows = content["data"] if isinstance(content, dict) and "data" in content else None
        if place == "body":
            content = value
        elif place in {"data", "meta"} and isinstance(content, dict):
            content[place] = value
        elif isinstance(rows, list):
            changed = [value if place == "row" else dict.fromkeys(row, value) for row in rows[1:]]
            content["data"] = [*rows[:1], *changed]
        return replace(answer, body=json.dumps(content).encode())

    paths = ["/v2/contacts", "/v2/activities", "/v2/segments", "/v2/custom-fields", "/v2/objects", "/v1/tags"]
    outcome = run(usual(traits=Traits(otherwise=dict.fromkeys(paths, make))))

    assert [row for row, finding in outcome.findings.items() if "its check failed" in finding.evidence] == []
    assert "## Columns" in report(outcome, "a workspace", TODAY)


# Nothing of a person


MARK = "Qzxj"


def marked(value: Any, key: str = "") -> Any:  # noqa: PLR0911  # one for each kind of value
    """Mark each value of a record that is the workspace's: texts by a word, ids and numbers by their digits."""
    match value:
        case dict():
            return {
                name if not name.startswith("cf_") else marked(name): marked(part, name) for name, part in value.items()
            }
        case list():
            return [marked(part, key) for part in value]
        case str() if re.fullmatch(r"[a-z]+_\d+", value):
            prefix, _, number = value.partition("_")
            return f"{prefix}_{7_350_000_000 + int(number)}"
        case str() if key == "id" and value.isdecimal():
            return str(7_350_000_000 + int(value))
        case str() if re.match(r"\d{4}-\d\d-\d\dT", value) or key in API_WORDS:
            return value
        case str():
            return f"{MARK}{value}"
        case int() if key == "id":
            return 7_350_000_000 + value
        case _:
            return value


# Whose words are the API's, and not the workspace's.
API_WORDS = {"entityType", "entityTypes", "valueType", "locationType", "type"}


def marked_workspace() -> Workspace:
    names = {endpoint.collection for endpoint in ENDPOINTS.values()} | {"object_memberships"}
    return Workspace({name: [marked(row) for row in WORKSPACE.records(name)] for name in names})


@pytest.fixture
def marked_run() -> Outcome:
    # Refusals quote what was asked for, and so do redirects.
    faults = [
        Fault("redirect", path="/v2/lead-scores", location=f"https://{MARK}.example/{MARK}"),
        Fault("forbidden_403_html", path="/v2/me"),
    ]
    api = usual(marked_workspace(), token=f"{MARK}.{MARK}.{MARK}", faults=faults)
    traits = with_each("/v2/industries", lambda row: {**row, f"{MARK}@mail.example": 1})
    api.traits = replace(traits, misfits=True)
    return run(api)


def test_given_marked_values_when_probed_then_no_mark_stands_in_the_report(marked_run: Outcome) -> None:
    text = report(marked_run, "a workspace", TODAY)

    assert len(rows_with(marked_run, Verdict.HOLDS)) > 35
    assert MARK.casefold() not in text.casefold()
    assert "735" not in text
    assert API_URL not in text
    assert "commonroom.io" not in text
    for value in WORKSPACE.personal_values():
        assert value not in text


def test_given_marked_values_when_recorded_then_no_mark_stands_in_the_cassette(marked_run: Outcome) -> None:
    text = cassette(marked_run.survey.client.answers, TODAY, b"a key")

    assert len(json.loads(text)["answers"]) > 90
    assert MARK.casefold() not in text.casefold()
    assert not {number for number in re.findall(r"735\d{7}", text) if int(number) < 7_350_100_000}
    assert API_URL not in text
    for value in WORKSPACE.personal_values():
        assert value not in text


# The command


def run_main(folder: Path, api: Api, *options: str, **config: Any) -> int:
    """Run the command with a configuration in a folder, and return its exit code; the report goes to ``output``."""
    path = folder / "config.json"
    path.write_text(json.dumps({"api_token": api.token, **config}))
    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        return main(["--config", str(path), "--output", str(folder / "output"), *options])


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command in a folder of its own, with a configuration: ``command(api, "--yes", answer="y")``."""

    def run_command(api: Api, *options: str, answer: str | None = None, **config: Any) -> int:
        def reply(_: str) -> str:
            if answer is None:
                raise EOFError
            return answer

        monkeypatch.setattr("builtins.input", reply)
        return run_main(tmp_path, api, *options, **config)

    return run_command


@pytest.mark.parametrize("answer", ["y", "Yes"])
def test_given_consent_when_called_then_it_probes_and_writes_the_report(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    api = usual()

    assert command(api, answer=answer) == 0

    assert api.log.requests
    assert [path.name for path in (tmp_path / "output").iterdir()] == ["probe.md"]
    printed = capsys.readouterr()
    assert "At most 120 requests, at most 5 a second, over one to five minutes" in printed.out
    assert "50 rows: 46 hold, 0 don't hold, 4 can't be told here" in printed.out
    assert "100 requests" in printed.err


@pytest.mark.parametrize("answer", ["", "n", None])
def test_given_no_consent_when_called_then_nothing_is_asked(command: Callable[..., int], answer: str | None) -> None:
    api = usual()

    assert command(api, answer=answer) == 1

    assert api.log.requests == []


def test_given_yes_and_record_when_called_then_it_asks_no_one_and_keeps_the_answers_too(
    command: Callable[..., int], tmp_path: Path
) -> None:
    assert command(usual(), "--yes", "--record", "--provoke-429") == 0

    assert {path.name for path in (tmp_path / "output").iterdir()} == {"probe.md", "probe-cassette.json"}


def test_given_a_run_that_ends_early_when_called_then_it_exits_with_1_and_has_reported(
    command: Callable[..., int], tmp_path: Path
) -> None:
    assert command(usual(faults=[Fault("ok_html")]), "--yes") == 1

    assert "**It ended early:**" in (tmp_path / "output" / "probe.md").read_text()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"api_token": ""}, "has no api_token"),
        ({"api_url": "http://api.commonroom.io/community"}, "isn't an https address"),
    ],
)
def test_given_a_configuration_that_can_not_be_used_when_called_then_it_says_so_and_asks_nothing(
    command: Callable[..., int], config: dict[str, Any], sentence: str
) -> None:
    api = usual()

    with pytest.raises(SystemExit, match=sentence):
        command(api, "--yes", **config)

    assert api.log.requests == []
