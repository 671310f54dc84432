with records as (
    {{ commonroom.records_of('activity_sentiment') }}
)

select
    id as activity_sentiment_id,
    name,
    synced_at
from records
