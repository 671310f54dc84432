with records as (
    {{ commonroom.records_of('tech_stack_products') }}
)

select
    id as tech_stack_product_id,
    product,
    vendor,
    synced_at
from records
