"""Secrets: masked in any form that a text may quote them in, and without a message that breaks."""

import http.client
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import orjson
import pytest
import requests
from airbyte_cdk.logger import AirbyteLogFormatter
from airbyte_cdk.models import (
    AirbyteConnectionStatus,
    AirbyteErrorTraceMessage,
    AirbyteLogMessage,
    AirbyteMessage,
    AirbyteMessageSerializer,
    AirbyteRecordMessage,
    AirbyteTraceMessage,
    Level,
    Status,
    TraceType,
    Type,
)
from airbyte_cdk.utils.airbyte_secrets_utils import filter_secrets, update_secrets
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom import SourceCommonroom, run
from source_commonroom.masking import SECRETS, MaskedStderr, mask, mask_config, masked, report_crash
from source_commonroom.table import load_manifest

# All that a header takes and something quotes; and a salt of anything at all.
TOKEN = 'zqx\'k-"wvj\\hgf"%2F+/&=<>'
SALT = "zqx \U0001f9c2 'wvj' \"é\"\n\\hgf"
PARTS = ("zqx", "wvj", "hgf")

QUOTES: list[Callable[[str], Any]] = [
    str,
    repr,
    json.dumps,
    lambda secret: json.dumps(secret, ensure_ascii=False),
    lambda secret: orjson.dumps(secret).decode(),
    quote,
    lambda secret: quote(secret, safe=""),
    quote_plus,
    lambda secret: urlencode({"token": secret}),
    lambda secret: repr(secret.encode()),
    lambda secret: f"{ {'Authorization': f'Bearer {secret}'} }",
    lambda secret: json.dumps({"headers": str({"Authorization": f"Bearer {secret}"})}),
    lambda secret: repr(ValueError(f'it\'s "{secret}"')),
    lambda secret: repr([ValueError(repr(secret))]),
    lambda secret: json.dumps(repr(f"'{secret}\"".encode())),
    lambda secret: f"x{secret}y",
]


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    update_secrets([])


@pytest.mark.parametrize("quote_it", QUOTES, ids=range(len(QUOTES)))
@pytest.mark.parametrize("secret", [TOKEN, SALT, "zqx-wvj-hgf", f"  {TOKEN}\n"], ids=ascii)
def test_given_a_secret_when_a_text_quotes_it_then_nothing_of_it_is_left(
    secret: str, quote_it: Callable[[str], Any]
) -> None:
    mask([secret])
    for quoted in (secret, secret.strip()):
        left = filter_secrets(str(quote_it(quoted)))

        assert not [part for part in PARTS if part in left]


def test_given_a_secret_that_begins_another_when_both_are_quoted_then_nothing_of_the_longer_one_is_left() -> None:
    mask(["zqx-17", "zqx-17-wvj"])

    assert filter_secrets("a zqx-17-wvj and a zqx-17") == "a **** and a ****"


def test_the_secrets_are_those_of_the_spec() -> None:
    specification = load_manifest()["spec"]["connection_specification"]

    def secrets(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        for name, rule in schema.get("properties", {}).items():
            if rule.get("airbyte_secret"):
                yield (*path, name)
            yield from secrets(rule, (*path, name))
        for alternative in schema.get("oneOf", []):
            yield from secrets(alternative, path)

    assert sorted(SECRETS) == sorted(secrets(specification))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"api_token": None, "pii": {"salt": 5}},
        {"api_token": ["a"], "pii": ["a"]},
        {"api_token": " ", "pii": {"salt": "\ud800"}},
        {"pii": "here", "pii_salt": 5},
        {"pii": None},
    ],
)
def test_given_any_configuration_when_masked_then_other_texts_stay(config: dict[str, Any]) -> None:
    mask_config(config)

    assert filter_secrets("None of it, 5 or [a].") == "None of it, 5 or [a]."


@pytest.mark.parametrize(
    "config", [{"pii": {"mode": "hash", "salt": SALT}}, {"pii": {"salt": SALT}}, {"pii": "hash", "pii_salt": SALT}]
)
def test_given_a_salt_in_either_place_when_masked_then_nothing_of_it_is_left(config: dict[str, Any]) -> None:
    mask_config(config)

    assert not [part for part in PARTS if part in filter_secrets(json.dumps(config))]


def header_error_of_requests() -> None:
    requests.Request("GET", "http://localhost", headers={"Authorization": f"Bearer {TOKEN}\nX: 1"}).prepare()


def header_error_of_http() -> None:
    connection = http.client.HTTPConnection("localhost")
    connection.putrequest("GET", "/")
    connection.putheader("Authorization", f"Bearer {TOKEN}\nX: 1")


@pytest.mark.parametrize("fail", [header_error_of_requests, header_error_of_http])
def test_given_an_exception_from_below_that_quotes_the_token_when_traced_then_it_is_masked(
    fail: Callable[[], None],
) -> None:
    with pytest.raises((ValueError, requests.RequestException)) as below:
        fail()
    assert "wvj" in str(below.value)
    mask([TOKEN])

    message = masked(AirbyteTracedException.from_exception(below.value).as_airbyte_message())

    assert message.trace
    assert message.trace.error
    error = message.trace.error
    assert "****" in f"{error.internal_message}"
    assert not [part for part in PARTS if part in f"{error.message}{error.internal_message}{error.stack_trace}"]


