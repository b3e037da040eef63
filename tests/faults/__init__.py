"""Faults on purpose, against the real processes: `python -m tests.faults --help`."""
