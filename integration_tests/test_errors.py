"""`FAILURES`, the table of errors, over real HTTP: each row is met, and the stream ends as the row says.

A run of the connector reads many streams, each of which meets something else, and all runs go on at the same time. What
is tried for ten minutes is so in six seconds: the connector is hurried.
"""

import fcntl
import os
import pickle
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme
from airbyte_cdk.models import AirbyteErrorTraceMessage, AirbyteStreamStatus, FailureType

import source_commonroom
from integration_tests.chaos import hurried
from integration_tests.connector import run
from integration_tests.sandbox import Api, Fault, Sandbox, Workspace
from source_commonroom.api.errors import FAILURES
from unit_tests.streams import BY_NAME, catalog

CONFIG, TRANSIENT, SYSTEM = FailureType.config_error, FailureType.transient_error, FailureType.system_error
# Each takes one request, if all goes well.
STREAMS = (
    *("tags", "providers", "industries", "tech_stack_products", "custom_fields", "activity_types", "object_types"),
    *("activity_categories", "activity_sentiment", "lead_scores", "me", "contact_custom_fields", "user_defined_tags"),
)
PACKAGE = Path(source_commonroom.__file__).parent
ANOTHER_TOKEN = "another-token-77aa"
# Of the loopback, the port of tcpmux, which is free.
NOBODY = "127.0.0.1:1"


@dataclass(frozen=True)
class Case:
    """What is met, and what has to become of it."""

    row: str
    failure_type: FailureType
    tries: int
    """How often it is tried; 6 for six times at least, and for ten minutes."""
    says: str
    """A part of the message."""
    fault: Fault | None = None
    """What is answered; None if a run below says what is met."""
    requests: int | None = None
    """How many are made, if not one for each try; those to other addresses don't count."""
    name: str = ""
    """Tells cases of a row apart."""

    @property
    def id(self) -> str:
        return f"{self.row}-{self.name}" if self.name else self.row


def answered(row: str, failure_type: FailureType, tries: int, says: str, *statuses: int) -> tuple[Case, ...]:
    """List the cases of a row whose statuses are answered without a body."""
    return tuple(
        Case(row, failure_type, tries, says, Fault("status", status=status), name=str(status)) for status in statuses
    )


def met(row: str, failure_type: FailureType, tries: int, says: Mapping[str, str]) -> tuple[Case, ...]:
    """List the cases of a row that is met by several kinds of faults; `says` is by kind."""
    return tuple(Case(row, failure_type, tries, part, Fault(kind), name=kind) for kind, part in says.items())


def redirected(says: str, location: str, requests: int = 1, row: str = "redirected", name: str = "") -> Case:
    return Case(row, CONFIG, 1, says, Fault("redirect", location=location), requests, name)


