"""Other conversations: what followed there. `engine.drafting.conversation_memory` keeps their ids."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import (
    LENGTHS,
    NUM_LENGTHS,
    History,
    Tokens,
    agreement,
    find,
    level_of,
    make_history,
)
from engine.drafting.layout import CELLS, FIELDS, NAMES, NODE
from engine.drafting.proposals import LENGTH, TOP_LENGTH, Proposals, propose
from engine.drafting.sources import buckets
from engine.drafting.sources.buckets import NUM_MATCHES, NUM_SHARES, NUM_SHORTS, NUM_TOTALS

_MAX_MATCHES = 8  # read for each context length
_ENOUGH = 4  # matches of a context length, with which shorter ones are not read

IN_MEMORY = -2  # position 0 of the other conversations' text, as a place; those behind it lie below

_LENGTH = FIELDS.take()  # tokens of the longest match that it followed
_COUNT = FIELDS.take(NUM_LENGTHS)  # of the latest matches of each context length, how many it followed
_PLACE = FIELDS.take()  # the position of the longest match
_TOTAL = NODE.take(NUM_LENGTHS)  # matches found, by context length
_TOP_LENGTH = NODE.take()

_MATCHED = CELLS.take(  # match length
    NUM_MATCHES, initial=(0.0, 0.0, 0.9, 1.4, 1.7, 1.8, 2.6, 2.6, 3.4, 3.4, 3.8, 3.8, 6.1)
)
_BESIDE = CELLS.take(NUM_MATCHES, NUM_SHORTS)  # match length, that of the conversation's own text
_SHARED = CELLS.take(NUM_LENGTHS, NUM_SHARES, NUM_TOTALS)  # context length, share of its matches, their number
_NONE = CELLS.take(NUM_MATCHES, NUM_SHORTS)  # of none: longest match of the conversation, of memory

MAX_CELLS = 3  # of one proposal

_NAME = NAMES.take("memory")


class OtherConversations(NamedTuple):
    """A text to draft from, but for `current`: the positions in it, from the first to behind the last, of this one."""

    history: History
    current: npt.NDArray[np.int64]


def make_other_conversations() -> OtherConversations:
    return OtherConversations(make_history(0), np.zeros(2, np.int64))


@compiled
def propose_from(others: OtherConversations, proposals: Proposals, line: Tokens, end: int) -> None:
    """The longest contexts first; a single token says too little."""
    memory, current = others.history, others.current
    for back in range(NUM_LENGTHS - 1):
        level = NUM_LENGTHS - 1 - back
        position = find(memory, line, end, level)
        num_read = 0
        found = 0
        while position >= 0 and num_read < _MAX_MATCHES:
            num_read += 1
            if position < current[0] or position >= current[1]:
                length = agreement(memory, position, line, end)
                if length >= LENGTHS[level] and memory.tokens[position] >= 0:
                    found += 1
                    row = propose(proposals, memory.tokens[position])
                    if row >= 0:
                        fields = proposals.fields[row]
                        fields[_COUNT + level] += 1
                        if length > fields[_LENGTH]:
                            fields[_LENGTH] = length
                            fields[_PLACE] = position
                        proposals.node[_TOP_LENGTH] = max(proposals.node[_TOP_LENGTH], length)
            position = memory.links[level, position]
        proposals.node[_TOTAL + level] = found
        if found >= _ENOUGH:
            return


@compiled
def describe(fields: Tokens, node: Tokens, cells: Tokens, used: int) -> int:
    length = fields[_LENGTH]
    if length == 0:
        return used
    level = level_of(length)
    total = node[_TOTAL + level]
    share = buckets.share(fields[_COUNT + level], total)
    cells[used] = _MATCHED + buckets.match(length)
    cells[used + 1] = _BESIDE + buckets.match(length) * NUM_SHORTS + buckets.short(fields[LENGTH])
    cells[used + 2] = _SHARED + (level * NUM_SHARES + share) * NUM_TOTALS + buckets.total(total)
    return used + 3


@compiled
def none_cell(node: Tokens) -> int:
    return _NONE + buckets.match(node[TOP_LENGTH]) * NUM_SHORTS + buckets.short(node[_TOP_LENGTH])


@compiled
def name(fields: Tokens) -> int:
    return _NAME if fields[_LENGTH] else 0


@compiled
def place(fields: Tokens) -> int:
    """The position in the other conversations' text, where it is named after them: below `NOWHERE`."""
    return int(IN_MEMORY - fields[_PLACE])
