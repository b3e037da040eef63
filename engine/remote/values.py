"""Values out of JSON that nobody vouches for: each of the type that is wanted, or nothing. Pure."""

import math
from collections.abc import Mapping
from typing import Any

MOST = 2**53  # of what is counted: no server gets so far, and every reader of JSON knows it exactly


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def first(*values: Any) -> Any:
    """The first that is not None."""
    return next((value for value in values if value is not None), None)


def count(value: Any) -> int | None:
    """
    >>> count(3), count(True), count(-1), count("3"), count(2**60)
    (3, None, None, None, None)
    """
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST else None


def number(value: Any) -> float | None:
    """
    >>> number(3), number(True), number(10**400), number(float("inf"))
    (3.0, None, None, None)
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""
