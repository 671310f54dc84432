with records as (
    {{ commonroom.records_of('website_visits') }}
)

select
    id as website_visit_id,
    visit_time,
    url,
    {{ commonroom.normalized_domain('url') }} as url_host,
    contact_id,
    organization_id,
    synced_at
from records
