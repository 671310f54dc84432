with records as (
    {{ commonroom.records_of('object_types') }}
)

select
    id as object_type_id,
    name,
    assocs,
    synced_at
from records
