with members as (
    select * from {{ ref('int_commonroom__segment_members') }}
),

segments as (
    select * from {{ ref('stg_commonroom__segments') }}
),

history as (
    select
        segment_id,
        member_id,
        dbt_valid_from
    from {{ ref('commonroom_segment_members_history') }}
    where dbt_valid_to is null
)

select
    members.segment_id,
    segments.name as segment_name,
    members.member_id,
    members.member_type,
    case when members.member_type = 'contact' then members.member_id end as contact_id,
    case when members.member_type = 'object' then members.member_id end as object_id,
    history.dbt_valid_from as member_since,
    members.synced_at
from members
left join segments on members.segment_id = segments.segment_id
left join history on members.segment_id = history.segment_id and members.member_id = history.member_id
