with activities as (
    select * from {{ ref('stg_commonroom__activities') }}
),

types as (
    select * from {{ ref('stg_commonroom__activity_types') }}
),

providers as (
    select * from {{ ref('stg_commonroom__providers') }}
),

sentiments as (
    select * from {{ ref('stg_commonroom__activity_sentiment') }}
),

merged as (
    select * from {{ ref('int_commonroom__merged_contacts') }}
)

select
    activities.activity_id,
    activities.activity_time,
    cast(activities.activity_time as date) as activity_date,
    {{ commonroom.week_of('activities.activity_time') }} as activity_week,
    coalesce(merged.merged_into_contact_id, activities.contact_id) as contact_id,
    activities.contact_id as recorded_contact_id,
    activities.type as activity_type_id,
    coalesce(nullif(types.display_name, ''), activities.type) as activity_type,
    -- Whether an activity holds the name of its sentiment or the id isn't documented.
    coalesce(sentiments.name, activities.sentiment) as sentiment,
    activities.provider_id,
    coalesce(
        nullif(activities.provider_name, ''), nullif(providers.name, ''), providers.service_name
    ) as provider_name,
    providers.service_name as provider_service,
    activities.content,
    activities.is_user_initiated,
    activities.participant_count,
    activities.reply_count,
    activities.sub_source_names,
    activities.url,
    activities.synced_at
from activities
left join types on activities.type = types.activity_type_id
left join providers on activities.provider_id = providers.provider_id
left join sentiments on activities.sentiment = sentiments.activity_sentiment_id
left join merged on activities.contact_id = merged.contact_id
