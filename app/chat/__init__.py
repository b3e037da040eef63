"""What a turn does: from a person's message to a saved answer. Knows no page."""
