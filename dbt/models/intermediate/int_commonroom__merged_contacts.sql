-- The contact that a contact which is gone most likely became part of. The API tells of no merge; what shows it is that
-- activities, a profile, or the e-mail address of the one are another one's now.
with gone as (
    select * from {{ ref('int_commonroom__gone_contacts') }}
),

there as (
    select * from {{ ref('stg_commonroom__contacts') }}
),

evidence as (
    select
        gone.contact_id,
        there.contact_id as merged_into_contact_id,
        'activities' as merge_evidence,
        1 as strength
    from gone
    inner join {{ ref('commonroom_activity_contacts_history') }} as formerly on gone.contact_id = formerly.contact_id
    inner join {{ ref('int_commonroom__activity_contacts') }} as now on formerly.activity_id = now.activity_id
    inner join there on now.contact_id = there.contact_id
    union all
    select
        gone.contact_id,
        there.contact_id as merged_into_contact_id,
        'profile' as merge_evidence,
        2 as strength
    from gone
    inner join {{ ref('int_commonroom__contact_profiles') }} as its on gone.contact_id = its.contact_id
    inner join {{ ref('int_commonroom__contact_profiles') }} as theirs
        on its.profile_type = theirs.profile_type and its.profile = theirs.profile
    inner join there on theirs.contact_id = there.contact_id
    union all
    select
        gone.contact_id,
        there.contact_id as merged_into_contact_id,
        'email' as merge_evidence,
        3 as strength
    from gone
    inner join there on lower(gone.primary_email) = lower(there.primary_email)
),

ranked as (
    select
        *,
        row_number() over (partition by contact_id order by strength, merged_into_contact_id) as place
    from evidence
)

select
    contact_id,
    merged_into_contact_id,
    merge_evidence
from ranked
where place = 1
