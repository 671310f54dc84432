"""The models of `dbt/`, built by the real dbt out of what PyAirbyte loaded, on DuckDB and PostgreSQL, after two syncs.

What they say is compared with what Python computes from the sandbox's records.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from integration_tests.pipeline.play import DBT, ROOT, WAREHOUSES, Built, Play, dump, ended, played, run
from integration_tests.pipeline.truth import moment
from unit_tests.streams import STREAMS, complete

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.pipeline

# The models have those of all types of objects in one.
MODELLED = [stream for stream in STREAMS if not re.fullmatch(r"object_.*_[0-9]+", stream.name)]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    with played(tmp_path_factory.mktemp("models")) as found:
        yield found


@pytest.fixture(params=[(warehouse, sync) for warehouse in WAREHOUSES for sync in ("first", "second")], ids="-".join)
def built(request: pytest.FixtureRequest, play: Play) -> Built:
    """One of the four builds."""
    warehouse, which = request.param
    found: Built = getattr(play, which)[warehouse]
    return found


def test_when_built_then_all_of_dbts_tests_pass(built: Built) -> None:
    assert built.shown.splitlines()[-1].endswith("all well"), built.shown


def test_when_built_then_staging_has_every_record_of_every_stream_once(play: Play) -> None:
    workspace = play.second["duckdb"].truth.workspace
    for warehouse in WAREHOUSES:
        found = play.second[warehouse].tables
        for stream in MODELLED:
            assert len(found[f"stg_commonroom__{stream.name}"]) == len(complete(stream, workspace)), stream.name


def test_when_built_then_each_column_of_each_table_is_described(built: Built) -> None:
    described = {
        model["name"]: {column["name"] for column in model["columns"] if column["description"]}
        for path in (ROOT / "dbt").glob("*/**/_*.yml")
        for models in yaml.safe_load(path.read_text()).values()
        if isinstance(models, list)
        for model in models
        if "columns" in model
    }
    # An empty table tells no columns here.
    found = {table: set(rows[0]) for table, rows in built.tables.items() if rows}
    assert len(found) > 50
    for table, columns in found.items():
        assert {name for name in columns if not is_custom(name)} == described[table], table


def test_when_built_then_both_warehouses_say_the_same(play: Play) -> None:
    # What tells when a build was, and not what it was of.
    clock = {"built_at", "hours_behind_newest", "gone_at", "dbt_valid_to", "dbt_updated_at", "dbt_scd_id"}
    for which in ("first", "second"):
        here, there = (getattr(play, which)[name].tables for name in WAREHOUSES)
        assert here.keys() == there.keys()
        for table in here:
            rows = [
                Counter(json.dumps(comparable(row, clock), sort_keys=True) for row in tables_of[table])
                for tables_of in (here, there)
            ]
            if table == "contact_timeline":
                # Of these the time is that of the build.
                continue
            assert rows[0] == rows[1], (
                which,
                table,
                list((rows[0] - rows[1]).items())[:2],
                list((rows[1] - rows[0]).items())[:2],
            )


def comparable(row: dict[str, Any], without: set[str]) -> dict[str, Any]:
    """Write values as both warehouses mean them."""

    def same(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: same(member) for name, member in value.items()}
        if isinstance(value, list):
            return [same(member) for member in value]
        if isinstance(value, str):
            value = value.replace("\x00", "\ufffd").replace("\\u0000", "\\ufffd")
            try:
                if value[:1] in {"{", "["}:
                    return same(json.loads(value))
                # A text of digits that begins with 0, or +, isn't a number.
                value = value if re.match(r"[+]|0[0-9]", value) else float(value)
            except ValueError:
                return value
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(f"{value:.12g}") + 0.0
        return value

    return {name: same(value) for name, value in row.items() if name not in without and not is_custom(name)}


def is_custom(column: str) -> bool:
    """Tell whether a column is for a custom field."""
    return column.startswith("custom_") and not column.startswith("custom_field")


def test_when_built_then_the_engagement_of_accounts_is_what_python_computes(built: Built) -> None:
    told = built.keyed("account_engagement_weekly", "organization_id", "week_start")
    wanted = built.truth.weekly()
    accounts = Counter(account for account, _ in wanted)
    assert len(accounts) > 150
    assert told.keys() == wanted.keys()
    for key, row in wanted.items():
        found = {name: told[key][name] for name in row}
        found["activities_by_type"] = as_json(found["activities_by_type"])
        for name in ("first_touch_at", "last_touch_at"):
            found[name] = datetime.fromisoformat(found[name])
        assert {name: integer(value) for name, value in found.items()} == row, key


@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_when_built_then_active_contacts_a_week_of_three_accounts_are_what_python_counts(
    play: Play, warehouse: str
) -> None:
    # Once more, and as plainly as can be: without what the test above shares with other tests.
    built = play.first[warehouse]
    records = built.truth.workspace.records
    staff: dict[str, set[str]] = {}
    for contact in records("contacts"):
        staff.setdefault(contact.get("companyWebsite") or "", set()).add(contact["id"])
    accounts = sorted(records("organizations"), key=lambda row: len(staff.get(row["primaryDomain"], ())))[-3:]
    for account in accounts:
        weeks: dict[str, set[str]] = {}
        for activity in records("activities"):
            if activity.get("contactId") in staff[account["primaryDomain"]]:
                year, week, _ = moment(activity["activityTime"]).isocalendar()
                monday = datetime.fromisocalendar(year, week, 1).date().isoformat()
                weeks.setdefault(monday, set()).add(activity["contactId"])
        assert len(weeks) > 10
        assert {week: len(contacts) for week, contacts in weeks.items()} == {
            row["week_start"]: row["active_contacts"]
            for row in built.tables["account_engagement_weekly"]
            if row["organization_id"] == account["id"] and row["active_contacts"]
        }


def test_when_built_then_facts_and_bridges_are_what_python_makes(built: Built) -> None:
    truth, records = built.truth, built.truth.workspace.records
    activities = built.keyed("fct_activities", "activity_id")
    assert {key: row["contact_id"] for key, row in activities.items()} == {
        row["id"]: row["contactId"] for row in truth.activities
    }
    types = {row["id"]: row["displayName"] or row["id"] for row in records("activity_types")}
    services = {row["id"]: row["serviceName"] for row in records("providers")}
    for activity in truth.activities:
        row = activities[activity["id"]]
        assert row["activity_type"] == types[activity["type"]]
        assert row["sentiment"] == activity.get("sentiment")
        assert row["provider_service"] == services.get(activity.get("providerId", ""))
        assert datetime.fromisoformat(row["activity_time"]) == moment(activity["activityTime"])
    visits = built.keyed("fct_website_visits", "website_visit_id")
    assert {key: (row["contact_id"], row["organization_id"]) for key, row in visits.items()} == {
        row["id"]: (row["contactId"], row.get("organizationId")) for row in truth.visits
    }
    assert set(built.keyed("bridge_contact_organization", "contact_id", "organization_id")) == {
        (contact, account) for contact, accounts in truth.organizations_of.items() for account in accounts
    }
    assert {
        key: row["member_type"] for key, row in built.keyed("bridge_segment_members", "segment_id", "member_id").items()
    } == {(row["segmentId"], row["memberId"]): row["memberType"] for row in truth.workspace.segment_members()}


def test_when_built_then_scores_and_custom_fields_are_those_of_the_contacts(built: Built) -> None:
    records = built.truth.workspace.records
    scores = built.keyed("contact_lead_scores", "contact_id", "lead_score_id")
    assert {key: (row["score"], row["percentile"]) for key, row in scores.items()} == {
        (contact["id"], f"ls_{score['scoreId']}"): (score["score"], score["percentile"])
        for contact in records("contacts")
        for score in contact.get("leadScores") or ()
    }
    fields = built.keyed("contact_custom_fields_long", "contact_id", "custom_field_id")
    labels = {row["id"]: (row["name"], row["valueType"]) for row in records("custom_fields")}
    wanted = {
        (contact["id"], field): entry["value"]
        for contact in records("contacts")
        for field, entry in contact["customFields"].items()
    }
    assert fields.keys() == wanted.keys()
    for key, value in wanted.items():
        row = fields[key]
        assert (row["label"], row["value_type"]) == labels[key[1]]
        if isinstance(value, bool):
            assert row["value_boolean"] is value
        elif isinstance(value, int | float):
            assert row["value_number"] == float(value)
            assert float(row["value"]) == float(value)
        elif row["value_type"] == "date":
            assert datetime.fromisoformat(row["value_time"]) == moment(value)
        elif isinstance(value, str):
            assert row["value"] == value.replace("\x00", "\ufffd") or row["value"] == value
        else:
            assert json.loads(row["value"]) == value


def test_when_built_then_dimensions_count_what_is_theirs(built: Built) -> None:
    truth, records = built.truth, built.truth.workspace.records
    contacts = built.keyed("dim_contacts", "contact_id")
    counts = Counter(row["contactId"] for row in truth.activities)
    there = {row["id"] for row in records("contacts")}
    assert {key for key, row in contacts.items() if row["contact_status"] == "active"} == there
    for contact in records("contacts"):
        row = contacts[contact["id"]]
        assert row["activities_count"] == counts[contact["id"]]
        assert row["segments_count"] == len(contact.get("segments") or ())
        assert row["primary_email"] == contact.get("primaryEmail")
        assert row["location_country"] == (contact.get("location") or {}).get("country")
        primary = [score["score"] for score in contact.get("leadScores") or () if score["scoreId"] == 1]
        assert row["primary_lead_score"] == (primary[0] if primary else None)
    assert "custom_arr_usd" in next(iter(contacts.values()))
    accounts = built.keyed("dim_organizations", "organization_id")
    of_account = Counter(account for row in truth.activities for account in truth.accounts_of(row["contactId"]))
    assert {key: row["activities_count"] for key, row in accounts.items()} == {
        row["id"]: of_account[row["id"]] for row in records("organizations")
    }
    status = built.keyed("sync_status", "stream")
    assert {stream.name for stream in MODELLED} == status.keys()
    members = Counter(row["segmentId"] for row in truth.workspace.segment_members())
    assert {row["segment_id"]: row["is_complete"] for row in built.tables["segment_completeness"]} == {
        row["id"]: members[row["id"]] == row["entityCount"]
        for row in records("segments")
        if row["entityType"] != "organization"
    }


@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_given_changes_between_two_syncs_when_built_again_then_the_histories_have_both_versions(
    play: Play, warehouse: str
) -> None:
    changes, built = play.changes, play.second[warehouse]
    scored, score_id = changes["scored"]["id"], f"ls_{changes['score']['scoreId']}"
    versions = sorted(
        (
            (row["dbt_valid_from"], row["dbt_valid_to"], row["score"])
            for row in built.tables["commonroom_lead_scores_history"]
            if (row["entity_id"], row["lead_score_id"]) == (scored, score_id)
        ),
    )
    assert [version[2] for version in versions] == [changes["score"]["score"], 77.5]
    assert versions[0][1] == versions[1][0]
    assert versions[1][1] is None
    (row,) = (
        row
        for row in built.tables["contact_lead_scores"]
        if (row["contact_id"], row["lead_score_id"]) == (scored, score_id)
    )
    assert (row["score"], row["previous_score"]) == (77.5, changes["score"]["score"])

    moved = changes["moved"]["id"]
    ended = {
        row["segment_id"]: row["dbt_valid_to"] is not None
        for row in built.tables["commonroom_segment_members_history"]
        if row["member_id"] == moved
    }
    assert ended[changes["left"]["id"]]
    assert not ended[changes["joined"]["id"]]
    events = {
        (row["event_kind"], row["source_id"]) for row in built.tables["contact_timeline"] if row["contact_id"] == moved
    }
    assert {("segment_left", changes["left"]["id"]), ("segment_joined", changes["joined"]["id"])} <= events
    assert not any(
        kind.startswith(("segment", "lead", "contact"))
        for kind in {row["event_kind"] for row in play.first[warehouse].tables["contact_timeline"]}
    )


@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_given_deleted_and_merged_contacts_when_built_again_then_they_are_found(play: Play, warehouse: str) -> None:
    changes, built = play.changes, play.second[warehouse]
    contacts = built.keyed("dim_contacts", "contact_id")
    gone = {key: row for key, row in contacts.items() if row["contact_status"] != "active"}
    assert {key: (row["contact_status"], row["merged_into_contact_id"]) for key, row in gone.items()} == {
        changes["deleted"]["id"]: ("deleted", None),
        changes["merged"]["id"]: ("merged", changes["into"]["id"]),
    }
    assert gone[changes["merged"]["id"]]["merge_evidence"] == "activities"
    assert gone[changes["deleted"]["id"]]["name"] == changes["deleted"]["name"]
    assert all(row["gone_at"] for row in gone.values())
    assert all(row["contact_status"] == "active" for row in play.first[warehouse].tables["dim_contacts"])


def test_given_a_sync_that_lost_most_contacts_when_built_then_it_stops_before_the_history_is_written(
    play: Play, tmp_path: Path
) -> None:
    database = tmp_path / "workspace.duckdb"
    shutil.copy(play.database, database)
    lose = (
        "import duckdb, sys; duckdb.connect(sys.argv[1]).execute(\"DELETE FROM commonroom.contacts WHERE id > 'c_2'\")"
    )
    run([DBT / "python", "-c", lose, database])

    process = ended([DBT / "python", "-m", "scripts.models", "--database", database])

    assert process.returncode == 1
    assert "not_vanished_int_commonroom__contacts_as_synced" in process.stdout
    before, after = play.second["duckdb"].tables, dump(str(database), dict(os.environ))
    assert after["commonroom_contacts_history"] == before["commonroom_contacts_history"]
    assert after["dim_contacts"] == before["dim_contacts"]


def test_given_streams_that_are_not_loaded_when_built_then_what_needs_them_is_empty_and_a_warning_names_them(
    play: Play, tmp_path: Path
) -> None:
    database = tmp_path / "workspace.duckdb"
    shutil.copy(play.database, database)
    drop = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1])\n"
        "c.execute('DROP TABLE commonroom.segment_members; DROP TABLE commonroom.topics')\n"
        "for name in ('', '_staging', '_snapshots'): c.execute(f'DROP SCHEMA analytics{name} CASCADE')\n"
    )
    run([DBT / "python", "-c", drop, database])

    shown = run([DBT / "python", "-m", "scripts.models", "--database", database])

    found = dump(str(database), dict(os.environ))
    assert found["stg_commonroom__topics"] == []
    assert "There is no table" in shown
    assert "topics" in shown
    # Contacts tell of their segments, too.
    members = {(row["segment_id"], row["member_id"]) for row in found["bridge_segment_members"]}
    assert members == {
        (row["segment_id"], row["member_id"])
        for row in play.second["duckdb"].tables["bridge_segment_members"]
        if row["member_type"] == "contact"
    }


def as_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def integer(value: Any) -> Any:
    """Read the integers that a warehouse has as decimals."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value