PARTED = "The API token is valid, but it, or the plan of the workspace, doesn't include this stream"
GATEWAY = "the gateway before Common Room's API couldn't reach it"
TROUBLE = "in trouble and answered with a server error"
ANSWERS = (
    *answered("invalid_request", SYSTEM, 1, "Common Room refused a request to /", 400, 422),
    *answered("token_rejected", CONFIG, 1, "Make a new one in Common Room under Settings | API tokens", 401),
    *met("forbidden", CONFIG, 1, {"forbidden_403": PARTED}),
    *met("blocked", CONFIG, 1, {"forbidden_403_html": "A firewall or a proxy in between answers so"}),
    *answered("not_found", CONFIG, 1, "Is the API address of the configuration right?", 404),
    *answered("method_not_allowed", SYSTEM, 1, "no longer takes requests that read", 405),
    *answered("gone", SYSTEM, 1, "is gone for good", 410),
    *answered("proxy_refused", CONFIG, 1, "wants a user and a password", 407),
    *answered("refused", TRANSIENT, 1, "which Common Room's API doesn't document", 402, 418, 499),
    redirected("was redirected to {elsewhere}.", "{elsewhere}/login?next=%2Fsecret", name="another port"),
    redirected("was redirected to http://login.example.", "//u:pw@login.example/x?sso=secret", name="another host"),
    redirected("was redirected to an address that isn't one.", "http://[::1", name="no address"),
    redirected("time and again", "#", 31, "redirect_loop"),
    *answered("try_again", TRANSIENT, 6, "didn't take a request to /", 408, 425),
    *answered("conflict", TRANSIENT, 6, "in conflict with a change in Common Room", 409),
    *answered("gateway_error", TRANSIENT, 6, GATEWAY, 520, 525, 530),
    *answered("server_error", TRANSIENT, 6, TROUBLE, 500, 501, 502, 503, 504, 519, 531, 599),
    *answered("unknown_status", TRANSIENT, 6, "which the connector doesn't know", 300, 304),
    *met(
        "not_a_page",
        TRANSIENT,
        6,
        {
            "ok_html": "bytes of text/html that are not whole JSON",
            "ok_empty": "answered 200 with an empty body",
            "no_content_204": "answered 204 with an empty body",
            "truncated_json": "bytes of application/json that are not whole JSON",
            "success_false": "answered 200 with ",
            "data_null": "answered 200 with no ",
        },
    ),
    *met("answer_too_large", TRANSIENT, 6, {"gzip_bomb": "with more than 256 MB, which no page has"}),
    *met("connection_broken", TRANSIENT, 6, dict.fromkeys(("reset", "short_body"), " broke the connection (")),
)
# Each of these has a run of its own.
REJECTED = tuple(Case("token_rejected", CONFIG, 1, "rejected the API token", name=f"403-{n}") for n in ("v2", "v1"))
# One is its own, and one asks on behalf of the others.
ITSELF = Case("token_rejected", CONFIG, 1, "rejected the API token", requests=2, name="403-its-own-status")
UNCLEAR = Case("forbidden_or_rejected", CONFIG, 1, "Either it is no longer valid, or it, or the plan")
LASTING = Case("rate_limit_lasts", TRANSIENT, 1, "the next try would follow in 250 s", requests=3)
DOWNGRADED = Case("redirected", CONFIG, 1, "was redirected to http://", name="http")
# Twice with a whole page, once with each smaller one, and twice with the smallest.
SILENT = Case("read_timeout", TRANSIENT, 2, "accepted the request and did not answer in time", requests=6)
FULL = Case("connect_timeout", TRANSIENT, 2, "did not accept a connection in time")
GONE = Case("part_gone", TRANSIENT, 1, "It was probably deleted while the sync ran")
UNTRUSTED = Case("tls_untrusted", CONFIG, 1, "has no certificate that is trusted here")
NO_TLS = Case("tls_failed", TRANSIENT, 6, "no TLS connection")
NO_NAME = Case("dns_failed", TRANSIENT, 6, "nowhere.invalid: its name cannot be resolved")
CLOSED = Case("connection_refused", TRANSIENT, 6, f"{NOBODY}: it refused the connection")
NO_WAY = Case("unreachable", TRANSIENT, 6, "the network is unreachable from here")
NO_PROXY = Case("proxy_failed", TRANSIENT, 6, "can't be reached, or doesn't connect")
STRICT_PROXY = Case("proxy_refused", CONFIG, 1, "wants a user and a password", name="CONNECT")
BAD_PROXY = Case("proxy_invalid", CONFIG, 1, "its address isn't one")
NO_BUNDLE = Case("ca_bundle_unusable", CONFIG, 1, "isn't there, or holds none", name="no file")
BAD_BUNDLE = Case("ca_bundle_unusable", CONFIG, 1, "isn't there, or holds none", name="no certificates")
SERVED = (*REJECTED, ITSELF, UNCLEAR, LASTING, DOWNGRADED, SILENT, GONE)
ELSEWHERE = (FULL, UNTRUSTED, NO_TLS, NO_NAME, CLOSED, NO_WAY, NO_PROXY, STRICT_PROXY, BAD_PROXY, NO_BUNDLE, BAD_BUNDLE)
CASES = (*ANSWERS, *SERVED, *ELSEWHERE)


@dataclass(frozen=True)
class Outcome:
    """What a run left of a stream."""

    stream: str
    exit_code: int
    status: AirbyteStreamStatus
    errors: list[AirbyteErrorTraceMessage]
    text: str
    """All that the run printed."""
    requests: int
    """How many came for the stream."""
    asked: int = 0
    """How many came for the status of the token."""
    says: str = ""
    """What the message contains, if the case alone doesn't say."""


