"""Everything that may come next at one node, from all sources, merged: a token that several propose is one proposal.

What each source has to say of a proposal is kept in its own field, for calibration to weigh.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.sources.ngram import (
    LENGTHS,
    LONGEST,
    NOWHERE,
    NUM_LENGTHS,
    History,
    Tokens,
    agreement,
    find,
    make_history,
)
from engine.drafting.sources.pointer import AHEAD, BACK, GAP, PLACE, make_swaps, swapped
from engine.drafting.sources.recycled import NUM_TOP, Recycled, look_up, make_recycled

MOST = 12  # proposals at one node
# Latest matches looked at, for each context length. More found nothing more in recorded chats, and take longer.
_LOOKED_AT = 16
_MEMORY_LOOKED_AT = 8
_MEMORY_ENOUGH = 4  # matches of a context length, with which memory is not asked for shorter ones
_SKIP_LOOKED_AT = 6
_SKIP_LEVEL = 1  # the two tokens before the last

# Fields of a proposal.
LENGTH = 0  # tokens of the longest match that it followed
COUNT = 1  # of the latest matches of each context length, how many it followed
NEWEST = COUNT + NUM_LENGTHS  # bit per context length: it followed the very last match
WHERE = NEWEST + 1  # the latest place of the longest match
POINTED = WHERE + 1  # how the pointer sees it (see `relation`)
MEMORY_LENGTH = POINTED + 1
MEMORY_COUNT = MEMORY_LENGTH + 1  # of the latest memory matches of each context length
SKIPPED = MEMORY_COUNT + NUM_LENGTHS  # times it stood behind the same two tokens and another one
PAIR_RANK = SKIPPED + 1  # 1: the model's own likeliest token when it last stood behind these two tokens
PAIR_CHANCE = PAIR_RANK + 1  # halvings of probability
LAST_RANK = PAIR_CHANCE + 1  # the same behind the last token alone
LAST_CHANCE = LAST_RANK + 1
SWAPPED = LAST_CHANCE + 1  # times it took the expected token's place before
NUM_FIELDS = SWAPPED + 1

# Fields of a node.
TOTAL = 0  # matches looked at, by context length
MEMORY_TOTAL = TOTAL + NUM_LENGTHS
TOP_LENGTH = MEMORY_TOTAL + NUM_LENGTHS
MEMORY_TOP = TOP_LENGTH + 1
NODE_FIELDS = MEMORY_TOP + 1

# How a place lies to the pointer, the best first; 0: not near it.
EXPECTED, AS_MANY, NEAR_AHEAD, FAR_AHEAD, BEHIND = 1, 2, 3, 4, 5
NUM_RELATIONS = 6
_NEAR = 8  # places ahead


class Proposals(NamedTuple):
    """Scratch for one node; `size[0]` proposals are in use."""

    token_ids: Tokens
    fields: Tokens  # (MOST, NUM_FIELDS)
    node: Tokens
    size: npt.NDArray[np.int64]


def make_proposals() -> Proposals:
    return Proposals(
        np.zeros(MOST, np.int32),
        np.zeros((MOST, NUM_FIELDS), np.int32),
        np.zeros(NODE_FIELDS, np.int32),
        np.zeros(1, np.int64),
    )


@compiled
def propose(proposals: Proposals, token_id: int) -> int:
    """The row of this token, a fresh one if it is new; NOWHERE if there is no room for it."""
    size = int(proposals.size[0])
    for row in range(size):
        if proposals.token_ids[row] == token_id:
            return row
    if size == MOST:
        return NOWHERE
    proposals.token_ids[size] = token_id
    proposals.fields[size, :] = 0
    proposals.size[0] = size + 1
    return size


@compiled
def relation(offset: int, gap: int) -> int:
    """Name where a place lies, seen from the pointer's."""
    if offset == 0:
        return EXPECTED
    if offset == gap and gap > 0:
        return AS_MANY
    if 0 < offset <= _NEAR:
        return NEAR_AHEAD
    if 0 < offset <= AHEAD:
        return FAR_AHEAD
    if -BACK <= offset < 0:
        return BEHIND
    return 0


