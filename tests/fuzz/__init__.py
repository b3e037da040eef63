"""Every boundary, fed with what nobody should send: `python -m tests.fuzz --help`."""
