"""How likely each proposal is right: a conditional logit model, learnt as answers go on.

The proposals of a node and "none of them" compete: chance = exp(score) / sum of all exp(scores). A score is the sum of
the weights of its feature cells. At every committed token what is proposed there is labelled, drafted or not, so a
drafter that has fallen silent still learns when to speak again. Steps are AdaGrad's (Duchi et al., 2011).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.features import (
    ANSWER,
    ANSWER_CELL,
    MOST_CELLS,
    NONE_CELLS,
    NUM_WEIGHTS,
    describe,
    describe_none,
    level_of,
)
from engine.drafting.priors import prior_weights
from engine.drafting.proposals import COUNT, LENGTH, MOST, Proposals
from engine.drafting.sources.ngram import Tokens

Floats = npt.NDArray[np.float32]

# On recorded chats 0.15 to 0.3, and starting squares of 0.1 to 5, made less than 0.5 % of difference in speed.
_RATE = 0.3
_ANSWER_RATE = 0.3  # of the weights that start afresh with every answer
_SQUARES = 2.0
# An answer that says what the last ones said and one that does not may follow each other at once. Of eight new answers
# of the starter model the median speed was 0.89 to 0.92 of plain with 1, 0.93 to 0.96 with 0.2, 0.85 with 0.05.
_ANSWER_SQUARES = 0.2

OUTCOMES, BAND, START, LEARNS = 0, 1, 2, 3  # fields of the state
_LAST_OUTCOMES = 31  # five bits


class Calibration(NamedTuple):
    """Weights, the sums of squared errors that shrink their steps, and scratch for one node."""

    weights: Floats
    squares: Floats
    chances: Floats  # (MOST + 1): of the node's proposals; the last is that of none of them
    cells: Tokens  # (MOST, MOST_CELLS)
    num_cells: Tokens
    none_cells: Tokens
    state: npt.NDArray[np.int64]


def make_calibration() -> Calibration:
    """As it starts: with the priors."""
    return Calibration(
        prior_weights(),
        np.full(NUM_WEIGHTS, _SQUARES, np.float32),
        np.zeros(MOST + 1, np.float32),
        np.zeros((MOST, MOST_CELLS), np.int32),
        np.zeros(MOST, np.int32),
        np.zeros(NONE_CELLS, np.int32),
        np.zeros(4, np.int64),
    )


def begin_answer(calibration: Calibration, *, band: int, start: int, learns: bool) -> None:
    """Start an answer at this place of the text, in this band of temperature: what the last one was like is over."""
    calibration.weights[ANSWER:NUM_WEIGHTS] = 0.0
    calibration.squares[ANSWER:NUM_WEIGHTS] = _ANSWER_SQUARES
    calibration.state[:] = (0, band, start, learns)


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
def judge(calibration: Calibration, proposals: Proposals, pointer: Tokens, outcomes: int, size: int) -> int:
    """Write the chances of a node's proposals; returns the likeliest one's row, 0 where there is none."""
    weights, chances, cells = calibration.weights, calibration.chances, calibration.cells
    count = proposals.size[0]
    describe_none(proposals, pointer, outcomes, calibration.state[BAND], calibration.none_cells)
    score = np.float32(0.0)
    for cell in calibration.none_cells:
        score += weights[cell]
    chances[MOST] = score
    top = score
    best = 0
    for row in range(count):
        rank = _rank(proposals, row)
        used = describe(proposals, row, rank, pointer, outcomes, size, calibration.state[START], cells[row])
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
    chances[MOST] = np.exp(chances[MOST] - top)
    total += chances[MOST]
    for row in range(count):
        chances[row] /= total
    chances[MOST] /= total
    return best


@compiled
def _step(calibration: Calibration, cell: int, error: float, rate: float) -> None:
    calibration.squares[cell] += error * error
    calibration.weights[cell] += rate * error / np.sqrt(calibration.squares[cell])


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
            _step(calibration, calibration.cells[row, index], error, _RATE)
    error = (1.0 if none else 0.0) - calibration.chances[MOST]
    for index in range(NONE_CELLS):
        rate = _ANSWER_RATE if index == ANSWER_CELL else _RATE
        _step(calibration, calibration.none_cells[index], error, rate)
