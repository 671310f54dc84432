"""`make report`: the page says what the records say, is one file, and holds no text of a record as markup."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from integration_tests.pipeline.play import DBT, ROOT, Play, run
from integration_tests.pipeline.truth import Truth, moment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("models")]


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
def page(play: Play, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(play.database, tmp_path_factory.mktemp("report") / "page.html")


@pytest.fixture
def truth(play: Play) -> Truth:
    return play.second["duckdb"].truth


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


def test_when_reported_then_it_says_what_is_gone_and_what_is_not_complete(page: str) -> None:
    assert "1 deleted, 1 merged" in page
    # The sandbox's own numbers of members stay as they were when contacts are deleted.
    assert re.search(r"[0-9]+ of 13 segments have another number of members than Common Room says", page)


def test_when_reported_then_the_page_needs_no_network(page: str) -> None:
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(src|srcset|action)="|<link|@import|url\(', markup)
    assert re.findall(r"<script[^>]*src", page) == []


def test_given_markup_in_the_texts_of_records_when_reported_then_it_stays_text(play: Play, tmp_path: Path) -> None:
    database = tmp_path / "workspace.duckdb"
    shutil.copy(play.database, database)
    evil = "</script><img src=x onerror=alert(1)>"
    change = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); evil = sys.argv[2]\n"
        "c.execute('UPDATE analytics.dim_organizations SET name = ?, domain = ?', [evil, evil])\n"
        "c.execute('UPDATE analytics.bridge_segment_members SET segment_name = ?', [evil])\n"
        "c.execute('UPDATE analytics.segment_completeness SET segment_name = ?', [evil])\n"
        "c.execute('UPDATE analytics.fct_activities SET provider_service = ?', [evil])\n"
        "c.execute('UPDATE analytics_staging.stg_commonroom__api_token_status SET community_name = ?', [evil])\n"
    )
    run([DBT / "python", "-c", change, database, evil])

    found = report(database, tmp_path / "page.html")

    assert "<img" not in found
    assert "&lt;/script&gt;&lt;img" in found
    assert {row["source"] for row in chart(found, "sources")} == {evil}


def test_given_a_file_without_models_when_reported_then_it_says_what_to_do(tmp_path: Path) -> None:
    database = tmp_path / "workspace.duckdb"
    run([DBT / "python", "-c", "import duckdb, sys; duckdb.connect(sys.argv[1])", database])

    process = subprocess.run(
        [DBT / "python", "-m", "scripts.report", "--database", database],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 1
    assert "`make build` makes them" in process.stderr
    assert "Traceback" not in process.stderr
