"""How likely each proposal is right: a conditional logit model over small features, learnt as answers go on.

The proposals of one node and "none of them" compete: chance = exp(score) / (exp(score of none) + sum of exp(scores)).
A score is a sum of weights, one per feature cell (a table lookup; no products of real numbers). At every committed
token what was proposed there is labelled, drafted or not, so a drafter that has fallen silent still learns when to
speak again. Steps shrink as AdaGrad's do.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.drafting.compiled import compiled
from engine.drafting.history import NUM_LENGTHS
from engine.drafting.pointer import GAP, PLACE, RUN
from engine.drafting.proposals import (
    COUNT, LAST_CHANCE, LAST_RANK, LENGTH, MEMORY_COUNT, MEMORY_LENGTH, MEMORY_TOP, MEMORY_TOTAL, MOST, NEWEST,
    NUM_RELATIONS, PAIR_CHANCE, PAIR_RANK, POINTED, SKIPPED, TOP_LENGTH, TOTAL, WHERE, Proposals,
)
from engine.drafting.recycled import CHANCE_BUCKETS, NUM_TOP

NL = 11  # length buckets
NS = 7
NT = 5
NR = 5
NG = 4
NB = 4
NH = 32  # outcomes of the last five firsts
NTEMP = 4
# candidate blocks
B_RANK = 0  # length bucket x rank
B_SHARE = B_RANK + NL * 5
B_LOWER = B_SHARE + NUM_LENGTHS * NS * NT
B_NEW = B_LOWER + NUM_LENGTHS * (NS + 1) * 3
B_PTR = B_NEW + NUM_LENGTHS * 4 * 5
B_NOPTR = B_PTR + NUM_RELATIONS * 6 * NG
B_DIST = B_NOPTR + 6 * NG
B_MEM = B_DIST + 6 * 8 * 2
B_MEMSHARE = B_MEM + NL * 6
B_SKIP = B_MEMSHARE + NUM_LENGTHS * NS * 4
B_PAIR = B_SKIP + 3 * 6
B_LAST = B_PAIR + (NUM_TOP + 1) * CHANCE_BUCKETS * 2
B_HIST = B_LAST + (NUM_TOP + 1) * CHANCE_BUCKETS * 2
B_TEMP = B_HIST + NH * 2 * 6
# "none" blocks
N_TOP = B_TEMP + NTEMP * 6
N_HIST = N_TOP + NL * 6
N_PTR = N_HIST + NH * 6
N_NUM = N_PTR + 6 * NG * 6
N_MEM = N_NUM + (MOST + 1) * 4
N_ANS = N_MEM + NL * 6
N_TEMP = N_ANS + 6
NUM_WEIGHTS = N_TEMP + NTEMP * 6
NUM_CELLS = 16
NONE_CELLS = 6


class Weights(NamedTuple):
    values: npt.NDArray[np.float32]
    squares: npt.NDArray[np.float32]
    rate: npt.NDArray[np.float32]


def make_weights() -> Weights:
    return Weights(np.zeros(NUM_WEIGHTS, np.float32), np.full(NUM_WEIGHTS, 0.3, np.float32), np.array([0.15, 0.15], np.float32))


class Judged(NamedTuple):
    """Scratch: the cells and chances of one node's proposals."""

    cells: npt.NDArray[np.int32]  # (MOST, NUM_CELLS)
    none: npt.NDArray[np.int32]
    chances: npt.NDArray[np.float32]  # (MOST + 1): the last is none's


def make_judged() -> Judged:
    return Judged(np.zeros((MOST, NUM_CELLS), np.int32), np.zeros(NONE_CELLS, np.int32), np.zeros(MOST + 1, np.float32))


@compiled
def length_bucket(length: int) -> int:
    if length < 6:
        return length
    if length < 8:
        return 6
    if length < 12:
        return 7
    if length < 20:
        return 8
    return 9 if length < 32 else 10


@compiled
def log_bucket(value: int, most: int) -> int:
    """0, 1, 2-3, 4-7, ..."""
    bucket = 0
    while value and bucket < most:
        value >>= 1
        bucket += 1
    return bucket


@compiled
def level_of(length: int) -> int:
    if length >= 5:
        return 3
    return 2 if length >= 3 else length - 1


@compiled
def run_bucket(pointer):
    if pointer[PLACE] < 0:
        return 0
    run = pointer[RUN]
    if run <= 1: return 1
    if run <= 3: return 2
    if run <= 7: return 3
    return 4 if run < 24 else 5


