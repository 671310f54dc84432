"""The connector, a warehouse, and the models of dbt as assets of Dagster; the README says how to run it."""
