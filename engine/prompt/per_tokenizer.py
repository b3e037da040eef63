"""What is worked out about a tokenizer once, and kept as long as that tokenizer."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def once_per_tokenizer(function: Callable[[Any, *Ts], T]) -> Callable[[Any, *Ts], T]:
    """Keep the results of `function(tokenizer, *rest)`, which must not refer to the tokenizer; `rest` is hashable."""
    kept: WeakKeyDictionary[Any, dict[tuple[*Ts], T]] = WeakKeyDictionary()

    @wraps(function)
    def kept_or_new(tokenizer: Any, *rest: *Ts) -> T:
        results = kept.setdefault(tokenizer, {})
        if rest not in results:
            results[rest] = function(tokenizer, *rest)
        return results[rest]

    return kept_or_new
