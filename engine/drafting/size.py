"""How much of a draft is worth verifying: the size that commits most tokens per second.

Maximises (1 + expected accepted) / T(width) over the widths that may be used, T measured on this machine. A draft
smaller than its width is padded: where the curve has a cliff, a wider round may be the cheaper one. The cheapest
width needs no draft at all, so plain decoding is the floor; leaving it must promise more than the measurement's own
error. No model, no device.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

# T is known to a few per cent, and probabilities lag behind the text. On recorded chats a margin of up to 8 % changed
# the predicted speedup by 0.3 % at most, so caution costs little.
MARGIN = 0.08


def least_worth(widths: Sequence[int], cost: Callable[[int], float]) -> float:
    """The chance below which no node pays for its row, whatever the width: what a row costs where it costs least
    (on the lower hull of the curve), over the cheapest round, whose rate every round must beat.

    >>> round(least_worth((1, 2, 3), (0.0, 1.1, 1.3, 1.6).__getitem__), 6)
    0.181818
    """
    floor = min(widths, key=cost)
    wider = [(cost(width) - cost(floor)) / (width - floor) for width in widths if width > floor]
    return min(wider, default=0.0) / cost(floor)


def choose_size(chances: Sequence[float], widths: Sequence[int], cost: Callable[[int], float]) -> tuple[int, int]:
    """The draft size and the width of the round that verifies it.

    `chances[i]` is the chance that node i of the draft is committed, never rising; `widths` are the allowed ones,
    ascending; `cost(width)` is in seconds.

    >>> choose_size([0.9, 0.8, 0.1], (1, 2, 4, 8), lambda width: 1 + width / 100)
    (3, 4)
    >>> choose_size([0.9, 0.8, 0.1], (1, 2, 4, 8), lambda width: float(width))
    (0, 1)
    >>> choose_size([0.05], (1, 2), lambda width: 1.0)  # not worth the doubt
    (0, 1)
    >>> choose_size([0.9, 0.8], (4, 8), lambda width: float(width))  # free inside the cheapest width
    (2, 4)
    >>> choose_size([0.9], (1, 2, 16), {1: 1.0, 2: 5.8, 16: 1.5}.__getitem__)  # a cliff is stepped over
    (1, 16)
    """
    expected = list(accumulate(chances, initial=1.0))  # tokens a round commits, by draft size
    longest = len(chances)
    seconds = [cost(width) for width in widths]
    cheapest = min(seconds)
    floor = widths[seconds.index(cheapest)]
    best_size, best_width = min(floor - 1, longest), floor
    if expected[-1] <= expected[best_size] * (1 + MARGIN):  # no width is cheap enough for so little
        return best_size, best_width
    best_rate = expected[best_size] / cheapest * (1 + MARGIN)
    for width, time in zip(widths, seconds, strict=True):
        size = min(width - 1, longest)
        rate = expected[size] / time
        if rate > best_rate:
            best_rate, best_size, best_width = rate, size, width
    return best_size, best_width
