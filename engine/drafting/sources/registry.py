"""Which sources there are, and all of them together: each function here asks every source in turn.

A source is a file with these functions, compiled, each with the arguments that it needs:

- `propose_from`: propose tokens (`proposals.propose`) and fill the fields that it took of `layout.FIELDS`;
- `describe`: write the calibration cells of one proposal, from number `used` on, at most `MAX_CELLS` of them; returns
  how many are in use then;
- `none_cell`, if it says anything of a node without a right proposal: a cell of "none of them";
- `name`: the number of its name where the proposal may have it, else 0. `place_of` says where it read a token so named.

A new source joins by a name in `SOURCE_NAMES`, by what it keeps in `Sources`, if anything, and by a line in each
function here that it has a part in.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import NOWHERE, History, Tokens, make_history
from engine.drafting.proposals import Proposals, Situation, make_proposals
from engine.drafting.sources import chimera, heads, memory, ngram, pointer, recycled, shared, skip
from engine.drafting.sources.chimera import Unrolled, make_unrolled
from engine.drafting.sources.heads import Lattice, make_lattice
from engine.drafting.sources.memory import OtherConversations, make_other_conversations
from engine.drafting.sources.pointer import make_swaps
from engine.drafting.sources.recycled import Recycled, make_recycled

SOURCE_NAMES = ("ngram", "pointer", "skip", "memory", "recycled", "heads", "chimera")
_NGRAM, _POINTER, _SKIP, _MEMORY, _RECYCLED, _HEADS, _CHIMERA = range(len(SOURCE_NAMES))

# Cells of one proposal, and of none of them.
MAX_CELLS = sum(each.MAX_CELLS for each in (shared, ngram, pointer, skip, memory, recycled, heads, chimera))
NUM_NONE_CELLS = 7


class Sources(NamedTuple):
    """All that proposals come from: the conversation's text, and what sources keep beside it."""

    history: History
    swaps: Tokens
    memory: OtherConversations
    recycled: Recycled
    lattice: Lattice
    unrolled: Unrolled
    uses: npt.NDArray[np.bool_]  # by number of the source
    proposals: Proposals


def make_sources() -> Sources:
    """Nothing is known, and no source in use."""
    return Sources(
        make_history(0),
        make_swaps(),
        make_other_conversations(),
        make_recycled(),
        make_lattice(),
        make_unrolled(),
        np.zeros(len(SOURCE_NAMES), np.bool_),
        make_proposals(),
    )


def forget_last_answer(sources: Sources) -> None:
    """Let sources forget what they learn for one answer only."""
    sources.swaps[:] = make_swaps()


@compiled
def gather(sources: Sources, line: Tokens, end: int, position: int, path: Tokens) -> None:
    """Collect everything that may come behind `line[:end]`, with which the text has `position` tokens."""
    history, uses, proposals = sources.history, sources.uses, sources.proposals
    proposals.size[0] = 0
    proposals.node[:] = 0
    if uses[_NGRAM]:
        ngram.propose_from(proposals, history, line, end, path)
    if uses[_POINTER]:
        pointer.propose_from(sources.swaps, proposals, history, line, end, path)
    if uses[_CHIMERA]:
        chimera.propose_from(sources.unrolled, proposals, path)
    if uses[_HEADS]:
        heads.propose_from(sources.lattice, proposals, line, end, position)
    if uses[_SKIP]:
        skip.propose_from(proposals, history, line, end)
    if uses[_MEMORY]:
        memory.propose_from(sources.memory, proposals, line, end)
    if uses[_RECYCLED]:
        recycled.propose_from(sources.recycled, proposals, line, end)


@compiled
def describe(proposals: Proposals, row: int, path: Tokens, situation: Situation, cells: Tokens) -> int:
    """Write the cells of one proposal; returns their number. Their order decides the last bits of its chance."""
    fields, node = proposals.fields[row], proposals.node
    used = shared.describe(proposals, row, situation.outcomes, cells)
    used = ngram.describe(fields, node, situation, cells, used)
    used = pointer.describe(fields, path, cells, used)
    used = skip.describe(fields, cells, used)
    used = memory.describe(fields, node, cells, used)
    used = recycled.describe(fields, cells, used)
    used = heads.describe(fields, cells, used)
    return chimera.describe(fields, cells, used)


@compiled
def describe_none(proposals: Proposals, path: Tokens, situation: Situation, cells: Tokens) -> None:
    """Write the cells of none of them, in an order that decides the last bits, too."""
    node = proposals.node
    cells[0] = ngram.none_cell(node)
    cells[1] = memory.none_cell(node)
    cells[2] = shared.streak_cell(node, situation.outcomes)
    cells[3] = pointer.none_cell(node, path)
    cells[4] = shared.count_cell(node, proposals.size[0])
    cells[5] = shared.band_cell(node, situation.band)
    cells[6] = shared.answer_cell(node)


@compiled
def name_source(fields: Tokens) -> int:
    """The number of the name of the source that has most to say for a proposal."""
    return (
        ngram.name_of_long(fields)
        or pointer.name(fields)
        or memory.name(fields)
        or chimera.name(fields)
        or heads.name(fields)
        or ngram.name(fields)
        or recycled.name(fields)
        or skip.name(fields)
    )


@compiled
def place_of(fields: Tokens) -> int:
    """Where the source whose name a proposal has read it: a position in the text, one in the memory's (see there), or
    `NOWHERE`."""
    if ngram.name_of_long(fields):
        return int(fields[ngram.LATEST])
    if pointer.name(fields):
        return int(fields[pointer.PLACE])
    if memory.name(fields):
        return memory.place(fields)
    if chimera.name(fields) or heads.name(fields):
        return NOWHERE
    if ngram.name(fields):
        return int(fields[ngram.LATEST])
    if recycled.name(fields):
        return NOWHERE
    return int(fields[skip.PLACE]) if skip.name(fields) else NOWHERE


@compiled
def learn(sources: Sources, token_id: int, path: Tokens) -> None:
    """A token is committed; it is not yet part of the text."""
    if sources.uses[_POINTER]:
        pointer.note_swap(sources.swaps, path, sources.history, token_id)


@compiled
def advance(
    path: Tokens, uses: npt.NDArray[np.bool_], history: History, unrolled: Unrolled, line: Tokens, end: int
) -> None:
    """The path is now that of `line[:end]`, one token longer."""
    if uses[_POINTER]:
        pointer.advance(path, history, line, end)
    if uses[_CHIMERA]:
        chimera.advance(path, unrolled, line[end - 1])
