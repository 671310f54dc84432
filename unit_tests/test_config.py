"""Configurations: what is refused, in which words, and that nothing of it is printed."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airbyte_cdk.models import FailureType, Status
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.sandbox import DEFAULT_TOKEN, Api, Workspace, mount
from source_commonroom import SourceCommonroom
from source_commonroom.config import PersonalData, validate_config, without_empty
from source_commonroom.run import run
from source_commonroom.table import load_manifest
from unit_tests.conftest import API_URL, Read

SCHEMA = load_manifest()["spec"]["connection_specification"]
VALID = {"api_token": DEFAULT_TOKEN}

UNSAFE = "would send the token unencrypted, by http"
PII_FORMS = 'Enter {"mode": "keep"}, {"mode": "hash", "salt": "…"} or {"mode": "drop"}.'
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"api_token": None}, "api_token isn't a text. Enter the token"),
    ({"api_token": 12345678}, "api_token isn't a text. Enter the token"),
    ({"api_token": ["secret-5"]}, "api_token isn't a text. Enter the token"),
    ({"api_token": ""}, "api_token is empty. Enter the token"),
    ({"api_token": " \n"}, "api_token is blank. Enter the token"),
    ({"api_token": "secret-1 secret-2"}, "api_token holds a character that no token has"),
    ({"api_token": "secret-1\r\nX-Injected: 1"}, "api_token holds a character that no token has"),
    ({"api_token": "sécret-1"}, "api_token holds a character that no token has"),
    ({"start_date": "2024-01-01"}, "start_date isn't a time of the form asked for. Enter a time in UTC, such as"),
    ({"start_date": "yesterday"}, "start_date isn't a time of the form asked for"),
    ({"start_date": ""}, "start_date isn't a time of the form asked for"),
    ({"start_date": 20240101}, "start_date isn't a text"),
    ({"end_date": "2024-01-01T00:00:00+02:00"}, "end_date isn't a time of the form asked for"),
    ({"start_date": "2024-02-30T00:00:00Z"}, "start_date names a day or an hour that doesn't exist"),
    ({"start_date": "2024-02-03T00:00:00Z\n"}, "start_date names a day or an hour that doesn't exist"),
    ({"start_date": "0001-01-01T00:00:00Z"}, "start_date lies before the year 1000"),
    ({"end_date": "0999-12-31T23:59:59Z"}, "end_date lies before the year 1000"),
    ({"end_date": "2024-01-01T25:00:00Z"}, "end_date names a day or an hour that doesn't exist"),
    ({"start_date": "2025-01-01T00:00:00Z", "end_date": "2024-01-01T00:00:00Z"}, "start_date lies after end_date"),
    ({"lookback_window_days": -1}, "lookback_window_days is too small. Enter a whole number of days from 0 to 365"),
    ({"lookback_window_days": 366}, "lookback_window_days is too large"),
    ({"lookback_window_days": 1.5}, "lookback_window_days isn't a whole number"),
    ({"lookback_window_days": "3"}, "lookback_window_days isn't a whole number"),
    ({"custom_field_columns": "name"}, "custom_field_columns is none of its choices. Choose label, id or none"),
    ({"pii": {"mode": "encrypt"}}, "pii.mode is none of its choices. Choose keep, hash or drop"),
    ({"pii": {"mode": ["secret-9"]}}, "pii.mode is none of its choices. Choose keep, hash or drop"),
    ({"pii": {"mode": None}}, "pii.mode is none of its choices. Choose keep, hash or drop"),
    ({"pii": {"salt": "secret-8"}}, "pii.mode is missing. Choose keep, hash or drop"),
    ({"pii": {"mode": "hash"}}, "pii.salt is missing. Enter any long random text, of 8 characters at least"),
    ({"pii": {"mode": "hash", "salt": None}}, "pii.salt isn't a text"),
    ({"pii": {"mode": "hash", "salt": ""}}, "pii.salt is empty"),
    ({"pii": {"mode": "hash", "salt": "secret-"}}, "pii.salt is shorter than 8 characters"),
    ({"pii": {"mode": "hash", "salt": " " * 8}}, "pii.salt is blank"),
    *(
        (
            {"pii": {"mode": "hash", "salt": salt}},
            "pii.salt begins or ends with a blank or a line break, which would count",
        )
        for salt in ("secret-8\n", " secret-8", "secret-8\u00a0", "s       ")
    ),
    (
        {"pii": {"mode": "hash", "salt": "secret-8\ud83d"}},
        "pii.salt holds half of a character, as a cut emoji leaves it",
    ),
    ({"pii": ["hash", "secret-8"]}, f"pii isn't an object. {PII_FORMS}"),
    *(({"pii": mode}, f"pii isn't an object. {PII_FORMS}") for mode in ("keep", "hash", "drop")),
    ({"pii": "hash", "pii_salt": "secret-8"}, f"pii_salt isn't an option; the salt stands in pii. {PII_FORMS}"),
    ({"pii_salt": "secret-8"}, f"pii_salt isn't an option; the salt stands in pii. {PII_FORMS}"),
    ({"pii.salt": "secret-8"}, f"pii.salt isn't an option; the salt stands in pii. {PII_FORMS}"),
    ({"salt": "secret-8"}, f"salt isn't an option; the salt stands in pii. {PII_FORMS}"),
    *(
        ({name: "hash"}, f"{name} isn't an option; the mode stands in pii. {PII_FORMS}")
        for name in ("pii.mode", "pii_mode", "piiMode", "mode")
    ),
    *(
        ({name: {"mode": "hash", "salt": "secret-8"}}, f"{name.strip()} isn't an option; its name is pii. {PII_FORMS}")
        for name in ("PII", "Pii", " pii")
    ),
    ({"segment_ids": "s_12"}, "segment_ids isn't a list. List ids of segments"),
    ({"segment_ids": [12]}, "segment_ids holds something that isn't a text"),
    ({"segment_ids": ["secret-6"]}, "segment_ids holds something that is no id of a segment"),
    ({"segment_ids": ["s_1", "s_1"]}, "segment_ids names something twice"),
    ({"num_workers": 1}, "num_workers is too small. Enter a whole number from 2 to 40"),
    ({"num_workers": 41}, "num_workers is too large"),
    ({"num_workers": "many"}, "num_workers isn't a whole number"),
    ({"requests_per_second": 0}, "requests_per_second is too small. Enter a number from 1 to 1000"),
    ({"requests_per_second": "20"}, "requests_per_second isn't a number"),
    ({"requests_per_second": float("nan")}, "requests_per_second isn't a number. Enter a number from 1 to 1000"),
    ({"requests_per_second": float("inf")}, "requests_per_second is too large"),
    ({"requests_per_second": float("-inf")}, "requests_per_second is too small"),
    ({"lookback_window_days": float("nan")}, "lookback_window_days isn't a whole number"),
    ({"walk_from_both_ends": "yes"}, "walk_from_both_ends isn't true or false"),
    ({"audit_history": "no"}, "audit_history isn't true or false. Enter true or false."),
    ({"api_url": 5}, "api_url isn't a text"),
    ({"api_url": "http://api.commonroom.io/community"}, f"api_url {UNSAFE}. Use https"),
    ({"api_url": "http://127.0.0.1.evil.example/x"}, f"api_url {UNSAFE}"),
    ({"api_url": "http://localhost.evil.example/x"}, f"api_url {UNSAFE}"),
    ({"api_url": "http://[::2]/x"}, f"api_url {UNSAFE}"),
    ({"api_url": "https://user:secret-3@api.commonroom.io"}, "api_url holds a user or a password"),
    ({"api_url": "http://user:secret-3@api.commonroom.io"}, "api_url holds a user or a password"),
    ({"api_url": "https://api.commonroom.io@evil.example"}, "api_url holds a user or a password"),
    ({"api_url": "https://api.commonroom.io?x=secret-4"}, "api_url holds a query or a fragment"),
    ({"api_url": "https://api.commonroom.io#x"}, "api_url holds a query or a fragment"),
    ({"api_url": "https://api.commonroom.io/community/v2"}, "api_url holds a version of the API"),
    ({"api_url": "https://api.commonroom.io/community/v1/"}, "api_url holds a version of the API"),
    ({"api_url": "ftp://api.commonroom.io"}, "api_url isn't an https address"),
    ({"api_url": "file:///etc/passwd"}, "api_url isn't an https address"),
    ({"api_url": "api.commonroom.io/community"}, "api_url isn't an https address"),
    ({"api_url": "https://"}, "api_url names no host, or one that can't be"),
    ({"api_url": "https://[::1"}, "api_url names no host, or one that can't be"),
    *(
        ({"api_url": f"{scheme}://{host}/community"}, "api_url names no host, or one that can't be")
        for scheme in ("https", "http")
        for host in (
            ".secret-7.com",
            "a..secret-7",
            "-",
            "-a.b",
            "a-.b",
            "a.-",
            "127.999.1.1",
            "1.2.3",
            "1.2.3.4.5",
            ".",
        )
    ),
    ({"api_url": f"https://{'a' * 64}.example/x"}, "api_url names no host, or one that can't be"),
    ({"api_url": f"https://{'a.' * 130}example/x"}, "api_url names no host, or one that can't be"),
    *(
        ({"api_url": f"{scheme}:{port}/community"}, "api_url names a port that can't be; ports go from 1 to 65535")
        for scheme in ("https://api.commonroom.io", "http://127.0.0.1", "http://[::1]")
        for port in ("0", "00000", "65536", "99999", "port", "-1")
    ),
    ({"api_url": "https://api.commonroom.io/a b"}, "api_url holds a character that no address has"),
    ({"api_url": "https://api.commonroom.io/community\n"}, "api_url holds a character that no address has"),
    ({"api_url": ""}, "api_url is empty"),
]


@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES, ids=[json.dumps(mistake) for mistake, _ in MISTAKES])
def test_given_a_mistake_when_validated_then_it_gets_a_sentence_and_no_value_is_printed(
    mistake: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(AirbyteTracedException) as refused:
        validate_config({**VALID, **mistake}, SCHEMA)

    assert refused.value.failure_type == FailureType.config_error
    assert sentence in str(refused.value.message)
    for value in mistake.values():
        if isinstance(value, str) and "secret" in value:
            assert value not in f"{refused.value.message}{refused.value.internal_message}"
    assert "secret-" not in f"{refused.value.message}{refused.value.internal_message}"


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"api_token": f"  {DEFAULT_TOKEN}\n"},
        {"start_date": "2024-01-01T00:00:00Z"},
        {"start_date": "1000-01-01T00:00:00Z"},
        {"pii": {"mode": "hash", "salt": "8 of any"}},
        {"pii": {"mode": "keep"}},
        {"pii": {"mode": "drop", "salt": "unused"}},
        *({name: None} for name in ("pii_salt", "salt", "mode", "PII")),
        {"segment_ids": []},
        {"start_date": "2024-01-01T00:00:00.123456Z", "end_date": "2024-01-01T00:00:00.123456Z"},
        {"api_url": "https://api.commonroom.io/community/"},
        {"api_url": "https://proxy.example:8443/commonroom"},
        {"api_url": "http://127.0.0.1:8010/community"},
        {"api_url": "http://localhost:8010/community"},
        {"api_url": "http://[::1]:8010"},
        {"api_url": "https://proxy.example/commonroom-v2"},
        {"api_url": "https://xn--bcher-kva.example./x"},
        {"api_url": f"https://{'a' * 63}.1a.example:65535"},
        {"api_url": "https://192.0.2.1:1/community"},
        {"api_url": "https://intranet"},
        {"pii": {"mode": "hash", "salt": "8 of any \U0001f9c2"}},
        {"requests_per_second": 2.5, "num_workers": 40, "lookback_window_days": 0},
        {"something_of_a_later_version": True},
    ],
    ids=json.dumps,
)
def test_given_a_good_configuration_when_validated_then_it_passes(extra: dict[str, Any]) -> None:
    validate_config({**VALID, **extra}, SCHEMA)


def test_given_several_mistakes_when_validated_then_each_is_named() -> None:
    with pytest.raises(AirbyteTracedException) as refused:
        validate_config({"num_workers": 1, "start_date": "x"}, SCHEMA)

    for part in ("api_token is missing", "num_workers", "start_date"):
        assert part in str(refused.value.message)


def test_given_the_flat_options_of_personal_data_when_validated_then_each_has_one_sentence() -> None:
    with pytest.raises(AirbyteTracedException) as refused:
        validate_config({**VALID, "pii": "hash", "pii_salt": "secret-8"}, SCHEMA)

    assert refused.value.message == (
        f"The configuration isn't valid. pii isn't an object. {PII_FORMS} "
        f"pii_salt isn't an option; the salt stands in pii. {PII_FORMS}"
    )


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({}, PersonalData("keep", "")),
        ({"pii": {"mode": "keep"}}, PersonalData("keep", "")),
        ({"pii": {"mode": "hash", "salt": "8 of any"}}, PersonalData("hash", "8 of any")),
        ({"pii": {"mode": "drop", "salt": 5}}, PersonalData("drop", "")),
    ],
    ids=str,
)
def test_given_any_form_of_pii_when_asked_for_then_the_default_keeps_all_and_no_salt_is_shown(
    option: dict[str, Any], expected: PersonalData
) -> None:
    personal = PersonalData.of({**VALID, **option})

    assert personal == expected
    assert "8 of any" not in repr(personal)


def check(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    path = tmp_path / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    monkeypatch.setattr("sys.argv", ["source-commonroom", "check", "--config", str(path)])
    run()
    (status,) = [
        json.loads(line)["connectionStatus"]
        for line in capsys.readouterr().out.splitlines()
        if "CONNECTION_STATUS" in line
    ]
    return status


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"api_token": 5}, "api_token isn't a text"),
        ({}, "api_token is missing"),
        ("[]", "The config can't be read"),
        ("{", "The config can't be read"),
        ({**VALID, "api_url": "http://evil.example"}, "Use https"),
    ],
    ids=str,
)
def test_given_a_bad_configuration_when_checked_then_it_fails_before_a_request_is_made(
    config: Any,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with requests_mock.Mocker() as mocker:
        status = check(config, tmp_path, monkeypatch, capsys)

    assert status["status"] == Status.FAILED.value
    assert sentence in status["message"]
    assert mocker.call_count == 0


@pytest.mark.parametrize("salt", ["salt", "e", "isn't"])
def test_given_a_salt_that_is_too_short_when_checked_then_the_sentence_can_be_read(
    salt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = check({**VALID, "pii": {"mode": "hash", "salt": salt}}, tmp_path, monkeypatch, capsys)

    assert status["message"] == (
        "The configuration isn't valid. pii.salt is shorter than 8 characters. "
        "Enter any long random text, of 8 characters at least."
    )


def test_given_a_token_with_blanks_around_it_when_checked_then_they_do_not_matter(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        status = check({"api_token": f" {DEFAULT_TOKEN}\n"}, tmp_path, monkeypatch, capsys)

    assert status["status"] == Status.SUCCEEDED.value
    assert api.log.statuses() == [200] * len(api.log.requests)


@pytest.mark.parametrize(
    "token",
    ["1_000", "1e5", "0x1F", "007", "None", "True", '"zq"', "'zq'", '{"a":"zq"}', "[1,2]", "(1,)", "{{1+1}}", "{%x%}"],
)
def test_given_a_token_that_looks_like_a_literal_when_read_then_it_is_sent_as_it_is(
    token: str, generated: Workspace, read: Read
) -> None:
    api = Api(generated, token=token)

    # A second stream is refused, so that the status of the token is asked for as well.
    api.forbidden = {"/v2/topics"}
    output = read(api, "tags", "topics", api_token=token)

    assert len(output.records("tags")) == 30
    (error,) = output.errors("topics")
    assert (error.internal_message or "").startswith("forbidden: ")


def test_given_whole_numbers_that_are_written_as_fractions_when_read_then_they_are_whole_numbers(
    api: Api, read: Read
) -> None:
    # To JSON schema, 10.0 is an integer.
    output = read(api, "tags", "activities", num_workers=10.0, lookback_window_days=3.0)

    assert output.exit_code == 0
    assert len(output.records("activities")) == 900


@pytest.mark.parametrize("name", sorted(set(SCHEMA["properties"]) - set(SCHEMA["required"])))
@pytest.mark.parametrize("empty", [None, "", [], {}], ids=json.dumps)
def test_given_an_optional_property_that_is_empty_when_read_then_it_counts_as_absent(
    name: str, empty: Any, api: Api, read: Read
) -> None:
    if name == "api_url":
        # Absent, it is the live API's. No request leaves the process.
        assert without_empty({**VALID, name: empty}, SCHEMA) == VALID
        return

    output = read(api, "tags", **{name: empty})

    assert output.exit_code == 0
    assert len(output.records("tags")) == len(api.workspace.records("tags"))


def test_given_hashes_and_an_empty_salt_when_the_source_is_made_then_the_salt_is_empty() -> None:
    with pytest.raises(AirbyteTracedException) as refused:
        SourceCommonroom(config={"api_token": DEFAULT_TOKEN, "pii": {"mode": "hash", "salt": ""}})

    assert "pii.salt is empty" in str(refused.value.message)


def test_given_a_bad_configuration_when_the_source_is_made_then_it_is_a_config_error() -> None:
    with pytest.raises(AirbyteTracedException) as refused:
        SourceCommonroom(config={"api_token": DEFAULT_TOKEN, "num_workers": "many"})

    assert refused.value.failure_type == FailureType.config_error
