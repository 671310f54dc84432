with visits as (
    select * from {{ ref('stg_commonroom__website_visits') }}
),

merged as (
    select * from {{ ref('int_commonroom__merged_contacts') }}
)

select
    visits.website_visit_id,
    visits.visit_time,
    cast(visits.visit_time as date) as visit_date,
    {{ commonroom.week_of('visits.visit_time') }} as visit_week,
    visits.url,
    visits.url_host,
    {{ commonroom.path_of('visits.url') }} as url_path,
    coalesce(merged.merged_into_contact_id, visits.contact_id) as contact_id,
    visits.organization_id,
    case
        when visits.contact_id is not null then 'contact'
        when visits.organization_id is not null then 'organization'
        else 'unknown'
    end as known_visitor,
    visits.synced_at
from visits
left join merged on visits.contact_id = merged.contact_id
