{# The warehouse's type for a kind of value: string, integer, number, boolean, timestamp, or json. #}
{% macro type_of(kind) %}
  {% set types = {
    'string': dbt.type_string(),
    'integer': dbt.type_bigint(),
    'number': commonroom.type_double(),
    'boolean': dbt.type_boolean(),
    'timestamp': dbt.type_timestamp(),
    'json': commonroom.type_json(),
  } %}
  {% do return(types[kind]) %}
{% endmacro %}


{# A number of 8 bytes: dbt's own type_float has 4 of them in DuckDB. #}
{% macro type_double() %}{{ return(adapter.dispatch('type_double', 'commonroom')()) }}{% endmacro %}
{% macro default__type_double() %}{{ return('double precision') }}{% endmacro %}
{% macro duckdb__type_double() %}{{ return('double') }}{% endmacro %}
{% macro bigquery__type_double() %}{{ return('float64') }}{% endmacro %}


{% macro type_json() %}{{ return(adapter.dispatch('type_json', 'commonroom')()) }}{% endmacro %}
{% macro default__type_json() %}{{ return('json') }}{% endmacro %}
{% macro postgres__type_json() %}{{ return('jsonb') }}{% endmacro %}
{% macro snowflake__type_json() %}{{ return('variant') }}{% endmacro %}


{# A column of the type `dtype` as a value of a kind. #}
{% macro to_type(expression, kind, dtype) %}
  {% if kind == 'json' %}
    {% do return(adapter.dispatch('to_json', 'commonroom')(expression, dtype | lower)) %}
  {% elif kind == 'timestamp' %}
    {% do return(adapter.dispatch('to_utc', 'commonroom')(expression, dtype | lower)) %}
  {% endif %}
  {% do return('cast(' ~ expression ~ ' as ' ~ commonroom.type_of(kind) ~ ')') %}
{% endmacro %}


{# JSON, which some destinations keep as text. #}
{% macro default__to_json(expression, dtype) %}
  {% do return('cast(' ~ expression ~ ' as ' ~ commonroom.type_json() ~ ')') %}
{% endmacro %}

{% macro snowflake__to_json(expression, dtype) %}
  {% if 'char' in dtype or 'text' in dtype or 'string' in dtype %}
    {% do return('parse_json(' ~ expression ~ ')') %}
  {% endif %}
  {% do return('cast(' ~ expression ~ ' as variant)') %}
{% endmacro %}

{% macro bigquery__to_json(expression, dtype) %}
  {% if 'string' in dtype %}
    {% do return('parse_json(' ~ expression ~ ", wide_number_mode => 'round')") %}
  {% endif %}
  {% do return('to_json(' ~ expression ~ ')') %}
{% endmacro %}


{# A time in UTC, of a type that has no time zone, but for BigQuery, whose timestamps are always in UTC. #}
{% macro default__to_utc(expression, dtype) %}
  {% if 'char' in dtype or 'text' in dtype %}
    {% set expression = 'cast(' ~ expression ~ ' as timestamp with time zone)' %}
    {% set dtype = 'timestamp with time zone' %}
  {% endif %}
  {% if 'with time zone' in dtype or 'tz' in dtype %}
    {% set expression = expression ~ " at time zone 'UTC'" %}
  {% endif %}
  {% do return('cast(' ~ expression ~ ' as ' ~ dbt.type_timestamp() ~ ')') %}
{% endmacro %}

{% macro snowflake__to_utc(expression, dtype) %}
  {% if 'ntz' in dtype %}
    {% do return('cast(' ~ expression ~ ' as timestamp_ntz)') %}
  {% endif %}
  {% do return("cast(convert_timezone('UTC', cast(" ~ expression ~ ' as timestamp_tz)) as timestamp_ntz)') %}
{% endmacro %}

{% macro bigquery__to_utc(expression, dtype) %}{{ return('cast(' ~ expression ~ ' as timestamp)') }}{% endmacro %}
