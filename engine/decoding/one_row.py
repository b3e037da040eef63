"""A token picked from one row on a processor, as `sampling` defines it, from the tokens alone that can be picked.

At a low temperature most of a vocabulary weighs nothing: its exponentials are numbers so small that a processor takes a
hundred times as long for them, and its noise would be compared in vain. NumPy finds and orders the others in a fraction
of torch's time; exponentials and logarithms are torch's, so that their bits are `sampling`'s.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from engine.config import Sampling

GOLDEN = 0x9E3779B97F4A7C15  # splitmix64 (Steele, Lea, Flood 2014)
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB

NO_TOKEN = -1  # what is picked where a row of logits holds NaN or has no finite largest one

_MASK = (1 << 64) - 1
_WEIGHTLESS = 28.0  # 2**40 * exp(-28) is less than 1
_DEPTHS = (2.0, 8.0, _WEIGHTLESS)  # below the largest score: a nucleus is looked for in ever more of many tokens
_MANY = 1024
_HEAD = 8.0  # below the largest score: tokens whose noise is computed whatever it is
_STEP = 2.0**-22  # of a float32: more than a quotient is rounded by
_SLACK, _ROUNDING = 1e-3, 2.0**-50  # of sums, and of a uniform number near 1: far more than they are rounded by

Bits = npt.NDArray[np.uint64]
TokenIds = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def pick(logits: Floats, sampling: Sampling, position: int) -> int:
    """The token at `position`, from penalised logits (vocab,); NO_TOKEN where their largest is not finite."""
    largest = float(logits.max())
    if not math.isfinite(largest):
        return NO_TOKEN
    with np.errstate(over="ignore", invalid="ignore"):  # by the smallest temperatures
        if sampling.top_p < 1.0 or sampling.min_p > 0.0 or 0 < sampling.top_k < len(logits):
            token_ids, scores = tokens_left(logits, largest, sampling)
            if len(token_ids) == 1:
                return int(token_ids[0])
            bits = _mixed_all(_row_key(sampling.seed, position) + _steps(len(logits))[token_ids])
        else:
            scores = logits / np.float32(sampling.temperature)
            bits = _mixed_all(_row_key(sampling.seed, position) + _steps(len(logits)))
            token_ids = _tokens_that_can_win(scores, bits)
            scores, bits = scores[token_ids], bits[token_ids]
        return int(token_ids[(scores + _gumbel(bits)).argmax()])


def tokens_left(logits: Floats, largest: float, sampling: Sampling) -> tuple[TokenIds, Floats]:
    """The tokens, ascending, that top-k, top-p and min-p leave of a row, and their scores.

    They are found in two steps: by a logit that none of them is below, then by their scores alone.
    """
    temperature = sampling.temperature
    if sampling.top_p < 1.0:
        low = largest - _WEIGHTLESS * temperature  # what weighs nothing is in no nucleus
    elif sampling.min_p > 0.0:
        low = largest + math.log(sampling.min_p) * temperature
    else:
        low = float(np.partition(logits, -sampling.top_k)[-sampling.top_k])
    token_ids = np.flatnonzero(logits >= np.float32(low - _STEP * max(abs(low), abs(largest))))
    scores = logits[token_ids] / np.float32(temperature)
    most = scores.max()
    floor = np.float32(-np.inf)
    if 0 < sampling.top_k < len(scores):
        floor = np.partition(scores, -sampling.top_k)[-sampling.top_k]
    if sampling.top_p < 1.0:
        floor = _least_of_nucleus(scores[scores >= floor], most, sampling.top_p)
    if sampling.min_p > 0.0:
        floor = max(floor, most + np.float32(math.log(sampling.min_p)))
    left = scores >= floor
    return token_ids[left], scores[left]


def _least_of_nucleus(scores: Floats, most: np.float32, top_p: float) -> np.float32:
    """The smallest score in the smallest set of the likeliest of these tokens that holds `top_p` of their weight."""
    weights = (torch.exp(torch.from_numpy(scores - most)).numpy() * np.float32(2.0**40)).astype(np.int64)
    total = int(weights.sum())
    needed = min(total, math.ceil(float(total) * top_p))
    if needed <= weights.max():
        return most
    if len(scores) > _MANY:  # to be ordered
        for depth in _DEPTHS:
            likeliest = scores >= most - np.float32(depth)
            if weights[likeliest].sum() >= needed:
                break
        scores, weights = scores[likeliest], weights[likeliest]
    order = np.argsort(scores)[::-1]
    last = int(np.searchsorted(np.cumsum(weights[order]), needed))
    least: np.float32 = scores[order[min(last, len(order) - 1)]]
    return least


def _tokens_that_can_win(scores: Floats, bits: Bits) -> TokenIds:
    """The tokens, ascending, one of which has the largest sum of score and noise: the likeliest, and of the others
    those with so much noise that they could still be above them. `bits` are all tokens' noise."""
    edge = scores.max() - np.float32(_HEAD)
    likeliest = np.flatnonzero(scores >= edge)
    best = float((scores[likeliest] + _gumbel(bits[likeliest])).max())
    least = max(0.0, math.exp(-math.exp(float(edge) - best + _SLACK)) - _ROUNDING)
    noisy = np.flatnonzero(bits >> np.uint64(12) >= np.uint64(least * 2.0**52))
    return np.union1d(likeliest, noisy)


def _gumbel(bits: Bits) -> npt.NDArray[np.float64]:
    """Standard Gumbel noise of 64 random bits each."""
    uniform = torch.from_numpy(((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)
    noise: npt.NDArray[np.float64] = torch.log(-torch.log(uniform)).neg_().numpy()
    return noise


def _row_key(seed: int, position: int) -> np.uint64:
    return np.uint64(_mixed(_mixed(seed * GOLDEN + 1) ^ (position * GOLDEN & _MASK)))


@lru_cache(maxsize=2)
def _steps(vocab_size: int) -> Bits:
    """What tells tokens apart, by their ids."""
    return np.arange(1, vocab_size + 1, dtype=np.uint64) * np.uint64(GOLDEN)


def _mixed(value: int) -> int:
    """splitmix64's finaliser."""
    value &= _MASK
    value = (value ^ value >> 30) * MIX_1 & _MASK
    value = (value ^ value >> 27) * MIX_2 & _MASK
    return value ^ value >> 31


def _mixed_all(values: Bits) -> Bits:
    """The same of each, in place."""
    for shift, factor in ((30, MIX_1), (27, MIX_2)):
        values ^= values >> np.uint64(shift)
        values *= np.uint64(factor)
    values ^= values >> np.uint64(31)
    return values
