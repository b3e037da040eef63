"""Which of a draft's nodes are verified, in which order, and the walk through what the target picked. No device.

Rows of a round are numbered from 0, the last committed token. The likeliest chain from there, the *spine*, comes
first, so that the usual accept is the leading rows and the KV cache need only be cropped. Every side branch follows
as one run of consecutive rows; of two branches off one chain the one that leaves deeper comes first. So where
branches are laid one after another at the slots of a chain (`engine.target.attention`), each finds its ancestors in
place: what came before it has only overwritten deeper ones.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from engine.drafting.drafter import ROOT, Draft
from engine.drafting.size import MARGIN, choose_size


class Cost(Protocol):
    """Seconds of a round by width, and of each side branch beside it."""

    @property
    def branch_s(self) -> float: ...

    def __call__(self, width: int) -> float: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """A draft as rows of a round. `nodes[i]` is the draft's node in row i + 1, `parents[i]` the row above row i
    (row 0: -1)."""

    nodes: tuple[int, ...]
    parents: tuple[int, ...]

    @property
    def num_branches(self) -> int:
        """Side branches: runs of rows whose first does not follow the row before it; 0 in a chain."""
        return sum(parent != row - 1 for row, parent in enumerate(self.parents))


def choose_rows(draft: Draft, room: int, widths: Sequence[int], cost: Cost) -> tuple[Rows, int]:
    """The rows that verify what pays of a draft, at most `room` deep, and the width of the round.

    A draft without chances is verified whole, as far as the widest round goes.
    """
    nodes = nodes_within(draft, room)
    if not nodes:
        return rows_of(draft, ()), min(widths, key=cost)
    if not draft.chances:
        nodes = nodes[: widths[-1] - 1]
        return rows_of(draft, nodes), min((width for width in widths if width > len(nodes)), key=cost)
    if not cost.branch_s or all(draft.parents[node] == node - 1 for node in nodes):
        size, width = choose_size(_chances(draft, nodes), widths, cost)
        return rows_of(draft, nodes[:size]), width
    # A branch must bring more than its time is worth at the rate of a round without any.
    spine = worth_their_branch(draft, nodes, math.inf)
    size, width = choose_size(_chances(draft, spine), widths, cost)
    rate = (1.0 + sum(_chances(draft, spine[:size]))) / cost(width)
    nodes = worth_their_branch(draft, nodes, cost.branch_s * rate * (1 + MARGIN))
    branches = list(accumulate(_starts_branch(draft, nodes), initial=0))
    longest = len(nodes)
    size, width = choose_size(
        _chances(draft, nodes), widths, lambda width: cost(width) + cost.branch_s * branches[min(width - 1, longest)]
    )
    return rows_of(draft, nodes[:size]), width


def nodes_within(draft: Draft, depth: int) -> list[int]:
    """The draft's nodes that are at most `depth` tokens behind the last committed one, in the draft's order.

    >>> nodes_within(Draft((5, 6, 7), (-1, 0, -1), (), ("a",) * 3), 1)
    [0, 2]
    """
    if depth >= len(draft):
        return list(range(len(draft)))
    depths: list[int] = []
    for parent in draft.parents:
        depths.append(1 if parent == ROOT else depths[parent] + 1)
    return [node for node, d in enumerate(depths) if d <= depth]


def worth_their_branch(draft: Draft, nodes: Sequence[int], price: float) -> list[int]:
    """These nodes without the side branches that promise fewer than `price` tokens, and without what hangs on them.

    >>> draft = Draft((5, 6, 7, 8), (-1, -1, 0, 1), (0.6, 0.3, 0.3, 0.2), ("a",) * 4)
    >>> worth_their_branch(draft, range(4), 0.4), worth_their_branch(draft, range(4), 0.6)
    ([0, 1, 2, 3], [0, 2])
    """
    branch_of: dict[int, int] = {ROOT: ROOT}
    promised: dict[int, float] = {}
    for node, starts in zip(nodes, _starts_branch(draft, nodes), strict=True):
        branch = node if starts else branch_of[draft.parents[node]]
        branch_of[node] = branch
        promised[branch] = promised.get(branch, 0.0) + draft.chances[node]
    kept: dict[int, None] = {ROOT: None}
    for node in nodes:
        branch = branch_of[node]
        if draft.parents[node] in kept and (branch == ROOT or promised[branch] >= price):
            kept[node] = None
    return list(kept)[1:]


def rows_of(draft: Draft, nodes: Sequence[int]) -> Rows:
    """The rows that verify these nodes of a draft, each one's parent among them and before it.

    >>> draft = Draft((5, 6, 7, 8, 9), (-1, 0, -1, 2, 0), (), ("a",) * 5)
    >>> rows_of(draft, range(5))  # 5 6 is the spine; 9 leaves it deeper than 7 8
    Rows(nodes=(0, 1, 4, 2, 3), parents=(-1, 0, 1, 1, 0, 4))
    """
    parents = draft.parents
    if all(parents[node] == node - 1 for node in nodes):  # a chain, as most drafts are
        return Rows(tuple(nodes), tuple(range(-1, len(nodes))))
    children: dict[int, list[int]] = {}  # likeliest first, as the draft has them
    for member in nodes:
        children.setdefault(parents[member], []).append(member)
    row_of = {ROOT: 0}
    above = [-1]
    order: list[int] = []
    branches = children[ROOT][::-1]  # a stack: the deepest is taken first, of equally deep ones the likeliest
    while branches:
        chain = [branches.pop()]
        while chain[-1] in children:
            chain.append(children[chain[-1]][0])
        for member in chain:
            above.append(row_of[parents[member]])
            order.append(member)
            row_of[member] = len(order)
            branches += children.get(member, [])[:0:-1]
    return Rows(tuple(order), tuple(above))


def walk(rows: Rows, token_ids: Sequence[int], pick: Callable[[int, Sequence[int]], int]) -> tuple[list[int], int]:
    """The rows of the accepted path, row 0 first, and the target's own token behind the last of them.

    `token_ids[i]` is the token of row i; `pick(row, path)` the target's token behind it, `path` being the rows above
    it and itself. Only rows on the path are asked for.

    >>> rows = Rows(nodes=(0, 1, 2), parents=(-1, 0, 1, 0))
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


def _chances(draft: Draft, nodes: Sequence[int]) -> list[float]:
    return [draft.chances[node] for node in nodes]


def _starts_branch(draft: Draft, nodes: Sequence[int]) -> list[bool]:
    """Which of these nodes of a draft begin a side branch: all but the likeliest behind each token."""
    extended: set[int] = set()
    starts = []
    for node in nodes:
        parent = draft.parents[node]
        starts.append(parent in extended)
        extended.add(parent)
    return starts
