"""The alignment pointer: the position that the answer copies from, kept through edits.

After a substitution, an insertion or a deletion the n-gram context is broken, but copying mostly continues close by. A
pointer is (position, run, gap): the position whose token comes next if copying continues, how many tokens agreed in a
row, and how many came since one did not. While the gap is open, the position stays where it broke.

Swaps remember what an edit puts in place of a token, as in a renaming: it will be put there again.
"""

import numpy as np

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import NOWHERE, History, Tokens, agreement, find
from engine.drafting.layout import CELLS, FIELDS, NAMES, PATH
from engine.drafting.proposals import LENGTH, TOP_LENGTH, Proposals, propose
from engine.drafting.sources import buckets
from engine.drafting.sources.buckets import NUM_SHORTS

_LONGEST_RUN = 127
_BACK, _AHEAD = 4, 40  # positions around the break at which copying may continue
_NEAR = 8  # positions ahead
_LONGEST_GAP = 16  # tokens after which copying from there is given up
_FIRM = 4  # agreeing tokens that anchor a pointer
_MAX_MATCHES = 8  # latest ones among which the longest is taken
_ANCHOR_LEVEL = 2  # found by contexts of three tokens

_POSITION = PATH.take(initial=NOWHERE)
_RUN = PATH.take()
_GAP = PATH.take()

# How a position lies to the pointer, the best first; 0: not near it.
_EXPECTED, _AS_MANY, _NEAR_AHEAD, _FAR_AHEAD, _BEHIND = 1, 2, 3, 4, 5
_NUM_RELATIONS = 6
_RELATION = FIELDS.take()
_SWAPPED = FIELDS.take()  # times it came in place of the expected token before
PLACE = (
    FIELDS.take()
)  # the position with the best relation to the pointer's, or of the token that it was put in place of

_NUM_RUNS = 8  # none, 0-1, 2-3, 4-7, 8-15, 16-31, 32-63, 64 and more
_NUM_GAPS = 4  # 0, 1, 2-3, 4 and more
_NUM_SWAPS = 4  # times: 1, 2, 3, 4 and more
_RELATED = CELLS.take(_NUM_RELATIONS, initial=(-0.2, 0.4, 0.3, 1.0, 0.0, 0.2))  # relation
_COPIED = CELLS.take(_NUM_RELATIONS, _NUM_RUNS, _NUM_GAPS)  # relation, run, gap
# Times swapped, length of the longest match. Too rare to be fitted: a renaming is a guess once, then likely.
_SWAPPING = CELLS.take(_NUM_SWAPS, NUM_SHORTS, initial=((2.0,), (4.0,), (5.0,), (5.0,)))
_NONE = CELLS.take(_NUM_RUNS, _NUM_GAPS, NUM_SHORTS)  # of none: run, gap, longest match

MAX_CELLS = 3  # of one proposal

_POINTER_NAME = NAMES.take("pointer")
_SWAP_NAME = NAMES.take("swap")

_SLOTS = 1 << 10  # of swaps: more than the edited tokens of one answer
_BEFORE, _CAME, _TIMES = 0, 1, 2  # fields of a swap


def make_swaps() -> Tokens:
    return np.full((_SLOTS, 3), NOWHERE, np.int32)


@compiled
def _point(path: Tokens, position: int, run: int) -> None:
    """Point to a position, with no gap open."""
    path[_POSITION] = position
    path[_RUN] = run
    path[_GAP] = 0


@compiled
def advance(path: Tokens, history: History, line: Tokens, end: int) -> None:
    """Follow the last token of `line[:end]`."""
    size = history.size[0]
    position, gap, token_id = path[_POSITION], path[_GAP], line[end - 1]
    if position >= 0:
        if position < size and history.tokens[position] == token_id:  # as expected, or what was put in has ended
            _point(path, position + 1, min(path[_RUN] + 1, _LONGEST_RUN) if gap == 0 else 1)
        elif gap and position + gap < size and history.tokens[position + gap] == token_id:  # as many were put in
            _point(path, position + gap + 1, 1)
        elif gap >= _LONGEST_GAP or position >= size:
            _point(path, NOWHERE, 0)
        else:
            path[_GAP] = gap + 1
            _resume(path, history, line, end)
    if path[_POSITION] < 0 or path[_GAP] > 0 or path[_RUN] < _FIRM:
        _anchor(path, history, line, end)


@compiled
def _resume(path: Tokens, history: History, line: Tokens, end: int) -> None:
    """Take copying up again where the last two tokens stand close behind the break, nearest first."""
    if end < 2:
        return
    first = path[_POSITION] + 1
    for position in range(max(2, first), min(first + _AHEAD + path[_GAP], history.size[0])):
        if history.tokens[position - 1] == line[end - 1] and history.tokens[position - 2] == line[end - 2]:
            _point(path, position, 2)
            return


