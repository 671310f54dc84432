"""`make report`: the page says what the records say, is one file, and holds no text of a record as markup."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from collections import Counter
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from integration_tests.pipeline.play import DBT, build, ended, run, sync
from integration_tests.pipeline.truth import Truth, moment
from integration_tests.sandbox import Api, Sandbox, Workspace

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.pipeline

CHANGE = """
import duckdb, json, sys
connection = duckdb.connect(sys.argv[1])
for statement, values in json.loads(sys.argv[2]):
    connection.execute(statement, values)
"""


def report(database: Path, page: Path) -> str:
    run([DBT / "python", "-m", "scripts.report", "--database", database, "--output", page])
    return page.read_text(encoding="utf-8")


def chart(page: str, name: str) -> list[dict[str, Any]]:
    """Return what a plot of the page is of."""
    (found,) = re.findall(rf'<script type="application/json" id="chart-{name}">(.*?)</script>', page, re.DOTALL)
    plot = json.loads(found)
    rows: list[dict[str, Any]] = plot["data"]["values"] if "data" in plot else plot["layer"][0]["data"]["values"]
    return rows


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth(Workspace.generate())


@pytest.fixture(scope="module")
def database(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sync the sandbox, and build the models; don't change the file."""
    folder = tmp_path_factory.mktemp("report")
    with Sandbox(Api(truth.workspace)) as sandbox:
        config = folder / "config.json"
        config.write_text(json.dumps({"api_token": sandbox.token, "api_url": sandbox.api_url}))
        sync(folder, config)
    build("duckdb", folder / "workspace.duckdb", dict(os.environ), truth)
    return folder / "workspace.duckdb"


