"""The draft size against trying every size."""

from hypothesis import given
from hypothesis import strategies as st

from engine.drafting.size import MARGIN, choose_size

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16)


@given(
    chances=st.lists(st.floats(0, 1), max_size=15).map(lambda chances: sorted(chances, reverse=True)),
    seconds=st.lists(st.floats(0.1, 10), min_size=len(WIDTHS), max_size=len(WIDTHS)),
    skip=st.integers(0, 3),
)
def test_no_other_width_promises_clearly_more_per_second(chances: list[float], seconds: list[float], skip: int) -> None:
    widths = WIDTHS[skip:]
    cost = dict(zip(WIDTHS, seconds, strict=True))

    def rate(width: int) -> float:
        expected = 1.0
        for chance in chances[: width - 1]:
            expected += chance
        return expected / cost[width]

    size, width = choose_size(chances, widths, cost.__getitem__)
    assert width in widths
    assert size == min(width - 1, len(chances))
    cheapest = min(widths, key=cost.__getitem__)
    assert rate(width) >= rate(cheapest)
    best = max(rate(w) for w in widths)
    assert rate(width) == best or (width == cheapest and best <= rate(cheapest) * (1 + MARGIN))


def test_hopeless_drafts_are_not_verified() -> None:
    assert choose_size([0.01] * 8, WIDTHS, lambda width: 1 + 0.1 * (width - 1)) == (0, 1)
