"""PostgreSQL for the tests of warehouses."""

import os
import secrets
from collections.abc import Iterator

import pytest

from integration_tests.pipeline.databases import Database


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> str:
    """Return the address of a server of PostgreSQL: the one of the environment, or one that runs for the tests."""
    if address := os.environ.get("TEST_POSTGRES_URL"):
        return address
    return f"postgresql:///postgres?user=postgres&host={request.getfixturevalue('postgres')}"


@pytest.fixture
def database(server: str) -> Iterator[Database]:
    """Make an empty database."""
    template, made = Database(server, "postgres"), Database(server, f"commonroom_{secrets.token_hex(4)}")
    template.execute(f"CREATE DATABASE {made.name}")
    yield made
    template.execute(f"DROP DATABASE {made.name} WITH (FORCE)")
