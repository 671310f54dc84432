{% set custom_columns = commonroom.custom_columns_of('contacts') %}
with contacts as (
    select * from {{ ref('int_commonroom__contacts') }}
),

details as (
    select * from {{ ref('stg_commonroom__contacts') }}
),

activities as (
    select
        contact_id,
        count(*) as activities_count,
        min(activity_time) as first_activity_at,
        max(activity_time) as last_activity_at
    from {{ ref('fct_activities') }}
    group by contact_id
),

segments as (
    select
        member_id as contact_id,
        count(*) as segments_count
    from {{ ref('int_commonroom__segment_members') }}
    where member_type = 'contact'
    group by member_id
),

organizations as (
    select
        contact_id,
        min(organization_id) as organization_id,
        count(*) as organizations_count
    from {{ ref('bridge_contact_organization') }}
    group by contact_id
),

history as (
    select
        contact_id,
        min(dbt_valid_from) as first_synced_at
    from {{ ref('commonroom_contacts_history') }}
    group by contact_id
),

primary_scores as (
    select
        contact_id,
        max(score) as primary_lead_score,
        max(percentile) as primary_lead_score_percentile
    from {{ ref('contact_lead_scores') }}
    where is_primary_score
    group by contact_id
)

select
    contacts.contact_id,
    contacts.name,
    contacts.full_name,
    contacts.primary_email,
    contacts.email_domain,
    contacts.title,
    contacts.company_name,
    contacts.company_website,
    contacts.company_domain,
    organizations.organization_id,
    coalesce(organizations.organizations_count, 0) as organizations_count,
    contacts.location_city,
    contacts.location_region,
    contacts.location_country,
    contacts.contact_status,
    contacts.gone_at,
    contacts.merged_into_contact_id,
    contacts.merge_evidence,
    primary_scores.primary_lead_score,
    primary_scores.primary_lead_score_percentile,
    coalesce(segments.segments_count, 0) as segments_count,
    coalesce(activities.activities_count, 0) as activities_count,
    activities.first_activity_at,
    activities.last_activity_at,
    details.recent_web_visits_number,
    history.first_synced_at,
    contacts.url,
    {% for column in custom_columns %}
        custom.{{ commonroom.quoted(column) }},
    {% endfor %}
    coalesce(details.synced_at, contacts.synced_at) as synced_at
from contacts
left join details on contacts.contact_id = details.contact_id
left join organizations on contacts.contact_id = organizations.contact_id
left join primary_scores on contacts.contact_id = primary_scores.contact_id
left join segments on contacts.contact_id = segments.contact_id
left join activities on contacts.contact_id = activities.contact_id
left join history on contacts.contact_id = history.contact_id
{% if custom_columns %}
    left join {{ ref('int_commonroom__contact_custom_columns') }} as custom on contacts.contact_id = custom.contact_id
{% endif %}
-- depends_on: {{ ref('int_commonroom__contact_custom_columns') }}
