-- Texts that are numbers or times, and some that only look like it: those are null, and no error.
{% set numbers = [
  ('1', '1'), ('-3.5', '-3.5'), ('1e-7', '0.0000001'), ('x', ''), ('', ''), ('1,5', ''), ('true', ''), ('NaN', ''), ('-Infinity', ''),
  ('1_000', ''), (' 7 ', ''), ('+5', ''), ('1e400', ''), ('9' * 400, ''), ('1e300', '1e300'),
  ('1' ~ '0' * 300, '1e300'), ('0.' ~ '0' * 400 ~ '1', '0'), ('1e-400', '0'),
] %}
{% set times = [
  ('2024-02-29T00:00:00.000Z', '2024-02-29 00:00:00'),
  ('2025-03-04T05:06:07+09:00', '2025-03-03 20:06:07'),
  ('2025-12-31', '2025-12-31 00:00:00'),
  ('2025-12-31T10:11', '2025-12-31 10:11:00'),
  ('2025-12-31 10:11:12.5', '2025-12-31 10:11:12.5'),
  ('2025-12-31T23:30:00-0100', '2026-01-01 00:30:00'),
  ('0001-01-01T00:00:00Z', '0001-01-01 00:00:00'),
  ('2025-02-29T00:00:00Z', ''),
  ('2025-13-01T00:00:00Z', ''),
  ('soon', ''),
  ('epoch', ''),
  ('infinity', ''),
  ('20250101', ''),
  ('0000-01-01', ''),
  ('', ''),
] %}
with numbers as (
    {% for text, wanted in numbers %}
        select
            '{{ text }}' as text,
            cast(nullif('{{ wanted }}', '') as {{ commonroom.type_double() }}) as wanted
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

times as (
    {% for text, wanted in times %}
        select
            '{{ text }}' as text,
            cast(nullif('{{ wanted }}', '') as {{ dbt.type_timestamp() }}) as wanted
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

read_numbers as (
    select
        text,
        wanted,
        {{ commonroom.number_of('text') }} as found
    from numbers
),

read_times as (
    select
        text,
        wanted,
        {{ commonroom.time_of('text') }} as found
    from times
)

-- In a session of any time zone.
select text from read_numbers
where (found is null) <> (wanted is null) or found <> wanted
union all
select text from read_times
where (found is null) <> (wanted is null) or found <> wanted
