-- depends_on: {{ ref('stg_commonroom__segment_members') }}
-- depends_on: {{ ref('stg_commonroom__contacts') }}
{% set has_stream = not execute or commonroom.columns_of('segment_members', source('commonroom', 'segment_members')) %}
with members as (
    {% if has_stream %}
        select
            segment_id,
            member_id,
            member_type,
            synced_at
        from {{ ref('stg_commonroom__segment_members') }}
    {% else %}
        -- The stream isn't loaded: contacts tell their segments, and nothing tells those of objects.
        select distinct
            {{ commonroom.json_text(commonroom.list_element('entry'), ['id']) }} as segment_id,
            contacts.contact_id as member_id,
            'contact' as member_type,
            contacts.synced_at
        from {{ ref('stg_commonroom__contacts') }} as contacts
        {{ commonroom.join_list('contacts.segments', 'entry') }}
    {% endif %}
)

select
    segment_id,
    member_id,
    member_type,
    -- The history is to have one time for all that a sync brought.
    max(synced_at) over () as synced_at
from members
