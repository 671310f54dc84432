with scores as (
    select * from {{ ref('int_commonroom__lead_scores') }}
    where entity_type = 'contact'
),

definitions as (
    select * from {{ ref('stg_commonroom__lead_scores') }}
),

versions as (
    select
        entity_id,
        lead_score_id,
        score,
        dbt_valid_from,
        dbt_valid_to,
        lag(score) over (partition by entity_id, lead_score_id order by dbt_valid_from) as previous_score
    from {{ ref('commonroom_lead_scores_history') }}
    where entity_type = 'contact'
)

select
    scores.entity_id as contact_id,
    scores.lead_score_id,
    definitions.name as lead_score_name,
    definitions.is_primary_score,
    definitions.enabled as is_enabled,
    scores.score,
    scores.percentile,
    versions.previous_score,
    versions.dbt_valid_from as unchanged_since,
    scores.synced_at
from scores
left join definitions on scores.lead_score_id = definitions.lead_score_id
left join versions
    on
        scores.entity_id = versions.entity_id
        and scores.lead_score_id = versions.lead_score_id
        and versions.dbt_valid_to is null
