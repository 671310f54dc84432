{#
  The text at a path of a JSON object, as in json_text('location', ['city']); null if there is none, or JSON's null.
  It is for single values, not for objects and lists.
#}
{% macro json_text(expression, path) %}{{ return(adapter.dispatch('json_text', 'commonroom')(expression, path)) }}{% endmacro %}

{% macro default__json_text(expression, path) %}
  {% do return('json_extract_string(' ~ expression ~ ", '$.\"" ~ path | join('"."') ~ "\"')") %}
{% endmacro %}

{% macro postgres__json_text(expression, path) %}
  {% do return('(' ~ expression ~ " #>> '{" ~ path | join(',') ~ "}')") %}
{% endmacro %}

{% macro snowflake__json_text(expression, path) %}
  {% do return('cast(get_path(' ~ expression ~ ", '\"" ~ path | join('"."') ~ "\"') as varchar)") %}
{% endmacro %}

{% macro bigquery__json_text(expression, path) %}
  {% do return('json_value(' ~ expression ~ ", '$." ~ path | join('.') ~ "')") %}
{% endmacro %}


{#
  A join of each row with the elements of its JSON list, one row each; a row without a list, or with an empty one, is
  gone. `list_element(alias)` is the element.

      select contact_id, {{ json_text(list_element('score'), ['scoreId']) }}
      from contacts
      {{ join_list('lead_scores', 'score') }}
#}
{% macro join_list(expression, alias) %}{{ return(adapter.dispatch('join_list', 'commonroom')(expression, alias)) }}{% endmacro %}

{% macro default__join_list(expression, alias) %}
  {% do return('cross join unnest(json_extract(' ~ expression ~ ", '$[*]')) as " ~ alias ~ '(element)') %}
{% endmacro %}

{% macro postgres__join_list(expression, alias) %}
  {% do return(
    'cross join lateral jsonb_array_elements(case when jsonb_typeof(' ~ expression ~ ") = 'array' then " ~ expression
    ~ ' end) as ' ~ alias ~ '(element)'
  ) %}
{% endmacro %}

{% macro snowflake__join_list(expression, alias) %}
  {% do return('cross join lateral flatten(input => ' ~ expression ~ ", mode => 'array') as " ~ alias) %}
{% endmacro %}

{% macro bigquery__join_list(expression, alias) %}
  {% do return('cross join unnest(json_query_array(' ~ expression ~ ')) as ' ~ alias) %}
{% endmacro %}


{% macro list_element(alias) %}{{ return(adapter.dispatch('list_element', 'commonroom')(alias)) }}{% endmacro %}
{% macro default__list_element(alias) %}{{ return(alias ~ '.element') }}{% endmacro %}
{% macro snowflake__list_element(alias) %}{{ return(alias ~ '.value') }}{% endmacro %}
{% macro bigquery__list_element(alias) %}{{ return(alias) }}{% endmacro %}


{#
  A join of each row with the entries of its JSON object, one row each. `entry_key(alias)` is the key, and
  `entry_value(expression, alias)` the value, as JSON.
#}
{% macro join_entries(expression, alias) %}{{ return(adapter.dispatch('join_entries', 'commonroom')(expression, alias)) }}{% endmacro %}

{% macro default__join_entries(expression, alias) %}
  {% do return(
    'cross join unnest(map_entries(cast(' ~ expression ~ ' as map(varchar, json)))) as ' ~ alias ~ '(entry)'
  ) %}
{% endmacro %}

{% macro postgres__join_entries(expression, alias) %}
  {% do return(
    'cross join lateral jsonb_each(case when jsonb_typeof(' ~ expression ~ ") = 'object' then " ~ expression
    ~ ' end) as ' ~ alias ~ '(entry_key, entry_value)'
  ) %}
{% endmacro %}

{% macro snowflake__join_entries(expression, alias) %}
  {% do return('cross join lateral flatten(input => ' ~ expression ~ ", mode => 'object') as " ~ alias) %}
{% endmacro %}

{% macro bigquery__join_entries(expression, alias) %}
  {% do return('cross join unnest(json_keys(' ~ expression ~ ', 1)) as ' ~ alias) %}
{% endmacro %}


{% macro entry_key(alias) %}{{ return(adapter.dispatch('entry_key', 'commonroom')(alias)) }}{% endmacro %}
{% macro default__entry_key(alias) %}{{ return(alias ~ '.entry.key') }}{% endmacro %}
{% macro postgres__entry_key(alias) %}{{ return(alias ~ '.entry_key') }}{% endmacro %}
{% macro snowflake__entry_key(alias) %}{{ return(alias ~ '.key') }}{% endmacro %}
{% macro bigquery__entry_key(alias) %}{{ return(alias) }}{% endmacro %}


{% macro entry_value(expression, alias) %}{{ return(adapter.dispatch('entry_value', 'commonroom')(expression, alias)) }}{% endmacro %}
{% macro default__entry_value(expression, alias) %}{{ return(alias ~ '.entry.value') }}{% endmacro %}
{% macro postgres__entry_value(expression, alias) %}{{ return(alias ~ '.entry_value') }}{% endmacro %}
{% macro snowflake__entry_value(expression, alias) %}{{ return(alias ~ '.value') }}{% endmacro %}
{% macro bigquery__entry_value(expression, alias) %}{{ return(expression ~ '[' ~ alias ~ ']') }}{% endmacro %}


{# An element of a list as text. A list or an object in it is its JSON. #}
{% macro json_scalar(expression) %}{{ return(adapter.dispatch('json_scalar', 'commonroom')(expression)) }}{% endmacro %}
{% macro default__json_scalar(expression) %}{{ return('(' ~ expression ~ " ->> '$')") }}{% endmacro %}
{% macro postgres__json_scalar(expression) %}{{ return('(' ~ expression ~ " #>> '{}')") }}{% endmacro %}
{% macro snowflake__json_scalar(expression) %}{{ return('cast(' ~ expression ~ ' as varchar)') }}{% endmacro %}
{% macro bigquery__json_scalar(expression) %}
  {% do return('coalesce(json_value(' ~ expression ~ '), nullif(to_json_string(' ~ expression ~ "), 'null'))") %}
{% endmacro %}


{# The value of a key of a JSON object, as JSON. #}
{% macro json_member(expression, key) %}{{ return(adapter.dispatch('json_member', 'commonroom')(expression, key)) }}{% endmacro %}
{% macro default__json_member(expression, key) %}{{ return('(' ~ expression ~ " -> '" ~ key ~ "')") }}{% endmacro %}
{% macro snowflake__json_member(expression, key) %}{{ return('get(' ~ expression ~ ", '" ~ key ~ "')") }}{% endmacro %}
{% macro bigquery__json_member(expression, key) %}{{ return('json_query(' ~ expression ~ ", '$." ~ key ~ "')") }}{% endmacro %}


{# JSON as text, in which equal values needn't be of equal spelling. #}
{% macro json_to_text(expression) %}{{ return(adapter.dispatch('json_to_text', 'commonroom')(expression)) }}{% endmacro %}
{% macro default__json_to_text(expression) %}{{ return('cast(' ~ expression ~ ' as ' ~ dbt.type_string() ~ ')') }}{% endmacro %}
{% macro snowflake__json_to_text(expression) %}{{ return('to_json(' ~ expression ~ ')') }}{% endmacro %}
{% macro bigquery__json_to_text(expression) %}{{ return('to_json_string(' ~ expression ~ ')') }}{% endmacro %}


{# An aggregate: a JSON object of keys and numbers. #}
{% macro json_of_counts(key, value) %}{{ return(adapter.dispatch('json_of_counts', 'commonroom')(key, value)) }}{% endmacro %}
{% macro default__json_of_counts(key, value) %}
  {% do return(
    'to_json(map_from_entries(list(struct_pack(k := ' ~ key ~ ', v := ' ~ value ~ ') order by ' ~ key ~ ')))'
  ) %}
{% endmacro %}
{% macro postgres__json_of_counts(key, value) %}{{ return('jsonb_object_agg(' ~ key ~ ', ' ~ value ~ ')') }}{% endmacro %}
{% macro snowflake__json_of_counts(key, value) %}
  {% do return('cast(object_agg(' ~ key ~ ', to_variant(' ~ value ~ ')) as variant)') %}
{% endmacro %}
{% macro bigquery__json_of_counts(key, value) %}
  {% do return('json_object(array_agg(' ~ key ~ ' order by ' ~ key ~ '), array_agg(' ~ value ~ ' order by ' ~ key ~ '))') %}
{% endmacro %}
