-- What the history of contacts keeps of each.
select
    contact_id,
    name,
    full_name,
    primary_email,
    email_domain,
    title,
    company_name,
    company_website,
    company_domain,
    location_city,
    location_region,
    location_country,
    {{ commonroom.json_to_text('profiles') }} as profiles,
    url,
    -- The history is to have one time for all that a sync brought.
    max(synced_at) over () as synced_at
from {{ ref('stg_commonroom__contacts') }}
