"""What trained heads propose: of each of the next positions its likeliest tokens, refined by the token before it.

Block drafts (Stern et al., 2018), refined as in arXiv 2404.09221: heads on the target's last hidden state see none of
the tokens between. Here each of their tokens is scored again behind the token that a path of the tree really has
before it, by a term of low rank that was learned with them (*Markov*): left[before] . right[token]. What they say of a
position is a *lattice*; `engine.trained` computes it.
"""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import NOWHERE, Tokens
from engine.drafting.layout import CELLS, FIELDS, NAMES
from engine.drafting.proposals import LENGTH, Proposals, propose
from engine.drafting.sources.recycled import NUM_CHANCES, halvings

MAX_HEADS = 8
NUM_LATTICE = 16  # tokens of each position that are scored again
_NUM_PROPOSED = 8  # of them, at one node

_POSITION = FIELDS.take()  # 1: proposed by the first head, ...
_RANK = FIELDS.take()  # 1: its likeliest token there
_CHANCE = FIELDS.take()  # halvings of probability

# As for the model's own likeliest tokens (`recycled`): a proposal's weight for having no match is made up for.
_ALONE = 4.5
_LOG_CHANCES = -np.log(2.0) * np.arange(NUM_CHANCES)[:, None]

_PROPOSED = CELLS.take(  # position, chance, proposed by the conversation's own text too
    MAX_HEADS,
    NUM_CHANCES,
    2,
    initial=np.concatenate((_ALONE + _LOG_CHANCES, (_ALONE + _LOG_CHANCES) / 2), axis=1),
)
_RANKED = CELLS.take(MAX_HEADS, 2)  # position, likeliest token or another one
_IN_ANSWER = CELLS.take_for_answer(2)  # likeliest token or another one

MAX_CELLS = 3  # of one proposal

_NAME = NAMES.take("heads")

Floats = npt.NDArray[np.float32]


class Lattice(NamedTuple):
    """Positions by row: the first is what comes behind `behind[0]` tokens of text, once `behind[0]` is not NOWHERE.

    `scores` are of single tokens, `rests` of all tokens that are not here, these sharpened already: logs of what is
    proportional to probabilities.
    """

    behind: npt.NDArray[np.int64]
    num_heads: npt.NDArray[np.int64]
    token_ids: Tokens  # (MAX_HEADS, NUM_LATTICE)
    numbers: Tokens  # (MAX_HEADS, NUM_LATTICE): of the tokens in the draft vocabulary
    scores: Floats  # (MAX_HEADS, NUM_LATTICE)
    rests: Floats  # (MAX_HEADS,)
    sharpness: Floats  # (MAX_HEADS,): what a head's scores, its Markov term included, are multiplied by
    number_of: Tokens  # (vocabulary,): a token's number in the draft vocabulary, its size for all others
    left: Floats  # (draft vocabulary + 1, rank)
    right: Floats  # (draft vocabulary, rank)
    scratch: Floats  # (2, NUM_LATTICE)


class Heads(Protocol):
    """What looks ahead of a text, by the target's last hidden state behind all of it but its last token."""

    lattice: Lattice

    def look(self, state: object, last_id: int) -> None:
        """Write the lattice of the positions behind `last_id`; `state` is as the target handed it over."""


def make_lattice(number_of: Tokens | None = None, left: Floats | None = None, right: Floats | None = None) -> Lattice:
    """A lattice that says nothing yet; without a draft vocabulary it never will."""
    return Lattice(
        np.full(1, NOWHERE, np.int64),
        np.zeros(1, np.int64),
        np.zeros((MAX_HEADS, NUM_LATTICE), np.int32),
        np.zeros((MAX_HEADS, NUM_LATTICE), np.int32),
        np.zeros((MAX_HEADS, NUM_LATTICE), np.float32),
        np.zeros(MAX_HEADS, np.float32),
        np.ones(MAX_HEADS, np.float32),
        np.zeros(1, np.int32) if number_of is None else number_of,
        np.zeros((1, 0), np.float32) if left is None else left,
        np.zeros((0, 0), np.float32) if right is None else right,
        np.zeros((2, NUM_LATTICE), np.float32),
    )


@compiled
def _refine(lattice: Lattice, head: int, before: int) -> None:
    """Write the probabilities of a position's tokens behind the token `before` into the scratch."""
    chances, rest = lattice.scratch[0], lattice.rests[head]
    rank = lattice.left.shape[1]
    row = lattice.number_of[before] if before < lattice.number_of.size else lattice.left.shape[0] - 1
    top = rest
    for index in range(NUM_LATTICE):
        score = lattice.scores[head, index]
        number = lattice.numbers[head, index]
        for at in range(rank):
            score += lattice.left[row, at] * lattice.right[number, at]
        score *= lattice.sharpness[head]
        chances[index] = score
        top = max(top, score)
    total = np.exp(rest - top)
    for index in range(NUM_LATTICE):
        chances[index] = np.exp(chances[index] - top)
        total += chances[index]
    for index in range(NUM_LATTICE):
        chances[index] /= total


@compiled
def propose_from(lattice: Lattice, proposals: Proposals, line: Tokens, end: int, position: int) -> None:
    """The likeliest tokens of the position that this many tokens of text stand before."""
    head = position - lattice.behind[0]
    if lattice.behind[0] < 0 or head < 0 or head >= lattice.num_heads[0]:
        return
    _refine(lattice, head, line[end - 1])
    chances = lattice.scratch[0]
    for rank in range(_NUM_PROPOSED):
        best = 0
        for index in range(1, NUM_LATTICE):
            if chances[index] > chances[best]:
                best = index
        if not chances[best] > 0.0:  # nothing is left, or weights so large that this is no number
            return
        row = propose(proposals, lattice.token_ids[head, best])
        if row >= 0:
            fields = proposals.fields[row]
            fields[_POSITION] = head + 1
            fields[_RANK] = rank + 1
            fields[_CHANCE] = halvings(chances[best])
        chances[best] = -1.0


@compiled
def describe(fields: Tokens, cells: Tokens, used: int) -> int:
    if fields[_POSITION] == 0:
        return used
    head, other = fields[_POSITION] - 1, 0 if fields[_RANK] == 1 else 1
    cells[used] = _PROPOSED + (head * NUM_CHANCES + fields[_CHANCE]) * 2 + (1 if fields[LENGTH] else 0)
    cells[used + 1] = _RANKED + head * 2 + other
    cells[used + 2] = _IN_ANSWER + other
    return used + 3


@compiled
def name(fields: Tokens) -> int:
    return _NAME if fields[_POSITION] else 0
