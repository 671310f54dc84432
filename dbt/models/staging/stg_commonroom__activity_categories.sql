with records as (
    {{ commonroom.records_of('activity_categories') }}
)

select
    id as activity_category_id,
    name,
    value,
    synced_at
from records
