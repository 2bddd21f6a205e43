"""Measurements on the real commands; `python -m tests.benchmarks NAME` runs one, or `all` of them."""
