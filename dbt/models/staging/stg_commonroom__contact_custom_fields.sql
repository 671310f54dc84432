with records as (
    {{ commonroom.records_of('contact_custom_fields') }}
)

select
    id as custom_field_number,
    name,
    type,
    multivalue,
    choices,
    synced_at
from records
