-- Each way to write a domain, with what it is to be joined by.
{% set examples = [
  ('acme.example', 'acme.example'),
  (' ACME.example ', 'acme.example'),
  ('www.acme.example', 'acme.example'),
  ('https://www.acme.example/about?x=1#top', 'acme.example'),
  ('http://acme.example:8080', 'acme.example'),
  ('https://user:word@acme.example:443/', 'acme.example'),
  ('acme.example/path', 'acme.example'),
  ('acme.example?x=//y', 'acme.example'),
  ('acme.example.', 'acme.example'),
  ('//acme.example', ''),
  ('wwwacme.example', 'wwwacme.example'),
  ('bücher.example', 'bücher.example'),
  ('', ''),
] %}
with examples as (
    {% for text, domain in examples %}
        select
            '{{ text }}' as text,
            nullif('{{ domain }}', '') as wanted
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

normalized as (
    select
        text,
        wanted,
        {{ commonroom.normalized_domain('text') }} as found
    from examples
)

select * from normalized
where coalesce(found, '-') <> coalesce(wanted, '-')
