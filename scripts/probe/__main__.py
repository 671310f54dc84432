"""Test on a workspace what we assume of Common Room's API, and write a report that holds no value of it.

The workspace is that of ``secrets/config.json``, or if there is none the sandbox's. It only reads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from integration_tests.sandbox import Api, Sandbox, Traits, Workspace
from scripts.probe.answers import LOOPBACK, MOST_REPEATS, MOST_REQUESTS, Client
from scripts.probe.assumptions import ROOT, title
from scripts.probe.cassette import cassette
from scripts.probe.checks.answers import BURST
from scripts.probe.report import report, summary
from scripts.probe.run import probe
from source_commonroom.table import load_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from scripts.probe.checks import Check
    from scripts.probe.run import Outcome

OUTPUT = ROOT / "output"
SECRETS = ROOT / "secrets" / "config.json"
_TOKEN = re.compile(r"[\x21-\x7e]+")
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_REPORT, _CASSETTE = "probe.md", "probe-cassette.json"
_INTENT = """\
    At most {requests} requests, at most 5 a second, over one to five minutes. {repeats} of them are kept for asking
    again: what failed, and what would break a row.
    At its end it waits until a cursor is a minute old.
    All of them read (GET). One sends a made-up token, to see how that is refused.
    {report} will hold counts, types, lengths, forms such as c_<4 digits>, statuses, and the names that
    the API gives to fields and headers. No name, address, text, id, or token."""
_STEP = 20
"""Without a terminal, progress is told after so many requests."""


def main(arguments: list[str] | None = None) -> int:
    """Run the probe; return 0 if it reached its end, whatever the verdicts."""
    try:
        return _main(_arguments(arguments))
    except KeyboardInterrupt:
        _say("\n==> Stopped by hand.")
    except Exception as error:  # noqa: BLE001  # its text may quote the token, or a value
        place = traceback.extract_tb(error.__traceback__)[-1]
        _say(
            f"==> It failed: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}. Please report that."
        )
    return 1


def _main(read: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        if _is_there(read.config) and not read.sandbox:
            of, (api_url, token) = "a workspace", _configured(read.config)
            _say(f"==> Probing the workspace of {read.config}")
        elif read.config == SECRETS or read.sandbox:
            of, (api_url, token) = "the sandbox", stack.enter_context(_sandbox())
            _say("==> Probing the sandbox; secrets/config.json would be a real workspace")
        else:
            sys.exit(f"{read.config} doesn't exist.")
        _make_room(read.output)
        if not read.yes and not _agreed(read):
            _say("Nothing was asked.")
            return 1
        progress = _Progress(MOST_REQUESTS + BURST if read.provoke_429 else MOST_REQUESTS)
        client = Client(api_url, token, told=progress.requests, waits=progress.waits)
        # Written before the sandbox is closed, which takes a moment that a second Ctrl-C would cut short.
        with _stoppable() as go_on:
            outcome = probe(client, provoke=read.provoke_429, told=progress.row)
            go_on()
            progress.end()
            _write(outcome, of, read)
        return 1 if outcome.ended_early else 0


def _write(outcome: Outcome, of: str, read: argparse.Namespace) -> None:
    """Write the files, and say what is in them."""
    today = datetime.now(UTC).date()
    # One of a former run would be taken for this one's.
    text = report(outcome, of, today)
    where = f"==> The report: {read.output / _REPORT}"
    try:
        (read.output / _CASSETTE).unlink(missing_ok=True)
        (read.output / _REPORT).write_text(text, encoding="utf-8")
    except OSError as error:
        _say(text)
        where = f"==> The report stands above; {read.output / _REPORT} can't be written: {error.strerror}."
    kept = ""
    if read.record:
        try:
            recorded = cassette(outcome.survey.client.answers, today, token_bytes(32))
            (read.output / _CASSETTE).write_text(recorded, encoding="utf-8")
            kept = f"==> The answers: {read.output / _CASSETTE}"
        except Exception as error:  # noqa: BLE001  # an answer that no one foresaw; and what it says may quote one
            with contextlib.suppress(OSError):
                (read.output / _CASSETTE).unlink(missing_ok=True)
            kept = f"==> The answers can't be kept: {type(error).__name__}. The report doesn't need them."
    _say(f"==> {summary(outcome)}")
    if outcome.ended_early:
        _say(f"==> It ended early: {outcome.ended_early}")
    _say(where)
    if kept:
        _say(kept)


def _make_room(folder: Path) -> None:
    """Make the folder that the report goes to, or end with a sentence: not when all was asked already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        sys.exit(f"{folder} can't be written: {error.strerror}.")


