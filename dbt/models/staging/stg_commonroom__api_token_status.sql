with records as (
    {{ commonroom.records_of('api_token_status') }}
)

select
    jti,
    community_name,
    community_id,
    synced_at
from records
