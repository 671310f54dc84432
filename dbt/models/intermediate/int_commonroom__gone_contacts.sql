-- Contacts that a sync brought once and the last one didn't, as they were last.
with versions as (
    select
        *,
        row_number() over (partition by contact_id order by dbt_valid_from desc) as recency,
        max(case when dbt_valid_to is null then 1 else 0 end) over (partition by contact_id) as is_there
    from {{ ref('commonroom_contacts_history') }}
)

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
    profiles,
    url,
    synced_at,
    dbt_valid_to as gone_at
from versions
where recency = 1 and is_there = 0
