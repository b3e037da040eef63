"""How likely each proposal is right: a conditional logit model, learned while answers are written.

The proposals of a node and "none of them" compete: chance = exp(score) / sum of all exp(scores). A score is the sum of
the weights of its cells, which sources choose. At every committed token what is proposed there is labelled, drafted or
not, so a drafter that has fallen silent still learns when to draft again. Steps are AdaGrad's (Duchi et al., 2011).

Weights start from coarse priors, learned by this model itself from recorded greedy chats: Spec-Bench answers of
Vicuna-7B, and MT-bench and CanItEdit answers of Llama-3.1-8B, with the blocks that have priors alone. The finer ones
start at 0. What a suite's own answers teach within some conversations matters more: fitted on the other suites only,
all blocks gained a suite 0.3 % at most.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import Tokens
from engine.drafting.layout import CELLS
from engine.drafting.proposals import MAX_PROPOSALS, Proposals, Situation
from engine.drafting.sources.registry import MAX_CELLS, NUM_NONE_CELLS, describe, describe_none

Floats = npt.NDArray[np.float32]

# On recorded chats 0.15 to 0.3, and starting squares of 0.1 to 5, made less than 0.5 % of difference in speed.
_RATE = 0.3
_SQUARES = 2.0
# An answer that repeats earlier ones and one that does not may follow each other. Of eight new answers
# of the starter model the median speed was 0.89 to 0.92 of plain with 1, 0.93 to 0.96 with 0.2, 0.85 with 0.05.
_ANSWER_SQUARES = 0.2

OUTCOMES, BAND, START, LEARNS = 0, 1, 2, 3  # fields of the state


class Calibration(NamedTuple):
    """Weights, the sums of squared errors that shrink their steps, and scratch for one node."""

    weights: Floats
    squares: Floats
    chances: Floats  # (MAX_PROPOSALS + 1): of the node's proposals; the last is that of none of them
    cells: Tokens  # (MAX_PROPOSALS, MAX_CELLS)
    num_cells: Tokens
    none_cells: Tokens
    state: npt.NDArray[np.int64]


def make_calibration() -> Calibration:
    """As it starts: with the priors."""
    weights = CELLS.initial(np.float32)
    return Calibration(
        weights,
        np.full_like(weights, _SQUARES),
        np.zeros(MAX_PROPOSALS + 1, np.float32),
        np.zeros((MAX_PROPOSALS, MAX_CELLS), np.int32),
        np.zeros(MAX_PROPOSALS, np.int32),
        np.zeros(NUM_NONE_CELLS, np.int32),
        np.zeros(4, np.int64),
    )


def begin_answer(calibration: Calibration, *, band: int, start: int, learns: bool) -> None:
    """Start an answer at this position, in this band of temperature: what the last one was like no longer counts."""
    for block in CELLS.answer_blocks:
        calibration.weights[block] = 0.0
        calibration.squares[block] = _ANSWER_SQUARES
    calibration.state[:] = (0, band, start, learns)


@compiled
def judge(calibration: Calibration, proposals: Proposals, path: Tokens, outcomes: int, size: int) -> int:
    """Write the chances of a node's proposals; returns the likeliest one's row, 0 where there is none."""
    weights, chances, cells = calibration.weights, calibration.chances, calibration.cells
    count = proposals.size[0]
    situation = Situation(size, calibration.state[START], outcomes, calibration.state[BAND])
    describe_none(proposals, path, situation, calibration.none_cells)
    score = np.float32(0.0)
    for cell in calibration.none_cells:
        score += weights[cell]
    chances[MAX_PROPOSALS] = score
    top = score
    best = 0
    for row in range(count):
        used = describe(proposals, row, path, situation, cells[row])
        calibration.num_cells[row] = used
        score = np.float32(0.0)
        for index in range(used):
            score += weights[cells[row, index]]
        chances[row] = score
        top = max(top, score)
        if score > chances[best]:
            best = row
    total = np.float32(0.0)
    for row in range(count):
        chances[row] = np.exp(chances[row] - top)
        total += chances[row]
    chances[MAX_PROPOSALS] = np.exp(chances[MAX_PROPOSALS] - top)
    total += chances[MAX_PROPOSALS]
    for row in range(count):
        chances[row] /= total
    chances[MAX_PROPOSALS] /= total
    return best


@compiled
def _step(calibration: Calibration, cell: int, error: float) -> None:
    calibration.squares[cell] += error * error
    calibration.weights[cell] += _RATE * error / np.sqrt(calibration.squares[cell])


@compiled
def learn(calibration: Calibration, proposals: Proposals, token_id: int) -> None:
    """Step from what `judge` said of a node towards what came."""
    none = True
    for row in range(proposals.size[0]):
        right = proposals.token_ids[row] == token_id
        if right:
            none = False
        error = (1.0 if right else 0.0) - calibration.chances[row]
        for index in range(calibration.num_cells[row]):
            _step(calibration, calibration.cells[row, index], error)
    error = (1.0 if none else 0.0) - calibration.chances[MAX_PROPOSALS]
    for index in range(NUM_NONE_CELLS):
        _step(calibration, calibration.none_cells[index], error)
