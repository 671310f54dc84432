{#
  Of what a history holds as there, no larger share is missing than `commonroom_max_vanished_share` allows. A sync that
  went wrong, or a stream that isn't selected any more, looks like a large deletion, and would be written into the
  history as one. `never_empty` says that there is always something, so that nothing at all is no clean-up, however
  little there was.
#}
{% test not_vanished(model, history, key, never_empty=false) %}
{% set schema = commonroom.schema_of_snapshots(model) %}
{% set relation = none %}
{% if execute and var('commonroom_spelling') == 'look' %}
  {% set relation = adapter.get_relation(database=model.database, schema=schema, identifier=history) %}
{% endif %}
{% if relation is none %}
select 1 as one from (select 1 as one) as no_history where 1 = 0
{% else %}
with formerly as (
    select {{ key | join(', ') }} from {{ relation }} where dbt_valid_to is null
),

counted as (
    select
        count(*) as formerly_there,
        sum(case when now.{{ key[0] }} is null then 1 else 0 end) as vanished
    from formerly
    left join {{ model }} as now
        on {% for column in key %}formerly.{{ column }} = now.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
)

select
    formerly_there,
    vanished
from counted
-- A few records say nothing of a share.
where
    vanished > {{ var('commonroom_max_vanished_share') }} * formerly_there
    and (vanished > 10{% if never_empty %} or vanished = formerly_there{% endif %})
{% endif %}
{% endtest %}
