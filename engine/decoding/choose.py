"""Which nodes of a draft are verified, in which order, and the walk along the target's picks. No model, no device.

A token that this round does not commit costs a later one something, but less than an average token: where a draft goes
on for long, its first token right, the next round would draft just as well and be surer of it. So a node saves its
chance, times what a token costs once the draft's branch that it is on has proved right (`seconds_saved`). A size is
worth what its nodes save, less the time T(width), measured on this machine. A draft smaller than its width is padded:
where the curve has a cliff, a wider round may be the cheaper one. The cheapest width needs no draft at all, so plain
decoding is the floor; leaving it must promise more than the measurement's own error. On recorded chats this beat the
highest (1 + expected accepted) / T(width), the rule for rounds that are all alike, by 1 to 2 % where width is cheap
and by up to 7 % where it is dear.

Rows of a round are numbered from 0, the last committed token. The likeliest chain from there, the *spine*, comes
first, so that the usual accept is the leading rows and the KV cache need only be cropped; then every side branch, as
one run of rows. An example, from a draft to the tokens that are committed:

>>> draft = Draft((5, 6, 7, 8), (ROOT, 0, ROOT, 1), (0.9, 0.5, 0.2, 0.05), ("a",) * 4)
>>> prices = Prices((1, 2, 4, 8), {1: 1.0, 2: 1.1, 4: 1.3, 8: 2.5}.__getitem__)  # seconds of a round, by its width
>>> prices.min_chance[:4].round(2).tolist()  # behind 0, 1, 2, 3 nodes: a less likely one does not pay for its row
[0.1, 0.1, 0.0, 0.3]
>>> choose_size(draft.chances, prices, draft.parents)  # three nodes fill a round of width 4; a fourth does not pay
(3, 4)
>>> rows, width = choose_rows(draft, 9, prices)
>>> rows.nodes, rows.parents  # the spine is nodes 0 and 1; node 2 stands in row 3, behind row 0
((0, 1, 2), (-1, 0, 1, 0))
>>> walk(rows, [4, 5, 6, 7], lambda row, path: (7, 6, 9, 8)[row])  # behind 4 the target picks 7, and 8 behind that
([0, 3], 8)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.arguments import borrowed
from engine.drafting.compiled.numba_cache import compiled, entry_point, sources_digest
from engine.drafting.drafter import ROOT, Draft, MinChance
from engine.forward import slots

Numbers = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

# T is known to a few per cent, and probabilities lag behind the text. On recorded chats this much caution cost at most
# 0.3 % of the predicted speedup; four times as much cost up to 1.3 %.
MARGIN = 0.02

_NONE = -1
_BLOCK = slots.BLOCK
_take_slot = compiled(slots.take_slot)


class Prices:
    """What rounds of the allowed widths cost at one position of a text, looked up once for many choices.

    `widths` are ascending; `cost(width)` is in seconds. `floor` is the cheapest width. `min_chance[n]`, n from 0 to
    what the widest holds, is the chance below which no node after n others pays for its row, whatever the width: what
    a row costs where it costs least (on the lower hull of the curve from there on), over the cheapest round, whose
    rate every round must beat. It is 1 where no width holds more.

    >>> prices = Prices((1, 2, 3), (0.0, 1.1, 1.3, 1.6).__getitem__)
    >>> prices.floor, prices.min_chance.round(6).tolist()
    (1, [0.181818, 0.272727, 1.0])
    """

    def __init__(self, widths: Sequence[int], cost: Callable[[int], float]) -> None:
        self.widths = np.array(widths, np.int64)
        self.seconds = np.array([cost(width) for width in widths])
        self.floor = min(widths, key=cost)
        self.min_chance = self._min_chance()

    def _min_chance(self) -> MinChance:
        nodes = np.arange(self.widths[-1])
        holding = np.minimum.accumulate(self.seconds[::-1])[::-1][np.searchsorted(self.widths, nodes + 1)]
        more = self.widths - 1 - nodes[:, None]  # nodes that each width holds besides
        dearer = np.where(more > 0, (self.seconds - holding[:, None]) / np.maximum(more, 1), np.inf)
        least: MinChance = np.clip(dearer.min(axis=1) / self.seconds.min(), 0.0, 1.0)
        return least


@dataclass(frozen=True, slots=True)
class Rows:
    """A draft as rows of a round. `nodes[i]` is the draft's node in row i + 1; `parents[i]` the row above row i (row
    0: -1), and `offsets[i]` how many slots behind row 0 it stands."""

    nodes: tuple[int, ...]
    parents: tuple[int, ...]
    offsets: tuple[int, ...]


_LAST_ALONE = Rows((), (-1,), (0,))


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

    A draft that continues for long if its first token is right can wait until that is known, unless it is likely:

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
    return _KERNEL.best_size(np.array(chances), above, prices.widths, prices.seconds, MARGIN)


def choose_rows(
    draft: Draft,
    room: int,
    prices: Prices,
    *,
    start: int | None = None,
    trees: bool = True,
) -> tuple[Rows, int]:
    """The rows that verify what pays of a draft, at most `room` deep, and the width of the round.

    A draft without chances is verified whole, as far as the widest round goes. With `start`, the slot of row 0, each
    node stands where its sums come out as in a chain (`engine.forward.slots`), and is left out where no such slot is
    free; without, rows stand one behind the other. Without `trees` the likeliest path alone is verified, even where a
    drafter that was asked for a chain gave a tree.

    >>> draft = Draft((5, 6, 7), (-1, 0, -1), (0.9, 0.5, 0.2), ("a",) * 3)
    >>> prices = Prices((1, 2, 4), lambda width: 1.0)
    >>> choose_rows(draft, 1, prices)
    (Rows(nodes=(0, 2), parents=(-1, 0, 0), offsets=(0, 1, 2)), 4)
    >>> choose_rows(draft, 2, prices, start=40)
    (Rows(nodes=(0, 1, 2), parents=(-1, 0, 1, 0), offsets=(0, 1, 2, 33)), 4)
    """
    if not draft.token_ids:
        return _LAST_ALONE, prices.floor
    chosen, width = _KERNEL.arrange(
        np.array(draft.parents, np.int64),
        np.array(draft.chances, np.float64),
        prices.widths,
        prices.seconds,
        MARGIN,
        room,
        _NONE if start is None else start,
        trees,
    )
    nodes, parents, offsets = chosen.tolist()
    return Rows(tuple(nodes[1:]), tuple(parents), tuple(offsets)), width


def walk(rows: Rows, token_ids: Sequence[int], pick: Callable[[int, Sequence[int]], int]) -> tuple[list[int], int]:
    """The rows of the accepted path, row 0 first, and the target's own token behind the last of them.

    `token_ids[i]` is the token of row i; `pick(row, path)` the target's token behind it, `path` being the rows above
    it and itself. Only rows on the path are asked for.
    """
    children = {(parent, token_ids[row]): row for row, parent in enumerate(rows.parents)}
    path = [0]
    while True:
        picked = pick(path[-1], path)
        below = children.get((path[-1], picked))
        if below is None:
            return path, picked
        path.append(below)


def warm_up() -> None:
    """Compile what chooses the rows, or load it from the cache on disk."""
    choose_rows(Draft((0,), (ROOT,), (), ("",)), 1, Prices((1, 2), lambda width: 1.0))


@compiled
def seconds_by_rows(widths: Whole, seconds: Numbers, most: int) -> Numbers:
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
def seconds_saved(chances: Numbers, parents: Whole, times: Numbers) -> Numbers:
    """The seconds that the first 0, 1, 2, ... nodes save later; `times[rows]` is what a round of so many rows takes.

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
def _best_size(chances: Numbers, parents: Whole, widths: Whole, seconds: Numbers, margin: float) -> tuple[int, int]:
    """The draft size that saves most, and its width; another than the cheapest width must save `margin` of it more."""
    longest = len(chances)
    saved = seconds_saved(chances, parents, seconds_by_rows(widths, seconds, longest + 1))
    floor = np.argmin(seconds)
    best_size, best_width = min(widths[floor] - 1, longest), widths[floor]
    best = saved[best_size] - seconds[floor] * (1 - margin)
    for index in range(len(widths)):
        size = min(widths[index] - 1, longest)
        if saved[size] - seconds[index] > best:
            best, best_size, best_width = saved[size] - seconds[index], size, widths[index]
    return best_size, best_width


