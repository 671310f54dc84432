with records as (
    {{ commonroom.records_of('lead_scores') }}
)

select
    id as lead_score_id,
    name,
    enabled,
    entity_type,
    is_primary_score,
    synced_at
from records
