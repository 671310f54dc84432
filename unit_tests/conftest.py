"""In process: the connector and the sandbox in one process, under requests-mock, with a clock that stands still."""

import gc
import io
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import freezegun
import pytest
import requests_mock
from airbyte_cdk.exception_handler import assemble_uncaught_exception
from airbyte_cdk.logger import PRINT_BUFFER
from airbyte_cdk.models import (
    AirbyteStateMessage,
    AirbyteStateMessageSerializer,
    AirbyteStream,
    ConfiguredAirbyteCatalog,
)
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory
from hypothesis import HealthCheck, settings

from integration_tests.sandbox import DEFAULT_TOKEN, Api, Workspace, mount
from source_commonroom import SourceCommonroom
from source_commonroom.api.rate_limit import forget_budgets
from source_commonroom.output.entrypoint import PageEntrypoint
from source_commonroom.output.pages import Backlog
from source_commonroom.table import rows
from unit_tests.output import Output, read_message
from unit_tests.streams import catalog

API_URL = "https://api.commonroom.io/community"
NOW = "2026-07-01T00:00:00Z"  # half a day after the sandbox's last activity

# The same examples each time, as long as the same modules are loaded, and none fails for being slow: the machine may
# be busy. `--hypothesis-profile=search` draws others, and more of them.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    print_blob=True,
    # The clock that every test stops has no state that an example could change.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("search", settings.get_profile("repeatable"), derandomize=False, max_examples=5_000)
settings.load_profile("repeatable")

# pytest's own clock goes on, so that `--durations` tells the truth.
freezegun.configure(extend_ignore_list=["_pytest.timing"])

SCHEMAS = Path(__file__).parent.parent / "source_commonroom/schemas"

Read = Callable[..., Output]
Discover = Callable[..., dict[str, AirbyteStream]]


def pytest_configure() -> None:
    """Run nothing if no stream could be discovered, because one has no schema, or isn't understood.

    Hundreds of tests would fail of it, each in its way.
    """
    try:
        names = list(rows())
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    if missing := [name for name in names if not (SCHEMAS / f"{name}.json").is_file()]:
        raise pytest.UsageError(f"in manifest.yaml, not in source_commonroom/schemas: {', '.join(missing)}")


def read_in_process(
    config: dict[str, Any], configured: ConfiguredAirbyteCatalog, state: list[AirbyteStateMessage] | None = None
) -> Output:
    """Read as the command does, a page at a time, with whatever answers the requests of this process."""
    backlog = Backlog()
    source = SourceCommonroom(catalog=configured, config=config, state=state, backlog=backlog)
    given = [AirbyteStateMessageSerializer.load(AirbyteStateMessageSerializer.dump(each)) for each in state or []]
    with _stdout_of_its_own() as stdout:
        try:
            entrypoint = PageEntrypoint(source, backlog)
            spec = source.spec(entrypoint.logger)
            for message in entrypoint.read(spec, source.configure(config, ""), configured, given):
                PRINT_BUFFER.write(f"{entrypoint.airbyte_message_to_string(message)}\n")
        except Exception as error:  # noqa: BLE001  # the last thing that the command says
            failure = assemble_uncaught_exception(type(error), error).as_airbyte_message()
            PRINT_BUFFER.write(f"{PageEntrypoint.airbyte_message_to_string(failure)}\n")
    messages = [read_message(line) for line in stdout.getvalue().splitlines()]
    failed = any(message.trace and message.trace.error for message in messages)
    return Output(exit_code=int(failed), messages=messages, text="")


@contextmanager
def _stdout_of_its_own() -> Iterator[io.BytesIO]:
    """Collect what a command writes, its log too, and undo what it leaves to its process."""
    PRINT_BUFFER.flush()
    written, logger = io.BytesIO(), logging.getLogger("airbyte")
    hook, filters, stdout = sys.excepthook, logger.filters[:], sys.__stdout__
    sys.__stdout__ = io.TextIOWrapper(written, encoding="utf-8", write_through=True)  # type: ignore[misc]
    try:
        yield written
        PRINT_BUFFER.flush()
    finally:
        sys.__stdout__.detach()
        sys.excepthook, logger.filters, sys.__stdout__ = hook, filters, stdout  # type: ignore[misc]


@pytest.fixture(scope="package", autouse=True)
def _no_search_for_garbage_in_modules() -> Iterator[None]:
    """Look for garbage in what tests make alone: to look through all that was imported takes 0.1 s each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="package", autouse=True)
def _stopped_clock() -> Iterator[FrozenDateTimeFactory]:
    """Stop the clock once for all tests of this folder: to stop it looks through all modules, and takes 10 ms."""
    with freeze_time(NOW) as frozen:
        assert isinstance(frozen, FrozenDateTimeFactory)
        yield frozen


@pytest.fixture(autouse=True)
def clock(_stopped_clock: FrozenDateTimeFactory) -> Iterator[FrozenDateTimeFactory]:
    """Set the clock, which stands still, to the time at which every test begins."""
    forget_budgets()
    _stopped_clock.move_to(NOW)
    yield _stopped_clock
    # A budget whose clock stood in another year would let the next real request of this process wait for it.
    forget_budgets()


@pytest.fixture(autouse=True)
def waits(clock: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the seconds that somebody wanted to sleep; the clock moves on by them at once."""
    seconds: list[float] = []

    def sleep(wanted: float) -> None:
        seconds.append(wanted)
        clock.tick(wanted)

    monkeypatch.setattr(time, "sleep", sleep)
    return seconds


@pytest.fixture(autouse=True)
def network() -> Iterator[requests_mock.Mocker]:
    """Let nothing leave the process.

    A sync that ends early leaves threads behind. One that asks for a page after its test ends at once, rather than
    try again while the next test looks at its waits.
    """
    with requests_mock.Mocker() as mocker:
        mocker.add_matcher(_refuse)
        yield mocker


def _refuse(request: Any) -> None:
    raise RuntimeError(f"nothing answers in this test: {request.url}")


@pytest.fixture(scope="session")
def generated() -> Workspace:
    """A small workspace that looks real; don't change it."""
    return Workspace.generate(contacts=430, organizations=210, activities=900)


@pytest.fixture
def api(generated: Workspace) -> Api:
    return Api(generated)


@pytest.fixture
def config() -> dict[str, Any]:
    # More than a frozen second could take.
    return {"api_token": DEFAULT_TOKEN, "requests_per_second": 1000}


@pytest.fixture
def read(config: dict[str, Any]) -> Read:
    """Read streams of an API in process: ``read(api, "contacts", state=…, **more_configuration)``."""

    def read_streams(
        api: Api,
        *streams: str,
        state: list[AirbyteStateMessage] | None = None,
        configured: ConfiguredAirbyteCatalog | None = None,
        **more: Any,
    ) -> Output:
        complete = {**config, **more}
        configured = configured or catalog(*streams)
        with requests_mock.Mocker() as mocker:
            mount(mocker, api, API_URL)
            return read_in_process(complete, configured, state)

    return read_streams


@pytest.fixture
def discover(config: dict[str, Any]) -> Discover:
    """Discover the streams of an API in process, by name: ``discover(api, **more_configuration)``."""

    def discover_streams(api: Api, **more: Any) -> dict[str, AirbyteStream]:
        complete = {**config, **more}
        with requests_mock.Mocker() as mocker:
            mount(mocker, api, API_URL)
            found = SourceCommonroom(config=complete).discover(logging.getLogger("airbyte"), complete)
        return {stream.name: stream for stream in found.streams}

    return discover_streams
