"""Which of a draft's nodes are verified, in which order, and the walk through what the target picked. No device.

Rows of a round are numbered from 0, the last committed token. The likeliest chain from there, the *spine*, comes
first, so that the usual accept is the leading rows and the KV cache need only be cropped; then every side branch, as
one run of rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.decoding.rows import arrange
from engine.decoding.size import MARGIN, Prices
from engine.drafting.drafter import ROOT, Draft


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
    node stands where its sums come out as in a chain (`engine.forward.slots`), and is left out where no such place is
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
    chosen, width = arrange(
        np.array(draft.parents, np.int64),
        np.array(draft.chances, np.float64),
        prices.widths,
        prices.seconds,
        MARGIN,
        room,
        -1 if start is None else start,
        trees,
    )
    nodes, parents, offsets = chosen.tolist()
    return Rows(tuple(nodes[1:]), tuple(parents), tuple(offsets)), width


def warm_up() -> None:
    """Compile what chooses the rows, or load it from the cache on disk."""
    choose_rows(Draft((0,), (ROOT,), (), ("",)), 1, Prices((1, 2), lambda width: 1.0))


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
