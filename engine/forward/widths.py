"""How many rows a round may have, and the widths that are probed, timed and recorded. Pure: numbers alone."""

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
MAX_WIDTH = WIDTHS[-1]  # rows of a round at most
