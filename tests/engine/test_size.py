"""The draft size: allowed, the best of its rule, and plain decoding where nothing pays."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.drafting.size import MARGIN, _by_rows, _worth, choose_size, least_worth

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
    assert _by_rows(widths, [cost[w] for w in widths], len(chances) + 1) == times
    worth = _worth(chances, parents, times)
    assert all(later >= earlier for earlier, later in pairwise(worth))

    def saved(width: int) -> float:
        return worth[min(width - 1, len(chances))] - cost[width]

    size, width = choose_size(chances, widths, cost.__getitem__, parents)
    assert width in widths
    assert size == min(width - 1, len(chances))
    cheapest = min(widths, key=cost.__getitem__)
    best = max(map(saved, widths))
    assert saved(width) == best or (width == cheapest and best <= saved(cheapest) + MARGIN * cost[cheapest] + 1e-9)


def test_hopeless_drafts_are_not_verified() -> None:
    assert choose_size([0.01] * 8, WIDTHS, lambda width: 1 + 0.1 * (width - 1)) == (0, 1)


def test_free_rows_are_filled() -> None:
    assert choose_size([0.5, 0.4, 0.3], WIDTHS, lambda width: 1.0) == (3, 4)


def test_a_node_that_cannot_pay_is_in_no_size() -> None:
    def cost(width: int) -> float:
        return 1 + 0.1 * (width - 1)

    chances = [least_worth(WIDTHS, cost) * 0.99]
    assert choose_size(chances, WIDTHS, cost) == (0, 1)


def test_side_branches_are_worth_their_own_promise() -> None:
    """The second branch does not profit from how far the first one goes."""
    chances = [0.6] + [0.59] * 6 + [0.3]
    times = [1.0, *(1 + 0.02 * rows for rows in range(9))]
    chain = _worth(chances, range(-1, 7), times)
    tree = _worth(chances, [-1, 0, 1, 2, 3, 4, 5, -1], times)
    assert tree[:8] != chain[:8]  # the branch's own rows are fewer
    assert tree[8] - tree[7] > chain[8] - chain[7]  # behind it nothing is known: its token would cost a whole round
