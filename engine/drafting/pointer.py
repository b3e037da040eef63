"""The alignment pointer: the place that the answer copies from, kept through edits.

After a substitution, an insertion or a deletion the n-gram context is broken, but copying mostly goes on close by. A
pointer is (place, run, gap): the place whose token comes next if copying goes on, how many tokens agreed in a row, and
how many came since one did not. While the gap is open the place stays where it broke.
"""

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled import compiled
from engine.drafting.history import NOWHERE, History, agreement, find

PLACE, RUN, GAP = 0, 1, 2
POINTER_FIELDS = 3
LONGEST_RUN = 64
LONGEST_GAP = 16  # tokens after which copying from there is given up
BACK, AHEAD = 4, 40  # how far around the break resuming is looked for
_FIRM = 4  # agreeing tokens that anchor a pointer anew
_LOOKED_AT = 8  # matches among which the longest is taken
_ANCHOR_LEVEL = 2  # contexts of three tokens


@compiled
def advance(
    pointer: npt.NDArray[np.int32], token_id: int, history: History, line: npt.NDArray[np.int32], end: int
) -> None:
    """Follow one more token: `token_id` = `line[end - 1]`."""
    size = history.size[0]
    place = pointer[PLACE]
    if place >= 0:
        gap = pointer[GAP]
        if place < size and history.tokens[place] == token_id:  # as expected, or inserted tokens have ended
            pointer[PLACE] = place + 1
            pointer[RUN] = min(pointer[RUN] + 1, LONGEST_RUN) if gap == 0 else 1
            pointer[GAP] = 0
        elif gap and place + gap < size and history.tokens[place + gap] == token_id:  # as many were put in their place
            pointer[PLACE] = place + gap + 1
            pointer[RUN] = 1
            pointer[GAP] = 0
        else:
            pointer[GAP] = gap + 1
            if gap >= LONGEST_GAP or place >= size:
                pointer[PLACE] = NOWHERE
                pointer[RUN] = 0
                pointer[GAP] = 0
            else:
                resume(pointer, history, line, end)
    if pointer[PLACE] < 0 or pointer[GAP] > 0 or pointer[RUN] < _FIRM:
        anchor(pointer, history, line, end)


@compiled
def resume(pointer: npt.NDArray[np.int32], history: History, line: npt.NDArray[np.int32], end: int) -> None:
    """Take copying up again where the last two tokens stand close to the break, nearest first."""
    if end < 2:
        return
    broken = pointer[PLACE]
    for ahead in range(1, AHEAD + pointer[GAP]):
        place = broken + ahead
        if place > history.size[0] - 1:
            return
        if history.tokens[place - 1] == line[end - 1] and history.tokens[place - 2] == line[end - 2]:
            pointer[PLACE] = place
            pointer[RUN] = 2
            pointer[GAP] = 0
            return


@compiled
def anchor(pointer: npt.NDArray[np.int32], history: History, line: npt.NDArray[np.int32], end: int) -> None:
    """Point at the longest match, if it is firm."""
    place = find(history, line, end, _ANCHOR_LEVEL)
    longest = max(_FIRM - 1, pointer[RUN] if pointer[GAP] == 0 else 0)
    looked_at = 0
    while place >= 0 and looked_at < _LOOKED_AT:
        length = agreement(history, place, line, end)
        if length > longest:
            longest = length
            pointer[PLACE] = place
            pointer[RUN] = length
            pointer[GAP] = 0
        place = history.links[_ANCHOR_LEVEL, place]
        looked_at += 1
