"""The cells of every proposal, whatever its source, and of "none of them", the outcome that competes with them all."""

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import Tokens, level_of
from engine.drafting.layout import CELLS
from engine.drafting.proposals import LENGTH, MAX_PROPOSALS, TOP_LENGTH, Proposals
from engine.drafting.sources import buckets
from engine.drafting.sources.buckets import NUM_MATCHES, NUM_SHORTS
from engine.drafting.sources.ngram import COUNT

_NUM_RANKS = 5
_NUM_OUTCOMES = 32  # whether the likeliest proposal was right, the last five times
_LAST_OUTCOMES = _NUM_OUTCOMES - 1
_NUM_BANDS = 4  # of temperature

_RANKED_PRIOR = (  # by match length; by rank
    (-3.5, -3.2, -2.5, -2.9, -3.5),
    (-0.4, -1.4, -1.4, -1.8, -2.5),
    (0.6, -0.5, -1.0, -1.3, -1.6),
    (0.9, 0.1, -0.8, -0.6, -1.2),
    (0.8, 0.1, -0.5, -0.7, -1.0),
    (1.0, 0.5, -0.3, -0.5, -0.8),
    (1.1, 0.2, -0.1, -0.6, -0.8),
    (1.6, 0.7, -0.2, -0.6, -0.7),
    (1.7, 0.2, -0.4, -0.5, -0.5),
    (2.8, 0.1, -0.5, -0.5, -0.5),
    (2.9, -0.2, -0.5, -0.5, -0.5),
    (3.6, -0.5, -0.5, -0.5, -0.5),
    (4.2, -0.2, -0.5, -0.5, -0.5),
)

_RANKED = CELLS.take(NUM_MATCHES, _NUM_RANKS, initial=_RANKED_PRIOR)  # match length, rank among the node's proposals
_STREAK = CELLS.take(_NUM_OUTCOMES, 2, NUM_SHORTS)  # outcomes, first in rank, length
MAX_CELLS = 2  # of one proposal

# Of none of them.
_NONE_STREAK = CELLS.take(_NUM_OUTCOMES, NUM_SHORTS)  # outcomes, longest match
_NONE_COUNT = CELLS.take(MAX_PROPOSALS + 1, NUM_SHORTS)  # number of proposals, longest match
_NONE_BAND = CELLS.take(_NUM_BANDS, NUM_SHORTS)  # temperature, longest match
_NONE_IN_ANSWER = CELLS.take_for_answer(NUM_SHORTS)  # longest match


@compiled
def note_outcome(outcomes: int, right: bool) -> int:
    """The last outcomes with one more."""
    return ((outcomes << 1) | (1 if right else 0)) & _LAST_OUTCOMES


@compiled
def _rank(proposals: Proposals, row: int) -> int:
    """How many proposals followed a longer match, or one as long more often, or as often and more recently."""
    length = proposals.fields[row, LENGTH]
    field = COUNT + level_of(length)
    count = proposals.fields[row, field]
    rank = 0
    for other in range(proposals.size[0]):
        its_length, its_count = proposals.fields[other, LENGTH], proposals.fields[other, field]
        ahead = its_length > length
        if its_length == length:
            ahead = its_count > count or (its_count == count and other < row)
        rank += 1 if ahead else 0
    return rank


@compiled
def describe(proposals: Proposals, row: int, outcomes: int, cells: Tokens) -> int:
    """Write the first cells of a proposal; returns how many are in use then."""
    rank = _rank(proposals, row)
    length = proposals.fields[row, LENGTH]
    is_first = 1 if rank == 0 else 0
    cells[0] = _RANKED + buckets.match(length) * _NUM_RANKS + min(rank, _NUM_RANKS - 1)
    cells[1] = _STREAK + (outcomes * 2 + is_first) * NUM_SHORTS + buckets.short(length)
    return 2


@compiled
def streak_cell(node: Tokens, outcomes: int) -> int:
    return _NONE_STREAK + outcomes * NUM_SHORTS + buckets.short(node[TOP_LENGTH])


@compiled
def count_cell(node: Tokens, count: int) -> int:
    return _NONE_COUNT + count * NUM_SHORTS + buckets.short(node[TOP_LENGTH])


@compiled
def band_cell(node: Tokens, band: int) -> int:
    return _NONE_BAND + band * NUM_SHORTS + buckets.short(node[TOP_LENGTH])


@compiled
def answer_cell(node: Tokens) -> int:
    return _NONE_IN_ANSWER + buckets.short(node[TOP_LENGTH])
