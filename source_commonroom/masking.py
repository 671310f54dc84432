"""Secrets: nothing that the command prints contains the token or the salt, whatever wrote the text.

airbyte-cdk masks its logs and some of its messages. It doesn't mask the internal message and the stack trace of an
error of a stream, nor what is printed to stderr; it learns of the secrets late; and it knows them only as they were
entered, and not as an exception's text may quote them. Pinned by unit_tests/test_masking.py and
integration_tests/test_secrets.py.
"""

import contextlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast
from urllib.parse import quote, quote_plus

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.exception_handler import assemble_uncaught_exception
from airbyte_cdk.models import AirbyteMessage
from airbyte_cdk.utils.airbyte_secrets_utils import filter_secrets, update_secrets

logger = logging.getLogger("airbyte")

# The paths to what the spec calls airbyte_secret.
SECRETS: tuple[tuple[str, ...], ...] = (("api_token",), ("pii", "salt"))
# No option: configurations that have it are refused, and it is a secret all the same.
_SALT_BESIDE_PII = ("pii_salt",)


def mask_config(config: Mapping[str, Any]) -> None:
    """Let nothing that is printed from now on hold a secret of a configuration, valid or not."""
    values = (_at(config, path) for path in (*SECRETS, _SALT_BESIDE_PII))
    mask(value for value in values if isinstance(value, str))


def _at(config: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def mask(secrets: Iterable[str]) -> None:
    """Print asterisks in the place of secrets from now on, in any form in which a text may quote them."""
    said = {trimmed for secret in secrets for trimmed in (secret, secret.strip()) if secret.strip()}
    forms = {form for secret in said for form in _forms(secret)}
    # A longer one first: it may hold a shorter one.
    update_secrets(sorted(forms, key=len, reverse=True))


def _forms(secret: str) -> set[str]:
    """Return a secret as it is and as texts quote it, once and twice: a log may hold the JSON of a ``repr``."""
    once = {secret, *_quoted(secret)}
    return once | {twice for form in once for twice in _quoted(form)}


def _quoted(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    # As a part of a text that holds both kinds of quotation marks, one of which is escaped then.
    yield repr(f"{text}'\"")[1:-4]
    encoded = text.encode("utf-8", "surrogatepass")
    yield repr(encoded)[2:-1]
    yield quote(encoded)
    yield quote(encoded, safe="")
    yield quote_plus(encoded)


def masked(message: AirbyteMessage) -> AirbyteMessage:
    """Return a message, its texts for people masked; data stays as it is.

    The texts, and not the line that they become: a secret may be a part of what makes the line a message.
    """
    texts: tuple[tuple[Any, tuple[str, ...]], ...] = (
        (message.log, ("message", "stack_trace")),
        (message.trace and message.trace.error, ("message", "internal_message", "stack_trace")),
        (message.connectionStatus, ("message",)),
    )
    for part, names in texts:
        for name in names if part else ():
            if text := getattr(part, name):
                setattr(part, name, filter_secrets(text))
    return message


class MaskedStderr:
    """Stderr, masked: what argparse, warnings, crashing threads, and the logging module itself print."""

    def __init__(self, stderr: TextIO) -> None:
        self._stderr = stderr

    def write(self, text: str) -> int:
        """Write a text, masked; nothing if stderr is closed: that is no reason for a command to fail."""
        try:
            self._stderr.write(filter_secrets(text))
        except (OSError, ValueError):
            _discard(self._stderr)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered. Python does so at its end as well, and would exit with 120 if it fails."""
        try:
            self._stderr.flush()
        except (OSError, ValueError):
            _discard(self._stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stderr, name)


def _discard(stream: TextIO) -> None:
    """Let what is buffered go nowhere if a stream is closed: Python writes it at its end, and exits with 120 then."""
    with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def masked_stderr() -> TextIO:
    """Return :class:`MaskedStderr` of the stderr that there is, or of none: then Python has set it to None."""
    stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # open to the end, as stderr is
    instead = cast("TextIO", MaskedStderr(stderr))
    # Something may have been written to it already, such as a warning of an import.
    instead.flush()
    return instead


def report_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an uncaught exception as a line of the log and an error trace; a ``sys.excepthook``.

    Why not the CDK's: it masks the line of JSON.
    """
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write(filter_secrets("".join(traceback.format_exception(kind, error, trace))))
        return
    logger.critical(error, exc_info=error)
    message = assemble_uncaught_exception(kind, error).as_sanitized_airbyte_message()
    try:
        sys.stdout.write(f"{AirbyteEntrypoint.airbyte_message_to_string(message)}\n")
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)
