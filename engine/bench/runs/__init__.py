"""The benchmarks themselves; each returns plain data."""
