"""Contexts with a token skipped: what came second behind the two tokens before the last one, whatever stood between."""

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import LENGTHS, History, Tokens, agreement, find
from engine.drafting.layout import CELLS, FIELDS, NAMES
from engine.drafting.proposals import LENGTH, Proposals, propose
from engine.drafting.sources import buckets
from engine.drafting.sources.buckets import NUM_SHORTS

_MAX_MATCHES = 6
_LEVEL = 1  # the two tokens before the last

_TIMES = FIELDS.take()  # it stood behind the same two tokens and another one
PLACE = FIELDS.take()  # where it did so last
_SKIPS = CELLS.take(3, NUM_SHORTS)  # times, length of the longest match
MAX_CELLS = 1  # of one proposal
_NAME = NAMES.take("skip")


@compiled
def propose_from(proposals: Proposals, history: History, line: Tokens, end: int) -> None:
    position = find(history, line, end - 1, _LEVEL)
    num_read = 0
    while position >= 0 and num_read < _MAX_MATCHES:
        num_read += 1
        if (
            position + 1 < history.size[0]
            and history.tokens[position] != line[end - 1]
            and agreement(history, position, line, end - 1) >= LENGTHS[_LEVEL]
        ):
            row = propose(proposals, history.tokens[position + 1])
            if row >= 0:
                if proposals.fields[row, _TIMES] == 0:
                    proposals.fields[row, PLACE] = position + 1
                proposals.fields[row, _TIMES] += 1
        position = history.links[_LEVEL, position]


@compiled
def describe(fields: Tokens, cells: Tokens, used: int) -> int:
    if fields[_TIMES] == 0:
        return used
    cells[used] = _SKIPS + min(fields[_TIMES] - 1, 2) * NUM_SHORTS + buckets.short(fields[LENGTH])
    return used + 1


@compiled
def name(fields: Tokens) -> int:
    return _NAME if fields[_TIMES] else 0