@compiled
def describe(row, proposals, pointer, hist, temperature, size, start, rank, cells):
    f = proposals.fields[row]
    node = proposals.node
    length = f[LENGTH]
    lb = length_bucket(length)
    l6 = min(length, 5)
    level = level_of(length) if length else -1
    n = 0
    cells[n] = B_RANK + lb * 5 + min(rank, 4); n += 1
    if level >= 0:
        c, t = f[COUNT + level], max(1, node[TOTAL + level])
        cells[n] = B_SHARE + (level * NS + 6 * c // t) * NT + min(log_bucket(t, 9), NT) - 1; n += 1
        cells[n] = B_NEW + (level * 4 + ((f[NEWEST] >> level) & 1) * 2 + (f[NEWEST] & 1)) * 5 + min(t, 5) - 1; n += 1
        for lower in range(level):
            c, t = f[COUNT + lower], node[TOTAL + lower]
            cells[n] = B_LOWER + (lower * (NS + 1) + (min(6 * c // t, 6) if t else 7)) * 3 + min(t, 17) // 8; n += 1
        d = size - f[WHERE]
        cells[n] = B_DIST + (l6 * 8 + min(7, log_bucket(d >> 2, 7))) * 2 + (1 if f[WHERE] >= start else 0); n += 1
    rb = run_bucket(pointer)
    gb = min(log_bucket(pointer[GAP], 3), NG - 1)
    if f[POINTED]:
        cells[n] = B_PTR + (f[POINTED] * 6 + rb) * NG + gb; n += 1
    elif rb:
        cells[n] = B_NOPTR + rb * NG + gb; n += 1
    if f[MEMORY_LENGTH]:
        ml = f[MEMORY_LENGTH]
        cells[n] = B_MEM + length_bucket(ml) * 6 + l6; n += 1
        mv = level_of(ml)
        c, t = f[MEMORY_COUNT + mv], node[MEMORY_TOTAL + mv]
        cells[n] = B_MEMSHARE + (mv * NS + (6 * c // t if t else 0)) * 4 + min(log_bucket(t, 9), 4) - (1 if t else 0); n += 1
    if f[SKIPPED]:
        cells[n] = B_SKIP + min(f[SKIPPED] - 1, 2) * 6 + l6; n += 1
    if f[PAIR_RANK]:
        cells[n] = B_PAIR + (f[PAIR_RANK] * CHANCE_BUCKETS + f[PAIR_CHANCE]) * 2 + (1 if length else 0); n += 1
    if f[LAST_RANK]:
        cells[n] = B_LAST + (f[LAST_RANK] * CHANCE_BUCKETS + f[LAST_CHANCE]) * 2 + (1 if f[PAIR_RANK] else 0); n += 1
    cells[n] = B_HIST + (hist * 2 + (1 if rank == 0 else 0)) * 6 + l6; n += 1
    while n < NUM_CELLS:
        cells[n] = -1
        n += 1


@compiled
def describe_none(proposals, pointer, hist, temperature, none):
    node = proposals.node
    l6 = min(node[TOP_LENGTH], 5)
    m6 = min(node[MEMORY_TOP], 5)
    none[0] = N_TOP + length_bucket(node[TOP_LENGTH]) * 6 + m6
    none[1] = N_HIST + hist * 6 + l6
    none[2] = N_PTR + (run_bucket(pointer) * NG + min(log_bucket(pointer[GAP], 3), NG - 1)) * 6 + l6
    none[3] = N_NUM + min(proposals.size[0], MOST) * 4 + min(l6, 3)
    none[4] = N_ANS + l6
    none[5] = N_TEMP + temperature * 6 + l6


@compiled
def judge(proposals, pointer, hist, temperature, size, start, weights, judged):
    """Chances of all proposals; returns none."""
    count = proposals.size[0]
    values = weights.values
    top = 0.0
    score = 0.0
    describe_none(proposals, pointer, hist, temperature, judged.none)
    for i in range(NONE_CELLS):
        score += values[judged.none[i]]
    judged.chances[MOST] = score
    top = score
    for row in range(count):
        # rank: by length, then by order (which is by recency)
        rank = 0
        length = proposals.fields[row, LENGTH]
        level = level_of(length) if length else 0
        mine = proposals.fields[row, COUNT + level]
        for other in range(count):
            if other != row:
                ol = proposals.fields[other, LENGTH]
                if ol > length or (ol == length and (proposals.fields[other, COUNT + level] > mine or (proposals.fields[other, COUNT + level] == mine and other < row))):
                    rank += 1
        describe(row, proposals, pointer, hist, temperature, size, start, rank, judged.cells[row])
        score = -0.5
        for i in range(NUM_CELLS):
            cell = judged.cells[row, i]
            if cell < 0:
                break
            score += values[cell]
        judged.chances[row] = score
        top = max(top, score)
    total = np.exp(judged.chances[MOST] - top)
    judged.chances[MOST] = total
    for row in range(count):
        value = np.exp(judged.chances[row] - top)
        judged.chances[row] = value
        total += value
    judged.chances[MOST] /= total
    for row in range(count):
        judged.chances[row] /= total


@compiled
def learn(proposals, judged, weights, token_id):
    """Step towards what came. Returns whether the likeliest proposal was right, and the log loss."""
    count = proposals.size[0]
    values = weights.values
    squares = weights.squares
    best = 0
    right = -1
    for row in range(count):
        if judged.chances[row] > judged.chances[best]:
            best = row
        if proposals.token_ids[row] == token_id:
            right = row
    error = (1.0 if right < 0 else 0.0) - judged.chances[MOST]
    if count:
        for i in range(NONE_CELLS):
            cell = judged.none[i]
            squares[cell] += error * error
            step = weights.rate[1 if i == 4 else 0] * error / np.sqrt(squares[cell])
            values[cell] += step
    for row in range(count):
        error = (1.0 if right == row else 0.0) - judged.chances[row]
        for i in range(NUM_CELLS):
            cell = judged.cells[row, i]
            if cell < 0:
                break
            squares[cell] += error * error
            values[cell] += weights.rate[0] * error / np.sqrt(squares[cell])
    return 1 if count and right == best else 0
