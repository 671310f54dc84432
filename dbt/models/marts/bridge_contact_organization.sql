-- A contact names no organization: it belongs to those whose domain its company's website has, or, if it names none, its
-- e-mail address. Organizations may share a domain.
with contacts as (
    select
        contact_id,
        company_domain,
        email_domain
    from {{ ref('int_commonroom__contacts') }}
    -- What a merged contact did counts for the one that it became part of.
    where contact_status <> 'merged'
),

organizations as (
    select
        organization_id,
        domain
    from {{ ref('stg_commonroom__organizations') }}
    where domain is not null
),

by_website as (
    select
        contacts.contact_id,
        organizations.organization_id,
        organizations.domain,
        'company_website' as matched_by
    from contacts
    inner join organizations on contacts.company_domain = organizations.domain
),

by_email as (
    select
        contacts.contact_id,
        organizations.organization_id,
        organizations.domain,
        'email' as matched_by
    from contacts
    inner join organizations on contacts.email_domain = organizations.domain
    where
        contacts.company_domain is null
        and {{ 'true' if var('commonroom_match_email_domains') else 'false' }}
        and organizations.domain not in ('{{ var('commonroom_shared_email_domains') | join("', '") }}')
)

select * from by_website
union all
select * from by_email
