-- The first time that a history is written, it says what there was then, and not that it came then.
with activities as (
    select
        contact_id,
        activity_time as event_time,
        'activity' as event_kind,
        activity_type as event,
        content as details,
        activity_id as source_id
    from {{ ref('fct_activities') }}
    where contact_id is not null
),

visits as (
    select
        contact_id,
        visit_time as event_time,
        'website_visit' as event_kind,
        url_path as event,
        url as details,
        website_visit_id as source_id
    from {{ ref('fct_website_visits') }}
    where contact_id is not null
),

memberships as (
    select
        history.member_id as contact_id,
        history.dbt_valid_from,
        history.dbt_valid_to,
        segments.name as segment_name,
        history.segment_id,
        min(history.dbt_valid_from) over () as history_starts_at
    from {{ ref('commonroom_segment_members_history') }} as history
    left join {{ ref('stg_commonroom__segments') }} as segments on history.segment_id = segments.segment_id
    where history.member_type = 'contact'
),

scores as (
    select
        changes.entity_id as contact_id,
        changes.changed_at,
        changes.lead_score_id,
        definitions.name as lead_score_name,
        changes.score,
        changes.previous_score,
        min(changes.changed_at) over () as history_starts_at
    from {{ ref('int_commonroom__lead_score_changes') }} as changes
    left join {{ ref('stg_commonroom__lead_scores') }} as definitions
        on changes.lead_score_id = definitions.lead_score_id
    where changes.entity_type = 'contact'
),

contacts as (
    select
        contact_id,
        contact_status,
        first_synced_at,
        gone_at,
        merged_into_contact_id,
        min(first_synced_at) over () as history_starts_at
    from {{ ref('dim_contacts') }}
)

select * from activities
union all
select * from visits
union all
select
    contact_id,
    dbt_valid_from as event_time,
    'segment_joined' as event_kind,
    segment_name as event,
    cast(null as {{ dbt.type_string() }}) as details,
    segment_id as source_id
from memberships
where dbt_valid_from > history_starts_at
union all
select
    contact_id,
    dbt_valid_to as event_time,
    'segment_left' as event_kind,
    segment_name as event,
    cast(null as {{ dbt.type_string() }}) as details,
    segment_id as source_id
from memberships
where dbt_valid_to is not null
union all
select
    contact_id,
    changed_at as event_time,
    'lead_score_changed' as event_kind,
    lead_score_name as event,
    {{ dbt.concat([
        "coalesce(cast(previous_score as " ~ dbt.type_string() ~ "), 'none')",
        "' -> '",
        "coalesce(cast(score as " ~ dbt.type_string() ~ "), 'none')"
    ]) }} as details,
    lead_score_id as source_id
from scores
where changed_at > history_starts_at
union all
select
    contact_id,
    first_synced_at as event_time,
    'contact_found' as event_kind,
    cast(null as {{ dbt.type_string() }}) as event,
    cast(null as {{ dbt.type_string() }}) as details,
    contact_id as source_id
from contacts
where first_synced_at > history_starts_at
union all
select
    contact_id,
    gone_at as event_time,
    case when contact_status = 'merged' then 'contact_merged' else 'contact_deleted' end as event_kind,
    merged_into_contact_id as event,
    cast(null as {{ dbt.type_string() }}) as details,
    contact_id as source_id
from contacts
where contact_status <> 'active'
