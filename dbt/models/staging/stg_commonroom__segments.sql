with records as (
    {{ commonroom.records_of('segments') }}
)

select
    id as segment_id,
    name,
    entity_type,
    entity_count,
    url,
    synced_at
from records