@compiled
def _cheapest_width(widths: Whole, seconds: Numbers, size: int) -> int:
    """The cheapest width for all of a draft of this size, which the widest is wide enough for."""
    best = len(widths) - 1
    for index in range(len(widths) - 1, -1, -1):
        if widths[index] > size and seconds[index] <= seconds[best]:
            best = index
    return int(widths[best])


@compiled
def _place_nodes(parents: Whole, room: int, start: int, trees: bool, nodes: Whole, above: Whole, offsets: Whole) -> int:
    """Write the nodes that can be verified, which of them each one follows, and where they stand; returns how many."""
    size = len(parents)
    taken = np.zeros(min(size, room) + _BLOCK, np.bool_)
    number = np.full(size, _NONE)
    depths = np.zeros(size, np.int64)
    extended = np.zeros(size + 1, np.bool_)  # nodes with a child, behind the root
    count = 0
    for node in range(size):
        parent = parents[node]
        it_follows = ROOT if parent == ROOT else number[parent]
        if parent != ROOT and it_follows == _NONE:
            continue
        depth = 1 if parent == ROOT else depths[it_follows] + 1
        if depth > room or (extended[parent + 1] and not trees):
            continue
        extended[parent + 1] = True
        offset = 0
        if start != _NONE:
            offset = _take_slot(taken, start, depth, 0 if parent == ROOT else offsets[it_follows])
            if offset < 0:
                continue
        number[node] = count
        nodes[count], above[count], offsets[count], depths[count] = node, it_follows, offset, depth
        count += 1
    return count


