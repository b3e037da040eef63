"""What a turn does, from a person's message to a saved answer, and the services that it needs. Knows no page."""
