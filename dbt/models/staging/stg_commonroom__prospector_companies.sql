with records as (
    {{ commonroom.records_of('prospector_companies') }}
)

select
    id as prospector_company_id,
    name,
    description,
    employees,
    linked_in_handles,
    {{ commonroom.json_text('location', ['address']) }} as location_address,
    {{ commonroom.json_text('location', ['city']) }} as location_city,
    {{ commonroom.json_text('location', ['state']) }} as location_state,
    {{ commonroom.json_text('location', ['country']) }} as location_country,
    {{ commonroom.json_text('location', ['countryCode']) }} as location_country_code,
    logo_url,
    primary_website,
    {{ commonroom.normalized_domain('primary_website') }} as domain,
    raised,
    cast({{ commonroom.json_text('revenue_range', ['min']) }} as {{ commonroom.type_of('number') }}) as revenue_range_min,
    cast({{ commonroom.json_text('revenue_range', ['max']) }} as {{ commonroom.type_of('number') }}) as revenue_range_max,
    sub_industry,
    technologies,
    synced_at
from records
