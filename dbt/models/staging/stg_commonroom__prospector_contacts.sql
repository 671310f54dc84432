with records as (
    {{ commonroom.records_of('prospector_contacts') }}
)

select
    id as prospector_contact_id,
    name,
    avatar_url,
    company_name,
    company_website,
    {{ commonroom.normalized_domain('company_website') }} as company_domain,
    full_name,
    linked_in_follower_count,
    linked_in_handle,
    {{ commonroom.json_text('location', ['city']) }} as location_city,
    {{ commonroom.json_text('location', ['region']) }} as location_region,
    {{ commonroom.json_text('location', ['country']) }} as location_country,
    role,
    seniority,
    skills,
    title,
    synced_at
from records
