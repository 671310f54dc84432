with records as (
    {{ commonroom.records_of('custom_fields') }}
)

select
    id as custom_field_id,
    name,
    entity_types,
    key_field,
    value_type,
    sample_values,
    description,
    target_sub_types,
    provided_by,
    object_type_id,
    synced_at
from records
