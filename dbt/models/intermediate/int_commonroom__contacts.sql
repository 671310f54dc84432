-- Every contact that was ever synced: those that are there, and those that are gone.
with there as (
    select * from {{ ref('int_commonroom__contacts_as_synced') }}
),

gone as (
    select * from {{ ref('int_commonroom__gone_contacts') }}
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
    url,
    synced_at,
    'active' as contact_status,
    cast(null as {{ dbt.type_timestamp() }}) as gone_at,
    cast(null as {{ dbt.type_string() }}) as merged_into_contact_id,
    cast(null as {{ dbt.type_string() }}) as merge_evidence
from there
union all
select
    gone.contact_id,
    gone.name,
    gone.full_name,
    gone.primary_email,
    gone.email_domain,
    gone.title,
    gone.company_name,
    gone.company_website,
    gone.company_domain,
    gone.location_city,
    gone.location_region,
    gone.location_country,
    gone.url,
    gone.synced_at,
    case when merged.contact_id is null then 'deleted' else 'merged' end as contact_status,
    cast(gone.gone_at as {{ dbt.type_timestamp() }}) as gone_at,
    merged.merged_into_contact_id,
    merged.merge_evidence
from gone
left join {{ ref('int_commonroom__merged_contacts') }} as merged on gone.contact_id = merged.contact_id
