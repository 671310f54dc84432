{% set streams = commonroom.streams().keys() | list %}
with streams as (
    {% for stream in streams %}
        select
            '{{ stream }}' as stream,
            count(*) as records,
            min(synced_at) as first_synced_at,
            max(synced_at) as last_synced_at
        from {{ ref('stg_commonroom__' ~ stream) }}
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

newest as (
    select max(last_synced_at) as last_synced_at from streams
)

select
    streams.stream,
    streams.records,
    streams.first_synced_at,
    streams.last_synced_at,
    {{ dbt.datediff('streams.last_synced_at', 'newest.last_synced_at', 'hour') }} as hours_behind_newest,
    {{ commonroom.built_at() }} as built_at
from streams
cross join newest
