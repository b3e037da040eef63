"""The model's own likeliest tokens, kept by what they stood behind: (t-1, t0), and t0 alone.

After Token Recycling (arXiv 2408.08696), which keeps them by t0 alone. Tables of fixed size (3.2 MB each) in which a
newer entry takes an older one's slot.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.sources.ngram import MULTIPLIER, NOWHERE, Tokens

NUM_TOP = 8  # the model's likeliest tokens that are kept for each context
NUM_CHANCES = 12  # halvings of probability that are told apart
_SLOT_BITS = 16


class Recycled(NamedTuple):
    """One table for both kinds of context; `told[0]` rows were ever stored."""

    keys: Tokens  # (slots, 2): the context, (NOWHERE, t0) where t0 alone counts
    top_ids: Tokens  # (slots, NUM_TOP)
    top_chances: npt.NDArray[np.uint8]  # (slots, NUM_TOP): halvings
    told: npt.NDArray[np.int64]

    def forget(self) -> None:
        """Empty the table."""
        self.keys[:] = NOWHERE
        self.told[0] = 0


def make_recycled() -> Recycled:
    slots = 1 << _SLOT_BITS
    return Recycled(
        np.full((slots, 2), NOWHERE, np.int32),
        np.zeros((slots, NUM_TOP), np.int32),
        np.zeros((slots, NUM_TOP), np.uint8),
        np.zeros(1, np.int64),
    )


@compiled
def _slot(before: int, last: int) -> int:
    key = np.uint64(before + 1) * MULTIPLIER
    key = (key ^ (key >> np.uint64(31)) ^ np.uint64(last + 1)) * MULTIPLIER
    return int(np.int64(key >> np.uint64(64 - _SLOT_BITS)))


@compiled
def look_up(recycled: Recycled, before: int, last: int) -> int:
    """The slot that holds this context; NOWHERE if none does."""
    at = _slot(before, last)
    if recycled.keys[at, 0] == before and recycled.keys[at, 1] == last:
        return at
    return NOWHERE


@compiled
def halvings(chance: float) -> int:
    """How often 1 was halved to get this chance, rounded; `NUM_CHANCES` - 1 and more are one."""
    return min(NUM_CHANCES - 1, int(0.5 - np.log2(min(max(chance, 2.0**-NUM_CHANCES), 1.0))))


@compiled
def store(recycled: Recycled, contexts: Tokens, top_ids: Tokens, top_chances: npt.NDArray[np.float32]) -> None:
    """Keep what the model found likeliest behind each of these contexts."""
    recycled.told[0] += contexts.shape[0]
    for row in range(contexts.shape[0]):
        for pair in range(2):
            before = int(contexts[row, 0]) if pair else NOWHERE
            at = _slot(before, contexts[row, 1])
            recycled.keys[at, 0] = before
            recycled.keys[at, 1] = contexts[row, 1]
            for rank in range(NUM_TOP):
                recycled.top_ids[at, rank] = top_ids[row, rank]
                recycled.top_chances[at, rank] = halvings(top_chances[row, rank])
