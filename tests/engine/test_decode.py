"""What looking for drafts may cost."""

from collections.abc import Callable, Iterable
from itertools import pairwise

from engine.decode import Allowance


def looks(rounds: Iterable[object], look: float, gained: Callable[[int], float]) -> list[int]:
    """The rounds that looked, where a look takes this many plain rounds and gains what `gained` says."""
    allowance = Allowance()
    looked = []
    for number, _ in enumerate(rounds):
        if allowance.looks:
            looked.append(number)
            allowance.note(looked=look, gained=gained(number))
        else:
            allowance.note(looked=0.0, gained=0.0)
    return looked


def test_a_slow_model_always_looks() -> None:
    assert looks(range(500), 0.004, lambda _: 0.0) == list(range(500))


def test_looking_in_vain_costs_a_fast_model_little() -> None:
    looked = looks(range(1000), 0.15, lambda _: 0.0)
    assert len(looked) * 0.15 < 0.02 * 1000
    assert max(later - earlier for earlier, later in pairwise(looked)) <= 18


def test_what_was_gained_lets_a_fast_model_look() -> None:
    assert looks(range(500), 0.15, lambda number: 3.0 * (number % 8 == 0)) == list(range(500))


def test_drafts_that_lose_are_not_looked_for() -> None:
    looked = looks(range(1000), 0.001, lambda number: 2.0 if number % 50 == 0 else -0.5)
    assert len(looked) < 100


def test_what_was_gained_long_ago_counts_little() -> None:
    looked = looks(range(2000), 0.15, lambda number: 5.0 * (number < 1000))
    assert looked[:1000] == list(range(1000))
    assert len(looked) < 1000 + 150
