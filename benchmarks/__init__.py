"""Benchmarks: the connector beside its peers, against the same emulated API in the same run; see README.md."""
