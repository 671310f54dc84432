with records as (
    {{ commonroom.records_of('activities') }}
)

select
    id as activity_id,
    type,
    activity_time,
    contact_id,
    content,
    is_user_initiated,
    participant_count,
    provider_id,
    provider_name,
    reply_count,
    sentiment,
    sub_source_names,
    url,
    synced_at
from records
