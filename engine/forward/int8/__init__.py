"""Products with 8-bit weights on a processor: in an order of their own, multiplied as integers. Knows no models."""
