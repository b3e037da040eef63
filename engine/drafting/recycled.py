"""The model's own likeliest tokens, kept by what they stood behind: (t-1, t0), and t0 alone.

After Token Recycling (arXiv 2408.08696), which keeps them by t0 alone. A table of fixed size in which a newer entry
takes an older one's slot.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled import compiled
from engine.drafting.history import NOWHERE

NUM_TOP = 8  # the model's likeliest tokens that are kept at each node
_SLOTS = 1 << 16  # with the lines below 3.1 MB
CHANCE_BUCKETS = 12  # halvings of probability that are told apart
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing


class Recycled(NamedTuple):
    """One table for both kinds of context; `used[0]` rows were ever told."""

    keys: npt.NDArray[np.int32]  # (slots, 2): the context, (NOWHERE, t0) where only t0 counts
    top_ids: npt.NDArray[np.int32]  # (slots, NUM_TOP)
    top_chances: npt.NDArray[np.uint8]  # (slots, NUM_TOP): buckets
    used: npt.NDArray[np.int64]


def make_recycled() -> Recycled:
    return Recycled(
        np.full((_SLOTS, 2), NOWHERE, np.int32),
        np.zeros((_SLOTS, NUM_TOP), np.int32),
        np.zeros((_SLOTS, NUM_TOP), np.uint8),
        np.zeros(1, np.int64),
    )


@compiled
def row_of(before: int, last: int) -> int:
    """The slot of a context."""
    key = np.uint64(before + 1) * _MULTIPLIER
    key = (key ^ (key >> np.uint64(31)) ^ np.uint64(last + 1)) * _MULTIPLIER
    return np.int64(key >> np.uint64(48))


@compiled
def lookup(recycled: Recycled, before: int, last: int) -> int:
    """The slot that holds this context; -1 where it is not known."""
    at = row_of(before, last)
    if recycled.keys[at, 0] == before and recycled.keys[at, 1] == last:
        return at
    return NOWHERE


@compiled
def chance_bucket(chance: float) -> int:
    """0 for a chance above 0.71, then one for every halving."""
    if chance < 2.0 ** -CHANCE_BUCKETS:
        return CHANCE_BUCKETS - 1
    return min(CHANCE_BUCKETS - 1, int(0.5 - np.log2(min(chance, 1.0))))


@compiled
def store(
    recycled: Recycled,
    contexts: npt.NDArray[np.int32],
    top_ids: npt.NDArray[np.int32],
    top_chances: npt.NDArray[np.float32],
) -> None:
    """Keep what the model found likeliest at each of these contexts."""
    recycled.used[0] += contexts.shape[0]
    for row in range(contexts.shape[0]):
        for pair in range(2):
            before = contexts[row, 0] if pair else np.int32(NOWHERE)
            at = row_of(before, contexts[row, 1])
            recycled.keys[at, 0] = before
            recycled.keys[at, 1] = contexts[row, 1]
            for rank in range(NUM_TOP):
                recycled.top_ids[at, rank] = top_ids[row, rank]
                recycled.top_chances[at, rank] = chance_bucket(top_chances[row, rank])
