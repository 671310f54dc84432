with members as (
    select
        segment_id,
        count(*) as members_synced
    from {{ ref('bridge_segment_members') }}
    group by segment_id
)

select
    segments.segment_id,
    segments.name as segment_name,
    segments.entity_type,
    segments.entity_count as members_told,
    coalesce(members.members_synced, 0) as members_synced,
    coalesce(members.members_synced, 0) = segments.entity_count as is_complete
from {{ ref('stg_commonroom__segments') }} as segments
left join members on segments.segment_id = members.segment_id
-- The API doesn't list the members of segments of organizations.
where segments.entity_type <> 'organization'
