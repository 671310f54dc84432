"""The token and the salt: nowhere in what a process prints, whatever breaks and whatever quotes them."""

import json
import os
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from airbyte_cdk.models import (
    AirbyteMessage,
    AirbyteMessageSerializer,
    ConfiguredAirbyteCatalogSerializer,
    Status,
    Type,
)

from integration_tests import fork_server
from integration_tests.conftest import Serve
from integration_tests.connector import MAIN
from integration_tests.sandbox import Api, Fault, Sandbox, Workspace
from unit_tests.streams import catalog

# With what something or other escapes, and parts of their own that nothing does.
TOKEN = "zqxwvj\"hgfkpy%2F'bnmtrw\\+/=<vzkqjp>"
SALT = "zsxdcf 'bhgvjn'\n\"mkzplq\" é\\ \U0001f9c2 wqzxrt"
PARTS = ("zqxwvj", "hgfkpy", "bnmtrw", "vzkqjp", "zsxdcf", "bhgvjn", "mkzplq", "wqzxrt")

# The connector, in which what lies below does as `KINDS` says.
SABOTAGED = """
import logging, threading, time, warnings
import requests
from airbyte_cdk.sources.concurrent_source.concurrent_source import ConcurrentSource
from source_commonroom import run
from source_commonroom.records import privacy

# The time passes without waiting.
slept = 0.0
awake = time.monotonic

def sleep(seconds):
    global slept
    slept += seconds

time.sleep = sleep
time.monotonic = lambda: awake() + slept
plain_send = requests.Session.send

def crash_in_a_thread(text):
    thread = threading.Thread(target=int, args=(text,))
    thread.start()
    thread.join()

class Unraisable:
    def __init__(self, text):
        self.text = text
    def __del__(self):
        raise ValueError(self.text)

def send(self, request, **options):
    bearer, headers = request.headers["Authorization"], request.headers
    {what}
    return plain_send(self, request, **options)

def fail_with(text):
    raise ValueError(text)

requests.Session.send = send
{more}
run.run()
"""
KINDS = {
    "an exception of requests": "raise requests.ConnectionError(f'{headers} {bearer!r}', request=request)",
    "an exception of the system": "raise OSError(22, bearer, bearer)",
    "an exception of anything": "raise RuntimeError(repr(dict(headers)), bearer.encode(), str(bearer))",
    "a chain of exceptions": """
    try:
        raise KeyError(bearer)
    except KeyError as error:
        raise ValueError(22, bearer, bearer) from error
""",
    "a thread": "crash_in_a_thread(bearer)",
    "a line of the log": "logging.getLogger('airbyte').error('%s and %r', headers, [bearer], stack_info=True)",
    "a line of the log that can't be written": "logging.getLogger('airbyte').info('%d', bearer)",
    "a warning": "warnings.warn(f'{headers}')",
    "a destructor": "Unraisable(bearer)",
}
IN_THE_MAIN_THREAD = """
def crash(self, streams):
    import sys
    raise ValueError(open(sys.argv[sys.argv.index("--config") + 1]).read())
ConcurrentSource.read = crash
"""
IN_THE_HASHES = """
import hmac
hmac.new = lambda key, **_: fail_with(f"{key!r} {key.decode()} {[key.decode()]!r}")
"""


def files(folder: Path, **contents: Any) -> list[str]:
    """Write files; return the arguments that name them."""
    arguments = []
    for name, content in contents.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        arguments += [f"--{name}", str(folder / name)]
    return arguments


def config_of(sandbox: Sandbox) -> dict[str, Any]:
    # As people paste it.
    return {"api_token": f"  {TOKEN}\n", "api_url": sandbox.api_url, "pii": {"mode": "hash", "salt": SALT}}


def catalog_of(*streams: str) -> Any:
    return ConfiguredAirbyteCatalogSerializer.dump(catalog(*streams))


def printed(
    arguments: Sequence[str], program: Sequence[str] = (str(MAIN),), **environment: str
) -> tuple[int, bytes, bytes]:
    """Run the connector; return its exit code, stdout and stderr, in which no part of a secret stands."""
    process = fork_server.run([*program, *arguments], env={**os.environ, **environment})
    everything = (process.stdout + process.stderr).decode()
    found = [part for part in PARTS if part in everything]
    places = [everything[max(everything.index(part) - 300, 0) :][:600] for part in found[:1]]
    assert not found, places
    return process.returncode, process.stdout, process.stderr


def messages_in(stdout: bytes) -> list[AirbyteMessage]:
    return [AirbyteMessageSerializer.load(json.loads(line)) for line in stdout.decode().split("\n")[:-1]]


@pytest.fixture
def sandbox(serve: Serve, generated: Workspace) -> Sandbox:
    return serve(Api(generated, token=TOKEN))


