"""Warehouses of the tests: databases of PostgreSQL, and what is in a warehouse."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from integration_tests.fork_server import Interpreter
from integration_tests.pyairbyte import psql, run_program

HELD = Path(__file__).with_name("held.py")
Held = dict[str, dict[str, Any]]
"""Of each table its `types`, by column, and its `rows`, as text."""


@dataclass
class Database:
    """A database of PostgreSQL."""

    server: str
    name: str

    @property
    def address(self) -> str:
        """Return its address."""
        return re.sub(r"^(\w+://[^/]*/)[^?]*", rf"\g<1>{self.name}", self.server)

    def execute(self, sql: str) -> str:
        """Run SQL, and return what psql prints."""
        return psql(self.address, sql)


def held_in(address: str, interpreter: Interpreter, **environment: str) -> Held:
    """Return what a DuckDB file, or a database, holds."""
    ended = run_program([str(HELD), address], interpreter, environment)
    assert ended.returncode == 0, ended.stderr.decode()
    found: Held = json.loads(ended.stdout)
    return found
