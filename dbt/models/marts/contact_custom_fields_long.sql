with field_values as (
    select
        contacts.contact_id,
        {{ commonroom.entry_key('field') }} as custom_field_id,
        {{ commonroom.json_text(commonroom.entry_value('contacts.custom_fields', 'field'), ['type']) }} as value_type,
        {{ commonroom.json_scalar(commonroom.json_member(commonroom.entry_value('contacts.custom_fields', 'field'), 'value')) }} as value
    from {{ ref('stg_commonroom__contacts') }} as contacts
    {{ commonroom.join_entries('contacts.custom_fields', 'field') }}
),

definitions as (
    select * from {{ ref('stg_commonroom__custom_fields') }}
)

select
    field_values.contact_id,
    field_values.custom_field_id,
    definitions.name as label,
    coalesce(definitions.value_type, field_values.value_type) as value_type,
    field_values.value,
    case
        when coalesce(definitions.value_type, field_values.value_type) in ('int', 'number')
            then {{ commonroom.number_of('field_values.value') }}
    end as value_number,
    case
        when coalesce(definitions.value_type, field_values.value_type) = 'boolean'
            then case when field_values.value = 'true' then true when field_values.value = 'false' then false end
    end as value_boolean,
    case
        when coalesce(definitions.value_type, field_values.value_type) = 'date'
            then {{ commonroom.time_of('field_values.value') }}
    end as value_time
from field_values
left join definitions on field_values.custom_field_id = definitions.custom_field_id
where field_values.value is not null
