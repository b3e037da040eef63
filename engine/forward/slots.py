"""Where a round's rows stand in the KV cache. Pure: numbers alone.

A chain's row is in the slot of its position, and so is each row of a tree's most likely path. The other nodes need
slots of their own, since theirs in a chain are taken. Which slots they get decides the bits, because kernels add a
row's terms in an order that depends on slots. A CPU's kernels add them in lanes, slot i to lane i mod 32 or a divisor
of 32, or one after another, in blocks of 128 slots or more; hidden slots add exact zeros. So a node that is a multiple
of 32 slots behind its slot in a chain, in the same block of 128 and behind its parent, is added to the same terms in
the same order. `engine.probe.exactness` tries that with the device's own kernels. But what bfloat16 rounds away seldom
shows: at multiples of 16, which float32's lanes allow, one number in a million differed, where the moved token had most
of the weight; `tests/engine/forward/test_attention.py` compares more numbers than a probe can.
"""

from collections.abc import MutableSequence

import numpy as np
import numpy.typing as npt

SLOT_STEP = 256  # attention reads a multiple of this many slots
_LANES = 32
BLOCK = 128


def slots_for(position: int) -> int:
    """Return how many cache slots the row at `position` reads. It depends on the position alone, so it is the same in
    every round that might compute the row.

    >>> slots_for(0), slots_for(255), slots_for(256)
    (256, 256, 512)
    """
    return (position // SLOT_STEP + 1) * SLOT_STEP


def chunk_for(device_type: str) -> int:
    """Return the tokens of a prefill chunk. Chunks start at absolute multiples of it; masks are chunk x slots."""
    return 512 if device_type == "cuda" else SLOT_STEP


def take_slot(taken: MutableSequence[bool] | npt.NDArray[np.bool_], start: int, depth: int, parent: int) -> int:
    """Take the first free slot for a tree's node at `depth`, behind its parent's, and return it; -1 where none is left.

    Slots are given as offsets from the round's first row at slot `start`; so is `parent`. Parents come before their
    children. `taken[i]` says whether offset i is taken, for offsets up to `BLOCK` behind the depth.

    >>> taken = [False] * (2 + BLOCK)
    >>> [take_slot(taken, 50, depth, parent) for depth, parent in ((1, 0), (1, 0), (2, 33), (1, 0), (1, 0))]
    [1, 33, 34, 65, -1]
    """
    first = depth + -(-max(0, parent + 1 - depth) // _LANES) * _LANES
    end = depth + BLOCK - (start + depth) % BLOCK
    for offset in range(first, end, _LANES):
        if not taken[offset]:
            taken[offset] = True
            return offset
    return -1
