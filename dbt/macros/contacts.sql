{#
  What is kept of a contact that is gone: the columns of staging that its history has, without its profiles and the time
  of the sync. `alias` is the table that they are of.
#}
{% macro contact_columns(alias) %}
  {% set columns = [
    'contact_id', 'name', 'full_name', 'primary_email', 'email_domain', 'title', 'company_name', 'company_website',
    'company_domain', 'location_city', 'location_region', 'location_country', 'url',
  ] %}
  {% set qualified = [] %}
  {% for column in columns %}
    {% do qualified.append(alias ~ '.' ~ column) %}
  {% endfor %}
  {% do return(qualified | join(',\n    ')) %}
{% endmacro %}
