with records as (
    {{ commonroom.records_of('topics') }}
)

select
    id as topic_id,
    name,
    synced_at
from records
