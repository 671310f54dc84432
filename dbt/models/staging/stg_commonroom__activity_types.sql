with records as (
    {{ commonroom.records_of('activity_types') }}
)

select
    id as activity_type_id,
    display_name,
    synced_at
from records
