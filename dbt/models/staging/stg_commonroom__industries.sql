with records as (
    {{ commonroom.records_of('industries') }}
)

select
    id as industry_id,
    code,
    name,
    synced_at
from records
