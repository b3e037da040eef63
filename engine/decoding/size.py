"""How much of a draft is worth verifying: the size that saves most time.

A token that this round does not commit costs a later one something, but less than an average token: where a draft goes
on for long, its first token right, the next round would draft just as well and be surer of it. So a node is worth its
chance, times what a token costs once the draft's branch that it is on has proved right; a size is worth the sum of its
nodes, less the time T(width), measured on this machine. A draft smaller than its width is padded: where the curve has
a cliff, a wider round may be the cheaper one. The cheapest width needs no draft at all, so plain decoding is the
floor; leaving it must promise more than the measurement's own error. No model, no device.

On recorded chats this beat the highest (1 + expected accepted) / T(width), the rule for rounds that are all alike, by
1 to 2 % where width is cheap and by up to 7 % where it is dear.
"""

from collections.abc import Callable, Sequence

import numpy as np

from engine.drafting.compiled.kernel import KERNEL
from engine.drafting.drafter import Worth

# T is known to a few per cent, and probabilities lag behind the text. On recorded chats this much caution cost at most
# 0.3 % of the predicted speedup; four times as much cost up to 1.3 %.
MARGIN = 0.02


class Prices:
    """What rounds of the allowed widths cost at one place of a text, looked up once for many choices.

    `widths` are ascending; `cost(width)` is in seconds. `floor` is the cheapest width. `worth[n]`, n from 0 to what the
    widest holds, is the chance below which no node after n others pays for its row, whatever the width: what a row
    costs where it costs least (on the lower hull of the curve from there on), over the cheapest round, whose rate every
    round must beat. It is 1 where no width holds more.

    >>> prices = Prices((1, 2, 3), (0.0, 1.1, 1.3, 1.6).__getitem__)
    >>> prices.floor, prices.worth.round(6).tolist()
    (1, [0.181818, 0.272727, 1.0])
    """

    def __init__(self, widths: Sequence[int], cost: Callable[[int], float]) -> None:
        self.widths = np.array(widths, np.int64)
        self.seconds = np.array([cost(width) for width in widths])
        self.floor = min(widths, key=cost)
        self.worth = self._least_chances()

    def _least_chances(self) -> Worth:
        nodes = np.arange(self.widths[-1])
        holding = np.minimum.accumulate(self.seconds[::-1])[::-1][np.searchsorted(self.widths, nodes + 1)]
        more = self.widths - 1 - nodes[:, None]  # nodes that each width holds besides
        dearer = np.where(more > 0, (self.seconds - holding[:, None]) / np.maximum(more, 1), np.inf)
        least: Worth = np.clip(dearer.min(axis=1) / self.seconds.min(), 0.0, 1.0)
        return least


def choose_size(chances: Sequence[float], prices: Prices, parents: Sequence[int] | None = None) -> tuple[int, int]:
    """The draft size and the width of the round that verifies it.

    `chances[i]` is the chance that node i of the draft is committed, never rising; `parents[i]` the node above it, -1
    for none (without `parents`: one chain).

    >>> choose_size([0.9, 0.8, 0.1], Prices((1, 2, 4, 8), lambda width: 1 + width / 100))
    (3, 4)
    >>> choose_size([0.9, 0.8, 0.1], Prices((1, 2, 4, 8), float))
    (0, 1)
    >>> choose_size([0.01], Prices((1, 2), lambda width: 1.0))  # not worth the doubt
    (0, 1)
    >>> choose_size([0.9, 0.8], Prices((4, 8), float))  # free inside the cheapest width
    (2, 4)
    >>> choose_size([0.9], Prices((1, 2, 16), {1: 1.0, 2: 5.8, 16: 1.5}.__getitem__))  # a cliff is stepped over
    (1, 16)

    A draft that goes on for long if its first token is right can wait until that is known, unless it is likely:

    >>> chances = [0.99**depth for depth in range(31)]
    >>> prices = Prices((1, 4, 32), {1: 1.0, 4: 1.2, 32: 2.6}.__getitem__)
    >>> choose_size([0.4 * chance for chance in chances], prices)
    (0, 1)
    >>> choose_size([0.8 * chance for chance in chances], prices)
    (31, 32)
    """
    if not chances:
        return 0, prices.floor
    above = np.array(range(-1, len(chances) - 1) if parents is None else parents, np.int64)
    return KERNEL.choose(np.array(chances), above, prices.widths, prices.seconds, MARGIN)
