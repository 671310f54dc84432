-- What the history of contacts keeps of each.
select
    {{ commonroom.contact_columns('contacts') }},
    {{ commonroom.json_to_text('contacts.profiles') }} as profiles,
    -- The history is to have one time for all that a sync brought.
    max(contacts.synced_at) over () as synced_at
from {{ ref('stg_commonroom__contacts') }} as contacts
