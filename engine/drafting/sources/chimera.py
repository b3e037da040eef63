"""What Chimera proposes: tokens behind every path that it has unrolled, likeliest paths first.

It drafts a token at a time (arXiv 2402.15758), so it knows the tokens between. `engine.trained` unrolls it once a
round, a few paths wide, into a tree of its own; what it says behind one of these paths is proposed there, and the path
that the draft takes leads from node to node of it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import NOWHERE, Tokens
from engine.drafting.layout import CELLS, FIELDS, NAMES, PATH
from engine.drafting.proposals import LENGTH, Proposals, propose
from engine.drafting.sources.recycled import NUM_CHANCES, halvings

MAX_DEPTH = 6  # tokens in a row
BEAM = 4  # paths that are followed from one depth to the next
NUM_CHILDREN = 8  # tokens that are kept behind a path
MAX_UNROLLED = 1 + BEAM * (MAX_DEPTH - 1)

_DEPTH = FIELDS.take()  # 1: proposed behind the text's last token, ...
_RANK = FIELDS.take()  # 1: its likeliest token there
_CHANCE = FIELDS.take()  # halvings of probability

AT = PATH.take()  # the path's number in the tree, from 1 on; 0: it has left it

_ALONE = 4.5  # as for heads
_LOG_CHANCES = -np.log(2.0) * np.arange(NUM_CHANCES)[:, None]

_PROPOSED = CELLS.take(  # depth, chance, proposed by the conversation's own text too
    MAX_DEPTH,
    NUM_CHANCES,
    2,
    initial=np.concatenate((_ALONE + _LOG_CHANCES, (_ALONE + _LOG_CHANCES) / 2), axis=1),
)
_RANKED = CELLS.take(MAX_DEPTH, 2)  # depth, likeliest token or another one
_IN_ANSWER = CELLS.take_for_answer(2)  # likeliest token or another one

MAX_CELLS = 3  # of one proposal

_NAME = NAMES.take("chimera")

Floats = npt.NDArray[np.float32]


class Unrolled(NamedTuple):
    """Paths by row, the first the empty one; their likeliest tokens, and the rows of the paths that these lead to, or
    NOWHERE. Chances are those of single tokens behind their path."""

    token_ids: Tokens  # (MAX_UNROLLED, NUM_CHILDREN)
    rows: Tokens  # (MAX_UNROLLED, NUM_CHILDREN)
    chances: Floats  # (MAX_UNROLLED, NUM_CHILDREN)
    depths: Tokens  # (MAX_UNROLLED,): tokens on the path


class Chimera(Protocol):
    """What unrolls a text, by the target's last hidden states behind all of it but its last token."""

    unrolled: Unrolled
    num_states: int
    """How many of the last states it reads."""

    def begin(self, token_ids: Tokens) -> None:
        """Forget what it has read behind the tokens that this text shares with the one before."""

    def look(self, states: Sequence[Any], token_ids: Tokens) -> None:
        """Write the tree behind a text; `states` in a row are those behind its last tokens but the last, as far as they
        are new, each (tokens, hidden) as the target handed them over."""


def make_unrolled() -> Unrolled:
    """A tree that says nothing yet."""
    return Unrolled(
        np.zeros((MAX_UNROLLED, NUM_CHILDREN), np.int32),
        np.full((MAX_UNROLLED, NUM_CHILDREN), NOWHERE, np.int32),
        np.zeros((MAX_UNROLLED, NUM_CHILDREN), np.float32),
        np.zeros(MAX_UNROLLED, np.int32),
    )


@compiled
def propose_from(unrolled: Unrolled, proposals: Proposals, path: Tokens) -> None:
    """The likeliest tokens behind the path, while it is in the tree."""
    at = path[AT] - 1
    if at < 0:
        return
    for rank in range(NUM_CHILDREN):
        chance = unrolled.chances[at, rank]
        if not chance > 0.0:  # no number, where weights are large
            return
        row = propose(proposals, unrolled.token_ids[at, rank])
        if row >= 0:
            fields = proposals.fields[row]
            fields[_DEPTH] = unrolled.depths[at] + 1
            fields[_RANK] = rank + 1
            fields[_CHANCE] = halvings(chance)


@compiled
def describe(fields: Tokens, cells: Tokens, used: int) -> int:
    if fields[_DEPTH] == 0:
        return used
    depth, other = min(fields[_DEPTH], MAX_DEPTH) - 1, 0 if fields[_RANK] == 1 else 1
    cells[used] = _PROPOSED + (depth * NUM_CHANCES + fields[_CHANCE]) * 2 + (1 if fields[LENGTH] else 0)
    cells[used + 1] = _RANKED + depth * 2 + other
    cells[used + 2] = _IN_ANSWER + other
    return used + 3


@compiled
def name(fields: Tokens) -> int:
    return _NAME if fields[_DEPTH] else 0


@compiled
def advance(path: Tokens, unrolled: Unrolled, token_id: int) -> None:
    """The path goes on with this token."""
    at = path[AT] - 1
    path[AT] = 0
    if at < 0:
        return
    for rank in range(NUM_CHILDREN):
        if unrolled.token_ids[at, rank] == token_id and unrolled.chances[at, rank] > 0.0:
            path[AT] = unrolled.rows[at, rank] + 1
            return
