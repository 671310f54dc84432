{# A text as a number, or null if it is none. #}
{% macro number_of(expression) %}{{ return(adapter.dispatch('number_of', 'commonroom')(expression)) }}{% endmacro %}
{% macro default__number_of(expression) %}{{ return('try_cast(' ~ expression ~ ' as double)') }}{% endmacro %}
{% macro bigquery__number_of(expression) %}{{ return('safe_cast(' ~ expression ~ ' as float64)') }}{% endmacro %}
{% macro postgres__number_of(expression) %}
  {#- PostgreSQL has no cast that gives null, so that what it would refuse has to be known beforehand. -#}
  {% do return(
    'case when ' ~ expression ~ " ~ '^-?[0-9]{1,200}([.][0-9]+)?([eE][-+]?[0-9]{1,2})?$' then cast(" ~ expression
    ~ ' as double precision) end'
  ) %}
{% endmacro %}


{# A text as a time in UTC, or null if it is none. #}
{% macro time_of(expression) %}{{ return(adapter.dispatch('time_of', 'commonroom')(expression)) }}{% endmacro %}
{% macro default__time_of(expression) %}
  {% do return('cast(try_cast(' ~ expression ~ " as timestamp with time zone) at time zone 'UTC' as timestamp)") %}
{% endmacro %}
{% macro snowflake__time_of(expression) %}
  {% do return("cast(convert_timezone('UTC', try_to_timestamp_tz(" ~ expression ~ ')) as timestamp_ntz)') %}
{% endmacro %}
{% macro bigquery__time_of(expression) %}{{ return('safe_cast(' ~ expression ~ ' as timestamp)') }}{% endmacro %}
{% macro postgres__time_of(expression) %}
  {% set leap = '([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)' %}
  {% set day = (
    '([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|[0-9]{4}-(0[13-9]|1[0-2])-(29|30)'
    ~ '|[0-9]{4}-(0[13578]|1[02])-31|' ~ leap ~ '-02-29)'
  ) %}
  {% set time = '([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?(Z|[-+](0[0-9]|1[0-4]):?[0-5][0-9])?)?' %}
  {% do return(
    'case when ' ~ expression ~ " ~ '^(?!0000)" ~ day ~ time ~ "$' then cast(cast(" ~ expression
    ~ " as timestamp with time zone) at time zone 'UTC' as timestamp) end"
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
