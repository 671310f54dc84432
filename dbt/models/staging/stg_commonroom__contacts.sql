with records as (
    {{ commonroom.records_of('contacts') }}
)

select
    id as contact_id,
    name,
    avatar_url,
    full_name,
    {{ commonroom.json_text('location', ['city']) }} as location_city,
    {{ commonroom.json_text('location', ['region']) }} as location_region,
    {{ commonroom.json_text('location', ['country']) }} as location_country,
    primary_email,
    {{ commonroom.email_domain('primary_email') }} as email_domain,
    phone_numbers,
    title,
    company_name,
    company_website,
    {{ commonroom.normalized_domain('company_website') }} as company_domain,
    connected_custom_objects,
    custom_fields,
    profiles,
    job_history,
    lead_scores,
    segments,
    recent_web_pages,
    recent_web_visits_number,
    recent_activities,
    {{ commonroom.json_text('activate_message', ['title']) }} as activate_message_title,
    {{ commonroom.json_text('activate_message', ['message']) }} as activate_message_text,
    spark_summary,
    recent_spark_summaries,
    tags,
    url,
    synced_at
from records
