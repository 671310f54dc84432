-- Every contact that was ever synced: those that are there, and those that are gone.
with there as (
    select * from {{ ref('int_commonroom__contacts_as_synced') }}
),

gone as (
    select * from {{ ref('int_commonroom__gone_contacts') }}
)

select
    {{ commonroom.contact_columns('there') }},
    there.synced_at,
    'active' as contact_status,
    cast(null as {{ dbt.type_timestamp() }}) as gone_at,
    cast(null as {{ dbt.type_string() }}) as merged_into_contact_id,
    cast(null as {{ dbt.type_string() }}) as merge_evidence
from there
union all
select
    {{ commonroom.contact_columns('gone') }},
    gone.synced_at,
    case when merged.contact_id is null then 'deleted' else 'merged' end as contact_status,
    cast(gone.gone_at as {{ dbt.type_timestamp() }}) as gone_at,
    merged.merged_into_contact_id,
    merged.merge_evidence
from gone
left join {{ ref('int_commonroom__merged_contacts') }} as merged on gone.contact_id = merged.contact_id
