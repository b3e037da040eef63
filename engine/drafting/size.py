"""How much of a draft is worth verifying: the size that commits most tokens per second.

Maximises (1 + expected accepted) / T(width) over the widths that may be used, T measured on this machine. A draft
smaller than its width is padded: where the curve has a cliff, a wider round may be the cheaper one. The narrowest
width needs no draft at all, so plain decoding is the floor. No model, no device.
"""

from collections.abc import Callable, Sequence


def choose_size(probabilities: Sequence[float], widths: Sequence[int], cost: Callable[[int], float]) -> tuple[int, int]:
    """The draft size and the width of the round that verifies it.

    `probabilities[i]` is the chance that draft token i is accepted, given that those before it were; `widths` are
    the allowed ones, ascending; `cost(width)` is in seconds.

    >>> choose_size([0.9, 0.9, 0.1], (1, 2, 4, 8), lambda width: 1.0)
    (3, 4)
    >>> choose_size([0.9, 0.9, 0.1], (1, 2, 4, 8), lambda width: float(width))
    (0, 1)
    >>> choose_size([0.9, 0.9], (4, 8), lambda width: float(width))  # free inside the narrowest width
    (2, 4)
    >>> choose_size([0.9], (1, 2, 16), {1: 1.0, 2: 5.8, 16: 1.5}.__getitem__)  # a cliff is stepped over
    (1, 16)
    """
    expected, chance = [1.0], 1.0
    for probability in probabilities:
        chance *= probability
        expected.append(expected[-1] + chance)
    best = (0.0, 0, widths[0])
    for width in widths:
        size = min(width - 1, len(probabilities))
        rate = expected[size] / cost(width)
        if rate > best[0]:
            best = (rate, size, width)
    return best[1], best[2]
