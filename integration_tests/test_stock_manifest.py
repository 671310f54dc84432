"""The manifest of stock parts, as `make builder-manifest` writes it: what it brings, and what it can't do."""

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from airbyte_cdk.cli.source_declarative_manifest import _run
from airbyte_cdk.cli.source_declarative_manifest._run import create_declarative_source
from airbyte_cdk.models import (
    AirbyteStateMessage,
    AirbyteStream,
    AirbyteStreamStatus,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteCatalogSerializer,
    FailureType,
    Status,
    Type,
)
from airbyte_cdk.models.airbyte_protocol_serializers import AirbyteStateMessageSerializer
from airbyte_cdk.sources.declarative import concurrent_declarative_source
from airbyte_cdk.sources.declarative.concurrent_declarative_source import get_declarative_component_schema
from airbyte_cdk.test import entrypoint_wrapper
from airbyte_cdk.utils.yaml_loader import safe_load_yaml
from jsonschema import Draft7Validator

from integration_tests.conftest import Serve
from integration_tests.connector import run
from integration_tests.sandbox import Api, Fault, Sandbox, Traits, Workspace
from integration_tests.sandbox.faults import KINDS
from integration_tests.sandbox.messages import Answer, Call
from unit_tests.output import Output
from unit_tests.streams import BY_NAME, STREAMS, Stream, by_key, catalog, complete, expected, selecting

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = str(Path(sys.executable).with_name("source-declarative-manifest"))
START = "2024-01-01T00:00:00Z"  # before all activities of the sandbox, and few years
HURRY = 200
BROKEN_PARSER = "AST constructor recursion depth mismatch"
pytestmark = [
    # The CDK's own cache, of the list of custom fields.
    pytest.mark.filterwarnings("ignore:`cache_name` cannot be set after backend initialization"),
]
Record = dict[str, Any]
Command = Callable[..., Output]


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the file once."""
    path = tmp_path_factory.mktemp("stock") / "manifest.yaml"
    subprocess.run([sys.executable, "scripts/builder_manifest.py", str(path)], cwd=ROOT, check=True)
    return path


@pytest.fixture(scope="module", autouse=True)
def _parsed_once() -> Iterator[None]:
    """Let the CDK parse its schema of components and the manifest once, and not for each source, in half a second."""
    parsed: dict[bytes | str, bytes] = {}

    def load(stream: Any) -> Any:
        text = stream if isinstance(stream, bytes | str) else stream.read()
        if text not in parsed:
            parsed[text] = pickle.dumps(safe_load_yaml(text))
        # A source changes what it gets.
        return pickle.loads(parsed[text])  # noqa: S301  # our own

    with pytest.MonkeyPatch.context() as patch:
        for module in (concurrent_declarative_source, _run):
            patch.setattr(module, "safe_load_yaml", load)
        yield


@pytest.fixture(scope="session")
def small() -> Workspace:
    """A workspace with some lists of several pages; don't change it."""
    few = dict.fromkeys(("prospector_contacts", "prospector_companies", "topics", "industries"), 20)
    return Workspace.generate(contacts=210, organizations=205, activities=410, objects=205, website_visits=205, **few)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a fraction as long before a request is tried again."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / HURRY))


def twice_if_interrupted(once: Command) -> Command:
    """Repeat a command in which Python's own parser broke: that of 3.11 doesn't bear two threads at the same time.

    The CDK evaluates templates with it, and the stream is incomplete then.
    """

    def repeated(*args: Any, **more: Any) -> Output:
        output = once(*args, **more)
        return once(*args, **more) if any(BROKEN_PARSER in line for line in output.lines()) else output

    return repeated


@pytest.fixture
def process(tmp_path: Path, manifest: Path) -> Command:
    """Run source-declarative-manifest as a process."""

    def run_process(name: str, sandbox: Sandbox, *streams: str, **more: Any) -> Output:
        result = run(
            tmp_path,
            name,
            config=config_of(sandbox, **more),
            catalog=catalog(*streams) if name == "read" else None,
            program=[sys.executable, PROGRAM],
            options=["--manifest-path", str(manifest)],
            # The read is one as users run it; the checks are forked.
            afresh=name == "read",
        )
        assert sandbox.token not in result.text
        return result

    return twice_if_interrupted(run_process)


