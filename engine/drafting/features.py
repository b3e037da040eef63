"""What calibration knows of a proposal: the cells of small tables, one weight each, that its score is the sum of.

Numbers are told apart in buckets, roughly doubling. Each block of cells is one table; a proposal has one cell in every
block that applies to it, and so has "none of them", the outcome that competes with a node's proposals.
"""

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.proposals import (
    COUNT,
    LAST_CHANCE,
    LAST_RANK,
    LENGTH,
    MEMORY_COUNT,
    MEMORY_LENGTH,
    MEMORY_TOP,
    MEMORY_TOTAL,
    MOST,
    NEWEST,
    NUM_RELATIONS,
    PAIR_CHANCE,
    PAIR_RANK,
    POINTED,
    SKIPPED,
    SWAPPED,
    TOP_LENGTH,
    TOTAL,
    WHERE,
    Proposals,
)
from engine.drafting.sources.ngram import LENGTHS, NUM_LENGTHS, Tokens
from engine.drafting.sources.pointer import GAP, PLACE, RUN
from engine.drafting.sources.recycled import NUM_CHANCES, NUM_TOP

# Sizes of the buckets.
NUM_MATCHES = 13  # match lengths: 0, 1, ... 5, 6-7, 8-11, 12-19, 20-31, 32-47, 48-63, 64
NUM_SHORTS = 6  # match lengths 0, 1, ... 4, 5 and more
NUM_RANKS = 5
_SHARES = 7  # sixths of the matches
_TOTALS = 5  # 1, 2-3, 4-7, 8-15, 16 and more matches
_RUNS = 8  # of the pointer: none, 0-1, 2-3, 4-7, 8-15, 16-31, 32-63, 64 and more
_GAPS = 4  # 0, 1, 2-3, 4 and more
_AGES = 8  # 0-3, 4-7, 8-15, ... tokens ago
NUM_SWAPS = 4  # times: 1, 2, 3, 4 and more
NUM_OUTCOMES = 32  # whether the likeliest proposal was right, the last five times
NUM_BANDS = 4  # of temperature

# Blocks of a proposal: where each one's cells begin.
RANKED = 0  # match length, rank among the node's proposals
SHARED = RANKED + NUM_MATCHES * NUM_RANKS  # context length, share of its matches, their number
_NEW = SHARED + NUM_LENGTHS * _SHARES * _TOTALS  # context length, followed its very last match, and that of t0, support
_SHORTER = _NEW + NUM_LENGTHS * 4 * _TOTALS  # the same shares for each shorter context length
_AGED = _SHORTER + NUM_LENGTHS * (_SHARES + 1) * 3  # length, tokens ago, in this answer or before it
RELATED = _AGED + NUM_SHORTS * _AGES * 2  # relation to the pointer
_COPIED = RELATED + NUM_RELATIONS + 1  # relation, run, gap
SWAPPING = _COPIED + NUM_RELATIONS * _RUNS * _GAPS  # times swapped, length
REMEMBERED = SWAPPING + NUM_SWAPS * NUM_SHORTS  # memory's match length
_MEMORY = REMEMBERED + NUM_MATCHES  # memory's match length, length
_MEMORY_SHARED = _MEMORY + NUM_MATCHES * NUM_SHORTS  # memory's context length, share, number
_SKIPS = _MEMORY_SHARED + NUM_LENGTHS * _SHARES * _TOTALS  # times, length
PAIRED = _SKIPS + 3 * NUM_SHORTS  # rank and chance behind (t-1, t0), proposed by the conversation too
LASTING = PAIRED + (NUM_TOP + 1) * NUM_CHANCES * 2  # rank and chance behind t0, behind (t-1, t0) too
_STREAK = LASTING + (NUM_TOP + 1) * NUM_CHANCES * 2  # outcomes, first in rank, length

