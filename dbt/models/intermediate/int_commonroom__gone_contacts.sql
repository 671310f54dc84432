-- Contacts that a sync brought once and the last one didn't, as they were last.
with versions as (
    select
        *,
        row_number() over (partition by contact_id order by dbt_valid_from desc) as recency,
        max(case when dbt_valid_to is null then 1 else 0 end) over (partition by contact_id) as is_there
    from {{ ref('commonroom_contacts_history') }}
)

select
    {{ commonroom.contact_columns('versions') }},
    versions.profiles,
    versions.synced_at,
    versions.dbt_valid_to as gone_at
from versions
where versions.recency = 1 and versions.is_there = 0
