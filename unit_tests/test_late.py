"""A source that is made bare, and gets configuration, catalog and state with each call, as by airbyte-cdk's own CLI."""

import logging
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests_mock
from airbyte_cdk.models import AirbyteMessage, AirbyteStateMessage, FailureType, Status
from airbyte_cdk.test import entrypoint_wrapper
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.sandbox import Api, mount
from source_commonroom import SourceCommonroom
from unit_tests.conftest import API_URL
from unit_tests.streams import catalog

if TYPE_CHECKING:
    from collections.abc import Generator

LOGGER = logging.getLogger("airbyte")


def test_given_no_configuration_when_anything_is_asked_for_then_no_request_is_made(
    network: requests_mock.Mocker,
) -> None:
    source = SourceCommonroom()

    for ask in (
        lambda: source.check(LOGGER, {}),
        lambda: source.check(LOGGER, None),  # type: ignore[arg-type]
        lambda: source.discover(LOGGER, {}),
        lambda: source.streams({}),
        lambda: list(source.read(LOGGER, {}, catalog("tags"))),
    ):
        with pytest.raises(AirbyteTracedException) as raised:
            ask()
        assert raised.value.failure_type == FailureType.config_error
        assert "api_token" in str(raised.value.message)

    assert source.spec(LOGGER).connectionSpecification["required"] == ["api_token"]
    assert network.request_history == []


@pytest.mark.parametrize("config", [[], [1], "token", 7], ids=str)
def test_given_a_configuration_that_is_no_object_when_asked_for_then_it_is_refused(config: Any) -> None:
    for ask in (lambda: SourceCommonroom(config=config), lambda: SourceCommonroom().check(LOGGER, config)):
        with pytest.raises(AirbyteTracedException) as raised:
            ask()
        assert raised.value.failure_type == FailureType.config_error
        assert raised.value.message == "The configuration isn't valid. It must be a JSON object."


def test_given_a_configuration_that_comes_late_when_asked_for_then_it_counts(api: Api, config: dict[str, Any]) -> None:
    source = SourceCommonroom()

    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        status = source.check(LOGGER, config)
        config["custom_field_columns"] = "none"
        found = source.discover(LOGGER, config)
        records = [message.record for message in source.read(LOGGER, config, catalog("tags")) if message.record]

    assert status.status == Status.SUCCEEDED
    (contacts,) = (stream for stream in found.streams if stream.name == "contacts")
    assert not [name for name in contacts.json_schema["properties"] if name.startswith("custom_")]
    assert [record.data["id"] for record in records] == [row["id"] for row in api.workspace.records("tags")]


def test_given_a_configuration_that_comes_late_and_is_not_valid_when_read_then_it_is_refused(
    config: dict[str, Any], network: requests_mock.Mocker
) -> None:
    with pytest.raises(AirbyteTracedException) as raised:
        list(SourceCommonroom().read(LOGGER, {**config, "num_workers": 1}, catalog("tags")))

    assert raised.value.failure_type == FailureType.config_error
    assert "num_workers is too small" in str(raised.value.message)
    assert network.request_history == []


def test_given_a_state_that_comes_late_when_read_then_it_counts(api: Api, config: dict[str, Any]) -> None:
    config = {**config, "lookback_window_days": 0}

    def activities(state: list[AirbyteStateMessage]) -> tuple[int, list[AirbyteStateMessage]]:
        messages = list(SourceCommonroom().read(LOGGER, config, catalog("activities"), state))
        states = [message.state for message in messages if message.state]
        return sum(message.record is not None for message in messages), states[-1:]

    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        first, state = activities([])
        second, _ = activities(state)

    assert first == len(api.workspace.records("activities"))
    assert second == 0


def test_given_one_source_and_two_configurations_when_run_by_the_entrypoint_then_each_run_has_its_own(
    api: Api, config: dict[str, Any]
) -> None:
    source, other = SourceCommonroom(), {**config, "api_url": "https://other.example/community"}
    asked = []
    for each, url in ((config, API_URL), (other, other["api_url"])):
        with requests_mock.Mocker() as mocker:
            mount(mocker, api, url)
            output = entrypoint_wrapper.read(source, each, catalog("tags"))
            asked.append({request.hostname for request in mocker.request_history})
        assert len(output.records) == len(api.workspace.records("tags"))

    assert asked == [{"api.commonroom.io"}, {"other.example"}]


def test_given_a_state_when_the_streams_are_asked_for_then_they_have_it(api: Api, config: dict[str, Any]) -> None:
    config = {**config, "lookback_window_days": 0}
    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        messages = list(SourceCommonroom().read(LOGGER, config, catalog("activities")))
        states = [message.state for message in messages if message.state]
        (stream,) = (
            stream for stream in SourceCommonroom(state=states[-1:]).streams(config) if stream.name == "activities"
        )
        assert list(stream.generate_partitions()) == []


def test_given_a_read_that_is_left_early_when_its_queue_is_full_then_its_threads_end(
    api: Api, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else Python would wait for them at its own end, for ever."""
    monkeypatch.setattr("source_commonroom.source._MOST_QUEUED", 20)

    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        read = SourceCommonroom().read(LOGGER, config, catalog("contacts", "organizations"))
        messages = cast("Generator[AirbyteMessage]", read)
        next(message for message in messages if message.record)
        workers = [thread for thread in threading.enumerate() if thread.name.startswith("workerpool")]
        messages.close()
        for thread in workers:
            thread.join(20)

    assert workers
    assert not [thread for thread in workers if thread.is_alive()]