@pytest.mark.parametrize("what", KINDS.values(), ids=KINDS)
def test_given_something_below_that_quotes_the_token_when_read_then_it_stands_nowhere(
    what: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    arguments = files(tmp_path, config=config_of(sandbox), catalog=catalog_of("tags", "activities"))

    code, stdout, stderr = printed(
        ["read", *arguments], ["-c", SABOTAGED.replace("{what}", what).replace("{more}", "")]
    )

    # What is no message goes to stderr.
    assert messages_in(stdout)
    # What ``FAILURES`` knows is quoted nowhere at all.
    assert b"****" in stdout + stderr or "requests" in what or "OSError" in what
    assert code == ("raise" in what)


@pytest.mark.parametrize(
    ("command", "exit_code", "last"), [("check", 0, Type.CONNECTION_STATUS), ("discover", 1, Type.TRACE)]
)
def test_given_an_exception_that_quotes_the_token_when_checked_or_discovered_then_it_stands_nowhere(
    command: str, exit_code: int, last: Type, sandbox: Sandbox, tmp_path: Path
) -> None:
    program = SABOTAGED.replace("{what}", KINDS["an exception of anything"]).replace("{more}", "")

    code, stdout, _ = printed([command, *files(tmp_path, config=config_of(sandbox))], ["-c", program])

    assert code == exit_code
    assert messages_in(stdout)[-1].type == last
    assert b"****" in stdout


@pytest.mark.parametrize("more", [IN_THE_MAIN_THREAD, IN_THE_HASHES], ids=["main thread", "hashes"])
def test_given_a_crash_that_quotes_the_configuration_when_read_then_no_secret_stands_anywhere(
    more: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    program = SABOTAGED.replace("{what}", "").replace("{more}", more)
    arguments = files(tmp_path, config=config_of(sandbox), catalog=catalog_of("contacts", "me"))

    code, stdout, _ = printed(["read", *arguments], ["-c", program])

    assert code == 1
    assert messages_in(stdout)[-1].type == Type.TRACE
    assert b"****" in stdout


@pytest.mark.parametrize("command", ["check", "discover", "read"])
@pytest.mark.parametrize(("log_level", "options"), [("info", []), ("info", ["--debug"]), ("debug", [])])
def test_given_any_level_of_the_log_when_all_goes_well_then_no_secret_stands_anywhere(
    command: str, log_level: str, options: list[str], sandbox: Sandbox, tmp_path: Path
) -> None:
    arguments = files(tmp_path, config=config_of(sandbox))
    if command == "read":
        arguments += files(tmp_path, catalog=catalog_of("contacts", "activities", "me", "api_token_status"))

    code, stdout, _ = printed([command, *arguments, *options], LOG_LEVEL=log_level)

    assert code == 0
    # At those levels the headers of each request stand in the log.
    assert (b"Authorization" in stdout) == (log_level == "debug" or options == ["--debug"])


@pytest.mark.parametrize("token", ["zqxwvj\r\nX-Injected: hgfkpy", "zqxwvj hgfkpy", "zqxwvj\u20achgfkpy", "zqxwvj\x00"])
def test_given_a_token_that_would_break_a_header_when_read_then_it_is_refused_without_it(
    token: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    arguments = files(tmp_path, config={**config_of(sandbox), "api_token": token}, catalog=catalog_of("tags"))

    code, stdout, _ = printed(["read", *arguments])

    assert code == 1
    assert b"holds a character that no token has" in stdout
    assert sandbox.api.log.requests == []


QUOTING = json.dumps({"api_token": TOKEN, "pii": {"mode": "hash", "salt": SALT}})
STATE = {"type": "STREAM", "stream": {"stream_descriptor": {"name": "activities"}, "stream_state": {TOKEN: SALT}}}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config", QUOTING[:-1]),
        ("config", f"[{QUOTING}]"),
        ("catalog", QUOTING),
        ("catalog", QUOTING[:-1]),
        ("catalog", json.dumps({"streams": [json.loads(QUOTING)]})),
        ("state", QUOTING),
        ("state", QUOTING[:-1]),
        ("state", f"[{QUOTING}]"),
        ("state", json.dumps([{"type": TOKEN}])),
        ("state", json.dumps([STATE])),
    ],
)
def test_given_a_file_that_quotes_the_configuration_and_cannot_be_read_when_read_then_nothing_of_it_is_printed(
    file: str, content: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    good = {"config": config_of(sandbox), "catalog": catalog_of("activities"), "state": []}

    code, stdout, _ = printed(["read", *files(tmp_path, **{**good, file: content})])

    last = messages_in(stdout)[-1].trace
    assert last
    assert last.error
    assert file in last.error.message
    assert code == 1
    assert sandbox.api.log.requests == []


def test_given_the_configuration_itself_in_the_place_of_its_file_when_run_then_it_is_not_printed() -> None:
    for words in (["check", "--config", QUOTING], ["check", QUOTING], ["check", f"--api_token={TOKEN}"]):
        printed(words)


class Proxy(BaseHTTPRequestHandler):
    """Refuses whatever comes."""

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        self.send_error(502)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the base
        pass


@pytest.mark.parametrize("redirected", [False, True], ids=["", "redirected"])
def test_given_a_proxy_for_http_when_checked_then_it_never_sees_the_token(
    redirected: bool,  # noqa: FBT001  # a parameter of the test
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    if redirected:
        sandbox.api.faults.add(Fault("redirect", path="/v2/topics", location="/community/v2/tags?limit=1"))
    with ThreadingHTTPServer(("127.0.0.2", 0), Proxy) as proxy:
        proxy.seen = []  # type: ignore[attr-defined]
        thread = Thread(target=proxy.serve_forever)
        thread.start()
        address = f"http://127.0.0.2:{proxy.server_port}"
        names = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
        environment = {**dict.fromkeys(names, address), "NO_PROXY": "", "no_proxy": ""}
        _, stdout, _ = printed(["check", *files(tmp_path, config=config_of(sandbox))], **environment)
        proxy.shutdown()
        thread.join()

    assert proxy.seen == []  # type: ignore[attr-defined]
    last = messages_in(stdout)[-1].connectionStatus
    assert last
    assert last.status == Status.SUCCEEDED
