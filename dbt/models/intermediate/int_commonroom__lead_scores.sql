with contact_scores as (
    select
        'contact' as entity_type,
        contacts.contact_id as entity_id,
        {{ commonroom.json_text(commonroom.list_element('entry'), ['scoreId']) }} as score_number,
        {{ commonroom.json_text(commonroom.list_element('entry'), ['score']) }} as score,
        {{ commonroom.json_text(commonroom.list_element('entry'), ['percentile']) }} as percentile,
        contacts.synced_at
    from {{ ref('stg_commonroom__contacts') }} as contacts
    {{ commonroom.join_list('contacts.lead_scores', 'entry') }}
),

organization_scores as (
    select
        'organization' as entity_type,
        organizations.organization_id as entity_id,
        {{ commonroom.json_text(commonroom.list_element('entry'), ['scoreId']) }} as score_number,
        {{ commonroom.json_text(commonroom.list_element('entry'), ['score']) }} as score,
        {{ commonroom.json_text(commonroom.list_element('entry'), ['percentile']) }} as percentile,
        organizations.synced_at
    from {{ ref('stg_commonroom__organizations') }} as organizations
    {{ commonroom.join_list('organizations.lead_scores', 'entry') }}
),

scores as (
    select * from contact_scores
    union all
    select * from organization_scores
)

-- Should a list have a score twice, the higher one counts. The history is to have one time for all that a sync brought.
select
    entity_type,
    entity_id,
    {{ dbt.concat(["'ls_'", "score_number"]) }} as lead_score_id,
    max({{ commonroom.number_of('score') }}) as score,
    max({{ commonroom.number_of('percentile') }}) as percentile,
    max(max(synced_at)) over (partition by entity_type) as synced_at
from scores
where score_number is not null
group by entity_type, entity_id, score_number
