"""What the models have to say of a workspace, computed from its records in plain Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from integration_tests.sandbox import Workspace

Row = dict[str, Any]


class Truth:
    """A workspace, asked what a team would ask the models.

    :param became: the contacts that were merged, with those that they became part of
    :param gone: contacts that were deleted since a sync brought them
    """

    def __init__(self, workspace: Workspace, became: dict[str, str] | None = None, gone: Iterable[Row] = ()) -> None:
        self.workspace = workspace
        self._became = became or {}
        domains = defaultdict(list)
        for organization in workspace.records("organizations"):
            if organization.get("primaryDomain"):
                domains[domain(organization["primaryDomain"])].append(organization["id"])
        self.organizations_of: dict[str, list[str]] = {
            contact["id"]: domains[domain(contact["companyWebsite"])]
            for contact in (*workspace.records("contacts"), *gone)
            if contact.get("companyWebsite") and contact["id"] not in self._became
        }
        self.activities = [
            activity | {"contactId": self.contact_of(activity), "week": week_of(moment(activity["activityTime"]))}
            for activity in workspace.records("activities")
        ]
        self.visits = [
            visit | {"contactId": self.contact_of(visit), "week": week_of(moment(visit["visitTime"]))}
            for visit in workspace.records("website_visits")
        ]

    def contact_of(self, row: Row) -> str | None:
        """Tell whose an activity or a visit is."""
        contact: str = row.get("contactId") or ""
        return self._became.get(contact, contact) or None

    def accounts_of(self, contact: str | None) -> list[str]:
        """Tell the accounts of a contact."""
        return self.organizations_of.get(contact or "", [])

    def weekly(self) -> dict[tuple[str, str], Row]:
        """Tell what `account_engagement_weekly` has, by account and week; only of weeks with a touch or after one."""
        by_account: dict[str, list[Row]] = defaultdict(list)
        visits: dict[str, list[Row]] = defaultdict(list)
        for activity in self.activities:
            for account in self.accounts_of(activity["contactId"]):
                by_account[account].append(activity)
        for visit in self.visits:
            named = [visit["organizationId"]] if visit.get("organizationId") else []
            for account in {*self.accounts_of(visit["contactId"]), *named}:
                visits[account].append(visit)
        touched = {
            account: [
                *(moment(row["activityTime"]) for row in by_account[account]),
                *(moment(row["visitTime"]) for row in visits[account]),
            ]
            for account in {*by_account, *visits}
        }
        last = week_of(max(time for times in touched.values() for time in times))
        rows = {}
        for account, times in touched.items():
            week = week_of(min(times))
            while week <= last:
                rows[account, week.isoformat()] = self._week(by_account[account], visits[account], week) | {
                    "first_touch_at": min(times),
                    "last_touch_at": max(time for time in times if week_of(time) <= week),
                }
                week += timedelta(weeks=1)
        return rows

    def _week(self, activities: list[Row], visits: list[Row], week: date) -> Row:
        of_week = [row for row in activities if row["week"] == week]
        told = {
            "active_contacts": len({row["contactId"] for row in of_week}),
            "activities": len(of_week),
            "activities_by_type": dict(Counter(row["type"] for row in of_week)) or None,
            "website_visits": sum(row["week"] == week for row in visits),
        }
        for sentiment in ("positive", "neutral", "negative"):
            told[f"{sentiment}_activities"] = sum(row.get("sentiment") == sentiment for row in of_week)
        for weeks in (4, 12):
            span = [row for row in activities if week - timedelta(weeks=weeks) < row["week"] <= week]
            before = [
                row
                for row in activities
                if week - timedelta(weeks=2 * weeks) < row["week"] <= week - timedelta(weeks=weeks)
            ]
            told |= {
                f"active_contacts_{weeks}_weeks": len({row["contactId"] for row in span}),
                f"activities_{weeks}_weeks": len(span),
                f"activities_{weeks}_weeks_before": len(before),
                f"trend_{weeks}_weeks": trend(len(span), len(before)),
            }
        return told


def trend(now: int, before: int) -> str:
    """Say how activities developed."""
    if not before:
        return "new" if now else "quiet"
    if now >= 1.25 * before:
        return "warming"
    return "cooling" if now <= 0.75 * before else "steady"


def domain(website: str) -> str:
    """Tell the domain of a website, whether it is a URL or a domain already."""
    text = website.strip().lower()
    host = urlsplit(text if "://" in text else f"//{text}").hostname or ""
    return host.removeprefix("www.").rstrip(".")


def moment(text: str) -> datetime:
    """Read a time of the API, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def week_of(time: datetime) -> date:
    """Tell the Monday of a time."""
    return time.date() - timedelta(days=time.weekday())
