"""Conversations as files: our own format and those of other programs, in and out. Knows no page, engine or HTTP."""
