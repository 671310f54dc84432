"""Files: what ``--config``, ``--catalog`` and ``--state`` name, read as JSON."""

import codecs
import json
import stat
from functools import cache
from pathlib import Path
from typing import Any

# The longer ones first: the mark of UTF-32 begins as that of UTF-16 does.
_OTHERS = (
    ("UTF-32", codecs.BOM_UTF32_LE),
    ("UTF-32", codecs.BOM_UTF32_BE),
    ("UTF-16", codecs.BOM_UTF16_LE),
    ("UTF-16", codecs.BOM_UTF16_BE),
)


class UnreadableFileError(ValueError):
    """A file that can't be read as JSON. The text says why, in a sentence without a word of its content."""


def read_json(path: str) -> Any:
    """Return the content of a file of JSON in UTF-8, with or without a byte order mark, whatever the locale.

    Why not the CDK's: it reads in the encoding of the locale, and fails at a byte order mark.

    :raises UnreadableFileError: if it can't be read, or isn't JSON in UTF-8
    """
    try:
        # A pipe, as ``--config <(…)`` makes one, is read once, and the CDK asks twice.
        content = Path(path).read_bytes() if stat.S_ISREG(Path(path).stat().st_mode) else _read_once(path)
    except OSError as error:
        raise UnreadableFileError(f"It can't be opened: {error.strerror or type(error).__name__}.") from None
    if not content.strip():
        raise UnreadableFileError("It is empty.")
    for name, mark in _OTHERS:
        if content.startswith(mark):
            raise UnreadableFileError(f"Its encoding is {name}. Save it in UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableFileError("Its encoding isn't UTF-8. Save it in UTF-8.") from None
    if "\0" in text:
        raise UnreadableFileError("Its encoding seems to be UTF-16. Save it in UTF-8.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableFileError(f"It isn't JSON (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise UnreadableFileError("It is nested too deeply.") from None


@cache
def _read_once(path: str) -> bytes:
    return Path(path).read_bytes()
