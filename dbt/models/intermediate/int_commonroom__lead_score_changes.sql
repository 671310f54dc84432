-- Versions that brought another score. The history has more: those in which the percentile alone is another one, which
-- changes with the scores of others.
with versions as (
    select
        entity_type,
        entity_id,
        lead_score_id,
        score,
        dbt_valid_from,
        lag(score) over (
            partition by entity_type, entity_id, lead_score_id order by dbt_valid_from
        ) as previous_score,
        row_number() over (
            partition by entity_type, entity_id, lead_score_id order by dbt_valid_from
        ) as version
    from {{ ref('commonroom_lead_scores_history') }}
)

select
    entity_type,
    entity_id,
    lead_score_id,
    score,
    previous_score,
    dbt_valid_from as changed_at,
    row_number() over (
        partition by entity_type, entity_id, lead_score_id order by dbt_valid_from desc
    ) as recency
from versions
where
    version = 1
    or score <> previous_score
    or (score is null and previous_score is not null)
    or (score is not null and previous_score is null)
