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
from itertools import accumulate

# T is known to a few per cent, and probabilities lag behind the text. On recorded chats this much caution cost at most
# 0.3 % of the predicted speedup; four times as much cost up to 1.3 %.
MARGIN = 0.02


def least_worth(widths: Sequence[int], cost: Callable[[int], float]) -> float:
    """The chance below which no node pays for its row, whatever the width: what a row costs where it costs least
    (on the lower hull of the curve), over the cheapest round, whose rate every round must beat.

    >>> round(least_worth((1, 2, 3), (0.0, 1.1, 1.3, 1.6).__getitem__), 6)
    0.181818
    """
    floor = min(widths, key=cost)
    wider = [(cost(width) - cost(floor)) / (width - floor) for width in widths if width > floor]
    return min(wider, default=0.0) / cost(floor)


def choose_size(
    chances: Sequence[float],
    widths: Sequence[int],
    cost: Callable[[int], float],
    parents: Sequence[int] | None = None,
) -> tuple[int, int]:
    """The draft size and the width of the round that verifies it.

    `chances[i]` is the chance that node i of the draft is committed, never rising; `parents[i]` the node above it, -1
    for none (without `parents`: one chain); `widths` are the allowed ones, ascending; `cost(width)` is in seconds.

    >>> choose_size([0.9, 0.8, 0.1], (1, 2, 4, 8), lambda width: 1 + width / 100)
    (3, 4)
    >>> choose_size([0.9, 0.8, 0.1], (1, 2, 4, 8), lambda width: float(width))
    (0, 1)
    >>> choose_size([0.01], (1, 2), lambda width: 1.0)  # not worth the doubt
    (0, 1)
    >>> choose_size([0.9, 0.8], (4, 8), lambda width: float(width))  # free inside the cheapest width
    (2, 4)
    >>> choose_size([0.9], (1, 2, 16), {1: 1.0, 2: 5.8, 16: 1.5}.__getitem__)  # a cliff is stepped over
    (1, 16)

    A draft that goes on for long if its first token is right can wait until that is known, unless it is likely:

    >>> chances = [0.99**depth for depth in range(31)]
    >>> seconds = {1: 1.0, 4: 1.2, 32: 2.6}.__getitem__
    >>> choose_size([0.4 * chance for chance in chances], (1, 4, 32), seconds)
    (0, 1)
    >>> choose_size([0.8 * chance for chance in chances], (1, 4, 32), seconds)
    (31, 32)
    """
    seconds = [cost(width) for width in widths]
    cheapest = min(seconds)
    floor = widths[seconds.index(cheapest)]
    longest = len(chances)
    if parents is None:
        parents = range(-1, longest - 1)
    worth = _worth(chances, parents, _by_rows(widths, seconds, longest + 1))
    best_size, best_width = min(floor - 1, longest), floor
    best = worth[best_size] - cheapest * (1 - MARGIN)
    for width, time in zip(widths, seconds, strict=True):
        size = min(width - 1, longest)
        saved = worth[size] - time
        if saved > best:
            best, best_size, best_width = saved, size, width
    return best_size, best_width


def _by_rows(widths: Sequence[int], seconds: Sequence[float], most: int) -> list[float]:
    """The time of the cheapest width that holds each number of rows up to `most`, the widest's for what none does."""
    times = [seconds[-1]] * (most + 1)
    cheapest = seconds[-1]
    for index in range(len(widths) - 1, -1, -1):
        cheapest = min(cheapest, seconds[index])
        below = widths[index - 1] if index else -1
        times[below + 1 : widths[index] + 1] = [cheapest] * (min(widths[index], most) - below)
    return times


def _worth(chances: Sequence[float], parents: Sequence[int], times: Sequence[float]) -> list[float]:
    """The seconds that the first 0, 1, 2, ... nodes save later.

    A node's time is that of a token in the best round behind the first token of its branch, if that one is right.
    """
    branches: list[int] = []  # by node: the node that its branch begins with
    promised: dict[int, float] = {}  # by branch: the chances of its nodes so far
    rows: dict[int, int] = {}
    token_s: dict[int, float] = {}
    for node, (chance, parent) in enumerate(zip(chances, parents, strict=True)):
        branch = node if parent < 0 else branches[parent]
        branches.append(branch)
        rows[branch] = rows.get(branch, 0) + 1
        promised[branch] = promised.get(branch, 0.0) + chance
        if chances[branch] > 0:
            each = times[rows[branch]] * chances[branch] / promised[branch]
            token_s[branch] = min(token_s.get(branch, each), each)
    saved = (chance * token_s.get(branch, 0.0) for chance, branch in zip(chances, branches, strict=True))
    return list(accumulate(saved, initial=0.0))
