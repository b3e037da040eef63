"""The multi-level N-gram module (ANPD, arXiv 2404.08698, section 3.2) as hash chains over a flat text.

For every context length of `LENGTHS` a table says where a context with this hash was last followed by something, and
`links` leads from each place to the one before it. So the followers of a context come most recent first, with their
places: counts, recency, the true length of the match and the text that follows are all read off the text itself. An
appended token costs one table entry per length, whatever the text's size. Knows token ids alone.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled import compiled

LENGTHS = (1, 2, 3, 5)  # tokens of context; a match of 4 is found by the chain of 3, longer ones by that of 5
NUM_LENGTHS = len(LENGTHS)
LONGEST = 32  # a match is measured up to here
NOWHERE = -1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Fibonacci hashing
_LEAST = 1 << 10  # tokens of room in an empty text
_GROWTH = 1.25  # of the room, when it is full: bounds what is allocated and not used
# A token and its links, with what growth leaves unused, and the heads: 1/2 to 1 slot a length for every token of room.
BYTES_PER_TOKEN = 4 * (1 + NUM_LENGTHS) * _GROWTH + 4 * NUM_LENGTHS * _GROWTH


class History(NamedTuple):
    """A text and its chains; `size[0]` tokens of `tokens` are in use.

    >>> history = make_history(8)
    >>> append(history, np.array([5, 6, 7, 5, 6], np.int32))
    >>> place = find(history, history.tokens, 5, 1)  # who followed "5 6"?
    >>> int(place), int(history.tokens[place])
    (2, 7)
    >>> int(history.links[1, place])  # and before that?
    -1
    """

    tokens: npt.NDArray[np.int32]
    heads: npt.NDArray[np.int32]  # (lengths, table size): the last place where a context with this hash was followed
    links: npt.NDArray[np.int32]  # (lengths, capacity): the place before it
    size: npt.NDArray[np.int64]


def make_history(capacity: int) -> History:
    """An empty text with room for at least this many tokens."""
    room = max(_LEAST, capacity)
    slots = 1 << ((room - 1).bit_length() - 1)
    return History(
        np.zeros(room, np.int32),
        np.full((NUM_LENGTHS, slots), NOWHERE, np.int32),
        np.full((NUM_LENGTHS, room), NOWHERE, np.int32),
        np.zeros(1, np.int64),
    )


def with_room(history: History, num_tokens: int) -> History:
    """The same text with room for this many more tokens: itself, or a copy if it has too little."""
    size = int(history.size[0])
    if size + num_tokens <= history.tokens.size:
        return history
    larger = make_history(int((size + num_tokens) * _GROWTH))
    append(larger, history.tokens[:size])
    return larger


@compiled
def slot(tokens: npt.NDArray[np.int32], end: int, level: int, mask: int) -> int:
    """Where the table of this level keeps the context that ends before `end`."""
    key = np.uint64(level)
    for place in range(end - LENGTHS[level], end):
        key = (key ^ np.uint64(tokens[place])) * _MULTIPLIER
        key ^= key >> np.uint64(29)
    return np.int64(key & np.uint64(mask))


@compiled
def find(history: History, line: npt.NDArray[np.int32], end: int, level: int) -> int:
    """The last place where what `line[:end]` ends in may have been followed, by the context length of `level`."""
    if end < LENGTHS[level]:
        return NOWHERE
    return history.heads[level, slot(line, end, level, history.heads.shape[1] - 1)]


@compiled
def agreement(history: History, place: int, line: npt.NDArray[np.int32], end: int) -> int:
    """How many tokens before `place` agree with the end of `line[:end]`, up to `LONGEST`."""
    limit = min(LONGEST, place, end)
    length = 0
    while length < limit and history.tokens[place - 1 - length] == line[end - 1 - length]:
        length += 1
    return length


@compiled
def append_one(history: History, token_id: int) -> None:
    """Append a token; there must be room."""
    place = history.size[0]
    history.tokens[place] = token_id
    history.size[0] = place + 1
    mask = history.heads.shape[1] - 1
    for level in range(NUM_LENGTHS):
        if place >= LENGTHS[level]:
            at = slot(history.tokens, place, level, mask)
            history.links[level, place] = history.heads[level, at]
            history.heads[level, at] = place


@compiled
def append(history: History, token_ids: npt.NDArray[np.int32]) -> None:
    """Append tokens; there must be room."""
    for index in range(token_ids.size):
        append_one(history, token_ids[index])


@compiled
def clear(history: History) -> None:
    """Forget everything."""
    history.size[0] = 0
    history.heads[:] = NOWHERE