@pytest.fixture
def command(tmp_path: Path, manifest: Path) -> Command:
    """Run what source-declarative-manifest runs, in this process: `command("read", sandbox, "tags")`."""

    def run_here(
        name: str,
        sandbox: Sandbox,
        *streams: str,
        configured: ConfiguredAirbyteCatalog | None = None,
        state: list[AirbyteStateMessage] | None = None,
        **more: Any,
    ) -> Output:
        config, configured = config_of(sandbox, **more), configured or catalog(*streams)
        contents: dict[str, Any] = {"config": config}
        if name == "read":
            contents["catalog"] = ConfiguredAirbyteCatalogSerializer.dump(configured)
            contents["state"] = [AirbyteStateMessageSerializer.dump(message) for message in state or []]
        arguments = [name, "--manifest-path", str(manifest)]
        for file, content in contents.items():
            (tmp_path / file).write_text(json.dumps(content))
            arguments += [f"--{file}", str(tmp_path / file)]
        source = create_declarative_source(arguments)
        output = (
            entrypoint_wrapper.read(source, config, configured, state)
            if name == "read"
            else entrypoint_wrapper.discover(source, config)
        )
        return Output(int(bool(output.errors)), list(output.get_message_iterator()), "")

    return twice_if_interrupted(run_here)


def config_of(sandbox: Sandbox, **more: Any) -> Record:
    return {
        "api_token": sandbox.token,
        "api_url": sandbox.api_url,
        "requests_per_second": 1000,
        "start_date": START,
        **more,
    }


