-- The columns for custom fields as the destination typed them.
{{ commonroom.custom_columns_as_loaded('organizations', 'organization_id') }}
