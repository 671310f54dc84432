{# The Monday of a time's week, in UTC, as a date. #}
{% macro week_of(expression) %}{{ return(adapter.dispatch('week_of', 'commonroom')(expression)) }}{% endmacro %}
{% macro default__week_of(expression) %}{{ return("cast(date_trunc('week', " ~ expression ~ ') as date)') }}{% endmacro %}
{% macro snowflake__week_of(expression) %}
  {% do return('dateadd(day, 1 - dayofweekiso(' ~ expression ~ '), cast(' ~ expression ~ ' as date))') %}
{% endmacro %}
{% macro bigquery__week_of(expression) %}{{ return('date(timestamp_trunc(' ~ expression ~ ', isoweek))') }}{% endmacro %}


{# A date so many days after another one. #}
{% macro days_after(expression, days) %}
  {% do return('cast(' ~ dbt.dateadd('day', days, expression) ~ ' as date)') %}
{% endmacro %}


{# How dbt's snapshots tell the time of a deletion: by the clock of the session, which has to be in UTC. #}
{% macro session_in_utc() %}{{ return(adapter.dispatch('session_in_utc', 'commonroom')()) }}{% endmacro %}
{% macro default__session_in_utc() %}{{ return('') }}{% endmacro %}
{% macro duckdb__session_in_utc() %}{{ return("set TimeZone = 'UTC'") }}{% endmacro %}
{% macro postgres__session_in_utc() %}{{ return("set local time zone 'UTC'") }}{% endmacro %}


{# The schema that the package's snapshots are in, as the project names schemas. #}
{% macro schema_of_snapshots(model) %}
  {% if execute %}
    {% for node in graph.nodes.values() %}
      {% if node.resource_type == 'snapshot' and node.package_name == 'commonroom' %}
        {% do return(node.schema) %}
      {% endif %}
    {% endfor %}
  {% endif %}
  {% do return(model.schema) %}
{% endmacro %}


{# When this run of dbt began, in UTC. #}
{% macro built_at() %}
  {% do return("cast('" ~ run_started_at.strftime('%Y-%m-%d %H:%M:%S.%f') ~ "' as " ~ dbt.type_timestamp() ~ ')') %}
{% endmacro %}
