"""Configurations: what is refused, in which words, and that nothing of it is printed."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airbyte_cdk.models import FailureType, Status
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.sandbox import DEFAULT_TOKEN, Api, mount
from source_commonroom import SourceCommonroom
from source_commonroom.config import validate_config
from source_commonroom.run import run
from source_commonroom.source import load_manifest
from unit_tests.conftest import API_URL

SCHEMA = load_manifest()["spec"]["connection_specification"]
VALID = {"api_token": DEFAULT_TOKEN}

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"api_token": None}, "api_token isn't what it should be"),
    ({"api_token": 12345678}, "api_token isn't what it should be"),
    ({"api_token": ""}, "api_token isn't what it should be"),
    ({"api_token": "secret-1 secret-2"}, "api_token holds a character that no token has"),
    ({"api_token": "secret-1\r\nX-Injected: 1"}, "api_token holds a character that no token has"),
    ({"api_token": "sécret-1"}, "api_token holds a character that no token has"),
    ({"start_date": "2024-01-01"}, "start_date isn't what it should be"),
    ({"start_date": "yesterday"}, "start_date isn't what it should be"),
    ({"start_date": "2024-02-30T00:00:00Z"}, "start_date names a day or an hour that doesn't exist"),
    ({"end_date": "2024-01-01T25:00:00Z"}, "end_date names a day or an hour that doesn't exist"),
    ({"start_date": "2025-01-01T00:00:00Z", "end_date": "2024-01-01T00:00:00Z"}, "start_date lies after end_date"),
    ({"lookback_window_days": -1}, "lookback_window_days isn't what it should be"),
    ({"lookback_window_days": 366}, "lookback_window_days isn't what it should be"),
    ({"lookback_window_days": 1.5}, "lookback_window_days isn't what it should be"),
    ({"num_workers": 1}, "num_workers isn't what it should be"),
    ({"num_workers": 41}, "num_workers isn't what it should be"),
    ({"num_workers": "many"}, "num_workers isn't what it should be"),
    ({"requests_per_second": 0}, "requests_per_second isn't what it should be"),
    ({"api_url": "http://api.commonroom.io/community"}, "api_url isn't what it should be"),
    ({"api_url": "http://127.0.0.1.evil.example/x"}, "api_url isn't what it should be"),
    ({"api_url": "http://localhost.evil.example/x"}, "api_url isn't what it should be"),
    ({"api_url": "https://user:secret-3@api.commonroom.io"}, "api_url isn't what it should be"),
    ({"api_url": "https://api.commonroom.io@evil.example"}, "api_url isn't what it should be"),
    ({"api_url": "https://api.commonroom.io?x=secret-4"}, "api_url isn't what it should be"),
    ({"api_url": "https://api.commonroom.io#x"}, "api_url isn't what it should be"),
    ({"api_url": "ftp://api.commonroom.io"}, "api_url isn't what it should be"),
    ({"api_url": "file:///etc/passwd"}, "api_url isn't what it should be"),
    ({"api_url": ""}, "api_url isn't what it should be"),
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
        {"start_date": "2024-01-01T00:00:00.123456Z", "end_date": "2024-01-01T00:00:00.123456Z"},
        {"api_url": "https://api.commonroom.io/community/"},
        {"api_url": "https://proxy.example:8443/commonroom"},
        {"api_url": "http://127.0.0.1:8010/community"},
        {"api_url": "http://localhost:8010/community"},
        {"api_url": "http://[::1]:8010"},
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
        ({"api_token": 5}, "api_token isn't what it should be"),
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


def test_given_a_token_with_blanks_around_it_when_checked_then_they_do_not_matter(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        status = check({"api_token": f" {DEFAULT_TOKEN}\n"}, tmp_path, monkeypatch, capsys)

    assert status["status"] == Status.SUCCEEDED.value
    assert [request.path for request in api.log.requests] == ["/v2/api-token-status"]


def test_given_a_bad_configuration_when_the_source_is_made_then_it_is_a_config_error() -> None:
    with pytest.raises(AirbyteTracedException) as refused:
        SourceCommonroom(config={"api_token": DEFAULT_TOKEN, "num_workers": "many"})

    assert refused.value.failure_type == FailureType.config_error
