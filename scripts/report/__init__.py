"""`make report`: a page about the workspace, out of the DuckDB file that `make sync` and `make build` filled."""
