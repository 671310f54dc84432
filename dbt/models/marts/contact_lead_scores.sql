with scores as (
    select * from {{ ref('int_commonroom__lead_scores') }}
    where entity_type = 'contact'
),

definitions as (
    select * from {{ ref('stg_commonroom__lead_scores') }}
),

changes as (
    select * from {{ ref('int_commonroom__lead_score_changes') }}
    where entity_type = 'contact' and recency = 1
)

select
    scores.entity_id as contact_id,
    scores.lead_score_id,
    definitions.name as lead_score_name,
    definitions.is_primary_score,
    definitions.enabled as is_enabled,
    scores.score,
    scores.percentile,
    changes.previous_score,
    changes.changed_at as unchanged_since,
    scores.synced_at
from scores
left join definitions on scores.lead_score_id = definitions.lead_score_id
left join changes on scores.entity_id = changes.entity_id and scores.lead_score_id = changes.lead_score_id