@contextlib.contextmanager
def _stoppable() -> Iterator[Callable[[], None]]:
    """Let the first signal stop the run, which then writes what it has; those that follow don't stop that.

    Yields what to call as soon as the run is over, so that no signal stops the writing.
    """
    before = {each: signal.getsignal(each) for each in _SIGNALS}

    def go_on() -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)

    def stop(_: int, __: FrameType | None) -> None:
        go_on()
        raise KeyboardInterrupt

    try:
        for each in _SIGNALS:
            signal.signal(each, stop)
        yield go_on
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _say(text: str) -> None:
    """Print a line, unless no one is there any more to read it."""
    try:
        try:
            print(text, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "backslashreplace").decode(), flush=True)
    except OSError:
        # Else the end of Python fails of what is still to be flushed.
        with contextlib.suppress(OSError), Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


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
    _say(_INTENT.format(requests=MOST_REQUESTS, repeats=MOST_REPEATS, report=read.output / _REPORT))
    if read.provoke_429:
        _say(f"    And {BURST} requests at once, so that some are answered 429: others who use the token wait too.")
    if read.record:
        _say(f"    {read.output / _CASSETTE} will hold the answers, each value replaced by another one of its form.")
    try:
        return input("    Begin? [y/N] ").strip().casefold() in {"y", "yes"}
    except KeyboardInterrupt:
        _say("")
        return False
    except EOFError:
        _say("\n    No one answers here; YES=1 begins without asking.")
        return False


def _is_there(path: Path) -> bool:
    """Tell whether there is a file, even if it can't be read."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _configured(path: Path) -> tuple[str, str]:
    """Return the address of the API and the token of a configuration, or end with a sentence."""
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        sys.exit(f"{path} can't be read as JSON.")
    token = config.get("api_token") if isinstance(config, dict) else None
    if not isinstance(token, str) or not token.strip():
        sys.exit(f"{path} has no api_token.")
    if not _TOKEN.fullmatch(token.strip()):
        sys.exit(
            f"The api_token of {path} has a space, a line break, or a letter that no token has. Copy it once more."
        )
    properties = load_manifest()["spec"]["connection_specification"]["properties"]
    api_url = str(config.get("api_url") or properties["api_url"]["default"]).strip().rstrip("/")
    try:
        parts = urlsplit(api_url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or not _TOKEN.fullmatch(api_url):
        sys.exit(f"api_url of {path} is no address.")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
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
        self._row = f"{check.row} {title(check.row)}"
        self._show()

    def requests(self, number: int) -> None:
        """Tell the number of requests."""
        self._number = number
        self._show()
        if not self._live and number % _STEP == 0:
            _tell(f"    {number} requests\n")

    def waits(self, seconds: float) -> None:
        """Tell that it waits, as a 429 asks for."""
        if self._live:
            _tell(f"\r    {self._number} of at most {self._most} requests; waiting {seconds:.0f} s, after a 429\x1b[K")
        else:
            _tell(f"    waiting {seconds:.0f} s, after a 429\n")

    def _show(self) -> None:
        if self._live:
            line = f"    {self._number} of at most {self._most} requests; {self._row}"
            # The end of a longer line is wiped, and none is longer than the terminal is wide.
            _tell(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K")

    def end(self) -> None:
        """Leave the line."""
        if self._live:
            _tell("\n")


def _tell(text: str) -> None:
    """Write to the terminal, unless it was closed meanwhile."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
