"""What the first nodes of a draft save, and so how many of them to verify: the number work of `size`, compiled."""

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled

Numbers = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@compiled
def by_rows(widths: Whole, seconds: Numbers, most: int) -> Numbers:
    """The time of the cheapest width that holds each number of rows up to `most`, the widest's for what none does."""
    times = np.full(most + 1, seconds[-1])
    cheapest = seconds[-1]
    for index in range(len(widths) - 1, -1, -1):
        cheapest = min(cheapest, seconds[index])
        fewest = widths[index - 1] + 1 if index else 0
        for rows in range(fewest, min(widths[index], most) + 1):
            times[rows] = cheapest
    return times


@compiled
def cheapest(widths: Whole, seconds: Numbers, size: int) -> int:
    """The cheapest width for all of a draft of this size, which the widest is wide enough for."""
    best = len(widths) - 1
    for index in range(len(widths) - 1, -1, -1):
        if widths[index] > size and seconds[index] <= seconds[best]:
            best = index
    return int(widths[best])


@compiled
def worth(chances: Numbers, parents: Whole, times: Numbers) -> Numbers:
    """The seconds that the first 0, 1, 2, ... nodes save later.

    A node's time is that of a token in the best round behind the first token of its branch, if that one is right.
    """
    size = len(chances)
    branches = np.empty(size, np.int64)  # by node: the node that its branch begins with
    rows = np.zeros(size, np.int64)  # by branch
    promised = np.zeros(size)  # by branch: the chances of its nodes so far
    token_s = np.full(size, np.inf)
    for node in range(size):
        branch = node if parents[node] < 0 else branches[parents[node]]
        branches[node] = branch
        rows[branch] += 1
        promised[branch] += chances[node]
        if chances[branch] > 0:
            token_s[branch] = min(token_s[branch], times[rows[branch]] * chances[branch] / promised[branch])
    saved = np.zeros(size + 1)
    for node in range(size):
        of_token = token_s[branches[node]]
        saved[node + 1] = saved[node] + (chances[node] * of_token if of_token < np.inf else 0.0)
    return saved


@compiled
def choose(chances: Numbers, parents: Whole, widths: Whole, seconds: Numbers, margin: float) -> tuple[int, int]:
    """The draft size that saves most, and its width; another than the cheapest width must save `margin` of it more."""
    longest = len(chances)
    saved = worth(chances, parents, by_rows(widths, seconds, longest + 1))
    floor = np.argmin(seconds)
    best_size, best_width = min(widths[floor] - 1, longest), widths[floor]
    best = saved[best_size] - seconds[floor] * (1 - margin)
    for index in range(len(widths)):
        size = min(widths[index] - 1, longest)
        if saved[size] - seconds[index] > best:
            best, best_size, best_width = saved[size] - seconds[index], size, widths[index]
    return best_size, best_width
