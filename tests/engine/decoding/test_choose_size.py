"""The draft size: allowed, the best of its rule, and plain decoding where nothing pays."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.decoding.choose import MARGIN, Prices, choose_size, seconds_by_rows, seconds_saved

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16)


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[float], list[int]]:
    """Chances and parents as drafts have them."""
    chances: list[float] = []
    parents: list[int] = []
    for node in range(draw(st.integers(0, 15))):
        parent = draw(st.integers(-1, node - 1))
        most = min(1.0 if parent < 0 else chances[parent], chances[-1] if chances else 1.0)
        chances.append(draw(st.floats(0, most)))
        parents.append(parent)
    return chances, parents


@given(
    tree=trees(),
    seconds=st.lists(st.floats(0.1, 10), min_size=len(WIDTHS), max_size=len(WIDTHS)),
    skip=st.integers(0, 3),
)
def test_no_other_width_saves_clearly_more(
    tree: tuple[list[float], list[int]], seconds: list[float], skip: int
) -> None:
    chances, parents = tree
    widths = WIDTHS[skip:]
    cost = dict(zip(WIDTHS, seconds, strict=True))
    times = [min([cost[w] for w in widths if w >= rows] or [cost[widths[-1]]]) for rows in range(len(chances) + 2)]
    by_rows = seconds_by_rows.py_func(np.array(widths), np.array([cost[w] for w in widths]), len(chances) + 1)
    assert by_rows.tolist() == times
    saved_by = seconds_saved.py_func(np.array(chances), np.array(parents, int), np.array(times))
    assert all(later >= earlier for earlier, later in pairwise(saved_by))

    def saved(width: int) -> float:
        return saved_by[min(width - 1, len(chances))] - cost[width]

    size, width = choose_size(chances, Prices(widths, cost.__getitem__), parents)
    assert width in widths
    assert size == min(width - 1, len(chances))
    cheapest = min(widths, key=cost.__getitem__)
    best = max(map(saved, widths))
    assert saved(width) == best or (width == cheapest and best <= saved(cheapest) + MARGIN * cost[cheapest] + 1e-9)


def test_hopeless_drafts_are_not_verified() -> None:
    assert choose_size([0.01] * 8, Prices(WIDTHS, lambda width: 1 + 0.1 * (width - 1))) == (0, 1)


def test_free_rows_are_filled() -> None:
    assert choose_size([0.5, 0.4, 0.3], Prices(WIDTHS, lambda width: 1.0)) == (3, 4)


def test_a_node_that_cannot_pay_is_in_no_size() -> None:
    prices = Prices(WIDTHS, lambda width: 1 + 0.1 * (width - 1))
    assert choose_size([prices.min_chance[0] * 0.99], prices) == (0, 1)


@given(st.lists(st.floats(0, 0.5), min_size=6, max_size=6), st.integers(0, 30))
def test_nodes_pay_from_their_least_chance_on(steps: list[float], nodes: int) -> None:
    widths = np.array((1, 2, 4, 8, 16, 32))
    seconds = 1 + np.cumsum(steps)
    prices = Prices(widths.tolist(), dict(zip(widths.tolist(), seconds, strict=True)).__getitem__)
    times = [min(seconds[widths > size]) for size in range(32)]
    least = [(times[size] - times[nodes]) / (size - nodes) / seconds[0] for size in range(nodes + 1, 32)]
    assert prices.min_chance[nodes] == pytest.approx(min([1.0, *least]), abs=1e-9)


def test_side_branches_are_worth_their_own_promise() -> None:
    """The second branch does not profit from how far the first one goes."""
    chances = [0.6] + [0.59] * 6 + [0.3]
    times = np.array([1.0, *(1 + 0.02 * rows for rows in range(9))])
    chain = seconds_saved.py_func(np.array(chances), np.arange(-1, 7), times)
    tree = seconds_saved.py_func(np.array(chances), np.array([-1, 0, 1, 2, 3, 4, 5, -1]), times)
    assert tree[:8].tolist() != chain[:8].tolist()  # the branch's own rows are fewer
    assert tree[8] - tree[7] > chain[8] - chain[7]  # behind it nothing is known: its token would cost a whole round