@compiled
def see(fields: Tokens, kind: int) -> None:
    """Keep the best relation to the pointer."""
    if kind and (fields[POINTED] == 0 or kind < fields[POINTED]):
        fields[POINTED] = kind


@compiled
def from_conversation(proposals: Proposals, history: History, line: Tokens, end: int, pointer: Tokens) -> None:
    """What followed the latest matches of the present context, for every context length, longest first."""
    for back in range(NUM_LENGTHS):
        level = NUM_LENGTHS - 1 - back
        place = find(history, line, end, level)
        looked_at = 0
        found = 0
        while place >= 0 and looked_at < _LOOKED_AT:
            looked_at += 1
            length = agreement(history, place, line, end)
            if length >= LENGTHS[level]:
                found += 1
                row = propose(proposals, history.tokens[place])
                if row >= 0:
                    fields = proposals.fields[row]
                    fields[COUNT + level] += 1
                    if found == 1:
                        fields[NEWEST] |= 1 << level
                    if length > fields[LENGTH]:
                        fields[LENGTH] = length
                        fields[WHERE] = place
                    if pointer[PLACE] >= 0:
                        see(fields, relation(place - pointer[PLACE], pointer[GAP]))
                    if length > proposals.node[TOP_LENGTH]:
                        proposals.node[TOP_LENGTH] = length
            place = history.links[level, place]
        proposals.node[TOTAL + level] = found


@compiled
def from_pointer(
    proposals: Proposals,
    history: History,
    line: Tokens,
    end: int,
    pointer: Tokens,
    swaps: Tokens,
) -> None:
    """Copying goes on: at the pointer, behind as many tokens as were put in, or where the last token stands nearby."""
    broken = pointer[PLACE]
    gap = pointer[GAP]
    size = history.size[0]
    if broken < 0 or broken >= size:
        return
    row = propose(proposals, history.tokens[broken])
    if row >= 0:
        see(proposals.fields[row], EXPECTED)
    if gap == 0:
        came, times = swapped(swaps, history.tokens[broken])
        if times:
            row = propose(proposals, came)
            if row >= 0:
                proposals.fields[row, SWAPPED] = times
        return
    if broken + gap < size:
        row = propose(proposals, history.tokens[broken + gap])
        if row >= 0:
            see(proposals.fields[row], AS_MANY)
    for place in range(max(1, broken - BACK), min(size, broken + AHEAD)):
        if history.tokens[place - 1] == line[end - 1]:
            row = propose(proposals, history.tokens[place])
            if row >= 0:
                see(proposals.fields[row], relation(place - broken, gap))


@compiled
def from_skip(proposals: Proposals, history: History, line: Tokens, end: int) -> None:
    """What came second behind the two tokens before the last one, whatever stood between."""
    place = find(history, line, end - 1, _SKIP_LEVEL)
    looked_at = 0
    while place >= 0 and looked_at < _SKIP_LOOKED_AT:
        looked_at += 1
        if (
            place + 1 < history.size[0]
            and history.tokens[place] != line[end - 1]
            and agreement(history, place, line, end - 1) >= LENGTHS[_SKIP_LEVEL]
        ):
            row = propose(proposals, history.tokens[place + 1])
            if row >= 0:
                proposals.fields[row, SKIPPED] += 1
        place = history.links[_SKIP_LEVEL, place]


