{% set sentiments = ['positive', 'neutral', 'negative'] %}
with touches as (
    select * from {{ ref('int_commonroom__account_touches') }}
),

weeks as (
    select * from {{ ref('int_commonroom__weeks') }}
),

accounts as (
    select
        organization_id,
        min(week_start) as first_week,
        min(touched_at) as first_touch_at
    from touches
    group by organization_id
),

-- A row for each week since the first touch of an account, also for weeks without any.
account_weeks as (
    select
        accounts.organization_id,
        accounts.first_touch_at,
        weeks.week_start,
        weeks.is_complete_week
    from accounts
    inner join weeks on accounts.first_week <= weeks.week_start
),

weekly as (
    select
        organization_id,
        week_start,
        cast(sum(case when touch_kind = 'activity' then 1 else 0 end) as {{ dbt.type_bigint() }}) as activities,
        cast(sum(case when touch_kind = 'website_visit' then 1 else 0 end) as {{ dbt.type_bigint() }}) as website_visits,
        count(distinct case when touch_kind = 'activity' then contact_id end) as active_contacts,
        {% for sentiment in sentiments %}
            cast(sum(case when sentiment = '{{ sentiment }}' then 1 else 0 end) as {{ dbt.type_bigint() }}) as {{ sentiment }}_activities,
        {% endfor %}
        max(touched_at) as last_touch_at
    from touches
    group by organization_id, week_start
),

-- Contacts that are active in several weeks of a span count once, which sums of weeks can't tell.
contact_weeks as (
    select distinct
        organization_id,
        contact_id,
        week_start
    from touches
    where touch_kind = 'activity'
),

spans as (
    select
        account_weeks.organization_id,
        account_weeks.week_start,
        count(distinct case
            when account_weeks.week_start < {{ commonroom.days_after('contact_weeks.week_start', 28) }}
                then contact_weeks.contact_id
        end) as active_contacts_4_weeks,
        count(distinct contact_weeks.contact_id) as active_contacts_12_weeks
    from account_weeks
    inner join contact_weeks
        on
            account_weeks.organization_id = contact_weeks.organization_id
            and account_weeks.week_start >= contact_weeks.week_start
            and account_weeks.week_start < {{ commonroom.days_after('contact_weeks.week_start', 84) }}
    group by account_weeks.organization_id, account_weeks.week_start
),

type_counts as (
    select
        organization_id,
        week_start,
        activity_type_id,
        cast(sum(activities) as {{ dbt.type_bigint() }}) as activities
    from {{ ref('account_activities_weekly_by_type') }}
    group by organization_id, week_start, activity_type_id
),

types as (
    select
        organization_id,
        week_start,
        {{ commonroom.json_of_counts('activity_type_id', 'activities') }} as activities_by_type
    from type_counts
    where activity_type_id is not null
    group by organization_id, week_start
),

filled as (
    select
        account_weeks.organization_id,
        account_weeks.week_start,
        account_weeks.is_complete_week,
        account_weeks.first_touch_at,
        coalesce(weekly.active_contacts, 0) as active_contacts,
        coalesce(weekly.activities, 0) as activities,
        coalesce(weekly.website_visits, 0) as website_visits,
        {% for sentiment in sentiments %}
            coalesce(weekly.{{ sentiment }}_activities, 0) as {{ sentiment }}_activities,
        {% endfor %}
        weekly.last_touch_at
    from account_weeks
    left join weekly
        on
            account_weeks.organization_id = weekly.organization_id
            and account_weeks.week_start = weekly.week_start
),

summed as (
    select
        *,
        {% for weeks in [4, 12] %}
            cast(sum(activities) over (
                partition by organization_id
                order by week_start
                rows between {{ weeks - 1 }} preceding and current row
            ) as {{ dbt.type_bigint() }}) as activities_{{ weeks }}_weeks,
            cast(coalesce(sum(activities) over (
                partition by organization_id
                order by week_start
                rows between {{ 2 * weeks - 1 }} preceding and {{ weeks }} preceding
            ), 0) as {{ dbt.type_bigint() }}) as activities_{{ weeks }}_weeks_before,
        {% endfor %}
        max(last_touch_at) over (
            partition by organization_id
            order by week_start
            rows between unbounded preceding and current row
        ) as last_touch_so_far_at
    from filled
)

select
    summed.organization_id,
    summed.week_start,
    summed.is_complete_week,
    summed.active_contacts,
    summed.activities,
    types.activities_by_type,
    summed.positive_activities,
    summed.neutral_activities,
    summed.negative_activities,
    summed.activities - summed.positive_activities - summed.neutral_activities - summed.negative_activities
        as other_activities,
    summed.website_visits,
    summed.first_touch_at,
    summed.last_touch_so_far_at as last_touch_at,
    coalesce(spans.active_contacts_4_weeks, 0) as active_contacts_4_weeks,
    summed.activities_4_weeks,
    summed.activities_4_weeks_before,
    {{ commonroom.trend('summed.activities_4_weeks', 'summed.activities_4_weeks_before') }} as trend_4_weeks,
    coalesce(spans.active_contacts_12_weeks, 0) as active_contacts_12_weeks,
    summed.activities_12_weeks,
    summed.activities_12_weeks_before,
    {{ commonroom.trend('summed.activities_12_weeks', 'summed.activities_12_weeks_before') }} as trend_12_weeks
from summed
left join types on summed.organization_id = types.organization_id and summed.week_start = types.week_start
left join spans on summed.organization_id = spans.organization_id and summed.week_start = spans.week_start
