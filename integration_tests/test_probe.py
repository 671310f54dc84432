"""The probe over HTTP: what only sockets can do to it, and how a process of it ends."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme

from integration_tests.sandbox import Api, Fault, Sandbox, Workspace
from scripts.probe.answers import Client

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (Fault("trickle", seconds=0.05), "ReadTimeout"),
        (Fault("trickle_head", seconds=0.05), "ReadTimeout"),
        (Fault("hang", seconds=30), "ReadTimeout"),
        (Fault("gzip_bomb"), "AnswerTooLargeError"),
        (Fault("short_body"), "ChunkedEncodingError"),
        (Fault("reset"), "ConnectionError"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_given_an_answer_that_is_never_whole_when_asked_then_it_is_given_up(
    monkeypatch: pytest.MonkeyPatch, fault: Fault, failure: str
) -> None:
    monkeypatch.setattr("scripts.probe.answers._DEADLINE", 1.0 if failure == "ReadTimeout" else 60.0)
    with Sandbox(Api(Workspace.of(), faults=[fault])) as sandbox:
        start = time.monotonic()

        answer = Client(sandbox.api_url, sandbox.token).send("v2/tags", {})

    assert (answer.status, answer.failure) == (0, failure)
    assert failure != "ReadTimeout" or time.monotonic() - start < 10


def test_given_a_certificate_that_is_not_trusted_when_probed_then_it_ends_with_that(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with Sandbox(Api(Workspace.of()), certificate=certificate) as sandbox:
        ended = probe(tmp_path, sandbox.api_url, sandbox.token).communicate(timeout=60)[0]

    assert "the last one nothing (SSLError). Its certificate isn't trusted here" in ended
    assert "can't be told here" in (tmp_path / "output" / "probe.md").read_text(encoding="utf-8")


# Long enough not to arise by chance: a cassette has some 26,000 random words of a capital and three small letters.
MARK = "Qzxjvkwqbgphfm"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_given_a_signal_when_probing_then_its_process_writes_what_it_has_and_shows_no_token(
    tmp_path: Path, name: str
) -> None:
    api = Api(Workspace.generate(contacts=300), token=f"{MARK}.{MARK}.{MARK}")
    with Sandbox(api) as sandbox:
        process = probe(tmp_path, sandbox.api_url, sandbox.token)
        while len(api.log.requests) < 12:
            assert process.poll() is None
            time.sleep(0.05)
        for _ in range(3):
            process.send_signal(getattr(signal, name))
        text = process.communicate(timeout=60)[0]

    written = [path.read_text(encoding="utf-8") for path in (tmp_path / "output").iterdir()]
    assert process.returncode == 1
    assert "It ended early: stopped by hand" in text
    assert len(written) == 2
    assert "Traceback" not in text
    assert MARK not in "".join([text, *written])


def probe(folder: Path, api_url: str, token: str) -> "subprocess.Popen[str]":
    """Start the command; what it says, to whichever stream, is its output."""
    config = folder / "config.json"
    config.write_text(json.dumps({"api_token": token, "api_url": api_url}))
    options = ["--config", str(config), "--output", str(folder / "output"), "--yes", "--record"]
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.probe", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
