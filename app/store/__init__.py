"""Conversations and settings on disk, in SQLite. Knows no engine and no page."""