def keys(stream: Stream, records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The primary keys of some records, each as often as it came."""
    return sorted(str([record.get(name) for name in stream.primary_key]) for record in records)


def streams_of(output: Output) -> dict[str, AirbyteStream]:
    (message,) = output.of_type(Type.CATALOG)
    assert message.catalog
    return {stream.name: stream for stream in message.catalog.streams}


# What it brings.


def test_it_is_valid_by_the_schema_of_components_and_holds_no_custom_one(manifest: Path) -> None:
    text = manifest.read_text()
    content = yaml.safe_load(text)

    assert list(Draft7Validator(get_declarative_component_schema()).iter_errors(content)) == []
    assert "class_name" not in text
    assert "$ref" not in text
    assert "JsonFileSchemaLoader" not in text
    assert [row["$parameters"]["name"] for row in content["streams"]] == [
        row["$parameters"]["name"]
        for row in yaml.safe_load((ROOT / "source_commonroom" / "manifest.yaml").read_text())["streams"]
    ]


def test_every_record_of_every_stream_comes_once_and_as_it_is(
    serve: Serve, process: Command, generated: Workspace
) -> None:
    sandbox = serve(Api(generated, cursor_style="tricky"))

    result = process("read", sandbox, start_date="1970-01-01T00:00:00Z")

    for stream in STREAMS:
        assert by_key(stream, result.records(stream.name)) == expected(stream, generated), stream.name
        assert result.status(stream.name) == AirbyteStreamStatus.COMPLETE
    assert {request.status for request in sandbox.api.log.requests} == {200}
    assert result.exit_code == 0


def is_of(entity: str, field: Record) -> bool:
    return "objectTypeId" in field if entity == "object" else entity in field["entityTypes"]


def test_custom_fields_are_typed_columns_named_by_their_ids(serve: Serve, command: Command, small: Workspace) -> None:
    sandbox = serve(Api(small))
    found = streams_of(command("discover", sandbox))
    read = command("read", sandbox, "contacts", "organizations", "objects")

    types = {
        "int": "integer",
        "number": "number",
        "boolean": "boolean",
    }
    for name, entity in (("contacts", "contact"), ("organizations", "organization"), ("objects", "object")):
        fields = {row["id"]: row for row in small.records("custom_fields") if is_of(entity, row)}
        properties = found[name].json_schema["properties"]
        assert {f"custom_{field}" for field in fields} == {
            column for column in properties if column.startswith("custom_")
        }
        for field, row in fields.items():
            assert properties[f"custom_{field}"]["type"] == ["null", types.get(row["valueType"], "string")]
            assert (properties[f"custom_{field}"].get("format") == "date-time") == (row["valueType"] == "date")
        values = 0
        for record in read.records(name):
            columns = {column: value for column, value in record.items() if column.startswith("custom_")}
            entries = record["customFields"]
            assert set(columns) == {f"custom_{field}" for field in entries}
            for field, entry in entries.items():
                value = columns[f"custom_{field}"]
                # What has no type of a column is JSON.
                plain = not isinstance(entry["value"], list | dict)
                assert (value if plain else json.loads(value)) == entry["value"]
                assert not plain or type(value) is type(entry["value"])
                values += 1
        assert values > 400


def test_given_no_columns_wanted_then_there_are_none(serve: Serve, command: Command, small: Workspace) -> None:
    sandbox = serve(Api(small))

    found = streams_of(command("discover", sandbox, custom_field_columns="none"))
    read = command("read", sandbox, "organizations", custom_field_columns="none")

    columns = {column for record in read.records("organizations") for column in record}
    assert not [name for name in {*columns, *found["organizations"].json_schema["properties"]} if "custom_" in name]
    assert "customFields" in columns
    assert "customFieldColumns" not in columns


def test_given_a_state_when_read_again_then_the_lookback_comes_again_and_what_is_new(
    serve: Serve, command: Command
) -> None:
    rows = [
        {"id": f"a_{day}", "type": "tweet", "activityTime": f"2025-03-{day:02}T23:59:59.99{day % 10}Z"}
        for day in range(1, 30)
    ]
    workspace = Workspace.of(activities=rows)
    sandbox = serve(Api(workspace))
    first = command("read", sandbox, "activities", end_date="2025-03-31T00:00:00Z")
    new = {"id": "a_99", "type": "tweet", "activityTime": "2025-03-30T00:00:00.001Z"}
    workspace.insert("activities", new)

    second = command(
        "read",
        sandbox,
        "activities",
        state=[first.last_state("activities")[0]],
        lookback_window_days=2,
        end_date="2025-04-01T00:00:00Z",
    )

    assert keys(BY_NAME["activities"], first.records("activities")) == keys(BY_NAME["activities"], rows)
    assert first.last_state("activities")[1] == {"activityTime": "2025-03-29T23:59:59.999Z"}
    # Two seconds more than the lookback, as windows overlap.
    assert sorted(row["id"] for row in second.records("activities")) == ["a_27", "a_28", "a_29", "a_99"]
    assert second.last_state("activities")[1] == {"activityTime": "2025-03-30T00:00:00.001Z"}


@pytest.mark.parametrize(
    "traits",
    [
        Traits(),
        Traits(exclusive_start=True),
        Traits(exclusive_end=True),
        Traits(stored_finer=True),
        Traits(date_resolution=timedelta(seconds=1)),
        Traits(date_resolution=timedelta(seconds=1), exclusive_start=True),
        Traits(date_resolution=timedelta(seconds=1), exclusive_end=True),
    ],
    ids=lambda traits: (
        f"{traits.exclusive_start}-{traits.exclusive_end}-{traits.stored_finer}-{traits.date_resolution}"
    ),
)
def test_given_bounds_of_any_kind_when_read_then_nothing_is_lost_between_two_years(
    traits: Traits, serve: Serve, command: Command
) -> None:
    ends = ("58.000", "59.000", "59.500", "59.999", "59.999500")
    times = [f"{year}-12-31T23:59:{end}Z" for year in (2024, 2025) for end in ends]
    times += [f"{year}-01-01T00:00:{begin}Z" for year in (2025, 2026) for begin in ("00.000", "00.001", "01.000")]
    rows = [{"id": f"a_{number}", "type": "tweet", "activityTime": time} for number, time in enumerate(sorted(times))]

    read = command("read", serve(Api(Workspace.of(activities=rows), traits=traits)), "activities")

    assert {row["id"] for row in read.records("activities")} == {row["id"] for row in rows}
    assert read.status("activities") == AirbyteStreamStatus.COMPLETE


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("cursor", [False, 0, [], {}, 7], ids=str)
def test_given_a_cursor_that_is_no_text_when_read_then_the_stream_is_incomplete(
    cursor: Any, serve: Serve, command: Command, small: Workspace
) -> None:
    def answer(_: Call, usual: Answer) -> Answer:
        body = json.loads(usual.body)
        body["meta"]["nextCursor"] = cursor
        return replace(usual, body=json.dumps(body).encode())

    sandbox = serve(Api(small, traits=Traits(otherwise={"/v2/organizations": answer})))

    assert command("read", sandbox, "organizations").status("organizations") == AirbyteStreamStatus.INCOMPLETE


def test_given_cursors_that_go_round_in_a_circle_when_read_then_the_stream_ends_and_is_incomplete(
    serve: Serve, command: Command
) -> None:
    """The third page leads back to the second one, for ever."""
    pages = {"": ("1", "a"), "a": ("2", "b"), "b": ("3", "a")}

    def answer(call: Call, usual: Answer) -> Answer:
        number, following = pages[call.params.get("cursor", "")]
        body = {"data": [{"id": f"c_{number}"}], "meta": {"nextCursor": following}}
        return replace(usual, status=200, body=json.dumps(body).encode())

    sandbox = serve(Api(Workspace.of(contacts=[{"id": "c_1"}]), traits=Traits(otherwise={"/v2/contacts": answer})))

    read = command("read", sandbox, "contacts")

    assert read.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    assert {row["id"] for row in read.records("contacts")} == {"c_1", "c_2", "c_3"}
    assert len([request for request in sandbox.api.log.requests if request.path == "/v2/contacts"]) <= 4


def status_of(result: Output) -> tuple[Status, str]:
    (message,) = result.of_type(Type.CONNECTION_STATUS)
    assert message.connectionStatus
    return message.connectionStatus.status, message.connectionStatus.message or ""


def test_check_tells_a_good_token_from_a_bad_one(serve: Serve, process: Command, small: Workspace) -> None:
    sandbox = serve(Api(small))

    assert status_of(process("check", sandbox))[0] == Status.SUCCEEDED
    assert [request.path for request in sandbox.api.log.requests] == ["/v2/api-token-status"]
    status, message = status_of(process("check", sandbox, api_token="1_000"))

    assert status == Status.FAILED
    assert "Common Room rejected the API token. Make a new one" in message


def test_given_chosen_segments_then_only_their_contacts_come(serve: Serve, command: Command, small: Workspace) -> None:
    contacts = small.records("contacts")
    chosen = sorted({segment["id"] for row in contacts for segment in row.get("segments", [])})[:2]

    result = command("read", serve(Api(small)), "contacts", segment_ids=chosen)

    assert sorted(row["id"] for row in result.records("contacts")) == sorted(
        row["id"] for row in contacts for segment in row.get("segments", []) if segment["id"] in chosen
    )


# Faults.

REFUSALS = ("bad_request_400", "unauthorized_401", "forbidden_403", "not_found_404", "forbidden_403_html")
INCOMPLETE = {*REFUSALS, "malformed_utf8"}
# A repeated page, and a cursor that repeats, are found when the records of the page before have gone out already. If
# the fifth request is one for a list of one page, there is nothing to repeat.
EITHER = {"repeated_cursor", "repeated_page"}
# What takes its time, at the smallest answers alone. An answer that trickles in is waited for.
SLOW = dict.fromkeys(("trickle", "trickle_head", "gzip_bomb"), "/v1/segments/{id}/status")
# The CDK unpacks all of it, however much it is.
MEGABYTES = 10
SECONDS = {"rate_limited": 0.05, "hang": 0.05, "trickle": 0.0, "trickle_head": 0.0}


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("kind", KINDS)
def test_given_a_fault_at_every_fifth_request_then_no_stream_is_complete_with_data_lost(
    kind: str, serve: Serve, command: Command, small: Workspace
) -> None:
    fault = Fault(kind, every=5, seconds=SECONDS.get(kind, 0.2), path=SLOW.get(kind), megabytes=MEGABYTES)
    sandbox = serve(Api(small, faults=[fault]))

    result = command("read", sandbox)

    # A refusal of the list of custom fields, from which schemas are made, ends the whole sync.
    assert [request.fault for request in sandbox.api.log.requests].count(kind) >= (
        1 if kind in INCOMPLETE | EITHER else 3
    )
    incomplete = set()
    for stream in STREAMS:
        there, found = keys(stream, complete(stream, small)), keys(stream, result.records(stream.name))
        if result.statuses(stream.name)[-1:] == [AirbyteStreamStatus.COMPLETE]:
            assert found == there, stream.name
        else:
            assert set(found) <= set(there), stream.name
            incomplete.add(stream.name)
    assert kind in EITHER or bool(incomplete) == (kind in INCOMPLETE)
    assert result.exit_code == bool(incomplete)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("kind", sorted(EITHER))
def test_given_a_page_or_a_cursor_that_comes_again_then_the_stream_is_incomplete(
    kind: str, serve: Serve, command: Command, small: Workspace
) -> None:
    sandbox = serve(Api(small, faults=[Fault(kind, every=2, path="/v2/organizations")]))

    result = command("read", sandbox, "organizations", "tags")

    assert result.status("organizations") == AirbyteStreamStatus.INCOMPLETE
    assert result.status("tags") == AirbyteStreamStatus.COMPLETE
    assert result.exit_code == 1


# What it can't do: a test for each line of its header that can be shown in little time.


def test_it_counts_nothing(serve: Serve, command: Command, small: Workspace) -> None:
    sandbox = serve(Api(small, withheld={"/v2/contacts": 0.1}))

    result = command("read", sandbox, "contacts")

    assert len(result.records("contacts")) < len(small.records("contacts"))
    assert result.status("contacts") == AirbyteStreamStatus.COMPLETE
    assert not any("recordCount" in request.params.get("cols", "") for request in sandbox.api.log.requests)


@pytest.mark.usefixtures("hurry")
def test_it_has_no_state_within_a_window_and_little_patience_with_429s(
    serve: Serve, command: Command, small: Workspace
) -> None:
    of_2025 = Fault("reset", path="/v2/activities", when=lambda params: params["endDate"] > "2025", after=1)
    sandbox = serve(Api(small, faults=[Fault("rate_limited", path="/v2/tags"), of_2025]))

    result = command("read", sandbox, "activities", "tags")

    assert len(sandbox.api.log.of("/v2/tags")) == 6
    assert result.status("tags") == AirbyteStreamStatus.INCOMPLETE
    # 200 records of 2025 or later were read, and the state is before all of them.
    assert result.status("activities") == AirbyteStreamStatus.INCOMPLETE
    assert any(row["activityTime"] > "2025" for row in result.records("activities"))
    assert result.last_state("activities")[1]["activityTime"] < "2025"


@pytest.mark.parametrize(
    ("kind", "failure_type"),
    [
        ("rate_limited", FailureType.transient_error),
        ("server_error_500", FailureType.transient_error),
        # These are of another type in the Python connector: transient_error, and config_error.
        ("ok_html", FailureType.system_error),
        ("reset", FailureType.system_error),
        ("not_found_404", FailureType.system_error),
    ],
)
@pytest.mark.usefixtures("hurry")
def test_what_fails_is_of_a_type_that_says_less(
    kind: str, failure_type: FailureType, serve: Serve, command: Command, small: Workspace
) -> None:
    result = command("read", serve(Api(small, faults=[Fault(kind, path="/v2/tags")])), "tags")

    assert result.status("tags") == AirbyteStreamStatus.INCOMPLETE
    assert {error.failure_type for error in result.errors("tags")} == {failure_type}


def test_it_asks_for_all_columns_whichever_are_selected_and_has_no_stream_of_one_type_of_objects(
    serve: Serve, command: Command, small: Workspace
) -> None:
    sandbox = serve(Api(small))
    found = streams_of(command("discover", sandbox))
    sandbox.api.log.clear()

    command("read", sandbox, configured=selecting(found["organizations"], "id"))

    (columns,) = {request.params["cols"] for request in sandbox.api.log.of("/v2/organizations")}
    assert set(columns.split(",")) == BY_NAME["organizations"].columns
    assert set(found) == {stream.name for stream in STREAMS}


@pytest.mark.parametrize(
    "option",
    [
        {"pii": {"mode": "drop"}},
        {"pii": {"mode": "hash", "salt": "long enough"}},
        {"pii": {"salt": "long enough"}},
        {"pii": {"mode": None}},
        {"pii": ["drop"]},
        {"pii": "drop"},
    ],
    ids=str,
)
def test_a_configuration_that_asks_for_less_personal_data_is_refused(
    option: Record, serve: Serve, command: Command, small: Workspace
) -> None:
    sandbox = serve(Api(small))

    result = command("read", sandbox, "contacts", **option)

    assert result.records("contacts") == []
    assert result.exit_code == 1
    assert sandbox.api.log.requests == []


def test_its_specification_has_only_what_it_honours(manifest: Path) -> None:
    options = yaml.safe_load(manifest.read_text())["spec"]["connection_specification"]["properties"]

    assert not {"audit_history", "pii", "walk_from_both_ends"} & options.keys()
    assert options["custom_field_columns"]["enum"] == ["id", "none"]
