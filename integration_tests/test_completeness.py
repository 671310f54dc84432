"""Completeness over real HTTP: a server that answers fewer rows than it counts."""

from airbyte_cdk.models import AirbyteStreamStatus, EstimateType, FailureType

from integration_tests.conftest import RunCommand, Serve
from integration_tests.sandbox import Api, Workspace
from unit_tests.streams import BY_NAME, by_key, complete


def test_given_a_server_that_holds_rows_back_when_read_then_it_is_loud(
    serve: Serve, command: RunCommand, generated: Workspace
) -> None:
    result = command("read", serve(Api(generated, withheld={"/v2/contacts": 0.03})), "contacts", "organizations")

    there, came = len(generated.records("contacts")), len(result.records("contacts"))
    assert 0.95 * there < came < there
    said = f"contacts: the API counted {there} records and returned {came} of them"
    assert [text for text in result.warnings() if text.startswith(said)]
    assert result.status("contacts") == AirbyteStreamStatus.INCOMPLETE
    (error,) = result.errors("contacts")
    assert error.failure_type == FailureType.transient_error
    assert error.message.startswith(said)
    assert result.exit_code == 1
    organizations = BY_NAME["organizations"]
    assert result.status("organizations") == AirbyteStreamStatus.COMPLETE
    assert by_key(organizations, result.records("organizations")) == complete(organizations, generated)


def test_given_streams_that_count_when_read_then_their_last_estimate_is_what_came(
    serve: Serve, command: RunCommand
) -> None:
    result = command("read", serve())

    found = [message.trace.estimate for message in result.messages if message.trace and message.trace.estimate]
    assert {estimate.type for estimate in found} == {EstimateType.STREAM}
    last = {estimate.name: estimate.row_estimate for estimate in found}
    assert set(last) >= {"contacts", "organizations", "activities", "objects", "website_visits", "segment_members"}
    assert last == {name: len(result.records(name)) for name in last}
