-- Whose each activity is: it changes when contacts are merged.
select
    activity_id,
    contact_id,
    synced_at
from {{ ref('stg_commonroom__activities') }}
where contact_id is not null
