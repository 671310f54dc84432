with records as (
    {{ commonroom.records_of('tags') }}
)

select
    id as tag_id,
    name,
    description,
    entity_types,
    synced_at
from records
