"""Work in small steps, as a rule one forward pass each, so that an answer may have its turn in between."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Passes:
    """How many forward passes are done, of about how many."""

    done: int
    total: int


Steps = Generator[Passes, None, T]


def counted(steps: Generator[Any, None, T], total: int) -> Steps[T]:
    """Count the steps, whatever they yield; `total` is what is expected of them."""
    done = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        done = min(done + 1, total)
        yield Passes(done, total)


def run(steps: Generator[Any, None, T], each: Callable[[Any], None] = lambda _: None) -> T:
    """Take all steps, one after the other, and return what they return.

    >>> def work():
    ...     yield Passes(1, 1)
    ...     return "done"
    >>> run(work(), print)
    Passes(done=1, total=1)
    'done'
    """
    while True:
        try:
            each(next(steps))
        except StopIteration as end:
            result: T = end.value
            return result
