"""From the connector to an answer, on real parts: `make test-pipeline` runs these tests, and `make test` doesn't."""
