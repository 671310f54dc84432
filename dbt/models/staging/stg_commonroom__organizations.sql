with records as (
    {{ commonroom.records_of('organizations') }}
)

select
    id as organization_id,
    name,
    primary_domain,
    {{ commonroom.normalized_domain('primary_domain') }} as domain,
    about,
    contacts_count,
    employees,
    linked_in_url,
    profiles,
    revenue_range_max,
    revenue_range_min,
    sub_industry,
    {{ commonroom.json_text('location', ['city']) }} as location_city,
    {{ commonroom.json_text('location', ['region']) }} as location_region,
    {{ commonroom.json_text('location', ['country']) }} as location_country,
    custom_fields,
    lead_scores,
    research_results,
    recent_job_openings,
    recent_news,
    surging_topics,
    tags,
    top_contacts,
    url,
    synced_at
from records
