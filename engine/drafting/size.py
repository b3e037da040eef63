"""How much of a draft is worth verifying: the size that commits most tokens per second.

Maximises (1 + expected accepted) / T(width) over the widths that may be used, T measured on this machine. Size 0 is
always among them, so that plain decoding is the floor. No model, no device.
"""

from collections.abc import Callable, Sequence

Cost = Callable[[int], float]  # seconds of a round of that width


def choose_size(probabilities: Sequence[float], widths: Sequence[int], cost: Cost, *, pad: bool) -> tuple[int, int]:
    """The draft size and the width of the round that verifies it.

    `probabilities[i]` is the chance that draft token i is accepted, given that those before it were. `widths` are
    the allowed ones, ascending; with `pad` a round has exactly one of them, else exactly size + 1 rows.

    >>> flat = lambda width: 1.0
    >>> choose_size([0.9, 0.9, 0.1], (1, 2, 4, 8), flat, pad=True)
    (3, 4)
    >>> steep = lambda width: float(width)
    >>> choose_size([0.9, 0.9, 0.1], (1, 2, 4, 8), steep, pad=True)
    (0, 1)
    >>> choose_size([0.9, 0.9], (4, 8), steep, pad=True)  # the draft is free inside the narrowest width
    (2, 4)
    """
    expected, chance = [1.0], 1.0
    for probability in probabilities:
        chance *= probability
        expected.append(expected[-1] + chance)
    longest = len(probabilities)
    best_size, best_width = 0, widths[0]
    best_rate = 0.0
    for width in widths:
        size = min(width - 1, longest)
        rows = width if pad else size + 1
        rate = expected[size] / cost(rows)
        if rate > best_rate:
            best_rate, best_size, best_width = rate, size, rows
        if size == longest:
            break
    return best_size, best_width
