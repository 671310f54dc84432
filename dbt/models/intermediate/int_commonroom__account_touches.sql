-- What each account did: activities of its contacts, and visits to the website, of its contacts or of unknown people.
with activities as (
    select
        organizations.organization_id,
        activities.contact_id,
        activities.activity_id as touch_id,
        'activity' as touch_kind,
        activities.activity_type_id,
        activities.sentiment,
        activities.activity_time as touched_at,
        activities.activity_week as week_start
    from {{ ref('fct_activities') }} as activities
    inner join {{ ref('bridge_contact_organization') }} as organizations
        on activities.contact_id = organizations.contact_id
),

-- A visit names an organization, or a contact, or both, of which one may belong to the other.
all_visits as (
    select
        organization_id,
        contact_id,
        website_visit_id,
        visit_time,
        visit_week
    from {{ ref('fct_website_visits') }}
    where organization_id is not null
    union all
    select
        organizations.organization_id,
        visits.contact_id,
        visits.website_visit_id,
        visits.visit_time,
        visits.visit_week
    from {{ ref('fct_website_visits') }} as visits
    inner join {{ ref('bridge_contact_organization') }} as organizations
        on visits.contact_id = organizations.contact_id
),

visits as (
    select distinct * from all_visits
)

select * from activities
union all
select
    organization_id,
    contact_id,
    website_visit_id as touch_id,
    'website_visit' as touch_kind,
    cast(null as {{ dbt.type_string() }}) as activity_type_id,
    cast(null as {{ dbt.type_string() }}) as sentiment,
    visit_time as touched_at,
    visit_week as week_start
from visits
