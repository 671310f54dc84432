"""Test on a workspace what we assume of Common Room's API, and write a report that holds no value of it.

The workspace is that of ``secrets/config.json``, or if there is none the sandbox's. It only reads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from integration_tests.sandbox import Api, Sandbox, Traits, Workspace
from scripts.probe.answers import MOST_REQUESTS, Client
from scripts.probe.assumptions import ROOT
from scripts.probe.cassette import cassette
from scripts.probe.checks.answers import BURST
from scripts.probe.report import report, summary
from scripts.probe.run import probe
from source_commonroom.table import load_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.probe.checks import Check

OUTPUT = ROOT / "output"
SECRETS = ROOT / "secrets" / "config.json"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_REPORT, _CASSETTE = "probe.md", "probe-cassette.json"
_INTENT = """\
    At most {requests} requests, 5 a second, over about a minute; at its end it waits until a cursor is a minute old.
    All of them read (GET). One sends a made-up token, to see how that is refused.
    {report} will hold counts, types, lengths, forms such as c_<4 digits>, statuses, and the names that
    the API gives to fields and headers. No name, address, text, id, or token."""
_STEP = 20
"""Without a terminal, progress is told after so many requests."""


def main(arguments: list[str] | None = None) -> int:
    """Run the probe; return 0 if it reached its end, whatever the verdicts."""
    read = _arguments(arguments)
    with contextlib.ExitStack() as stack:
        if read.config.exists() and not read.sandbox:
            of, (api_url, token) = "a workspace", _configured(read.config)
            print(f"==> Probing the workspace of {read.config}")
        else:
            of, (api_url, token) = "the sandbox", stack.enter_context(_sandbox())
            print("==> Probing the sandbox; secrets/config.json would be a real workspace")
        if not read.yes and not _agreed(read):
            print("Nothing was asked.")
            return 1
        progress = _Progress(MOST_REQUESTS + BURST if read.provoke_429 else MOST_REQUESTS)
        client = Client(api_url, token, told=progress.requests)
        # Stopped either way, it writes what it has.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        outcome = probe(client, provoke=read.provoke_429, told=progress.row)
        progress.end()
    read.output.mkdir(parents=True, exist_ok=True)
    today = datetime.now(UTC).date()
    (read.output / _REPORT).write_text(report(outcome, of, today), encoding="utf-8")
    if read.record:
        (read.output / _CASSETTE).write_text(cassette(client.answers, today, token_bytes(32)), encoding="utf-8")
    print(f"==> {summary(outcome)}")
    if outcome.ended_early:
        print(f"==> It ended early: {outcome.ended_early}")
    print(f"==> The report: {read.output / _REPORT}")
    if read.record:
        print(f"==> The answers: {read.output / _CASSETTE}")
    return 1 if outcome.ended_early else 0


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.probe", description=__doc__)
    parser.add_argument("--config", type=Path, default=SECRETS, help="the workspace (default: secrets/config.json)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the report goes (default: output/)")
    parser.add_argument("--sandbox", action="store_true", help="probe the sandbox, whatever is in secrets/")
    parser.add_argument("--yes", action="store_true", help="begin without asking")
    parser.add_argument("--record", action="store_true", help="keep the answers too, scrubbed, to be replayed")
    parser.add_argument("--provoke-429", action="store_true", help=f"send {BURST} requests at once, to be answered 429")
    return parser.parse_args(arguments)


def _agreed(read: argparse.Namespace) -> bool:
    """Say what will be done, and ask."""
    print(_INTENT.format(requests=MOST_REQUESTS, report=read.output / _REPORT))
    if read.provoke_429:
        print(f"    And {BURST} requests at once, so that some are answered 429: others who use the token wait too.")
    if read.record:
        print(f"    {read.output / _CASSETTE} will hold the answers, each value replaced by another one of its form.")
    try:
        return input("    Begin? [y/N] ").strip().casefold() in {"y", "yes"}
    except EOFError:
        print("\n    No one answers here; YES=1 begins without asking.")
        return False


def _configured(path: Path) -> tuple[str, str]:
    """Return the address of the API and the token of a configuration, or end with a sentence."""
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        sys.exit(f"{path} can't be read as JSON.")
    token = config.get("api_token") if isinstance(config, dict) else None
    if not isinstance(token, str) or not token.strip():
        sys.exit(f"{path} has no api_token.")
    properties = load_manifest()["spec"]["connection_specification"]["properties"]
    api_url = str(config.get("api_url") or properties["api_url"]["default"]).rstrip("/")
    parts = urlsplit(api_url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        sys.exit("api_url isn't an https address; the token would be sent unencrypted.")
    return api_url, token.strip()


@contextlib.contextmanager
def _sandbox() -> Iterator[tuple[str, str]]:
    """Serve the sandbox, with the headers that the API is documented to send; yield its address and its token."""
    with Sandbox(Api(Workspace.generate(), requests_per_second=20, traits=Traits(dates=True))) as sandbox:
        yield sandbox.api_url, sandbox.token


class _Progress:
    """Shows on one line of a terminal how far the probe is; elsewhere, a line now and then."""

    def __init__(self, most: int) -> None:
        self._live = sys.stderr.isatty()
        self._most = most
        self._number = 0
        self._row = "beginning"

    def row(self, check: Check) -> None:
        """Name the row that is looked at."""
        self._row = check.row
        self._show()

    def requests(self, number: int) -> None:
        """Tell the number of requests."""
        self._number = number
        self._show()
        if not self._live and number % _STEP == 0:
            sys.stderr.write(f"    {number} requests\n")
            sys.stderr.flush()

    def _show(self) -> None:
        if self._live:
            sys.stderr.write(f"\r    {self._number} of at most {self._most} requests; {self._row} ")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._live:
            sys.stderr.write("\n")


if __name__ == "__main__":
    sys.exit(main())
