with records as (
    {{ commonroom.records_of('segment_members') }}
)

select
    segment_id,
    member_id,
    member_type,
    member_name,
    synced_at
from records