MESSAGES = [
    AirbyteMessage(
        type=Type.LOG, log=AirbyteLogMessage(level=Level.INFO, message="a message here", stack_trace="a message too")
    ),
    AirbyteMessage(
        type=Type.TRACE,
        trace=AirbyteTraceMessage(
            type=TraceType.ERROR,
            emitted_at=1,
            error=AirbyteErrorTraceMessage(
                message="a message", internal_message="a message inside", stack_trace="the message's stack"
            ),
        ),
    ),
    AirbyteMessage(
        type=Type.CONNECTION_STATUS,
        connectionStatus=AirbyteConnectionStatus(status=Status.FAILED, message="no message"),
    ),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type.value)
def test_given_a_secret_that_is_a_word_of_the_protocol_when_masked_then_the_message_stays_one(
    message: AirbyteMessage,
) -> None:
    mask(["message"])

    written = AirbyteMessageSerializer.dump(masked(message))

    assert AirbyteMessageSerializer.load(written).type == message.type
    (content,) = (part for part in written.values() if isinstance(part, dict))
    texts = {**content, **content.get("error", {})}
    assert not [text for name, text in texts.items() if "message" in str(text) and name != "error"]


def test_given_a_record_that_holds_what_looks_like_a_secret_then_it_stays_as_it_is() -> None:
    mask([TOKEN])
    record = AirbyteRecordMessage(stream="tags", data={"name": TOKEN}, emitted_at=1)

    assert masked(AirbyteMessage(type=Type.RECORD, record=record)).record == record


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR])
@pytest.mark.parametrize("log_level", ["debug", "info"])
def test_given_a_line_of_the_log_when_written_then_it_is_masked(
    level: int, log_level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", log_level)
    mask([TOKEN, SALT])
    record = logging.LogRecord("airbyte", level, "", 0, "%s and %r", (TOKEN, SALT), None)
    record.headers = {"Authorization": f"Bearer {TOKEN}", "salt": SALT}

    line = AirbyteLogFormatter().format(record)

    assert json.loads(line)
    assert not [part for part in PARTS if part in line]


def test_given_stderr_when_written_to_then_it_is_masked() -> None:
    mask([TOKEN])
    text = io.StringIO()
    stderr = MaskedStderr(text)

    written = stderr.write(f"a {TOKEN} b")

    assert written == len(f"a {TOKEN} b")
    assert text.getvalue() == "a **** b"
    assert stderr.isatty() is False


def test_given_a_crash_that_nobody_caught_when_reported_then_its_lines_are_messages_and_masked(
    capfd: pytest.CaptureFixture[str],
) -> None:
    # A part of each message on stdout.
    mask(["message", TOKEN])
    error = ValueError(f"no message with {TOKEN}")

    report_crash(type(error), error, None)

    out, err = capfd.readouterr()
    messages = [AirbyteMessageSerializer.load(json.loads(line)) for line in out.splitlines()]
    assert [message.type for message in messages][-1] == Type.TRACE
    assert messages[-1].trace
    assert messages[-1].trace.error
    assert messages[-1].trace.error.internal_message == "no **** with ****"
    assert "wvj" not in out + err


def test_given_an_interrupt_when_reported_then_what_it_interrupted_is_masked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mask([TOKEN])
    interrupt = KeyboardInterrupt()
    interrupt.__context__ = ValueError(TOKEN)

    report_crash(type(interrupt), interrupt, None)

    out, err = capsys.readouterr()
    assert out == ""
    assert "KeyboardInterrupt" in err
    assert "wvj" not in err


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["zq-17"], "[-h] {spec,check,discover,read}"),
        (["check", "--config", "c.json", "--api-token", "zq-17"], "{spec,check,discover,read}"),
        (["check", "--config", "c.json", "--api_token=zq-17"], "{spec,check,discover,read}"),
        (["check", "--config", "c.json", "zq-17: error: zq-17\n: error: zq-17"], "{spec,check,discover,read}"),
        (["check", "--debug=zq-17"], "check [-h]"),
        (["check", "--help=zq-17"], "check [-h]"),
        (["check", "-hzq-17"], "check [-h]"),
        (["-hzq-17"], "{spec,check,discover,read}"),
        (["--zq-17"], "{spec,check,discover,read}"),
        (["check", "--c=zq-17", "--zq-17"], "check [-h]"),
        (["read", "--config", "zq-17"], "--catalog CATALOG"),
    ],
    ids=str,
)
def test_given_a_command_line_that_cannot_be_read_when_run_then_it_says_how_to_write_one_and_quotes_no_word(
    words: list[str], usage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["source-commonroom", *words])

    with pytest.raises(SystemExit) as ended:
        run.run()

    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert err.startswith("usage: ")
    assert usage in err
    assert "The command line can't be read" in err
    assert not [part for part in ("zq", "17", "api") if part in err]


def test_given_a_call_for_help_when_run_then_it_is_on_stdout_and_nothing_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["source-commonroom", "--help"])

    with pytest.raises(SystemExit) as ended:
        run.run()

    out, err = capsys.readouterr()
    assert not ended.value.code
    assert "usage: " in out
    assert err == ""


def test_given_a_configuration_when_configured_then_the_token_is_written_to_no_file(tmp_path: Path) -> None:
    config = {"api_token": "a-token-17"}

    # The CDK would write it into a folder that outlives a process that is killed.
    assert SourceCommonroom(config=config).configure(config, str(tmp_path)) == config
    assert list(tmp_path.iterdir()) == []
