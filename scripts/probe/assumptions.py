"""The assumptions: the table of CONTRIBUTING.md, read as it stands there, so that no text of it stands twice."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import shorten

ROOT = Path(__file__).resolve().parent.parent.parent
_PAGE = ROOT / "CONTRIBUTING.md"
_SECTION = "\n## What we assume of the API\n"
_CELLS = re.compile(r" *(?<!\\)\| *")
_ID = re.compile(r"A\d+")
_TITLE = 60


@dataclass(frozen=True)
class Assumption:
    """A row of the table."""

    row: str
    claim: str
    left_open: str
    if_wrong: str


def title(row: str) -> str:
    """Tell in a few words what a row assumes."""
    return shorten(assumptions()[row].claim.replace("`", ""), _TITLE, placeholder=" …")


@cache
def assumptions() -> dict[str, Assumption]:
    """Return the rows of the table by their ids, in its order."""
    section = _PAGE.read_text(encoding="utf-8").partition(_SECTION)[2].partition("\n## ")[0]
    lines = [_CELLS.split(line)[1:-1] for line in section.splitlines() if line.startswith("| ")]
    return {cells[0]: Assumption(*cells) for cells in lines if _ID.fullmatch(cells[0])}
