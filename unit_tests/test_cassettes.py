"""Cassettes: what the probe recorded of a workspace, scrubbed, is read by the connector as it was by the probe.

Each file in `cassettes/` is a test. `sandbox.json` is the sandbox's, written by `python -m unit_tests.test_cassettes`.
"""

import time
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import requests_mock
from airbyte_cdk.models import AirbyteStreamStatus
from freezegun import freeze_time

from integration_tests.sandbox import Api, Workspace, mount
from scripts.probe.answers import Client
from scripts.probe.cassette import cassette
from scripts.probe.run import probe
from unit_tests.conftest import API_URL, NOW, read_in_process
from unit_tests.output import Output
from unit_tests.replay import Replay
from unit_tests.streams import STREAMS, catalog

FOLDER = Path(__file__).parent / "cassettes"
CASSETTES = sorted(FOLDER.glob("*.json"))
OF_THE_SANDBOX = FOLDER / "sandbox.json"
MADE = date(2026, 7, 1)


def small_workspace() -> Workspace:
    """Make a workspace that the probe reads as a whole: no list is longer than a page, and two types have objects."""
    sizes = {"contacts": 8, "organizations": 6, "activities": 12, "segments": 3, "tags": 4, "objects": 8}
    sizes |= {"website_visits": 6, "prospector_contacts": 5, "prospector_companies": 5, "topics": 4, "industries": 4}
    workspace = Workspace.generate(**sizes, tech_stack_products=4)
    for row in workspace.records("object_types")[2:]:
        workspace.delete("object_types", row["id"])
    for row in workspace.records("locations"):
        if row["locationType"] == "city" and int(row["id"].partition("_")[2]) % 20:
            workspace.delete("locations", row["id"])
    return workspace


def record(workspace: Workspace, key: bytes = b"a key") -> str:
    """Probe a workspace, and return the cassette."""
    api = Api(workspace)
    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        client = Client(API_URL, api.token)
        assert probe(client).ended_early == ""
    return cassette(client.answers, MADE, key)


def replayed(replay: Replay, config: Mapping[str, Any], **more: Any) -> Output:
    """Read all that a cassette has with the connector."""
    with requests_mock.Mocker() as mocker:
        replay.mount(mocker, API_URL)
        return read_in_process({**config, **more}, catalog(*replay.streams()))


def shapes(records: list[dict[str, Any]]) -> Counter[str]:
    """Tell which columns records have, of which types, and how often."""
    return Counter(str(sorted(shape(record).items())) for record in records)


def shape(value: Any) -> Any:
    match value:
        case dict():
            # The keys of a map of custom fields are ids.
            return {name if "cf_" not in name else "cf_": shape(part) for name, part in value.items()}
        case list():
            return [shape(part) for part in value]
        case str():
            return len(value)
        case _:
            return type(value).__name__


@pytest.mark.parametrize("cassette_file", CASSETTES, ids=lambda path: path.stem)
def test_given_a_cassette_when_read_then_every_stream_of_it_is_complete(
    cassette_file: Path, config: dict[str, Any]
) -> None:
    replay = Replay.of(cassette_file)

    output = replayed(replay, config)

    assert {name: output.status(name) for name in replay.streams()} == dict.fromkeys(
        replay.streams(), AirbyteStreamStatus.COMPLETE
    )
    for name in replay.streams():
        if recorded := replay.ids(name):
            assert sorted(row["id"] for row in output.records(name)) == sorted(recorded), name


def test_given_the_sandboxs_cassette_when_read_then_it_has_what_the_sandbox_had(config: dict[str, Any]) -> None:
    replay = Replay.of(OF_THE_SANDBOX)
    workspace = small_workspace()
    api = Api(workspace)
    with requests_mock.Mocker() as mocker:
        mount(mocker, api, API_URL)
        original = read_in_process({**config, "custom_field_columns": "id"}, catalog(*replay.streams()))

    output = replayed(replay, config, custom_field_columns="id")

    assert set(replay.streams()) == {stream.name for stream in STREAMS} - {"segment_members", "segment_statuses"}
    for name in replay.streams():
        assert len(output.records(name)) > 0, name
        assert shapes(output.records(name)) == shapes(original.records(name)), name
    assert sorted(output.warnings()) == sorted(original.warnings())


def test_the_sandboxs_cassette_is_what_the_probe_records_today() -> None:
    is_current = OF_THE_SANDBOX.read_text(encoding="utf-8") == record(small_workspace())

    assert is_current, "sandbox.json is stale; `python -m unit_tests.test_cassettes` writes it anew"


def test_given_a_value_that_comes_twice_when_recorded_then_it_becomes_the_same_one_twice() -> None:
    replay = Replay(record(small_workspace()))

    contacts = replay.lists["v2/contacts", ()].rows
    activities = replay.lists["v2/activities", ()].rows.values()
    fields = {row["id"] for row in replay.others["v2/custom-fields", ()]["body"]["data"]}
    assert {row["contactId"] for row in activities if "contactId" in row} <= set(contacts)
    assert {key for row in contacts.values() for key in row["customFields"]} <= fields


def test_given_another_key_when_recorded_then_they_become_other_values() -> None:
    contacts = [Replay(record(small_workspace(), key)).lists["v2/contacts", ()].rows for key in (b"one", b"two")]

    assert set(contacts[0]) != set(contacts[1])
    names = [{row["name"] for row in each.values()} for each in contacts]
    assert not names[0] & names[1]
    original = small_workspace().records("contacts")
    assert not names[0] & {row["name"] for row in original}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    # By a clock that stands still, as in tests: so it is the same each time.
    with freeze_time(NOW) as frozen, patch.object(time, "sleep", frozen.tick):
        OF_THE_SANDBOX.write_text(record(small_workspace()), encoding="utf-8")
