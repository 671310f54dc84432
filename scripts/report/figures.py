"""What the page says, asked of the tables that dbt built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

DAYS = 90
ACCOUNTS = 15
"""How many of the most active accounts are listed."""
WEEKS = 52
"""How far back activities are shown by week."""
SEGMENTS = 12
STALE_AFTER_HOURS = 36

Row = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """All that the page shows; lists of rows, as the queries name their columns."""

    summary: Row
    accounts: list[Row]
    activities_by_source: list[Row]
    contacts_by_segment: list[Row]
    new_contacts: list[Row]
    streams: list[Row]
    segments: list[Row]


# Activities tell when "now" is: the last one of a workspace that is synced regularly is of the day of the sync, and one
# that isn't still has 90 days to show. One that is said to be in the future doesn't count for that.
BOUNDS = "SELECT max(activity_time) AS last_activity FROM {marts}.fct_activities WHERE activity_time <= {now}"
NOW = "(now() AT TIME ZONE 'UTC')"
SUMMARY = """
    WITH bounds AS ({bounds}),
    recent AS (
        SELECT activities.* FROM {marts}.fct_activities AS activities, bounds
        WHERE activity_time > last_activity - INTERVAL {days} DAY AND activity_time <= last_activity
    )
    SELECT
        coalesce((SELECT max(community_name) FROM {staging}.stg_commonroom__api_token_status), '') AS workspace,
        last_activity,
        (SELECT max(last_synced_at) FROM {marts}.sync_status) AS last_synced,
        date_diff('hour', (SELECT max(last_synced_at) FROM {marts}.sync_status), now() AT TIME ZONE 'UTC')
            AS sync_age_hours,
        (SELECT count(*) FROM {marts}.dim_contacts WHERE contact_status = 'active') AS contacts,
        (SELECT count(*) FROM {marts}.dim_contacts WHERE contact_status = 'deleted') AS contacts_deleted,
        (SELECT count(*) FROM {marts}.dim_contacts WHERE contact_status = 'merged') AS contacts_merged,
        (SELECT count(*) FROM {marts}.dim_contacts WHERE contact_status = 'active' AND activities_count = 0)
            AS contacts_without_activity,
        (SELECT count(*) FROM {marts}.dim_organizations) AS organizations,
        (SELECT count(*) FROM {marts}.fct_activities) AS activities,
        (SELECT count(*) FROM {marts}.fct_activities WHERE activity_time > {now}) AS future_activities,
        (SELECT count(*) FROM recent) AS recent_activities,
        (SELECT count(DISTINCT contact_id) FROM recent) AS recent_contacts,
        (
            SELECT count(DISTINCT organization_id) FROM recent
            JOIN {marts}.bridge_contact_organization USING (contact_id)
        ) AS recent_accounts
    FROM bounds
"""

ACCOUNTS_BY_ACTIVITY = """
    WITH bounds AS ({bounds}),
    recent AS (
        SELECT
            organization_id,
            count(*) AS activities,
            count(DISTINCT contact_id) AS active_contacts,
            max(activity_time) AS last_activity_at
        FROM {marts}.fct_activities
        JOIN {marts}.bridge_contact_organization USING (contact_id)
        CROSS JOIN bounds
        WHERE activity_time > last_activity - INTERVAL {days} DAY AND activity_time <= last_activity
        GROUP BY organization_id
    ),
    ranked AS (SELECT * FROM recent ORDER BY activities DESC, active_contacts DESC, organization_id LIMIT {accounts}),
    -- A week that isn't over would make every account look as if it cooled down.
    latest AS (
        SELECT * FROM {marts}.account_engagement_weekly
        QUALIFY row_number() OVER (
            PARTITION BY organization_id ORDER BY is_complete_week DESC, week_start DESC
        ) = 1
    ),
    weeks AS (
        SELECT organization_id, list(activities ORDER BY week_start) AS weekly
        FROM (
            SELECT * FROM {marts}.account_engagement_weekly
            QUALIFY row_number() OVER (PARTITION BY organization_id ORDER BY week_start DESC) <= 13
        )
        GROUP BY organization_id
    )
    SELECT
        ranked.organization_id,
        coalesce(nullif(organizations.name, ''), organizations.domain, ranked.organization_id) AS name,
        organizations.domain,
        organizations.url,
        ranked.activities,
        ranked.active_contacts,
        ranked.last_activity_at,
        latest.activities_4_weeks,
        latest.activities_4_weeks_before,
        latest.trend_4_weeks,
        latest.trend_12_weeks,
        weeks.weekly
    FROM ranked
    JOIN {marts}.dim_organizations AS organizations USING (organization_id)
    JOIN latest USING (organization_id)
    JOIN weeks USING (organization_id)
    ORDER BY ranked.activities DESC, ranked.active_contacts DESC, ranked.organization_id
