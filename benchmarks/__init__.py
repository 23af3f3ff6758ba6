"""Benchmarks: ratios measured in one run, written to RESULTS.md."""
