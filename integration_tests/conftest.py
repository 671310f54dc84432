"""Over HTTP: the connector as a process against the sandbox as a server."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStateMessage

from integration_tests.chaos import hurried
from integration_tests.chaos.figures import Figures, describe
from integration_tests.connector import MAIN, run
from integration_tests.fork_server import Interpreter
from integration_tests.pyairbyte import forking_connector, interpreter, running_postgres
from integration_tests.sandbox import Api, Sandbox, Workspace
from unit_tests.output import Output
from unit_tests.streams import catalog

PROGRAM = (sys.executable, str(MAIN))
HURRIED = (sys.executable, str(Path(hurried.__file__)), "wait")
"""The connector in a hurry: ten minutes of patience are six seconds."""
# Without it, what is written is buffered, as it is for users.
os.environ.pop("PYTHONUNBUFFERED", None)

Serve = Callable[..., Sandbox]
RunCommand = Callable[..., Output]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what the CDK's standard suite would skip: of the invalid configuration it runs ``check`` alone."""
    skipped = [item for item in items if "'invalid_config'" in item.name and "test_check[" not in item.name]
    if skipped:
        config.hook.pytest_deselected(items=skipped)
        items[:] = [item for item in items if item not in skipped]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Add up the figures that tests have recorded, and print them at the end."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    figures = Figures()
    for report in reports:
        figures.update(dict(report.user_properties).get("figures", {}))
    if figures:
        terminalreporter.section("figures")
        for line in describe(figures):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def generated() -> Workspace:
    """A workspace that looks real; don't change it."""
    return Workspace.generate()


@pytest.fixture
def serve(generated: Workspace) -> Iterator[Serve]:
    """Serve an API, or one of the generated workspace, until the test is over."""
    with ExitStack() as stack:

        def enter(api: Api | None = None, **options: Any) -> Sandbox:
            return stack.enter_context(Sandbox(api or Api(generated), **options))

        yield enter


@pytest.fixture(scope="session")
def connector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make an executable that is the connector, forked."""
    with forking_connector(tmp_path_factory.mktemp("connector")) as executable:
        yield executable


@pytest.fixture(scope="session")
def pyairbyte(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    """Tell what has imported PyAirbyte."""
    return interpreter(tmp_path_factory.mktemp("pyairbyte"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Run PostgreSQL, and tell the folder of its socket."""
    with running_postgres() as folder:
        yield folder


@pytest.fixture
def command(tmp_path: Path) -> RunCommand:
    """Run a command against a sandbox; the token may stand nowhere in the output.

    With `afresh`, an interpreter is started for it, see `fork_server.py`, and the configuration is as short as can be.
    """

    def run_command(
        name: str,
        sandbox: Sandbox,
        *streams: str,
        state: list[AirbyteStateMessage] | None = None,
        program: Sequence[str] = PROGRAM,
        afresh: bool = False,
        **more: Any,
    ) -> Output:
        config = {"api_token": sandbox.token, "api_url": sandbox.api_url, **more}
        if not afresh:
            # The sandbox limits nothing, unless it is told to.
            config.setdefault("requests_per_second", 1000)
        result = run(
            tmp_path,
            name,
            config=None if name == "spec" else config,
            catalog=catalog(*streams) if name == "read" else None,
            state=state,
            program=program,
            afresh=afresh,
        )
        assert str(config["api_token"]) not in result.text
        return result

    return run_command
