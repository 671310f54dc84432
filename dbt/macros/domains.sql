{#
  A domain to join by, out of a domain or a URL: in lower case, without scheme, user, port, path, "www.", and a dot at
  its end. Null if nothing is left. Punycode (xn--…) stays as it is, and isn't equal to the same name in its own script.
#}
{% macro normalized_domain(expression) %}
  {% set text = 'lower(trim(' ~ expression ~ '))' %}
  {% set text = commonroom.after(text, '://') %}
  {% set text = dbt.split_part(text, "'/'", 1) %}
  {% set text = dbt.split_part(text, "'?'", 1) %}
  {% set text = dbt.split_part(text, "'#'", 1) %}
  {% set text = commonroom.after(text, '@') %}
  {% set text = dbt.split_part(text, "':'", 1) %}
  {% set text = 'trim(' ~ text ~ ')' %}
  {% set text = "case when " ~ text ~ " like 'www.%' then substr(" ~ text ~ ", 5) else " ~ text ~ " end" %}
  {% do return('nullif(' ~ commonroom.without_last_dot(text) ~ ", '')") %}
{% endmacro %}


{# The domain of an e-mail address; null of a text that isn't one, as that of a hash. #}
{% macro email_domain(expression) %}
  {% do return(
    'case when ' ~ expression ~ " like '%_@_%' then " ~ commonroom.normalized_domain(expression) ~ ' end'
  ) %}
{% endmacro %}


{# What follows the first occurrence of a separator, or the whole text if there is none. #}
{% macro after(text, separator) %}
  {% set part = dbt.split_part(text, "'" ~ separator ~ "'", 2) %}
  {% do return('case when ' ~ text ~ " like '%" ~ separator ~ "%' then " ~ part ~ ' else ' ~ text ~ ' end') %}
{% endmacro %}


{% macro without_last_dot(text) %}{{ return(adapter.dispatch('without_last_dot', 'commonroom')(text)) }}{% endmacro %}
{% macro default__without_last_dot(text) %}{{ return('rtrim(' ~ text ~ ", '.')") }}{% endmacro %}


{# The path of a URL, with its slash, without query and fragment. #}
{% macro path_of(expression) %}
  {% set text = commonroom.after(expression, '://') %}
  {% set text = dbt.split_part(text, "'#'", 1) %}
  {% set text = dbt.split_part(text, "'?'", 1) %}
  {% do return(
    'case when ' ~ expression ~ " is not null then coalesce(nullif(substr(" ~ text ~ ', length('
    ~ dbt.split_part(text, "'/'", 1) ~ ") + 1), ''), '/') end"
  ) %}
{% endmacro %}
