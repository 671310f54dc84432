select
    organization_id,
    week_start,
    activity_type_id,
    coalesce(sentiment, 'unknown') as sentiment,
    count(*) as activities,
    count(distinct contact_id) as active_contacts
from {{ ref('int_commonroom__account_touches') }}
where touch_kind = 'activity'
group by organization_id, week_start, activity_type_id, coalesce(sentiment, 'unknown')
