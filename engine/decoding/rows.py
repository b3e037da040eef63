"""What `choose.choose_rows` decides, in one compiled call: which nodes of a draft are verified, where, in which order.

Each rule is a function that is compiled here or in the drafter's files: places by `target.slots`, sizes by
`drafting.worth`, the order of rows below. Knows no model and no device.
"""

from collections.abc import Callable

import numpy as np

from engine.decoding.worth import Numbers, Whole, cheapest, choose
from engine.drafting.compiled.desk import borrowed
from engine.drafting.compiled.numba_cache import compiled, entry_point, sources_digest
from engine.drafting.drafter import ROOT
from engine.forward import slots

_NONE = -1
_BLOCK = slots.BLOCK
_take_place = compiled(slots.take_place)


@compiled
def _placed(parents: Whole, room: int, start: int, trees: bool, nodes: Whole, above: Whole, offsets: Whole) -> int:
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
            offset = _take_place(taken, start, depth, 0 if parent == ROOT else offsets[it_follows])
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


Arrange = Callable[[Whole, Numbers, Whole, Numbers, float, int, int, bool], tuple[Whole, int]]


def _make_arrange(digest: str) -> Arrange:
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
        nodes, above, offsets = np.empty((3, len(parents)), np.int64)
        count = _placed(parents, room, start, trees, nodes, above, offsets)
        if len(chances):
            size, width = choose(chances[nodes[:count]], above[:count], widths, seconds, margin)
        else:
            size = min(count, widths[-1] - 1)
            width = cheapest(widths, seconds, size)
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

    return arrange


arrange = _make_arrange(sources_digest(slots.__file__))
