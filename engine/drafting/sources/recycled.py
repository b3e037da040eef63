"""The model's own likeliest tokens, kept by what they stood behind: (t-1, t0), and t0 alone.

After Token Recycling (arXiv 2408.08696), which keeps them by t0 alone. Tables of fixed size (3.2 MB each) in which a
newer entry takes an older one's slot.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import MULTIPLIER, NOWHERE, Tokens
from engine.drafting.layout import CELLS, FIELDS, NAMES
from engine.drafting.proposals import LENGTH, Proposals, propose

NUM_TOP = 8  # the model's likeliest tokens that are kept for each context
NUM_CHANCES = 12  # halvings of probability that are distinguished
_SLOT_BITS = 16

_PAIR_RANK = FIELDS.take()  # 1: the model's own likeliest token when it last stood behind these two tokens
_PAIR_CHANCE = FIELDS.take()  # halvings of probability
_LAST_RANK = FIELDS.take()  # the same behind the last token alone
_LAST_CHANCE = FIELDS.take()

# What a chance says at first: its log, and the more surely for two equal tokens before it. Not fitted: there were no
# logits in the recorded chats. A proposal's weight for having no match is made up for. What the starter model's answers
# made of them lay within 0.7 for pairs, up to 1.3 lower for the likeliest behind one token.
_PAIR, _LAST = 4.5, 3.0
_LOG_CHANCES = -np.log(2.0) * np.arange(NUM_CHANCES)[:, None]


def _prior(alone: npt.NDArray[np.float64], otherwise: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    """(NUM_TOP + 1, NUM_CHANCES, 2) weights, the same for every rank."""
    one_rank = np.concatenate(np.broadcast_arrays(alone, np.float64(otherwise)), axis=1)
    return np.tile(one_rank, (NUM_TOP + 1, 1, 1))


_PAIRED = CELLS.take(  # rank and chance behind (t-1, t0), proposed by the conversation too
    NUM_TOP + 1, NUM_CHANCES, 2, initial=_prior(_PAIR + _LOG_CHANCES, (_PAIR + _LOG_CHANCES) / 2)
)
_LASTING = CELLS.take(  # rank and chance behind t0, behind (t-1, t0) too: with that known, it alone counts
    NUM_TOP + 1, NUM_CHANCES, 2, initial=_prior(_LAST + _LOG_CHANCES, 0.0)
)
_IN_ANSWER = CELLS.take_for_answer(2, 2)  # the model's likeliest token or another one, behind (t-1, t0) or t0

MAX_CELLS = 3  # of one proposal

_NAME = NAMES.take("recycled")


class Recycled(NamedTuple):
    """One table for both kinds of context; `num_stored[0]` rows were ever stored."""

    keys: Tokens  # (slots, 2): the context, (NOWHERE, t0) where t0 alone counts
    top_ids: Tokens  # (slots, NUM_TOP)
    top_chances: npt.NDArray[np.uint8]  # (slots, NUM_TOP): halvings
    num_stored: npt.NDArray[np.int64]

    def forget(self) -> None:
        """Empty the table."""
        self.keys[:] = NOWHERE
        self.num_stored[0] = 0


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
    recycled.num_stored[0] += contexts.shape[0]
    for row in range(contexts.shape[0]):
        for pair in range(2):
            before = int(contexts[row, 0]) if pair else NOWHERE
            at = _slot(before, contexts[row, 1])
            recycled.keys[at, 0] = before
            recycled.keys[at, 1] = contexts[row, 1]
            for rank in range(NUM_TOP):
                recycled.top_ids[at, rank] = top_ids[row, rank]
                recycled.top_chances[at, rank] = halvings(top_chances[row, rank])


@compiled
def propose_from(recycled: Recycled, proposals: Proposals, line: Tokens, end: int) -> None:
    """What was likeliest when the model last stood behind these two tokens, and behind the last one."""
    if recycled.num_stored[0] == 0:
        return
    for pair in range(2):
        at = look_up(recycled, line[end - 2] if pair and end > 1 else NOWHERE, line[end - 1])
        if at < 0:
            continue
        for rank in range(NUM_TOP):
            row = propose(proposals, recycled.top_ids[at, rank])
            if row >= 0:
                rank_field = _PAIR_RANK if pair else _LAST_RANK
                proposals.fields[row, rank_field] = rank + 1
                proposals.fields[row, rank_field + 1] = recycled.top_chances[at, rank]


@compiled
def describe(fields: Tokens, cells: Tokens, used: int) -> int:
    if fields[_PAIR_RANK]:
        ranked = fields[_PAIR_RANK] * NUM_CHANCES + fields[_PAIR_CHANCE]
        cells[used] = _PAIRED + ranked * 2 + (1 if fields[LENGTH] else 0)
        used += 1
    if fields[_LAST_RANK]:
        ranked = fields[_LAST_RANK] * NUM_CHANCES + fields[_LAST_CHANCE]
        cells[used] = _LASTING + ranked * 2 + (1 if fields[_PAIR_RANK] else 0)
        used += 1
    rank = fields[_PAIR_RANK] if fields[_PAIR_RANK] else fields[_LAST_RANK]
    if rank:
        cells[used] = _IN_ANSWER + (2 if rank == 1 else 0) + (1 if fields[_PAIR_RANK] else 0)
        used += 1
    return used


@compiled
def name(fields: Tokens) -> int:
    return _NAME if fields[_PAIR_RANK] or fields[_LAST_RANK] else 0
