"""Where a sync goes, and how tables get there from the DuckDB file into which PyAirbyte has loaded them.

These modules run in PyAirbyte's environment, or another one that has the drivers.
"""
