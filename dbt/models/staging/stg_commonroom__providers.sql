with records as (
    {{ commonroom.records_of('providers') }}
)

select
    id as provider_id,
    name,
    service_name,
    synced_at
from records
