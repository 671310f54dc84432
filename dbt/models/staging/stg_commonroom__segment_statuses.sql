with records as (
    {{ commonroom.records_of('segment_statuses') }}
)

select
    id as segment_status_id,
    name,
    segment_id,
    synced_at
from records