@pytest.fixture(scope="module")
def page(database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(database, tmp_path_factory.mktemp("page") / "page.html")


def changed(database: Path, folder: Path, *statements: tuple[str, list[str]]) -> Path:
    """Copy a file, and change the copy."""
    copy = folder / "workspace.duckdb"
    shutil.copy(database, copy)
    run([DBT / "python", "-c", CHANGE, copy, json.dumps(statements)])
    return copy


def test_when_reported_then_the_page_names_the_most_active_accounts_of_90_days(page: str, truth: Truth) -> None:
    last = max(moment(row["activityTime"]) for row in truth.activities)
    recent = [row for row in truth.activities if moment(row["activityTime"]) > last - timedelta(days=90)]
    of_account = Counter(account for row in recent for account in truth.accounts_of(row["contactId"]))

    told = re.findall(r'<tr>\s*<td class="name">.*?<bdi>(.*?)</bdi>.*?<td class="n">([0-9,]+)</td>', page, re.DOTALL)
    counts = [int(count.replace(",", "")) for _, count in told[: min(15, len(of_account))]]

    assert counts == sorted(of_account.values(), reverse=True)[:15]
    assert f"<b>{len(of_account):,}</b><span>accounts active" in page
    assert f"<b>{len(recent):,}</b><span>activities in 90 days" in page


def test_when_reported_then_the_plots_are_of_the_records(page: str, truth: Truth) -> None:
    newest = max(row["week"] for row in truth.activities)
    services = {row["id"]: row["serviceName"] for row in truth.workspace.records("providers")}
    sources = Counter(
        (row["week"].isoformat(), services.get(row.get("providerId", ""), "unknown"))
        for row in truth.activities
        if row["week"] > newest - timedelta(weeks=52)
    )
    assert {(row["week"], row["source"]): row["activities"] for row in chart(page, "sources")} == sources

    first: dict[str, str] = {}
    for row in sorted(truth.activities, key=lambda row: row["activityTime"]):
        if row["contactId"]:
            first.setdefault(row["contactId"], row["activityTime"][:7] + "-01")
    assert {row["month"]: row["contacts"] for row in chart(page, "months")} == Counter(first.values())

    members = Counter(row["segmentId"] for row in truth.workspace.segment_members() if row["memberType"] == "contact")
    told = chart(page, "segments")
    assert Counter({row["segment"]: row["members"] for row in told}) == dict(members.most_common(12))
    for segment, count in members.items():
        assert sum(row["contacts"] for row in told if row["segment"] == segment) == count


def test_given_gone_contacts_and_lost_members_when_reported_then_it_says_so(
    database: Path, page: str, tmp_path: Path
) -> None:
    copy = changed(
        database,
        tmp_path,
        ("UPDATE analytics.dim_contacts SET contact_status = 'deleted' WHERE contact_id IN ('c_975', 'c_982')", []),
        ("UPDATE analytics.dim_contacts SET contact_status = 'merged' WHERE contact_id = 'c_986'", []),
        ("UPDATE analytics.segment_completeness SET is_complete = false WHERE segment_id IN ('s_9', 's_15')", []),
        ("UPDATE analytics.sync_status SET last_synced_at = last_synced_at - INTERVAL 3 DAY", []),
    )

    found = report(copy, tmp_path / "page.html")

    assert "2 deleted, 1 merged" in found
    assert "2 of 13 segments have another number of members than Common Room says" in found
    assert "The last sync was 3 days ago" in found
    assert "0 deleted, 0 merged" in page
    assert 'role="alert"' not in page


def test_when_reported_then_the_page_needs_no_network(page: str) -> None:
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(src|srcset|action)="|<link|@import|url\(', markup)
    assert re.findall(r"<script[^>]*src", page) == []


def test_given_markup_in_the_texts_of_records_when_reported_then_it_stays_text(database: Path, tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    copy = changed(
        database,
        tmp_path,
        ("UPDATE analytics.dim_organizations SET name = ?, domain = ?", [evil, evil]),
        ("UPDATE analytics.bridge_segment_members SET segment_name = ?", [evil]),
        ("UPDATE analytics.segment_completeness SET segment_name = ?", [evil]),
        ("UPDATE analytics.fct_activities SET provider_service = ?", [evil]),
        ("UPDATE analytics_staging.stg_commonroom__api_token_status SET community_name = ?", [evil]),
    )

    found = report(copy, tmp_path / "page.html")

    # Vega's own code is the last script.
    assert "<img" not in found[: found.rindex('<script type="module">')]
    assert found.count("</script>") == 4
    assert "&lt;/script&gt;&lt;img" in found
    assert {row["source"] for row in chart(found, "sources")} == {evil}


def test_given_an_address_that_a_browser_would_run_when_reported_then_it_is_no_link(
    database: Path, tmp_path: Path
) -> None:
    copy = changed(database, tmp_path, ("UPDATE analytics.dim_organizations SET url = 'JavaScript:alert(1)'", []))

    found = report(copy, tmp_path / "page.html")

    assert "alert(1)" not in found
    assert "<a href" not in found[: found.rindex('<script type="module">')]


def test_given_a_week_that_is_not_over_when_reported_then_the_trend_is_of_whole_weeks(page: str, truth: Truth) -> None:
    weekly = truth.weekly()
    last = max(date.fromisoformat(week) for _, week in weekly)
    names = {row["id"]: row["name"] for row in truth.workspace.records("organizations")}
    whole = {
        (names[account], row["trend_4_weeks"], row["activities_4_weeks_before"], row["activities_4_weeks"])
        for (account, week), row in weekly.items()
        if week == (last - timedelta(weeks=1)).isoformat()
    }
    told = re.findall(
        r'<td class="name">.*?<bdi>(.*?)</bdi>.*?class="trend ([a-z]+)".*?[(]([0-9,]+) → ([0-9,]+)[)]', page, re.DOTALL
    )
    assert len(told) == 15
    assert {(html.unescape(name), trend, int(before), int(now)) for name, trend, before, now in told} <= whole


def test_given_an_activity_in_the_future_when_reported_then_the_last_days_are_still_those_before_now(
    database: Path, page: str, tmp_path: Path
) -> None:
    later = (
        "INSERT INTO analytics.fct_activities SELECT * REPLACE ('a_1f' AS activity_id, TIMESTAMP '9999-12-31' AS "
        "activity_time, DATE '9999-12-27' AS activity_week) FROM analytics.fct_activities LIMIT 1"
    )
    copy = changed(database, tmp_path, (later, []))

    found = report(copy, tmp_path / "page.html")

    assert chart(found, "sources") == chart(page, "sources")
    tile = r"<b>[0-9,]+</b><span>activities in 90 days"
    assert re.findall(tile, found) == re.findall(tile, page)
    assert "Dated in the future, and so not counted as recent: 1 activities." in found


def test_given_a_workspace_without_activities_when_reported_then_it_says_so_in_place_of_empty_plots(
    database: Path, tmp_path: Path
) -> None:
    copy = changed(
        database,
        tmp_path,
        ("DELETE FROM analytics.fct_activities", []),
        ("DELETE FROM analytics.bridge_segment_members", []),
        ("UPDATE analytics.dim_contacts SET first_activity_at = NULL, activities_count = 0", []),
    )

    found = report(copy, tmp_path / "page.html")

    assert "There is no activity." in found
    # Vega draws no plot of nothing.
    assert re.findall('<div data-chart="(.*?)"', found) == []


@pytest.mark.parametrize("command", ["scripts.report", "scripts.models"])
def test_given_a_file_that_is_not_duckdbs_when_used_then_it_says_so(tmp_path: Path, command: str) -> None:
    database = tmp_path / "workspace.duckdb"
    database.write_text("something else, and long enough to be read as the head of a file" * 100)

    process = ended([DBT / "python", "-m", command, "--database", database])

    assert process.returncode == 1
    assert process.stderr.startswith("ERROR: ")
    assert "move it away" in process.stderr
    assert "Traceback" not in process.stderr


def test_given_a_build_that_failed_when_a_report_is_wanted_then_the_models_are_not_as_new_as_the_sync(
    database: Path, tmp_path: Path
) -> None:
    def fresh(database: Path) -> bool:
        words = "import pathlib, sys; from scripts.models import is_fresh; print(is_fresh(pathlib.Path(sys.argv[1])))"
        return run([DBT / "python", "-c", words, database]).strip() == "True"

    assert fresh(database)
    copy = changed(database, tmp_path, ("DELETE FROM commonroom.contacts WHERE id > 'c_2'", []))
    process = ended([DBT / "python", "-m", "scripts.models", "--database", copy])

    assert process.returncode == 1
    assert not fresh(copy)


def test_given_a_file_without_models_when_reported_then_it_says_what_to_do(tmp_path: Path) -> None:
    database = tmp_path / "workspace.duckdb"
    run([DBT / "python", "-c", "import duckdb, sys; duckdb.connect(sys.argv[1])", database])

    process = ended([DBT / "python", "-m", "scripts.report", "--database", database])

    assert process.returncode == 1
    assert "`make build` makes them" in process.stderr
    assert "Traceback" not in process.stderr