@dataclass
class Run:
    """A run of the connector: who answers, and which stream meets which case."""

    cases: Mapping[str, Case]
    """By stream."""
    api: Api | None = None
    config: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    impatient: bool = False
    """Wait 0.3 s, and try once more."""
    certificate: Path | None = None

    def outcomes(self, folder: Path) -> dict[str, Outcome]:
        """Run it; by case."""
        folder.mkdir()
        api = self.api or Api(Workspace.of())
        with Sandbox(api, certificate=self.certificate) as sandbox:
            config = {"api_token": sandbox.token, "api_url": sandbox.api_url, **self.config}
            result = run(
                folder,
                "read",
                # One for each stream, because who waits for the next try waits in its worker.
                config={**config, "num_workers": 40},
                catalog=catalog(*self.cases),
                program=(sys.executable, str(Path(hurried.__file__)), "impatient" if self.impatient else "wait"),
                environment=self.environment,
            )
        assert config["api_token"] not in result.text
        return {
            case.id: Outcome(
                stream,
                result.exit_code,
                result.status(stream),
                result.errors(stream),
                result.text,
                len(api.log.of(BY_NAME[stream].path)),
                len(api.log.of("/v2/api-token-status")),
            )
            for stream, case in self.cases.items()
        }


def meeting(case: Case, api: Api | None = None, **options: object) -> Run:
    """Make a run that reads one stream, tags."""
    return Run({"tags": case}, api, **options)  # type: ignore[arg-type]


def of_answers(elsewhere: str) -> Iterator[Run]:
    """Share the answers out among runs, those that are tried once and those that are tried again."""
    for tries in (1, 6):
        cases = [case for case in ANSWERS if case.tries == tries]
        for start in range(0, len(cases), len(STREAMS)):
            by_stream = dict(zip(STREAMS, cases[start : start + len(STREAMS)], strict=False))
            faults = [
                replace(case.fault, path=BY_NAME[stream].path, location=case.fault.location.format(elsewhere=elsewhere))
                for stream, case in by_stream.items()
                if case.fault
            ]
            yield Run(by_stream, Api(Workspace.of(), faults=faults))


def of_one_host(certificate: Path, authority: Path, elsewhere: str) -> Iterator[Run]:
    """List the runs against a server that is there."""

    def faulty(*faults: Fault, **options: object) -> Api:
        return Api(Workspace.of(), faults=faults, **options)  # type: ignore[arg-type]

    rejected = dict(zip(("tags", "user_defined_tags"), REJECTED, strict=True))
    yield Run({**rejected, "api_token_status": ITSELF}, config={"api_token": ANOTHER_TOKEN})
    unknown = faulty(Fault("status", status=500, path="/v2/api-token-status"), forbidden={"/v2/tags"})
    yield meeting(UNCLEAR, unknown)
    yield meeting(LASTING, faulty(Fault("rate_limited", seconds=250)))
    deleted = Api(
        Workspace.of(segments=[{"id": "s_1", "name": "Champions", "entityType": "contact"}]),
        faults=[Fault("not_found_404", path="/v1/segments/{id}/status")],
    )
    yield Run({"segment_statuses": GONE}, deleted)
    yield meeting(SILENT, faulty(Fault("hang", seconds=5)), impatient=True)
    yield meeting(UNTRUSTED, certificate=certificate)
    yield meeting(
        DOWNGRADED,
        faulty(Fault("redirect", location=f"{elsewhere}/v2/tags")),
        certificate=certificate,
        environment={"REQUESTS_CA_BUNDLE": str(authority)},
    )


def of_no_host(plain: str, full: str, proxy: str) -> Iterator[Run]:
    """List the runs in which no request arrives."""
    api_url = {
        NO_TLS: f"https://{plain}",
        NO_NAME: "https://nowhere.invalid/community",
        CLOSED: f"http://{NOBODY}/community",
        # TCP has no way to an address of many.
        NO_WAY: "https://224.0.0.1/community",
    }
    for case, url in api_url.items():
        yield meeting(case, config={"api_url": url})
    yield meeting(FULL, config={"api_url": f"http://{full}"}, impatient=True)
    for case, path in {NO_BUNDLE: "/nowhere/authority.pem", BAD_BUNDLE: __file__}.items():
        yield meeting(case, config={"api_url": f"https://{plain}"}, environment={"REQUESTS_CA_BUNDLE": path})
    for case, url in {NO_PROXY: f"http://{NOBODY}", STRICT_PROXY: f"http://{proxy}", BAD_PROXY: "http://"}.items():
        proxies = {"HTTPS_PROXY": url, "https_proxy": url, "NO_PROXY": "", "no_proxy": ""}
        yield meeting(case, config={"api_url": "https://api.example/community"}, environment=proxies)


class StrictProxy(BaseHTTPRequestHandler):
    """Refuses clients without a user."""

    def do_CONNECT(self) -> None:
        self.send_error(407)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the base
        pass


