-- Every week from the first touch to the last one, also those in which nothing happened; the last 40 years at most.
with bounds as (
    select
        min(week_start) as first_week,
        max(week_start) as last_week,
        max(touched_at) as last_touch_at
    from {{ ref('int_commonroom__account_touches') }}
    -- A touch that is said to be in the future would put the weeks there.
    where touched_at <= {{ commonroom.built_at() }}
),

numbers as (
    {{ dbt.generate_series(2088) }}
),

weeks as (
    select
        {{ commonroom.days_after('bounds.last_week', '-7 * (cast(numbers.generated_number as ' ~ dbt.type_int() ~ ') - 1)') }} as week_start,
        bounds.first_week,
        bounds.last_touch_at
    from bounds
    cross join numbers
)

select
    week_start,
    {{ commonroom.days_after('week_start', 7) }} <= cast(last_touch_at as date) as is_complete_week
from weeks
where week_start >= first_week
