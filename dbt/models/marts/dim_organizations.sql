{% set custom_columns = commonroom.custom_columns_of('organizations') %}
with organizations as (
    select * from {{ ref('stg_commonroom__organizations') }}
),

contacts as (
    select
        bridge.organization_id,
        count(*) as known_contacts_count
    from {{ ref('bridge_contact_organization') }} as bridge
    inner join {{ ref('int_commonroom__contacts') }} as contacts on bridge.contact_id = contacts.contact_id
    where contacts.contact_status = 'active'
    group by bridge.organization_id
),

touches as (
    select
        organization_id,
        cast(sum(case when touch_kind = 'activity' then 1 else 0 end) as {{ dbt.type_bigint() }}) as activities_count,
        cast(sum(case when touch_kind = 'website_visit' then 1 else 0 end) as {{ dbt.type_bigint() }}) as website_visits_count,
        min(touched_at) as first_touch_at,
        max(touched_at) as last_touch_at
    from {{ ref('int_commonroom__account_touches') }}
    group by organization_id
),

primary_scores as (
    select
        scores.entity_id as organization_id,
        max(scores.score) as primary_lead_score,
        max(scores.percentile) as primary_lead_score_percentile
    from {{ ref('int_commonroom__lead_scores') }} as scores
    inner join {{ ref('stg_commonroom__lead_scores') }} as definitions
        on scores.lead_score_id = definitions.lead_score_id
    where scores.entity_type = 'organization' and definitions.is_primary_score
    group by scores.entity_id
)

select
    organizations.organization_id,
    organizations.name,
    organizations.primary_domain,
    organizations.domain,
    organizations.about,
    organizations.sub_industry,
    organizations.employees,
    organizations.revenue_range_min,
    organizations.revenue_range_max,
    organizations.location_city,
    organizations.location_region,
    organizations.location_country,
    organizations.linked_in_url,
    organizations.contacts_count,
    coalesce(contacts.known_contacts_count, 0) as known_contacts_count,
    primary_scores.primary_lead_score,
    primary_scores.primary_lead_score_percentile,
    coalesce(touches.activities_count, 0) as activities_count,
    coalesce(touches.website_visits_count, 0) as website_visits_count,
    touches.first_touch_at,
    touches.last_touch_at,
    organizations.url,
    {% for column in custom_columns %}
        custom.{{ commonroom.quoted(column) }},
    {% endfor %}
    organizations.synced_at
from organizations
left join contacts on organizations.organization_id = contacts.organization_id
left join touches on organizations.organization_id = touches.organization_id
left join primary_scores on organizations.organization_id = primary_scores.organization_id
{% if custom_columns %}
    left join {{ ref('int_commonroom__organization_custom_columns') }} as custom on organizations.organization_id = custom.organization_id
{% endif %}
-- depends_on: {{ ref('int_commonroom__organization_custom_columns') }}