@compiled
def _spine_first(above: Whole, order: Whole) -> None:
    """Write the order of rows: behind each node its likeliest child and all that follows it, then its other ones."""
    size = len(above)
    first = np.full(size + 1, _NONE)  # child of each node, behind the root's
    following = np.full(size, _NONE)  # sibling
    for node in range(size - 1, -1, -1):
        parent = above[node] + 1
        following[node], first[parent] = first[parent], node
    waiting = np.empty(size + 1, np.int64)
    waiting[0] = first[0]
    num_waiting = 1 if size else 0
    row = 0
    while num_waiting:
        node = waiting[num_waiting - 1]
        num_waiting -= 1
        order[row] = node
        row += 1
        for next_one in (following[node], first[node + 1]):
            if next_one != _NONE:
                waiting[num_waiting] = next_one
                num_waiting += 1


@compiled
def _arrange(
    parents: Whole, chances: Numbers, widths: Whole, seconds: Numbers, margin: float, room: int, start: int, trees: bool
) -> tuple[Whole, int]:
    """The rows of `choose_rows` (3, rows): nodes, parents, offsets; and the width."""
    nodes, above, offsets = np.empty((3, len(parents)), np.int64)
    count = _place_nodes(parents, room, start, trees, nodes, above, offsets)
    if len(chances):
        size, width = _best_size(chances[nodes[:count]], above[:count], widths, seconds, margin)
    else:
        size = min(count, widths[-1] - 1)
        width = _cheapest_width(widths, seconds, size)
    order = np.empty(size, np.int64)
    _spine_first(above[:size], order)
    rows = np.zeros((3, size + 1), np.int64)
    rows[:2, 0] = _NONE
    row_of = np.empty(size, np.int64)
    for row in range(1, size + 1):
        node = order[row - 1]
        row_of[node] = row
        rows[0, row] = nodes[node]
        rows[1, row] = 0 if above[node] == ROOT else row_of[above[node]]
        rows[2, row] = row if start == _NONE else offsets[node]
    return rows, width


class _Kernel(NamedTuple):
    """The compiled entry points. Each mentions `digest`, for it belongs to the cache's key only if it does."""

    best_size: Callable[[Numbers, Whole, Whole, Numbers, float], tuple[int, int]]
    arrange: Callable[[Whole, Numbers, Whole, Numbers, float, int, int, bool], tuple[Whole, int]]


def _make_kernel(digest: str) -> _Kernel:
    @entry_point
    def best_size(chances: Numbers, parents: Whole, widths: Whole, seconds: Numbers, margin: float) -> tuple[int, int]:
        _ = digest
        return _best_size(borrowed(chances), borrowed(parents), borrowed(widths), borrowed(seconds), margin)

    @entry_point
    def arrange(
        parents: Whole,
        chances: Numbers,
        widths: Whole,
        seconds: Numbers,
        margin: float,
        room: int,
        start: int,
        trees: bool,
    ) -> tuple[Whole, int]:
        _ = digest
        parents, chances = borrowed(parents), borrowed(chances)
        widths, seconds = borrowed(widths), borrowed(seconds)
        return _arrange(parents, chances, widths, seconds, margin, room, start, trees)

    return _Kernel(best_size, arrange)


_KERNEL = _make_kernel(sources_digest(__file__, slots.__file__))
