with records as (
    {{ commonroom.records_of('locations') }}
)

select
    id as location_id,
    name,
    type,
    city,
    region,
    country,
    synced_at
from records
