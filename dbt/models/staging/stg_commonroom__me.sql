with records as (
    {{ commonroom.records_of('me') }}
)

select
    id as contact_id,
    community_id,
    name,
    title,
    role,
    login_email,
    profiles,
    segments,
    personas,
    {{ commonroom.json_text('company', ['name']) }} as company_name,
    {{ commonroom.json_member('company', 'domains') }} as company_domains,
    {{ commonroom.json_text('company', ['summary']) }} as company_summary,
    synced_at
from records
