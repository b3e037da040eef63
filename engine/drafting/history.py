"""The multi-level N-gram module (ANPD, arXiv 2404.08698, section 3.2) as hash chains over a flat text.

For every context length of `LENGTHS` a table says where a context with this hash was last followed by a token, and
`links` leads from each such position to the one before it. So what followed a context comes most recent first, with its
positions: counts, recency, the true length of a match and the text behind it are read off the text itself. An appended
token costs one table entry a length, whatever the text's size. Knows token ids alone.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled

Tokens = npt.NDArray[np.int32]

LENGTHS = (1, 2, 3, 5)  # tokens of context; a match of 4 is found by the chain of 3, longer ones by that of 5
NUM_LENGTHS = len(LENGTHS)
LONGEST = 64  # a match is measured up to here
NOWHERE = -1
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Fibonacci hashing
_LEAST = 1 << 10  # tokens of room in an empty text
GROWTH = 1.25  # of what is needed, when there is no more room: bounds what is allocated and not used
# A token and its links, with the room that growth leaves; and at most one head a length for every token of that room.
BYTES_PER_TOKEN = 4 * (1 + NUM_LENGTHS + NUM_LENGTHS) * GROWTH


class History(NamedTuple):
    """A text and its chains; `size[0]` tokens of `tokens` are in use.

    >>> history = make_history(8)
    >>> extend(history, np.array([5, 6, 7, 5, 6, 8, 5, 6], np.int32))
    >>> position = find(history, history.tokens, 8, 1)  # where was "5 6" (level 1) last followed?
    >>> position, int(history.tokens[position])
    (5, 8)
    >>> int(history.links[1, position])  # and before that? By the 7 at position 2
    2
    >>> agreement(history, 2, history.tokens, 8)  # tokens before position 2 that agree with the text's end
    2
    """

    tokens: Tokens
    heads: Tokens  # (lengths, slots): the last position where a context with this hash was followed
    links: Tokens  # (lengths, room): the position before it
    size: npt.NDArray[np.int64]


def make_history(room: int) -> History:
    """An empty text with room for at least this many tokens."""
    room = max(_LEAST, room)
    slots = 1 << (room.bit_length() - 1)  # more than half as many as tokens, and no more
    return History(
        np.zeros(room, np.int32),
        np.full((NUM_LENGTHS, slots), NOWHERE, np.int32),
        np.full((NUM_LENGTHS, room), NOWHERE, np.int32),
        np.zeros(1, np.int64),
    )


def clear(history: History) -> None:
    """Forget everything."""
    history.size[0] = 0
    history.heads[:] = NOWHERE


@compiled
def slot(tokens: Tokens, end: int, level: int, num_slots: int) -> int:
    """Where the table of this level keeps the context that ends before `end`; `num_slots` is a power of two."""
    key = np.uint64(level)
    for position in range(end - LENGTHS[level], end):
        key = (key ^ np.uint64(tokens[position])) * MULTIPLIER
        key ^= key >> np.uint64(29)  # the high bits are the well mixed ones
    return int(np.int64(key & np.uint64(num_slots - 1)))


@compiled
def find(history: History, line: Tokens, end: int, level: int) -> int:
    """The last position that may have followed what `line[:end]` ends in; a hash only: `agreement` knows."""
    if end < LENGTHS[level]:
        return NOWHERE
    return int(history.heads[level, slot(line, end, level, history.heads.shape[1])])


@compiled
def agreement(history: History, position: int, line: Tokens, end: int) -> int:
    """How many tokens before `position` agree with the end of `line[:end]`, up to `LONGEST`."""
    limit = min(LONGEST, position, end)
    length = 0
    while length < limit and history.tokens[position - 1 - length] == line[end - 1 - length]:
        length += 1
    return length


@compiled
def level_of(length: int) -> int:
    """The longest context length that fits into a match."""
    level = NUM_LENGTHS - 1
    while level > 0 and LENGTHS[level] > length:
        level -= 1
    return level


@compiled
def append(history: History, token_id: int) -> None:
    """Append a token; there must be room."""
    position = history.size[0]
    history.tokens[position] = token_id
    history.size[0] = position + 1
    for level in range(NUM_LENGTHS):
        if position >= LENGTHS[level]:
            at = slot(history.tokens, position, level, history.heads.shape[1])
            history.links[level, position] = history.heads[level, at]
            history.heads[level, at] = position


@compiled
def extend(history: History, token_ids: Tokens) -> None:
    """Append tokens; there must be room."""
    for token_id in token_ids:
        append(history, token_id)
