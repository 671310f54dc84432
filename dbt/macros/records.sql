{#
  The records of a stream as a query, for a model of staging: each property as a column in snake case and of its type,
  and synced_at, when the row was loaded.

  It has each record once, as it was loaded last, whether the destination overwrites, appends, or merges. Of a stream
  that is read in full only the last sync counts, so that what was deleted isn't there any more. A property without a
  column is null, and a stream without a table has no records; a warning names it.
#}
{% macro records_of(stream) %}
  {% set about = commonroom.streams()[stream] %}
  {% set source_relation = source('commonroom', stream) %}
  {% set columns = commonroom.columns_of(stream, source_relation) %}
  {% if columns is none %}
    select
    {% for property, kind in about.columns.items() %}
        cast(null as {{ commonroom.type_of(kind) }}) as {{ commonroom.snake_case(property) }},
    {% endfor %}
        cast(null as {{ dbt.type_timestamp() }}) as synced_at
    from (select 1 as one) as no_table
    where 1 = 0
  {% else %}
    {% set synced_at = columns['_airbyte_extracted_at'] %}
    select
    {% for property, kind in about.columns.items() %}
      {% set column = columns[property] %}
      {% if column is none %}
        cast(null as {{ commonroom.type_of(kind) }}) as {{ commonroom.snake_case(property) }},
      {% else %}
        {{ commonroom.to_type(commonroom.quoted(column), kind, column.dtype) }} as {{ commonroom.snake_case(property) }},
      {% endif %}
    {% endfor %}
      {% if synced_at is none %}
        cast(null as {{ dbt.type_timestamp() }}) as synced_at
      {% else %}
        {{ commonroom.to_type(commonroom.quoted(synced_at), 'timestamp', synced_at.dtype) }} as synced_at
      {% endif %}
    {{ commonroom.from_newest_rows(stream, source_relation, columns) }}
  {% endif %}
{% endmacro %}


{# From a stream's table, each record once, as it was loaded last. #}
{% macro from_newest_rows(stream, source_relation, columns) %}
    {% set keys = [] %}
    {% for property in commonroom.streams()[stream].key %}
      {% do keys.append(commonroom.quoted(columns[property])) %}
    {% endfor %}
    {% set synced_at = columns['_airbyte_extracted_at'] %}
    from (
        select
            loaded.*,
            row_number() over (
                partition by {{ keys | join(', ') }}
                order by {% if synced_at is none %}1{% else %}{{ commonroom.quoted(synced_at) }} desc{% endif %}
            ) as commonroom_recency
        from {{ source_relation }} as loaded
        where {{ commonroom.of_last_sync(stream, source_relation, columns) }}
    ) as newest
    where commonroom_recency = 1
{% endmacro %}


{#
  The condition that a row is of the last sync of its stream. Airbyte's destinations number the syncs of a stream that
  is read in full; a table that is replaced has rows of one sync alone.
#}
{% macro of_last_sync(stream, source_relation, columns) %}
  {% set generation = columns['_airbyte_generation_id'] %}
  {% set synced_at = columns['_airbyte_extracted_at'] %}
  {% set hours = var('commonroom_stale_after_hours') | int %}
  {% if stream == 'activities' %}
    1 = 1
  {% elif generation is not none %}
    {{ commonroom.quoted(generation) }} = (select max({{ commonroom.quoted(generation) }}) from {{ source_relation }})
  {% elif hours > 0 and synced_at is not none %}
    {{ commonroom.quoted(synced_at) }} >= (
        select {{ dbt.dateadd('hour', -hours, 'max(' ~ commonroom.quoted(synced_at) ~ ')') }} from {{ source_relation }}
    )
  {% else %}
    1 = 1
  {% endif %}
{% endmacro %}


{#
  The column that each property of a stream has in its table, as {property: column or none}; none if there is no table.
  Destinations spell primaryEmail as it is, or primaryemail, PRIMARYEMAIL, primary_email, PRIMARY_EMAIL.
#}
{% macro columns_of(stream, source_relation) %}
  {% set wanted = commonroom.streams()[stream].columns.keys() | list %}
  {% set wanted = wanted + ['_airbyte_extracted_at', '_airbyte_generation_id'] %}
  {% set spelling = var('commonroom_spelling') %}
  {% set found = {} %}
  {% if not execute or spelling != 'look' %}
    {% for property in wanted %}
      {% set name = property if spelling == 'documented' else property | upper if spelling == 'upper' else property | lower %}
      {% set column = none if property == '_airbyte_generation_id' else {'name': name, 'dtype': ''} %}
      {% do found.update({property: column}) %}
    {% endfor %}
    {% do return(found) %}
  {% endif %}
  {% set table = commonroom.table_of(stream, source_relation) %}
  {% if table is none %}
    {% do return(none) %}
  {% endif %}
  {% set columns = adapter.get_columns_in_relation(table) %}
  {% for property in wanted %}
    {% set matches = {} %}
    {% for column in columns %}
      {% if column.name == property %}
        {% do matches.update({0: column}) %}
      {% elif column.name | lower == property | lower %}
        {% do matches.update({1: column}) %}
      {% elif column.name | lower == commonroom.snake_case(property) %}
        {% do matches.update({2: column}) %}
      {% endif %}
    {% endfor %}
    {% do found.update({property: matches.get(0, matches.get(1, matches.get(2)))}) %}
  {% endfor %}
  {% for property in commonroom.streams()[stream].key %}
    {% if found[property] is none %}
      {% do exceptions.raise_compiler_error(
        source_relation ~ " has no column " ~ property ~ ", the key of " ~ stream ~ ". Is it the connector's table? "
        ~ "See the variables commonroom_schema and commonroom_table_prefix."
      ) %}
    {% endif %}
  {% endfor %}
  {% do return(found) %}
{% endmacro %}


{# The table of a stream, or none, with a warning, if there is none. If there is none of any stream, that is an error. #}
{% macro table_of(stream, source_relation) %}
  {% set table = adapter.get_relation(
    database=source_relation.database, schema=source_relation.schema, identifier=source_relation.identifier
  ) %}
  {% if table is none %}
    {% set tables = [] %}
    {% for other in commonroom.streams() %}
      {% if adapter.get_relation(
        database=source_relation.database, schema=source_relation.schema,
        identifier=var('commonroom_table_prefix') ~ other
      ) is not none %}
        {% do tables.append(other) %}
      {% endif %}
    {% endfor %}
    {% if not tables %}
      {% do exceptions.raise_compiler_error(
        "None of the connector's tables is in the schema " ~ source_relation.schema ~ " of the database "
        ~ source_relation.database ~ ". Has a sync loaded this database? If they are elsewhere, name their place in "
        ~ "the variables commonroom_schema, commonroom_database, and commonroom_table_prefix."
      ) %}
    {% endif %}
    {% do exceptions.warn(
      "There is no table " ~ source_relation ~ ", so that the models have no " ~ stream ~ ". Select the stream in the "
      ~ "connection, or name its schema in the variable commonroom_schema."
    ) %}
  {% endif %}
  {% do return(table) %}
{% endmacro %}


{# The columns for custom fields of a stream's table. #}
{% macro custom_columns_of(stream) %}
  {% set source_relation = source('commonroom', stream) %}
  {% set custom = [] %}
  {% if execute and var('commonroom_spelling') == 'look' %}
    {% set table = adapter.get_relation(
      database=source_relation.database, schema=source_relation.schema, identifier=source_relation.identifier
    ) %}
    {% if table is not none %}
      {% set map = commonroom.columns_of(stream, source_relation)['customFields'] %}
      {% for column in adapter.get_columns_in_relation(table) %}
        {% if (column.name | lower).startswith('custom_') and (map is none or column.name != map.name) %}
          {% do custom.append(column) %}
        {% endif %}
      {% endfor %}
    {% endif %}
  {% endif %}
  {% do return(custom) %}
{% endmacro %}


{# The name of a column as the warehouse spells it. #}
{% macro quoted(column) %}{{ return(adapter.quote(column.name)) }}{% endmacro %}


{# primaryEmail as primary_email. `values`, a reserved word, becomes choices. #}
{% macro snake_case(property) %}
  {% if property == 'values' %}{% do return('choices') %}{% endif %}
  {% do return(modules.re.sub('(?<!^)([A-Z])', '_\\1', property) | lower) %}
{% endmacro %}


{# A key, and the columns for custom fields of a stream's table, each row as it was loaded last. #}
{% macro custom_columns_as_loaded(stream, key) %}
  {% set source_relation = source('commonroom', stream) %}
  {% set custom = commonroom.custom_columns_of(stream) %}
  {% if not custom %}
    select cast(null as {{ dbt.type_string() }}) as {{ key }}
    from (select 1 as one) as no_column
    where 1 = 0
  {% else %}
    {% set columns = commonroom.columns_of(stream, source_relation) %}
    select
        {{ commonroom.quoted(columns['id']) }} as {{ key }},
    {% for column in custom %}
        {{ commonroom.quoted(column) }}{{ ',' if not loop.last }}
    {% endfor %}
    {{ commonroom.from_newest_rows(stream, source_relation, columns) }}
  {% endif %}
{% endmacro %}