@contextmanager
def strict_proxy() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), StrictProxy) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def full_queue() -> Iterator[str]:
    """Listen, and let no one in: the queue of the socket is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003
            waiting.connect_ex(listening.getsockname())
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def run_all(folder: Path) -> dict[str, Outcome]:
    """Run all at the same time; by case."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    certificate = folder / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with ExitStack() as stack:
        other = stack.enter_context(Sandbox(Api(Workspace.of())))
        plain = stack.enter_context(Sandbox(Api(Workspace.of())))
        elsewhere = other.api_url.removesuffix("/community")
        full, proxy = stack.enter_context(full_queue()), stack.enter_context(strict_proxy())
        runs = [
            *of_no_host(plain.api_url.partition("://")[2], full, proxy),
            *of_answers(elsewhere),
            *of_one_host(certificate, folder / "authority.pem", elsewhere),
        ]
        pool = stack.enter_context(ThreadPoolExecutor(len(runs)))
        found = {}
        for outcomes in pool.map(lambda it: it[1].outcomes(folder / str(it[0])), enumerate(runs)):
            found.update(outcomes)
        # Not one request was sent on to where a redirect pointed, and so no token.
        assert other.api.log.requests == []
    return {
        name: replace(outcome, says=f"was redirected to {elsewhere}.") if "another port" in name else outcome
        for name, outcome in found.items()
    }


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The outcome of each case. If tests run in several processes, the first one that asks runs the runs for all."""
    folder = tmp_path_factory.mktemp("errors")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return run_all(folder)
    shared = tmp_path_factory.getbasetemp().parent / "errors.pickle"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            shared.write_bytes(pickle.dumps(run_all(folder)))
        found: dict[str, Outcome] = pickle.loads(shared.read_bytes())  # noqa: S301  # our own
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_given_a_row_of_the_table_when_it_is_met_then_the_stream_ends_as_the_row_says(
    case: Case, outcomes: dict[str, Outcome]
) -> None:
    outcome = outcomes[case.id]

    assert outcome.exit_code == 1
    assert outcome.status == AirbyteStreamStatus.INCOMPLETE
    (error,) = outcome.errors
    assert error.failure_type == case.failure_type
    assert error.message.startswith(f"{outcome.stream}: ")
    assert (outcome.says or case.says) in error.message
    tried = re.search(r" \((\d+) tries( in \d+ minutes)?\.\)$", error.message)
    tries = int(tried[1]) if tried else 1
    assert tries == case.tries or (tries > case.tries == 6), f"{case.id}: tried {tries} times, expected {case.tries}"
    assert (tried is not None) == (tries > 1)
    assert (error.internal_message or "").startswith(f"{case.row}: ")
    if case not in ELSEWHERE:
        assert outcome.requests == (case.requests or tries)


def test_every_row_of_the_table_is_met() -> None:
    # A rate limit that passes ends no stream, and has a test of its own.
    assert {case.row for case in CASES} | {"rate_limited"} == {row.name for row in FAILURES}
    assert len({case.id for case in CASES}) == len(CASES)


def test_given_a_403_when_read_then_the_token_is_asked_about_once(outcomes: dict[str, Outcome]) -> None:
    assert [outcome.asked for outcome in map(outcomes.__getitem__, ("forbidden-forbidden_403", UNCLEAR.id))] == [1, 1]


def test_given_the_table_when_it_is_met_then_no_log_and_no_trace_holds_a_request_or_an_answer(
    outcomes: dict[str, Outcome],
) -> None:
    for outcome in outcomes.values():
        for part in ("Authorization", "?limit", "/community/", "Token not valid", "sso=secret", "%2Fsecret", "u:pw"):
            assert part not in outcome.text


def test_given_a_rate_limit_that_passes_when_read_then_it_says_so_and_every_record_comes(tmp_path: Path) -> None:
    api = Api(Workspace.of(tags=[{"id": "l_1", "name": "VIP"}]), faults=[Fault("rate_limited", times=2, seconds=0.3)])
    with Sandbox(api) as sandbox:
        result = run(tmp_path, "read", {"api_token": sandbox.token, "api_url": sandbox.api_url}, catalog("tags"))

    assert result.exit_code == 0
    assert len(result.records("tags")) == 1
    assert [request.status for request in api.log.requests] == [429, 429, 200]
    assert result.statuses("tags").count(AirbyteStreamStatus.RUNNING) == 3
    assert result.text.count('"RATE_LIMITED"') == 2