@compiled
def from_memory(proposals: Proposals, memory: History, line: Tokens, end: int, own: npt.NDArray[np.int64]) -> None:
    """What followed in other conversations: of `own`, the places of this one, nothing is taken."""
    for back in range(NUM_LENGTHS - 1):
        level = NUM_LENGTHS - 1 - back
        place = find(memory, line, end, level)
        looked_at = 0
        found = 0
        while place >= 0 and looked_at < _MEMORY_LOOKED_AT:
            looked_at += 1
            if place < own[0] or place >= own[1]:
                length = agreement(memory, place, line, end)
                if length >= LENGTHS[level] and memory.tokens[place] >= 0:
                    found += 1
                    row = propose(proposals, memory.tokens[place])
                    if row >= 0:
                        fields = proposals.fields[row]
                        fields[MEMORY_COUNT + level] += 1
                        fields[MEMORY_LENGTH] = max(fields[MEMORY_LENGTH], length)
                        proposals.node[MEMORY_TOP] = max(proposals.node[MEMORY_TOP], length)
            place = memory.links[level, place]
        proposals.node[MEMORY_TOTAL + level] = found
        if found >= _MEMORY_ENOUGH:
            return


@compiled
def from_recycled(proposals: Proposals, recycled: Recycled, line: Tokens, end: int) -> None:
    """The model's own likeliest tokens when it last stood behind these two tokens, and behind the last one."""
    if recycled.told[0] == 0:
        return
    for pair in range(2):
        at = look_up(recycled, line[end - 2] if pair and end > 1 else NOWHERE, line[end - 1])
        if at < 0:
            continue
        for rank in range(NUM_TOP):
            row = propose(proposals, recycled.top_ids[at, rank])
            if row >= 0:
                rank_field = PAIR_RANK if pair else LAST_RANK
                proposals.fields[row, rank_field] = rank + 1
                proposals.fields[row, rank_field + 1] = recycled.top_chances[at, rank]


class Sources(NamedTuple):
    """All that proposals come from. `uses`: whether pointer, skipping, memory, recycled logits are in use."""

    history: History
    memory: History
    recycled: Recycled
    swaps: Tokens
    own: npt.NDArray[np.int64]  # the places of this conversation in memory
    uses: npt.NDArray[np.bool_]
    proposals: Proposals


def make_sources(memory: History) -> Sources:
    """An empty text beside this memory; nothing else is in use."""
    return Sources(
        make_history(0),
        memory,
        make_recycled(),
        make_swaps(),
        np.zeros(2, np.int64),
        np.zeros(4, np.bool_),
        make_proposals(),
    )


USES_POINTER, USES_SKIP, USES_MEMORY, USES_RECYCLED = range(4)


@compiled
def gather(sources: Sources, line: Tokens, end: int, pointer: Tokens) -> None:
    """Collect everything that may come behind `line[:end]`."""
    proposals = sources.proposals
    proposals.size[0] = 0
    proposals.node[:] = 0
    from_conversation(proposals, sources.history, line, end, pointer)
    if sources.uses[USES_POINTER]:
        from_pointer(proposals, sources.history, line, end, pointer, sources.swaps)
    if sources.uses[USES_SKIP]:
        from_skip(proposals, sources.history, line, end)
    if sources.uses[USES_MEMORY]:
        from_memory(proposals, sources.memory, line, end, sources.own)
    if sources.uses[USES_RECYCLED]:
        from_recycled(proposals, sources.recycled, line, end)


# Names of sources, by number: a match of the conversation's text has its length, up to `LONGEST`.
SOURCES = (
    "",
    *(f"ngram-{length}" for length in range(1, LONGEST + 1)),
    "pointer",
    "swap",
    "memory",
    "recycled",
    "skip",
)
_POINTER, _SWAP, _MEMORY, _RECYCLED, _SKIP = range(LONGEST + 1, LONGEST + 6)


@compiled
def name_source(fields: Tokens) -> int:
    """The number of the source that has most to say for a proposal."""
    if fields[LENGTH] > 1:
        return int(fields[LENGTH])
    if fields[POINTED]:
        return _POINTER
    if fields[SWAPPED]:
        return _SWAP
    if fields[MEMORY_LENGTH]:
        return _MEMORY
    if fields[LENGTH]:
        return int(fields[LENGTH])
    return _RECYCLED if fields[PAIR_RANK] or fields[LAST_RANK] else _SKIP
