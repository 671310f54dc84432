-- Profiles of the contacts that are there, and of those that are gone.
with listed as (
    select
        contact_id,
        profiles
    from {{ ref('stg_commonroom__contacts') }}
    union all
    select
        contact_id,
        {{ commonroom.to_type('profiles', 'json', 'text') }} as profiles
    from {{ ref('int_commonroom__gone_contacts') }}
),

unpacked as (
    select
        listed.contact_id,
        {{ commonroom.json_text(commonroom.list_element('entry'), ['type']) }} as profile_type,
        {{ commonroom.json_text(commonroom.list_element('entry'), ['value']) }} as profile
    from listed
    {{ commonroom.join_list('listed.profiles', 'entry') }}
)

select distinct
    contact_id,
    profile_type,
    lower(profile) as profile
from unpacked
where profile is not null
