with records as (
    {{ commonroom.records_of('objects') }}
)

select
    id as object_id,
    name,
    record_key,
    custom_fields,
    object_type_id,
    synced_at
from records
