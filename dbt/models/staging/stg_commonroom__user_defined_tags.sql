with records as (
    {{ commonroom.records_of('user_defined_tags') }}
)

select
    id as tag_id,
    name,
    description,
    entity_types,
    created_at,
    deleted_at,
    synced_at
from records
