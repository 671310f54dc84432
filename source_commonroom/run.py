"""The command: ``source-commonroom spec | check | discover | read``."""

import argparse
import logging
import sys
from collections.abc import Callable
from typing import TypeVar

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.exception_handler import init_uncaught_exception_handler
from airbyte_cdk.logger import PRINT_BUFFER
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.output import Backlog, PageEntrypoint
from source_commonroom.source import SourceCommonroom

T = TypeVar("T")


def run() -> None:
    """Run the command line of an Airbyte source; the console script ``source-commonroom`` and ``main.py`` call it.

    Every line on stdout is an Airbyte message. The exit code is 0, or 1 where the command, or a stream, failed.
    """
    init_uncaught_exception_handler(logging.getLogger("airbyte"))
    arguments = AirbyteEntrypoint.parse_args(sys.argv[1:])
    backlog = Backlog()
    try:
        source = _make_source(arguments, backlog)
    except AirbyteTracedException as error:
        status = error.as_connection_status_message()
        if arguments.command != "check" or status is None:
            raise
        # To check, a configuration that can't work is an answer and no failure.
        print(AirbyteEntrypoint.airbyte_message_to_string(status))  # noqa: T201
        return
    with PRINT_BUFFER:
        for message in PageEntrypoint(source, backlog).run(arguments):
            # One call with the line's end, because worker threads print too.
            print(f"{message}\n", end="")  # noqa: T201


def _make_source(arguments: argparse.Namespace, backlog: Backlog) -> SourceCommonroom:
    return SourceCommonroom(
        backlog=backlog if arguments.command == "read" else None,
        config=_read(arguments, "config", SourceCommonroom.read_config, "Is it a JSON object?"),
        catalog=_read(
            arguments, "catalog", SourceCommonroom.read_catalog, "Is it a configured catalog, not discover's?"
        ),
        state=_read(arguments, "state", SourceCommonroom.read_state, "Is it a list of Airbyte state messages?"),
    )


def _read(arguments: argparse.Namespace, what: str, reader: Callable[[str], T], likely: str) -> T | None:
    """Return the file that ``--config``, ``--catalog`` or ``--state`` names, read; None where it isn't given.

    :raises AirbyteTracedException: (config_error) where it can't be read; with no word of its content, which may hold
        the token
    """
    path = getattr(arguments, what, None)
    if not path:
        return None
    try:
        return reader(path)
    except Exception as error:  # noqa: BLE001  # whatever the reader met; its text may quote the file
        raise AirbyteTracedException(
            message=f"The {what} can't be read ({type(error).__name__}). {likely}",
            internal_message=f"--{what} could not be read: {type(error).__name__}",
            failure_type=FailureType.config_error,
        ) from None
