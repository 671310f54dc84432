{#
  A text as a number, or null if it is none: spelled as JSON spells numbers, and no larger than a double can be. `NaN`,
  `Infinity`, and `1_000` are none, although some warehouses read them.
#}
{% macro number_of(expression) %}{{ return(adapter.dispatch('number_of', 'commonroom')(expression)) }}{% endmacro %}

{% macro default__number_of(expression) %}
  {{ return(commonroom.number_if_it_is_one(expression, 'try_cast(' ~ expression ~ ' as double)')) }}
{% endmacro %}

{% macro bigquery__number_of(expression) %}
  {{ return(commonroom.number_if_it_is_one(expression, 'safe_cast(' ~ expression ~ ' as float64)')) }}
{% endmacro %}

{% macro number_if_it_is_one(expression, number) %}
  {% do return(
    'case when ' ~ commonroom.matches(expression, commonroom.number_pattern()) ~ ' and abs(' ~ number
    ~ ') < 1.79e308 then ' ~ number ~ ' end'
  ) %}
{% endmacro %}

{% macro postgres__number_of(expression) %}
  {#- PostgreSQL has no cast that gives null, so that what it would refuse has to be known beforehand. -#}
  {% set exact = 'abs(cast(' ~ expression ~ ' as numeric))' %}
  {% do return(
    'case when length(' ~ expression ~ ') <= 1000 and ' ~ commonroom.matches(expression, commonroom.number_pattern())
    ~ ' then case when ' ~ exact ~ ' >= 1.79e308 then null when ' ~ exact ~ ' < 1e-307 then 0 else cast(' ~ expression
    ~ ' as double precision) end end'
  ) %}
{% endmacro %}

{% macro number_pattern() %}{{ return('-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]{1,3})?') }}{% endmacro %}


{# Whether the whole of a text is as a regular expression says. #}
{% macro matches(expression, pattern) %}{{ return(adapter.dispatch('matches', 'commonroom')(expression, pattern)) }}{% endmacro %}
{% macro default__matches(expression, pattern) %}
  {% do return('regexp_full_match(' ~ expression ~ ", '" ~ pattern ~ "')") %}
{% endmacro %}
{% macro postgres__matches(expression, pattern) %}{{ return(expression ~ " ~ '^(" ~ pattern ~ ")$'") }}{% endmacro %}
{% macro snowflake__matches(expression, pattern) %}
  {% do return('regexp_like(' ~ expression ~ ", '" ~ pattern ~ "')") %}
{% endmacro %}
{% macro bigquery__matches(expression, pattern) %}
  {% do return('regexp_contains(' ~ expression ~ ", r'^(" ~ pattern ~ ")$')") %}
{% endmacro %}


{# A text as a time in UTC, or null if it is none. A text without a zone is of UTC, whatever the zone of the session. #}
{% macro time_of(expression) %}{{ return(adapter.dispatch('time_of', 'commonroom')(expression)) }}{% endmacro %}

{% macro default__time_of(expression) %}
  {% do return(
    'case when ' ~ commonroom.is_time(expression) ~ ' then cast(try_cast('
    ~ commonroom.with_zone(expression) ~ " as timestamp with time zone) at time zone 'UTC' as timestamp) end"
  ) %}
{% endmacro %}

{% macro snowflake__time_of(expression) %}
  {% do return(
    'case when ' ~ commonroom.is_time(expression)
    ~ " then cast(convert_timezone('UTC', try_to_timestamp_tz(" ~ commonroom.with_zone(expression)
    ~ ')) as timestamp_ntz) end'
  ) %}
{% endmacro %}

{% macro bigquery__time_of(expression) %}
  {% do return(
    'case when ' ~ commonroom.is_time(expression) ~ ' then safe_cast(' ~ expression
    ~ ' as timestamp) end'
  ) %}
{% endmacro %}

{% macro postgres__time_of(expression) %}
  {#- It has no cast that gives null here either. -#}
  {% do return(
    'case when ' ~ commonroom.is_time(expression) ~ ' then cast(cast(' ~ commonroom.with_zone(expression)
    ~ " as timestamp with time zone) at time zone 'UTC' as timestamp) end"
  ) %}
{% endmacro %}

{# Whether a text is ISO 8601, with a day and a time that there are: what PostgreSQL reads without an error. #}
{% macro is_time(expression) %}
  {% do return(
    '(' ~ commonroom.matches(expression, commonroom.time_pattern()) ~ ' and ' ~ expression ~ " not like '0000%')"
  ) %}
{% endmacro %}

{% macro time_pattern() %}
  {% set leap = '([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)' %}
  {% set day = (
    '([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|[0-9]{4}-(0[13-9]|1[0-2])-(29|30)'
    ~ '|[0-9]{4}-(0[13578]|1[02])-31|' ~ leap ~ '-02-29)'
  ) %}
  {% set seconds = ':[0-5][0-9]([.][0-9]+)?(Z|[-+](0[0-9]|1[0-4]):?[0-5][0-9])?' %}
  {% do return(day ~ '([T ]([01][0-9]|2[0-3]):[0-5][0-9](' ~ seconds ~ ')?)?') %}
{% endmacro %}

{# A text that is a time, with seconds and a zone: its own, or UTC. #}
{% macro with_zone(expression) %}
  {% do return(
    'case when length(' ~ expression ~ ') = 10 then ' ~ dbt.concat([expression, "'T00:00:00Z'"])
    ~ ' when length(' ~ expression ~ ') = 16 then ' ~ dbt.concat([expression, "':00Z'"]) ~ ' when '
    ~ commonroom.matches(expression, '.*(Z|[-+][0-9:]{4,5})') ~ ' then ' ~ expression ~ ' else '
    ~ dbt.concat([expression, "'Z'"]) ~ ' end'
  ) %}
{% endmacro %}


{# How activities of a span compare with those of the span of the same length before it: a quarter more or less counts. #}
{% macro trend(now, before) %}
  {% do return(
    'case when ' ~ now ~ ' = 0 and ' ~ before ~ " = 0 then 'quiet' when " ~ before ~ " = 0 then 'new' when " ~ now
    ~ ' >= 1.25 * ' ~ before ~ " then 'warming' when " ~ now ~ ' <= 0.75 * ' ~ before
    ~ " then 'cooling' else 'steady' end"
  ) %}
{% endmacro %}
