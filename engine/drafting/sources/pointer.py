"""The alignment pointer: the place that the answer copies from, kept through edits.

After a substitution, an insertion or a deletion the n-gram context is broken, but copying mostly goes on close by. A
pointer is (place, run, gap): the place whose token comes next if copying goes on, how many tokens agreed in a row, and
how many came since one did not. While the gap is open, the place stays where it broke.

Swaps remember what an edit puts in a token's place, as in a renaming: it will be put there again.
"""

import numpy as np

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.sources.ngram import NOWHERE, History, Tokens, agreement, find

PLACE, RUN, GAP = 0, 1, 2  # fields
LONGEST_RUN = 127
BACK, AHEAD = 4, 40  # places around the break at which copying may go on
_LONGEST_GAP = 16  # tokens after which copying from there is given up
_FIRM = 4  # agreeing tokens that anchor a pointer
_LOOKED_AT = 8  # latest matches among which the longest is taken
_ANCHOR_LEVEL = 2  # found by contexts of three tokens
_SLOTS = 1 << 10  # of swaps: more than the edited tokens of one answer
_EXPECTED, _CAME, TIMES = 0, 1, 2  # fields of a swap


def make_pointer() -> Tokens:
    return np.array([NOWHERE, 0, 0], np.int32)


def make_swaps() -> Tokens:
    return np.full((_SLOTS, 3), NOWHERE, np.int32)


@compiled
def set_pointer(pointer: Tokens, place: int, run: int) -> None:
    """Point anew, with no gap open."""
    pointer[PLACE] = place
    pointer[RUN] = run
    pointer[GAP] = 0


@compiled
def advance(pointer: Tokens, history: History, line: Tokens, end: int) -> None:
    """Follow the last token of `line[:end]`."""
    size = history.size[0]
    place, gap, token_id = pointer[PLACE], pointer[GAP], line[end - 1]
    if place >= 0:
        if place < size and history.tokens[place] == token_id:  # as expected, or what was put in has ended
            set_pointer(pointer, place + 1, min(pointer[RUN] + 1, LONGEST_RUN) if gap == 0 else 1)
        elif gap and place + gap < size and history.tokens[place + gap] == token_id:  # as many took the others' place
            set_pointer(pointer, place + gap + 1, 1)
        elif gap >= _LONGEST_GAP or place >= size:
            set_pointer(pointer, NOWHERE, 0)
        else:
            pointer[GAP] = gap + 1
            _resume(pointer, history, line, end)
    if pointer[PLACE] < 0 or pointer[GAP] > 0 or pointer[RUN] < _FIRM:
        _anchor(pointer, history, line, end)


@compiled
def _resume(pointer: Tokens, history: History, line: Tokens, end: int) -> None:
    """Take copying up again where the last two tokens stand close behind the break, nearest first."""
    if end < 2:
        return
    first = pointer[PLACE] + 1
    for place in range(max(2, first), min(first + AHEAD + pointer[GAP], history.size[0])):
        if history.tokens[place - 1] == line[end - 1] and history.tokens[place - 2] == line[end - 2]:
            set_pointer(pointer, place, 2)
            return


@compiled
def _anchor(pointer: Tokens, history: History, line: Tokens, end: int) -> None:
    """Point at the longest match, if it is firm and longer than the present run."""
    longest = max(_FIRM - 1, pointer[RUN] if pointer[GAP] == 0 else 0)
    place = find(history, line, end, _ANCHOR_LEVEL)
    for _ in range(_LOOKED_AT):
        if place < 0:
            return
        length = agreement(history, place, line, end)
        if length > longest:
            longest = length
            set_pointer(pointer, place, length)
        place = history.links[_ANCHOR_LEVEL, place]


@compiled
def note_swap(swaps: Tokens, pointer: Tokens, history: History, token_id: int) -> None:
    """Remember what came in an expected token's place; each time that token itself comes, believe it half as much."""
    place = pointer[PLACE]
    if place < 0 or place >= history.size[0] or pointer[GAP] > 0:
        return
    expected = history.tokens[place]
    swap = swaps[expected & (_SLOTS - 1)]
    if expected == token_id:
        if swap[_EXPECTED] == expected:
            swap[TIMES] >>= 1
    elif swap[_EXPECTED] == expected and swap[_CAME] == token_id:
        swap[TIMES] += 1
    else:
        swap[_EXPECTED], swap[_CAME], swap[TIMES] = expected, token_id, 1


@compiled
def swapped(swaps: Tokens, expected: int) -> tuple[int, int]:
    """What came in this token's place before, and how many times; 0 times where nothing did."""
    swap = swaps[expected & (_SLOTS - 1)]
    if swap[_EXPECTED] == expected and swap[TIMES] > 0:
        return swap[_CAME], swap[TIMES]
    return NOWHERE, 0