# Blocks of none of them.
NONE_TOP = _STREAK + NUM_OUTCOMES * 2 * NUM_SHORTS  # longest match of all
_NONE_MEMORY = NONE_TOP + NUM_MATCHES  # the same, memory's longest
_NONE_STREAK = _NONE_MEMORY + NUM_MATCHES * NUM_SHORTS  # outcomes, longest match
_NONE_POINTER = _NONE_STREAK + NUM_OUTCOMES * NUM_SHORTS  # run, gap, longest match
_NONE_NUM = _NONE_POINTER + _RUNS * _GAPS * NUM_SHORTS  # number of proposals, longest match
_NONE_BAND = _NONE_NUM + (MOST + 1) * NUM_SHORTS  # temperature, longest match

# Blocks that start afresh with every answer.
ANSWER = _NONE_BAND + NUM_BANDS * NUM_SHORTS  # of none: longest match
_TOLD = ANSWER + NUM_SHORTS  # of a proposal: the model's likeliest token or another one, behind (t-1, t0) or t0
NUM_WEIGHTS = _TOLD + 4
ANSWER_CELL = 6  # which of none's cells that is
NONE_CELLS = 7
MOST_CELLS = 20  # of one proposal


@compiled
def _match(length: int) -> int:
    """The bucket of a match length."""
    if length < 6:
        return length
    if length < 8:
        return 6
    if length < 12:
        return 7
    if length < 20:
        return 8
    if length < 32:
        return 9
    return 10 + (length - 32) // 16


@compiled
def _doublings(value: int, most: int) -> int:
    """0, 1, 2-3, 4-7, ..., and at last `most` and more."""
    bucket = 0
    while value and bucket < most:
        value >>= 1
        bucket += 1
    return bucket


@compiled
def level_of(length: int) -> int:
    """The longest context length that fits into a match."""
    level = NUM_LENGTHS - 1
    while level > 0 and LENGTHS[level] > length:
        level -= 1
    return level