"""

BY_SOURCE = """
    SELECT
        activity_week AS week,
        coalesce(provider_service, 'unknown') AS source,
        count(*) AS activities
    FROM {marts}.fct_activities
    CROSS JOIN ({bounds})
    WHERE
        activity_week > date_trunc('week', last_activity) - INTERVAL {weeks} WEEK AND activity_time <= last_activity
    GROUP BY ALL
    ORDER BY ALL
"""

# Nothing is documented of the scale of scores and percentiles, so that the quarters are made here.
BY_SEGMENT = """
    WITH scores AS (
        -- The middle of those with the same score, from 0 for the best to 1.
        SELECT
            contact_id,
            (
                percent_rank() OVER (ORDER BY primary_lead_score DESC)
                + cume_dist() OVER (ORDER BY primary_lead_score DESC)
            ) / 2 AS place
        FROM {marts}.dim_contacts
        WHERE contact_status = 'active' AND primary_lead_score IS NOT NULL
    ),
    counted AS (
        SELECT
            segment_id,
            coalesce(nullif(any_value(segment_name), ''), segment_id) AS segment,
            CASE
                WHEN place < 0.25 THEN 'top'
                WHEN place < 0.5 THEN '2nd'
                WHEN place < 0.75 THEN '3rd'
                WHEN place IS NOT NULL THEN '4th'
                ELSE 'none'
            END AS quarter,
            count(*) AS contacts
        FROM {marts}.bridge_segment_members
        LEFT JOIN scores USING (contact_id)
        WHERE member_type = 'contact'
        GROUP BY segment_id, quarter
    ),
    summed AS (SELECT *, CAST(sum(contacts) OVER (PARTITION BY segment_id) AS BIGINT) AS members FROM counted)
    SELECT * FROM summed
    QUALIFY dense_rank() OVER (ORDER BY summed.members DESC, segment_id) <= {segments}
    ORDER BY members DESC, segment_id, quarter
"""

NEW_CONTACTS = """
    SELECT CAST(date_trunc('month', first_activity_at) AS DATE) AS month, count(*) AS contacts
    FROM {marts}.dim_contacts
    WHERE first_activity_at IS NOT NULL AND contact_status <> 'merged'
    GROUP BY month
    ORDER BY month
"""

STREAMS = "SELECT * FROM {marts}.sync_status ORDER BY stream"

COMPLETENESS = """
    SELECT * FROM {marts}.segment_completeness
    ORDER BY is_complete, segment_name, segment_id
"""


def read_figures(connection: duckdb.DuckDBPyConnection, schema: str) -> Figures:
    """Ask for all figures.

    :param schema: the schema of the marts; those of staging are in ``<schema>_staging``
    """

    def rows(query: str) -> list[Row]:
        text = query.format(
            bounds=BOUNDS.format(marts=schema, now=NOW),
            now=NOW,
            marts=schema,
            staging=f"{schema}_staging",
            days=DAYS,
            accounts=ACCOUNTS,
            weeks=WEEKS,
            segments=SEGMENTS,
        )
        found = connection.execute(text)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    return Figures(
        summary=rows(SUMMARY)[0],
        accounts=rows(ACCOUNTS_BY_ACTIVITY),
        activities_by_source=rows(BY_SOURCE),
        contacts_by_segment=rows(BY_SEGMENT),
        new_contacts=rows(NEW_CONTACTS),
        streams=rows(STREAMS),
        segments=rows(COMPLETENESS),
    )


def problems(figures: Figures) -> list[str]:
    """Say what a reader has to know before trusting the page; nothing if all is well."""
    summary: Mapping[str, Any] = figures.summary
    found = []
    if summary["last_synced"] is None:
        return ["Nothing has been loaded."]
    if summary["sync_age_hours"] > STALE_AFTER_HOURS:
        found.append(f"The last sync was {summary['sync_age_hours'] // 24} days ago.")
    behind = [row["stream"] for row in figures.streams if (row["hours_behind_newest"] or 0) > STALE_AFTER_HOURS]
    if behind:
        found.append(f"Older than the rest, because the last sync didn't bring them: {', '.join(behind)}.")
    if summary["future_activities"]:
        found.append(f"Dated in the future, and so not counted as recent: {summary['future_activities']:,} activities.")
    short = [row for row in figures.segments if not row["is_complete"]]
    if short:
        found.append(
            f"{len(short)} of {len(figures.segments)} segments have another number of members than Common Room says."
        )
    return found
