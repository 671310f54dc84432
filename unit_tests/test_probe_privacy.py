"""The probe's privacy: what a workspace may put where no one foresaw it stands neither in report nor in cassette."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests_mock

from integration_tests.sandbox import ENDPOINTS, Fault, Traits
from integration_tests.sandbox.messages import Answer, Call
from scripts.probe.__main__ import main
from scripts.probe.answers import MOST_REQUESTS, Client
from scripts.probe.answers import Answer as Received
from scripts.probe.cassette import cassette
from scripts.probe.forms import header_form
from scripts.probe.report import report
from scripts.probe.scrub import Scrubber
from unit_tests.test_probe import STATUS, TODAY, edited, run, usual, with_each

Row = dict[str, Any]


def each_answer(make: Callable[[Answer], Answer], *paths: str) -> Traits:
    def otherwise(_: Call, answer: Answer) -> Answer:
        return make(answer)

    return Traits(otherwise=dict.fromkeys(paths or ENDPOINTS, otherwise))


def with_fields(row: Row) -> Row:
    fields = row.get("customFields")
    return {**row, "customFields": {"Qzxja": {"type": "string", "value": {"Qzxjb": 1}}, **fields}} if fields else row


def nested(row: Row) -> Row:
    return {**row, "location": {**(row.get("location") or {}), "Qzxja": 1}, "warmth": {"Qzxjb": [{"Qzxjc": 1}]}}


def with_a_code(answer: Answer) -> Answer:
    body = {"error": {"code": "acme_qzxj_not_found", "message": "Qzxj"}, "Qzxj": 1}
    return replace(answer, body=json.dumps(body).encode()) if answer.status in {400, 403} else answer


def with_headers(answer: Answer) -> Answer:
    more = {
        "Content-Type": "application/json; tenant=qzxj",
        "X-RateLimit-Limit": "20 qzxj",
        "X-RateLimit-Remaining": "qzxj",
        "X-7qzxj-Cell": "1",
        "X-" + "qzxj" * 10: "1",
        "X-Qzxj": "1",
        "Qzxj-Smith": "1",
        "qzxj": "1",
        "X-Amz-Qzxj": "1",
    }
    return replace(answer, headers={**answer.headers, **more})


LEAKS: Mapping[str, Traits] = {
    "ids of segments, in paths": with_each("/v2/segments", lambda row: {**row, "id": f"s_qzxj-{row['id'][2:]}-z"}),
    "ids of segments, without a prefix": with_each("/v2/segments", lambda row: {**row, "id": f"qzxj{row['id'][2:]}"}),
    "keys with dots": with_each("/v2/industries", lambda row: {**row, "www.qzxj.com": 1, "john.qzxj": 1}),
    "keys that are names": with_each("/v2/providers", lambda row: {**row, "Qzxj": {"qzxj": "Qzxj"}}),
    "keys of custom fields": with_each("/v2/contacts", with_fields),
    "keys of nested objects": with_each("/v2/contacts", nested),
    "keys beside lists": edited("/v1/tags", lambda content, _: {"Qzxj": content["labels"], **content}),
    "ids of custom fields": with_each("/v2/custom-fields", lambda row: {**row, "id": "cf_qzxj"}),
    "ids of types": with_each("/v2/object-types", lambda row: {**row, "id": f"cot_qzxj-{row['id'][4:]}"}),
    "prefixes of ids": with_each(
        "/v2/prospector-contacts", lambda row: {**row, "id": row["id"].replace("pc_", "qzxj_")}
    ),
    "headers": each_answer(with_headers, "/v2/topics"),
    "codes of errors": each_answer(with_a_code),
}


APART = {
    "keys with dots",
    "keys that are names",
    "keys of custom fields",
    "keys beside lists",
    "ids of custom fields",
    "ids of types",
    "prefixes of ids",
    "headers",
}
"""Those that stand in answers of different paths, so that one run is enough for them."""
TOGETHER = Traits(otherwise={path: make for name in APART for path, make in LEAKS[name].otherwise.items()})
RUNS = {**{name: traits for name, traits in LEAKS.items() if name not in APART}, ", ".join(sorted(APART)): TOGETHER}


def test_what_is_looked_for_in_one_run_stands_apart() -> None:
    assert len(TOGETHER.otherwise) == sum(len(LEAKS[name].otherwise) for name in APART)


@pytest.mark.parametrize("traits", RUNS.values(), ids=RUNS)
def test_given_words_where_no_one_foresaw_them_when_probed_then_none_is_written(traits: Traits) -> None:
    outcome = run(usual(traits=traits))

    assert [row for row, finding in outcome.findings.items() if "its check failed" in finding.evidence] == []
    assert "qzxj" not in report(outcome, "a workspace", TODAY).casefold()
    assert "qzxj" not in cassette(outcome.survey.client.answers, TODAY, b"a key").casefold()


def in_all(value: Any, mark: Callable[[Any], Any]) -> Any:
    """Mark each object and each value of a body."""
    match value:
        case dict():
            return mark({key: in_all(part, mark) for key, part in value.items()})
        case list():
            return [in_all(part, mark) for part in value]
        case _:
            return mark(value)


SECRET = "Qzxjvwkq"
KEYS = {SECRET: 1, f"{SECRET} key": 1, f"{SECRET.lower()}|`\n": 1, f"{SECRET.lower()}_a": {SECRET.lower(): 1}, "": 1}
# How a value, or an object, is marked, and in which answers: in each, or in each second one.
MARKS: Mapping[str, tuple[Callable[[Any], Any], int]] = {
    "texts, at their beginning": (lambda value: SECRET + value if isinstance(value, str) else value, 2),
    "texts, at their end": (lambda value: f"{value} {SECRET}" if isinstance(value, str) else value, 1),
    "prefixes": (lambda value: re.sub("^[a-z]+_", f"{SECRET}_", value) if isinstance(value, str) else value, 1),
    "objects": (lambda value: {SECRET: value} if isinstance(value, str) else value, 2),
    "keys": (lambda value: {**value, **KEYS} if isinstance(value, dict) else value, 1),
}


@pytest.mark.parametrize(("mark", "turns"), MARKS.values(), ids=MARKS)
def test_given_marks_in_answers_when_probed_then_none_is_written(mark: Callable[[Any], Any], turns: int) -> None:
    sent: list[int] = []

    def make(answer: Answer) -> Answer:
        sent.append(answer.status)
        if len(sent) % turns:
            return answer
        return replace(answer, body=json.dumps(in_all(json.loads(answer.body), mark)).encode())

    api = usual(traits=each_answer(make))

    outcome = run(api)

    assert [row for row, finding in outcome.findings.items() if "its check failed" in finding.evidence] == []
    text = report(outcome, "a workspace", TODAY)
    assert "its making failed" not in text
    assert SECRET.casefold() not in text.casefold()
    assert SECRET.casefold() not in cassette(outcome.survey.client.answers, TODAY, b"a key").casefold()
    assert len(api.log.requests) <= MOST_REQUESTS


def test_given_fields_of_a_status_that_no_one_documented_when_probed_then_they_are_counted() -> None:
    outcome = run(usual(traits=edited(STATUS, lambda content, _: {**content, "Qzxj": 1})))

    assert outcome.findings["A39"].evidence.endswith(", jti, and 1 that aren't documented")
    assert "Qzxj" not in report(outcome, "a workspace", TODAY)


def test_given_segments_without_numbers_when_probed_then_no_status_is_asked_for() -> None:
    api = usual(traits=LEAKS["ids of segments, in paths"])

    outcome = run(api)

    assert not [each for each in api.log.requests if each.path.startswith("/v1/segments")]
    assert outcome.findings["A14"].evidence == "the ids of segments have no numbers"


def keys_of(value: Any) -> set[str]:
    match value:
        case dict():
            return value.keys() | {key for part in value.values() for key in keys_of(part)}
        case list():
            return {key for part in value for key in keys_of(part)}
        case _:
            return set()


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        # Each of these is documented elsewhere.
        ("v2/contacts", 200, {"data": [{"id": "c_1", "location": {"city": "x", "jobTitle": 1, "primaryDomain": 1}}]}),
        ("v2/contacts", 200, {"data": [{"id": "c_1", "warmth": {"jobTitle": 1, "primaryDomain": {"message": 1}}}]}),
        ("v2/contacts", 200, {"data": [], "meta": {"nextCursor": None, "jobTitle": 1, "code": 1}}),
        ("v2/tags", 200, {"data": [{"id": "l_1", "name": {"jobTitle": 1}}]}),
        ("v2/tags", 403, {"reason": "x", "jobTitle": 1, "error": {"code": "x", "primaryDomain": 1}}),
        ("v2/tags", 403, [{"jobTitle": 1}]),
        ("v1/tags", 200, {"labels": [], "message": {"jobTitle": 1}}),
    ],
)
def test_given_keys_that_are_documented_elsewhere_when_recorded_then_they_become_others(
    path: str, status: int, body: Any
) -> None:
    answer = Received(path, {}, status, {}, body, is_json=True, size=2, seconds=0.1, at=1.0)

    kept = keys_of(json.loads(cassette([answer], TODAY, b"a key"))["answers"][0]["body"])

    assert len(kept) >= len(keys_of(body)) - 1
    assert kept.isdisjoint(["jobTitle", "primaryDomain"])
    assert ("message" in kept) is False
    assert ("code" in kept) is ("error" in kept)


def test_given_headers_when_probed_then_those_that_are_known_are_named_and_others_by_their_form() -> None:
    assert [header_form(name) for name in ("CF-Ray", "X-Request-Id", "X-Acme-Cell7", "acme-smith", "x-amz-acme")] == [
        "cf-ray",
        "x-request-id",
        "x-<4 letters>-<5 characters>",
        "<4 letters>-<5 letters>",
        "x-<3 letters>-<4 letters>",
    ]


# The cassette's values


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Ana 🦊", "🦊"),
        ("cafe\u0301", "xyz"),
        ("अनिल कुमार", "ि"),
        ("\ud83d lone", "\ud83d"),
    ],
)
def test_given_signs_and_marks_when_scrubbed_then_they_are_replaced(text: str, kept: str) -> None:
    new = Scrubber([text], b"a key").text(text)

    assert len(new) == len(text)
    assert kept not in new


def test_given_timestamps_when_scrubbed_then_their_fractions_are_others_in_the_same_order() -> None:
    texts = [f"2026-05-01T10:00:00.{fraction}Z" for fraction in ("000", "122", "123", "124", "990")]

    new = [Scrubber([texts], b"a key").text(text) for text in texts]

    assert new == sorted(new)
    assert len(set(new)) == len(texts)
    assert new[0].endswith(".000Z")
    assert not {text[-4:] for text in texts[1:]} & {text[-4:] for text in new}


@pytest.mark.parametrize(
    "value",
    [
        {"externalId": "1158990000000000000019"},
        {"name": "google_1158990000000000000019"},
        {"name": "x_" + "1" * 5000},
        {"id": 10**30},
        {"name": "\ud83d"},
        {"score": float("nan"), "id": 10**18},
    ],
    ids=["long id", "long id with a prefix", "very long id", "long number", "lone surrogate", "not a number"],
)
def test_given_values_that_are_out_of_bounds_when_recorded_then_the_cassette_can_be_written(value: Row) -> None:
    body = {"success": True, "data": [value], "meta": {}}
    answer = Received("v2/tags", {}, 200, {}, body, is_json=True, size=2, seconds=0.1, at=1.0)

    text = cassette([answer], TODAY, b"a key")

    assert json.loads(text.encode())["answers"]
    assert "115899000000000000001" not in text


# The token


@pytest.mark.parametrize("token", ["Qzxj.\nQzxj.Qzxj", "Qzxj Qzxj", "Qzxjł", "Qzxj\u00e9", "Qzxj\u200b"])
def test_given_a_token_that_can_not_be_sent_when_called_then_it_is_refused_and_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], token: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"api_token": token}))

    with pytest.raises(SystemExit, match="that no token has") as ended:
        main(["--config", str(config), "--output", str(tmp_path), "--yes"])

    printed = capsys.readouterr()
    assert "qzxj" not in f"{ended.value}{printed.out}{printed.err}".casefold()


def test_given_a_request_that_can_not_be_made_when_sent_then_only_the_kind_of_error_is_kept() -> None:
    client = Client("https://api.example", "Qzxj")

    with requests_mock.Mocker() as mocker:
        mocker.get(requests_mock.ANY, exc=ValueError("Invalid header value b'Bearer Qzxj'"))
        answer = client.send("v2/me", {})

    assert (answer.status, answer.failure, client.sent) == (0, "ValueError", 1)
    assert "Qzxj" not in str(replace(answer, params={}))


def test_given_an_error_of_its_own_when_called_then_no_text_of_it_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Qzxj")

    monkeypatch.setattr("scripts.probe.__main__.probe", fail)

    config = tmp_path / "config.json"
    config.write_text(json.dumps({"api_token": "a-token"}))

    assert main(["--config", str(config), "--output", str(tmp_path), "--yes"]) == 1

    printed = capsys.readouterr()
    assert re.search(r"It failed: RuntimeError at test_probe_privacy\.py:\d+\.", printed.out)
    assert "Qzxj" not in printed.out + printed.err


@pytest.mark.parametrize(
    ("api_url", "goes_through"),
    [
        ("http://localhost:8010/community", False),
        ("http://127.0.0.1:8010", False),
        ("http://[::1]:8010", False),
        ("https://api.example", True),
    ],
)
def test_given_a_proxy_when_asked_then_what_goes_to_this_machine_goes_past_it(
    monkeypatch: pytest.MonkeyPatch, api_url: str, *, goes_through: bool
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with requests_mock.Mocker() as mocker:
        mocker.get(requests_mock.ANY, json={})

        Client(api_url, "a-token").send("v2/me", {})

    assert ("http://proxy.example:3128" in mocker.last_request.proxies.values()) is goes_through


def test_given_a_location_that_can_not_be_read_when_probed_then_the_row_is_left_open_and_it_is_not_shown() -> None:
    faults = [Fault("redirect", path=path, location="http://[qzxj") for path in ("/v2/lead-scores", STATUS)]

    outcome = run(usual(faults=faults))

    assert outcome.findings["A37"].evidence.startswith("3 redirects have a `Location` that can't be read")
    assert "qzxj" not in report(outcome, "a workspace", TODAY)
