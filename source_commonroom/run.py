"""The command: ``source-commonroom spec | check | discover | read``."""

import argparse
import contextlib
import gc
import io
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import TypeVar

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.logger import PRINT_BUFFER
from airbyte_cdk.models import AirbyteLogMessage, AirbyteMessage, FailureType, Level, Type
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.files import UnreadableFileError
from source_commonroom.masking import mask_config, masked, masked_stderr, report_crash
from source_commonroom.output.entrypoint import PageEntrypoint
from source_commonroom.output.pages import Backlog
from source_commonroom.source import SourceCommonroom

T = TypeVar("T")

_UNREADABLE = (
    "The command line can't be read: a command or an option is missing, or is none of these. What was given isn't "
    "repeated here, because it may be a secret."
)
_STOPPED = 128 + signal.SIGTERM
# How long a reader of stdout that has stalled may hold up the end.
_LAST_SECONDS = 5


def run() -> None:
    """Run the command line of an Airbyte source; the console script ``source-commonroom`` and ``main.py`` call it.

    Every line on stdout is an Airbyte message. The exit code is 0; 1 if the command, or a stream, failed; 2 if the
    command line can't be read; and 143 if SIGTERM ended a read.
    """
    # First: to set the encoding writes what is buffered, which may fail.
    stderr = masked_stderr()
    _write_utf8()
    sys.stderr = stderr
    sys.excepthook = report_crash
    arguments = _arguments(sys.argv[1:])
    # Windows has no signals to block; there, a process is ended without a word.
    if arguments.command == "read" and hasattr(signal, "pthread_sigmask"):
        _end_at_sigterm()
    backlog = Backlog()
    try:
        _require_temporary_files()
        source = _make_source(arguments, backlog)
    except AirbyteTracedException as error:
        status = error.as_connection_status_message()
        if arguments.command != "check" or status is None:
            raise
        # To check, a configuration that can't work is an answer and no failure.
        print(AirbyteEntrypoint.airbyte_message_to_string(masked(status)))  # noqa: T201
        return
    # What has been imported lives as long as the process; to look for garbage in it, page after page, takes some 3 % of
    # the CPU of a read.
    gc.freeze()
    # The buffer takes stderr as well, and would put its lines among the messages.
    with PRINT_BUFFER, contextlib.redirect_stderr(stderr):
        for message in PageEntrypoint(source, backlog).run(arguments):
            # One call with the line's end, because worker threads print too.
            print(f"{message}\n", end="")  # noqa: T201


def _write_utf8() -> None:
    """Write in UTF-8, whatever the locale says: that is the encoding of JSON, and of Airbyte."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _require_temporary_files() -> None:
    """Refuse to go on without a directory for temporary files: the CDK needs one.

    :raises AirbyteTracedException: (config_error) if there is none
    """
    try:
        tempfile.gettempdir()
    except OSError:
        raise AirbyteTracedException(
            message="No directory for temporary files can be written to. On a read-only file system, mount one at "
            "/tmp, or name one in the environment variable TMPDIR.",
            internal_message="tempfile found no usable directory",
            failure_type=FailureType.config_error,
        ) from None


def _arguments(words: list[str]) -> argparse.Namespace:
    """Return the parsed command line; the error of a wrong one doesn't quote it, because any word may be a token."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return AirbyteEntrypoint.parse_args(words)
    except SystemExit as ended:
        if ended.code:
            # argparse names the program before its reason, which quotes words and parts of words.
            usage = complaint.getvalue().partition(": error: ")[0].rpartition("\n")[0]
            sys.stderr.write(f"{usage}\n{_UNREADABLE}\n")
        raise


def _make_source(arguments: argparse.Namespace, backlog: Backlog) -> SourceCommonroom:
    config = _read(arguments, "config", SourceCommonroom.read_config, "Is it a JSON object?")
    mask_config(config or {})
    return SourceCommonroom(
        backlog=backlog if arguments.command == "read" else None,
        config=config,
        catalog=_read(
            arguments, "catalog", SourceCommonroom.read_catalog, "Is it a configured catalog, not discover's?"
        ),
        state=_read(
            arguments,
            "state",
            SourceCommonroom.read_state,
            "Is it a list of Airbyte state messages? To read everything anew, clear the state.",
        ),
    )


def _read(arguments: argparse.Namespace, what: str, reader: Callable[[str], T], likely: str) -> T | None:
    """Return the file that ``--config``, ``--catalog`` or ``--state`` names, read; None if it isn't given.

    :raises AirbyteTracedException: (config_error) if it can't be read; with no word of its content, which may hold
        the token
    """
    path = getattr(arguments, what, None)
    if not path:
        return None
    try:
        return reader(path)
    except UnreadableFileError as error:
        raise AirbyteTracedException(
            message=f"The {what} can't be read. {error}",
            internal_message=f"--{what} could not be read",
            failure_type=FailureType.config_error,
        ) from None
    except Exception as error:  # noqa: BLE001  # whatever the reader met; its text may quote the file
        raise AirbyteTracedException(
            message=f"The {what} can't be read ({type(error).__name__}). {likely}",
            internal_message=f"--{what} could not be read: {type(error).__name__}",
            failure_type=FailureType.config_error,
        ) from None


def _end_at_sigterm() -> None:
    """End the process at SIGTERM with all that was emitted on stdout, also while every worker waits for minutes.

    A handler wouldn't do: Python runs it in the main thread, in the middle of a line perhaps. So the signal is blocked,
    in all threads that are started from here on and in all processes, and a thread waits for it.
    Pinned by integration_tests/test_signals.py.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_wait_for_the_end, name="sigterm", daemon=True).start()


def _wait_for_the_end() -> None:
    signal.sigwait({signal.SIGTERM})
    farewell = AirbyteMessage(
        type=Type.LOG,
        log=AirbyteLogMessage(
            level=Level.WARN,
            message="The sync was asked to stop (SIGTERM), and stops before its end. The next one goes on at the last "
            "state that stands above; streams without a state start again.",
        ),
    )
    line = f"{AirbyteEntrypoint.airbyte_message_to_string(farewell)}\n"
    try:
        overdue = threading.Timer(_LAST_SECONDS, _end)
        overdue.daemon = True
        overdue.start()
        # Each writer to stdout holds the lock for whole lines, and none writes after this.
        with PRINT_BUFFER.lock:
            # Not by the logger: another thread may hold its lock and wait for this one.
            PRINT_BUFFER.write(line)
            PRINT_BUFFER.flush()
            _end()
    finally:
        _end()


def _end() -> None:
    """End by the signal: that is exit code 143 to a shell, and to PyAirbyte the end that it asked for."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.raise_signal(signal.SIGTERM)
    # The first process of a container isn't ended by it, nor is one whose parent ignored it.
    os._exit(_STOPPED)
