"""What a chat template may compute at most: transformers runs it in jinja2's sandbox, which bounds no sizes.

A product or a power is one step in C, which no limit of time interrupts. So jinja2 is told to ask here first.
"""

import operator
import re
from collections.abc import Sized
from typing import Any

from jinja2.sandbox import SandboxedEnvironment

MOST = 1_000_000  # characters or items of a product; of a number, digits: some 3 million bits
_BITS = 3 * MOST
_WIDTH = 4  # digits
_FORMAT = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?")  # its width and its precision


def bound() -> None:
    """Bound every sandbox of this process, also those that are made later."""
    SandboxedEnvironment.intercepted_binops = frozenset({"*", "**", "%"})
    SandboxedEnvironment.default_binop_table = {
        **SandboxedEnvironment.default_binop_table,
        "*": _times,
        "**": _power,
        "%": _modulo,
    }


def _times(left: Any, right: Any) -> Any:
    for many, times in ((left, right), (right, left)):
        if isinstance(many, Sized) and isinstance(times, int) and len(many) * max(0, times) > MOST:
            raise OverflowError("a product is too long")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _BITS:
        raise OverflowError("a product is too large")
    return operator.mul(left, right)


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * max(0, right) > _BITS:
        raise OverflowError("a power is too large")
    return operator.pow(left, right)


def _modulo(left: Any, right: Any) -> Any:
    """Of numbers; of a text, the old way to format, which takes any width."""
    if isinstance(left, str):
        for sizes in _FORMAT.findall(left):
            if any(size == "*" or len(size) > _WIDTH for size in sizes):
                raise OverflowError("a width is too large, or an argument")
    return operator.mod(left, right)