@compiled
def _share(count: int, total: int) -> int:
    return min(_SHARES - 1, (_SHARES - 1) * count // max(1, total))


@compiled
def _total(total: int) -> int:
    return max(0, _doublings(total, _TOTALS) - 1)


@compiled
def _run(pointer: Tokens) -> int:
    return 0 if pointer[PLACE] < 0 else max(1, _doublings(pointer[RUN], _RUNS - 1))


@compiled
def _gap(pointer: Tokens) -> int:
    return _doublings(pointer[GAP], _GAPS - 1)


@compiled
def _of_conversation(fields: Tokens, node: Tokens, size: int, answer_start: int, cells: Tokens, used: int) -> int:
    """Cells from the conversation's own text; returns how many are in use then."""
    level = level_of(fields[LENGTH])
    count, total = fields[COUNT + level], node[TOTAL + level]
    newest = ((fields[NEWEST] >> level) & 1) * 2 + (fields[NEWEST] & 1)
    cells[used] = SHARED + (level * _SHARES + _share(count, total)) * _TOTALS + _total(total)
    cells[used + 1] = _NEW + (level * 4 + newest) * _TOTALS + min(max(total, 1), _TOTALS) - 1
    age = _doublings((size - fields[WHERE]) >> 2, _AGES - 1)
    here = 1 if fields[WHERE] >= answer_start else 0
    cells[used + 2] = _AGED + (min(fields[LENGTH], NUM_SHORTS - 1) * _AGES + age) * 2 + here
    used += 3
    for shorter in range(level):
        total = node[TOTAL + shorter]
        share = _share(fields[COUNT + shorter], total) if total else _SHARES
        cells[used] = _SHORTER + (shorter * (_SHARES + 1) + share) * 3 + min(total >> 3, 2)
        used += 1
    return used


@compiled
def _of_pointer(fields: Tokens, pointer: Tokens, cells: Tokens, used: int) -> int:
    """Cells from the alignment pointer and its swaps, from skipping too."""
    short = min(fields[LENGTH], NUM_SHORTS - 1)
    if pointer[PLACE] >= 0:
        cells[used] = RELATED + fields[POINTED]
        cells[used + 1] = _COPIED + (fields[POINTED] * _RUNS + _run(pointer)) * _GAPS + _gap(pointer)
        used += 2
    if fields[SWAPPED]:
        cells[used] = SWAPPING + min(fields[SWAPPED] - 1, NUM_SWAPS - 1) * NUM_SHORTS + short
        used += 1
    if fields[SKIPPED]:
        cells[used] = _SKIPS + min(fields[SKIPPED] - 1, 2) * NUM_SHORTS + short
        used += 1
    return used


@compiled
def _of_others(fields: Tokens, node: Tokens, cells: Tokens, used: int) -> int:
    """Cells from memory and from the model's own likeliest tokens."""
    length = fields[MEMORY_LENGTH]
    if length:
        level = level_of(length)
        total = node[MEMORY_TOTAL + level]
        share = _share(fields[MEMORY_COUNT + level], total)
        cells[used] = REMEMBERED + _match(length)
        cells[used + 1] = _MEMORY + _match(length) * NUM_SHORTS + min(fields[LENGTH], NUM_SHORTS - 1)
        cells[used + 2] = _MEMORY_SHARED + (level * _SHARES + share) * _TOTALS + _total(total)
        used += 3
    if fields[PAIR_RANK]:
        told = fields[PAIR_RANK] * NUM_CHANCES + fields[PAIR_CHANCE]
        cells[used] = PAIRED + told * 2 + (1 if fields[LENGTH] else 0)
        used += 1
    if fields[LAST_RANK]:
        told = fields[LAST_RANK] * NUM_CHANCES + fields[LAST_CHANCE]
        cells[used] = LASTING + told * 2 + (1 if fields[PAIR_RANK] else 0)
        used += 1
    rank = fields[PAIR_RANK] if fields[PAIR_RANK] else fields[LAST_RANK]
    if rank:
        cells[used] = _TOLD + (2 if rank == 1 else 0) + (1 if fields[PAIR_RANK] else 0)
        used += 1
    return used


@compiled
def describe(
    proposals: Proposals, row: int, rank: int, pointer: Tokens, outcomes: int, size: int, start: int, cells: Tokens
) -> int:
    """Write the cells of one proposal; returns their number. `start` is the answer's first place in the text."""
    fields, node = proposals.fields[row], proposals.node
    short = min(fields[LENGTH], NUM_SHORTS - 1)
    cells[0] = RANKED + _match(fields[LENGTH]) * NUM_RANKS + min(rank, NUM_RANKS - 1)
    cells[1] = _STREAK + (outcomes * 2 + (1 if rank == 0 else 0)) * NUM_SHORTS + short
    used = 2
    if fields[LENGTH]:
        used = _of_conversation(fields, node, size, start, cells, used)
    used = _of_pointer(fields, pointer, cells, used)
    return _of_others(fields, node, cells, used)


@compiled
def describe_none(proposals: Proposals, pointer: Tokens, outcomes: int, band: int, cells: Tokens) -> None:
    """Write the cells of none of them."""
    node = proposals.node
    short = min(node[TOP_LENGTH], NUM_SHORTS - 1)
    cells[0] = NONE_TOP + _match(node[TOP_LENGTH])
    cells[1] = _NONE_MEMORY + _match(node[TOP_LENGTH]) * NUM_SHORTS + min(node[MEMORY_TOP], NUM_SHORTS - 1)
    cells[2] = _NONE_STREAK + outcomes * NUM_SHORTS + short
    cells[3] = _NONE_POINTER + (_run(pointer) * _GAPS + _gap(pointer)) * NUM_SHORTS + short
    cells[4] = _NONE_NUM + proposals.size[0] * NUM_SHORTS + short
    cells[5] = _NONE_BAND + band * NUM_SHORTS + short
    cells[ANSWER_CELL] = ANSWER + short
