"""Everything that may come next at one node, merged: a token that several sources propose is one proposal.

What each source has to say of a proposal is kept in its own fields (`layout.FIELDS`), for calibration to weigh.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import NOWHERE, Tokens
from engine.drafting.layout import FIELDS, NODE

MAX_PROPOSALS = 12  # at one node

LENGTH = FIELDS.take()  # tokens of the longest match in the conversation's own text that the proposal followed
TOP_LENGTH = NODE.take()  # of the longest of all its proposals


class Proposals(NamedTuple):
    """Scratch for one node; `size[0]` proposals are in use."""

    token_ids: Tokens
    fields: Tokens  # (MAX_PROPOSALS, fields)
    node: Tokens
    size: npt.NDArray[np.int64]


def make_proposals() -> Proposals:
    return Proposals(
        np.zeros(MAX_PROPOSALS, np.int32),
        np.tile(FIELDS.initial(np.int32), (MAX_PROPOSALS, 1)),
        NODE.initial(np.int32),
        np.zeros(1, np.int64),
    )


class Situation(NamedTuple):
    """What calibration knows of a node beside its proposals."""

    size: int  # tokens of the text
    start: int  # the answer's first position in it
    outcomes: int  # whether the likeliest proposal was right, the last times: a bit each
    band: int  # of temperature


@compiled
def propose(proposals: Proposals, token_id: int) -> int:
    """The row of this token, a new one if it is new; NOWHERE if there is no room for it."""
    size = int(proposals.size[0])
    for row in range(size):
        if proposals.token_ids[row] == token_id:
            return row
    if size == MAX_PROPOSALS:
        return NOWHERE
    proposals.token_ids[size] = token_id
    proposals.fields[size, :] = 0
    proposals.size[0] = size + 1
    return size
