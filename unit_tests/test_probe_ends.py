"""The probe's ends: whatever it meets, and however it is stopped, it says so in a sentence and writes what it has."""

import io
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from integration_tests.sandbox import ENDPOINTS, Fault, Traits
from integration_tests.sandbox.messages import Answer, Call
from scripts.probe.__main__ import main
from scripts.probe.answers import Answer as Received
from scripts.probe.answers import wait_of
from scripts.probe.findings import Verdict
from scripts.probe.report import report
from unit_tests.test_probe import STATUS, TODAY, run, run_main, usual

Command = Callable[..., int]
FIRST = {STATUS, "/v2/contacts", "/v2/organizations"}


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run the command with a configuration, in a folder of its own: ``command(api, "--yes", api_url="…")``."""

    return partial(run_main, tmp_path)


# Answers that no one foresaw


def nested(_: Call, answer: Answer) -> Answer:
    return replace(answer, body=b"[" * 100_000)


@pytest.mark.parametrize("path", [STATUS, "/v2/contacts", "/v2/object-types"])
def test_given_an_answer_without_bottom_when_probed_then_there_is_a_report(path: str) -> None:
    outcome = run(usual(traits=Traits(otherwise={path: nested})))

    assert outcome.ended_early == ""
    assert "200, without JSON" in report(outcome, "a workspace", TODAY)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        (STATUS, "http://[x"),
        (STATUS, "https://exa\u2100mple.example/"),
        ("/v2/contacts", "//x:99999999/"),
    ],
)
def test_given_a_redirect_to_nowhere_when_probed_then_there_is_a_report(path: str, location: str) -> None:
    outcome = run(usual(faults=[Fault("redirect", path=path, location=location)]))

    assert [row for row, finding in outcome.findings.items() if "its check failed" in finding.evidence] == []


def test_given_answers_that_can_not_be_read_when_probed_then_all_that_were_sent_are_counted() -> None:
    api = usual(traits=Traits(otherwise={path: nested for path in ENDPOINTS if path not in FIRST}))

    outcome = run(api)

    assert outcome.survey.client.sent == len(api.log.requests) <= 120


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "20"}, None, 20.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:16:50 GMT"}, None, 10.0),
        ({"Retry-After": "1970-01-01T00:16:50Z"}, None, 10.0),
        ({"Retry-After": "soon"}, None, None),
        ({"X-RateLimit-Reset": "1010"}, None, 10.0),
        ({"X-RateLimit-Reset": "9" * 5000}, None, None),
        ({}, {"rateLimit": {"waitMs": 1500}}, 1.5),
        ({}, {"rateLimit": {"waitMs": float("nan")}}, None),
        ({}, {"rateLimit": {"waitMs": 10**400}}, 10.0**15),
    ],
)
def test_given_a_429_when_asked_how_long_to_wait_then_it_is_read_as_the_connector_does(
    headers: dict[str, str], body: Any, seconds: float | None
) -> None:
    answer = Received("v2/me", {}, 429, headers, body, is_json=True, size=2, seconds=0.1, at=1000.0)

    assert wait_of(answer) == seconds


@pytest.mark.parametrize(
    ("kind", "path", "said"),
    [
        ("malformed_nan", "/v2/topics", r"- Statuses: .*`v2/topics`: 200, without JSON"),
        ("malformed_utf8", "/v2/topics", r"- Statuses: .*`v2/topics`: 200, without JSON"),
        ("empty_rows", "/v2/topics", r"- Fields: .*topics: entries that are no objects \(2 on a page\)"),
        ("data_null", "/v2/topics", r"- Headers: "),
        ("success_false", "/v2/topics", r"- Fields: .*body: `error`"),
        ("no_content_204", "/v2/topics", r"- Statuses: .*`v2/topics`: 204"),
        ("ok_empty", "/v2/topics", r"- Statuses: .*`v2/topics`: 200, without a body"),
    ],
)
def test_given_bodies_that_are_none_when_probed_then_the_report_says_so(kind: str, path: str, said: str) -> None:
    outcome = run(usual(faults=[Fault(kind, path=path)]))

    assert outcome.ended_early == ""
    assert [row for row, finding in outcome.findings.items() if "its check failed" in finding.evidence] == []
    assert re.search(said, report(outcome, "a workspace", TODAY))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (b'"Qzxj": 1, "Qzxj": 2', "keys that repeat in one object (1 times), of which the last one counts"),
        (b'"qzxj": 1e999', "numbers too large for any column (1), which are null"),
        (b'"qzxj": "\\ud83d"', "halves of characters (1), which are U+FFFD"),
    ],
)
def test_given_json_with_what_no_value_can_hold_when_probed_then_the_report_says_so(more: bytes, said: str) -> None:
    def make(_: Call, answer: Answer) -> Answer:
        return replace(answer, body=answer.body.replace(b'"success"', more + b', "success"', 1))

    outcome = run(usual(traits=Traits(otherwise={"/v2/activity-types": make})))

    text = report(outcome, "a workspace", TODAY)
    assert f"JSON: {said} (1 answer)" in text
    assert "Qzxj" not in text
    assert outcome.findings["A11"].verdict is Verdict.HOLDS


def test_given_a_server_that_redirects_everything_when_probed_then_it_ends_soon_and_that_row_does_not_hold() -> None:
    outcome = run(usual(faults=[Fault("redirect", location="https://elsewhere.example/")]))

    assert outcome.ended_early.endswith("the last one 302. All requests are redirected: is `api_url` right?")
    assert outcome.findings["A37"].verdict is Verdict.BROKEN
    assert "elsewhere" not in report(outcome, "a workspace", TODAY).replace("led elsewhere", "")


# Before anything is asked


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"api_url": "https://[::1"}, "api_url of .*config.json is no address"),
        ({"api_url": "https://"}, "api_url of .*config.json is no address"),
        ({"api_url": 7}, "api_url of .*config.json is no address"),
    ],
)
def test_given_an_address_that_is_none_when_called_then_a_sentence_says_so(
    command: Command, config: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SystemExit, match=sentence):
        command(usual(), "--yes", **config)


def test_given_a_configuration_that_is_not_there_when_called_then_the_sandbox_is_not_taken_for_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(SystemExit, match=r"typo\.json doesn't exist"):
        main(["--config", str(tmp_path / "typo.json"), "--output", str(tmp_path), "--yes"])


def test_given_a_folder_that_can_not_be_written_when_called_then_nothing_is_asked(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "output").write_text("a file")
    api = usual()

    with pytest.raises(SystemExit, match="output can't be written"):
        command(api, "--yes")

    assert api.log.requests == []


def test_given_ctrl_c_at_the_question_when_called_then_nothing_is_asked(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    api = usual()

    assert command(api) == 1

    assert api.log.requests == []


def test_given_an_address_that_is_wrong_when_probed_then_the_end_asks_for_it() -> None:
    assert run(usual(faults=[Fault("not_found_404")])).ended_early.endswith("404. Is `api_url` right?")


# In the middle


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_given_signals_when_called_then_the_first_one_stops_it_and_the_report_is_written(
    command: Command, tmp_path: Path, name: str
) -> None:
    before = signal.getsignal(signal.SIGINT)
    sent: list[str] = []

    def kill(_: Call, answer: Answer) -> Answer:
        sent.append(name)
        os.kill(os.getpid(), getattr(signal, name))
        return answer

    def twice(*_: object) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "it was stopped"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.probe.__main__.summary", twice)
        assert command(usual(traits=Traits(otherwise={"/v2/activity-types": kill})), "--yes") == 1

    assert len(sent) == 1
    assert "stopped by hand" in (tmp_path / "output" / "probe.md").read_text()
    assert signal.getsignal(signal.SIGINT) is before


def test_given_a_signal_while_the_report_is_made_when_called_then_it_is_written(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*told: Any) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return report(*told)

    monkeypatch.setattr("scripts.probe.__main__.report", interrupted)

    assert command(usual(), "--yes", "--record") == 0

    assert {path.name for path in (tmp_path / "output").iterdir()} == {"probe.md", "probe-cassette.json"}


class Closed:
    """A stream that no one reads any more."""

    def isatty(self) -> bool:
        return True

    def write(self, _: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError

    def fileno(self) -> int:
        raise OSError


def test_given_no_one_who_reads_what_it_says_when_called_then_the_report_is_written(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Closed())

    assert command(usual(), "--yes") == 0

    assert (tmp_path / "output" / "probe.md").is_file()


def test_given_a_terminal_of_ascii_when_called_then_what_it_says_can_be_read(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "output" / "probe.md").mkdir(parents=True)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))

    assert command(usual(), "--yes") == 0

    assert b"What we assume of the API\\u201d" in written.getvalue()


def test_given_answers_that_can_not_be_scrubbed_when_called_then_the_report_is_written_and_the_kind_of_error_is_said(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise OverflowError("Qzxj")

    monkeypatch.setattr("scripts.probe.__main__.cassette", fail)
    output = tmp_path / "output"
    output.mkdir()
    (output / "probe-cassette.json").write_text("of a former run")

    assert command(usual(), "--yes", "--record") == 0

    printed = capsys.readouterr().out
    assert "The answers can't be kept: OverflowError." in printed
    assert "Qzxj" not in printed
    assert [path.name for path in output.iterdir()] == ["probe.md"]


def test_given_a_report_that_can_not_be_written_any_more_when_called_then_it_is_printed(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output" / "probe.md").mkdir(parents=True)

    assert command(usual(), "--yes", "--record") == 0

    printed = capsys.readouterr().out
    assert "# Probe of Common Room's API" in printed
    assert re.search(r"The report stands above; .*probe\.md can't be written: Is a directory\.", printed)


# What it says


def test_given_a_run_that_read_nothing_when_reported_then_it_says_what_to_mend_first() -> None:
    outcome = run(usual(faults=[Fault("forbidden_403")]))

    text = report(outcome, "a workspace", TODAY)

    assert f"Nothing was read, so nothing was told. First mend what ended it: {outcome.ended_early}" in text
    assert "Paste this report" not in text
    assert "every row that could be told holds" not in text
    assert text.count(outcome.ended_early) == 2
    assert outcome.findings["A05"].evidence == "the run ended before"


def test_given_a_429_when_called_then_it_tells_that_it_waits(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [Fault("rate_limited", path="/v2/tags", seconds=7, times=1)]

    assert command(usual(faults=faults), "--yes") == 0

    assert "    waiting 7 s, after a 429\n" in capsys.readouterr().err


def test_given_a_terminal_when_called_then_it_shows_what_is_looked_at(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    assert command(usual(), "--yes") == 0

    assert re.search(r"requests; A05 limit may be 200\.", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("faults", "row", "said"),
    [
        ([Fault("bad_request_400", path="/v2/custom-fields", when=bool)], "A20", "answered: 0 of 5 types"),
        (
            [Fault("bad_request_400", path="/v2/contacts", when=lambda params: "cf_1" in params.get("cols", ""))],
            "A25",
            "at once, it answers 400",
        ),
    ],
)
def test_given_a_row_that_is_broken_when_probed_then_its_evidence_can_be_read(
    faults: list[Fault], row: str, said: str
) -> None:
    assert said in run(usual(faults=faults)).findings[row].evidence
