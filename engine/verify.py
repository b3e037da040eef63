"""Which of a draft's nodes are verified, in which order, and the walk through what the target picked. No device.

Rows of a round are numbered from 0, the last committed token. The likeliest chain from there, the *spine*, comes
first, so that the usual accept is the leading rows and the KV cache need only be cropped; then every side branch, as
one run of rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.drafting.drafter import ROOT, Draft
from engine.drafting.size import Prices, choose_size
from engine.target.slots import Places


@dataclass(frozen=True, slots=True)
class Rows:
    """A draft as rows of a round. `nodes[i]` is the draft's node in row i + 1; `parents[i]` the row above row i (row
    0: -1), and `offsets[i]` how many slots behind row 0 it stands."""

    nodes: tuple[int, ...]
    parents: tuple[int, ...]
    offsets: tuple[int, ...]


_LAST_ALONE = Rows((), (-1,), (0,))


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
    node stands where its sums come out as in a chain (`engine.target.slots`), and is left out where no such place is
    free; without, rows stand one behind the other. Without `trees` the likeliest path alone is verified, whatever
    the drafter made of its being asked for a chain.

    >>> draft = Draft((5, 6, 7), (-1, 0, -1), (0.9, 0.5, 0.2), ("a",) * 3)
    >>> prices = Prices((1, 2, 4), lambda width: 1.0)
    >>> choose_rows(draft, 1, prices)
    (Rows(nodes=(0, 2), parents=(-1, 0, 0), offsets=(0, 1, 2)), 4)
    >>> choose_rows(draft, 2, prices, start=40)
    (Rows(nodes=(0, 1, 2), parents=(-1, 0, 1, 0), offsets=(0, 1, 2, 33)), 4)
    """
    if not draft.token_ids:
        return _LAST_ALONE, prices.floor
    is_chain = all(parent == node - 1 for node, parent in enumerate(draft.parents))
    places = (
        {node: node + 1 for node in range(min(len(draft), room))} if is_chain else _places(draft, room, start, trees)
    )
    nodes = list(places)
    if draft.chances:
        number = {ROOT: ROOT} | {node: place for place, node in enumerate(nodes)}
        parents_of = [number[draft.parents[node]] for node in nodes]
        size, width = choose_size([draft.chances[node] for node in nodes], prices, parents_of)
    else:
        size = min(len(nodes), prices.widest - 1)
        width = prices.cheapest(size)
    nodes = nodes[:size]
    if is_chain:
        return Rows(tuple(nodes), tuple(range(-1, size)), tuple(range(size + 1))), width
    order, parents = spine_first(draft, nodes)
    offsets = range(size + 1) if start is None else (0, *(places[node] for node in order))
    return Rows(order, parents, tuple(offsets)), width


def _places(draft: Draft, room: int, start: int | None, trees: bool) -> dict[int, int]:
    """The nodes that can be verified, and where they stand; without `start` that is not known yet."""
    places = Places(start or 0)
    offsets, depths = {ROOT: 0}, {ROOT: 0}
    extended: set[int] = set()  # nodes with a child
    for node, parent in enumerate(draft.parents):
        if parent not in offsets or depths[parent] >= room or (not trees and parent in extended):
            continue
        extended.add(parent)
        depth = depths[parent] + 1
        offset = 0 if start is None else places.take(depth, offsets[parent])
        if offset is not None:
            offsets[node], depths[node] = offset, depth
    del offsets[ROOT]
    return offsets


def spine_first(draft: Draft, nodes: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """These nodes of a tree, each one's parent among them and before it, in the order of rows; and each row's parent.

    >>> draft = Draft((5, 6, 7, 8, 9), (-1, 0, -1, 2, 0), (), ("a",) * 5)
    >>> spine_first(draft, range(5))  # 5 6 is the spine
    ((0, 1, 4, 2, 3), (-1, 0, 1, 1, 0, 4))
    """
    children: dict[int, list[int]] = {}  # likeliest first, as the draft has them
    for node in nodes:
        children.setdefault(draft.parents[node], []).append(node)
    row_of = {ROOT: 0}
    parents = [-1]
    order: list[int] = []
    waiting = children.get(ROOT, [])[::-1]
    while waiting:
        node = waiting.pop()
        parents.append(row_of[draft.parents[node]])
        order.append(node)
        row_of[node] = len(order)
        waiting += children.get(node, [])[::-1]
    return tuple(order), tuple(parents)


def walk(rows: Rows, token_ids: Sequence[int], pick: Callable[[int, Sequence[int]], int]) -> tuple[list[int], int]:
    """The rows of the accepted path, row 0 first, and the target's own token behind the last of them.

    `token_ids[i]` is the token of row i; `pick(row, path)` the target's token behind it, `path` being the rows above
    it and itself. Only rows on the path are asked for.

    >>> rows = Rows(nodes=(0, 1, 2), parents=(-1, 0, 1, 0), offsets=(0, 1, 2, 3))
    >>> walk(rows, [3, 5, 6, 7], lambda row, path: [7, 9, 9, 8][row])
    ([0, 3], 8)
    """
    children = {(parent, token_ids[row]): row for row, parent in enumerate(rows.parents)}
    path = [0]
    while True:
        picked = pick(path[-1], path)
        below = children.get((path[-1], picked))
        if below is None:
            return path, picked
        path.append(below)
