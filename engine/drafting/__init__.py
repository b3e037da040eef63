"""Drafters: they propose what comes next from token ids alone. Knows no models, no devices and no text."""