@compiled
def _anchor(path: Tokens, history: History, line: Tokens, end: int) -> None:
    """Point at the longest match, if it is firm and longer than the present run."""
    longest = max(_FIRM - 1, path[_RUN] if path[_GAP] == 0 else 0)
    position = find(history, line, end, _ANCHOR_LEVEL)
    for _ in range(_MAX_MATCHES):
        if position < 0:
            return
        length = agreement(history, position, line, end)
        if length > longest:
            longest = length
            _point(path, position, length)
        position = history.links[_ANCHOR_LEVEL, position]


@compiled
def note_swap(swaps: Tokens, path: Tokens, history: History, token_id: int) -> None:
    """Remember what came in place of an expected token; each time that token itself comes, believe it half as much."""
    position = path[_POSITION]
    if position < 0 or position >= history.size[0] or path[_GAP] > 0:
        return
    expected = history.tokens[position]
    swap = swaps[expected & (_SLOTS - 1)]
    if expected == token_id:
        if swap[_BEFORE] == expected:
            swap[_TIMES] >>= 1
    elif swap[_BEFORE] == expected and swap[_CAME] == token_id:
        swap[_TIMES] += 1
    else:
        swap[_BEFORE], swap[_CAME], swap[_TIMES] = expected, token_id, 1


@compiled
def _swapped(swaps: Tokens, expected: int) -> tuple[int, int]:
    """What came in place of this token before, and how many times; 0 times where nothing did."""
    swap = swaps[expected & (_SLOTS - 1)]
    if swap[_BEFORE] == expected and swap[_TIMES] > 0:
        return swap[_CAME], swap[_TIMES]
    return NOWHERE, 0


@compiled
def _relation(offset: int, gap: int) -> int:
    """Name where a position lies, seen from the pointer's."""
    if offset == 0:
        return _EXPECTED
    if offset == gap and gap > 0:
        return _AS_MANY
    if 0 < offset <= _NEAR:
        return _NEAR_AHEAD
    if 0 < offset <= _AHEAD:
        return _FAR_AHEAD
    if -_BACK <= offset < 0:
        return _BEHIND
    return 0


@compiled
def _see(fields: Tokens, relation: int, position: int) -> None:
    """Keep the best relation to the pointer, and the position that has it."""
    if relation and (fields[_RELATION] == 0 or relation < fields[_RELATION]):
        fields[_RELATION] = relation
        fields[PLACE] = position


@compiled
def see_match(fields: Tokens, path: Tokens, position: int) -> None:
    """Note of a proposal that the conversation has it at this position."""
    if path[_POSITION] >= 0:
        _see(fields, _relation(position - path[_POSITION], path[_GAP]), position)


@compiled
def propose_from(swaps: Tokens, proposals: Proposals, history: History, line: Tokens, end: int, path: Tokens) -> None:
    """Copying continues: at the pointer, behind as many tokens as were put in, or near by behind the last token."""
    broken = path[_POSITION]
    gap = path[_GAP]
    size = history.size[0]
    if broken < 0 or broken >= size:
        return
    row = propose(proposals, history.tokens[broken])
    if row >= 0:
        _see(proposals.fields[row], _EXPECTED, broken)
    if gap == 0:
        came, times = _swapped(swaps, history.tokens[broken])
        if times:
            row = propose(proposals, came)
            if row >= 0:
                proposals.fields[row, _SWAPPED] = times
                if proposals.fields[row, _RELATION] == 0:
                    proposals.fields[row, PLACE] = broken
        return
    if broken + gap < size:
        row = propose(proposals, history.tokens[broken + gap])
        if row >= 0:
            _see(proposals.fields[row], _AS_MANY, broken + gap)
    for position in range(max(1, broken - _BACK), min(size, broken + _AHEAD)):
        if history.tokens[position - 1] == line[end - 1]:
            row = propose(proposals, history.tokens[position])
            if row >= 0:
                _see(proposals.fields[row], _relation(position - broken, gap), position)


@compiled
def _run(path: Tokens) -> int:
    return 0 if path[_POSITION] < 0 else max(1, buckets.doublings(path[_RUN], _NUM_RUNS - 1))


@compiled
def _gap(path: Tokens) -> int:
    return buckets.doublings(path[_GAP], _NUM_GAPS - 1)


@compiled
def describe(fields: Tokens, path: Tokens, cells: Tokens, used: int) -> int:
    if path[_POSITION] >= 0:
        cells[used] = _RELATED + fields[_RELATION]
        cells[used + 1] = _COPIED + (fields[_RELATION] * _NUM_RUNS + _run(path)) * _NUM_GAPS + _gap(path)
        used += 2
    if fields[_SWAPPED]:
        times = min(fields[_SWAPPED], _NUM_SWAPS) - 1
        cells[used] = _SWAPPING + times * NUM_SHORTS + buckets.short(fields[LENGTH])
        used += 1
    return used


@compiled
def none_cell(node: Tokens, path: Tokens) -> int:
    return _NONE + (_run(path) * _NUM_GAPS + _gap(path)) * NUM_SHORTS + buckets.short(node[TOP_LENGTH])


@compiled
def name(fields: Tokens) -> int:
    if fields[_RELATION]:
        return _POINTER_NAME
    return _SWAP_NAME if fields[_SWAPPED] else 0
