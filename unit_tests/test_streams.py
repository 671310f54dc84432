"""What every stream asks for and brings, by the rows of streams.py."""

import logging
from typing import Any

import pytest
import requests_mock
from airbyte_cdk.models import AirbyteStreamStatus
from jsonschema import Draft7Validator

from integration_tests.sandbox import Api, mount
from source_commonroom import SourceCommonroom
from unit_tests.conftest import API_URL, Read, read_in_process
from unit_tests.streams import STREAMS, Stream, by_key, catalog, complete

ALL_STREAMS = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)


@ALL_STREAMS
def test_given_a_workspace_when_read_then_each_record_comes_once_with_every_field(
    stream: Stream, api: Api, read: Read
) -> None:
    output = read(api, stream.name)

    records = output.records(stream.name)
    assert by_key(stream, records) == complete(stream, api.workspace)
    assert output.status(stream.name) == AirbyteStreamStatus.COMPLETE
    assert output.exit_code == 0


def test_given_a_caller_in_process_when_all_is_read_then_each_record_comes_alone_and_once(
    api: Api, config: dict[str, Any]
) -> None:
    came: dict[str, list[dict[str, Any]]] = {}

    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        for message in SourceCommonroom().read(logging.getLogger("airbyte"), config, catalog()):
            if message.record:
                came.setdefault(message.record.stream, []).append(message.record.data)

    assert came.keys() == {stream.name for stream in STREAMS}
    for stream in STREAMS:
        assert by_key(stream, came[stream.name]) == complete(stream, api.workspace), stream.name


@ALL_STREAMS
def test_when_read_then_it_asks_for_every_column_and_for_full_pages(stream: Stream, api: Api, read: Read) -> None:
    read(api, stream.name)

    requests = stream.requests(api)
    assert requests
    for request in requests:
        params: dict[str, Any] = dict(request.params)
        # A window of activities is planned by the recordCount of its first page.
        assert frozenset(params.pop("cols", "").split(",")) - {"", "recordCount"} == stream.columns
        assert params.pop("limit", None) == ("200" if stream.paged else None)
        params.pop("cursor", None)
        # What a walk builds on is asked for, not taken for the default.
        assert params.pop("sort", None) == stream.sorted_by
        assert (params.pop("direction", None) in ("asc", "desc")) == (stream.sorted_by is not None)
        if request.path == "/v2/objects":
            params.pop("objectTypeId")
        assert set(params) == stream.asks | ({"startDate", "endDate"} if stream.cursor_field else set())


def test_given_a_catalog_that_lists_activities_first_when_read_then_the_longest_chains_start_first(
    api: Api, config: dict[str, Any]
) -> None:
    configured = catalog("activities", "tags", "organizations", "contacts")
    configured.streams.reverse()
    configured.streams.sort(key=lambda entry: entry.stream.name != "activities")

    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        output = read_in_process({**config, "num_workers": 2}, configured)

    started = [name for kind, name in output.order() if kind == "STARTED"]
    assert started == ["contacts", "organizations", "tags", "activities"]


@ALL_STREAMS
def test_when_read_then_every_record_fits_the_schema(
    stream: Stream, api: Api, read: Read, config: dict[str, Any]
) -> None:
    config["custom_field_columns"] = "none"  # which would have to be asked for
    discovered = {each.name: each for each in SourceCommonroom(config=config).streams(config)}
    assert stream.name in discovered, f"{stream.name} stands in unit_tests/streams.py, and not in manifest.yaml"
    schema = discovered[stream.name].get_json_schema()
    validator = Draft7Validator(schema)

    for record in read(api, stream.name).records(stream.name):
        validator.validate(record)
        assert {column for column in record if not column.startswith("custom_")} <= set(schema["properties"])
