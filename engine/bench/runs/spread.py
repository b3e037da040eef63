"""How some measurements are spread."""

from collections.abc import Sequence
from statistics import median, quantiles


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Median and quartiles (linear between neighbours), smallest and largest.

    >>> spread([3.0, 1.0, 2.0, 4.0])
    {'n': 4, 'median': 2.5, 'q1': 1.75, 'q3': 3.25, 'min': 1.0, 'max': 4.0}
    """
    if not values:
        return {"n": 0, "median": None, "q1": None, "q3": None, "min": None, "max": None}
    at_least_two = values if len(values) > 1 else [*values, *values]
    q1, _, q3 = quantiles(at_least_two, n=4, method="inclusive")
    return {"n": len(values), "median": median(values), "q1": q1, "q3": q3, "min": min(values), "max": max(values)}
