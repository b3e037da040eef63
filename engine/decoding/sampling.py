"""Node sampling: the plain sampler at every visited node, with noise keyed by (seed, absolute position).

The token at a position depends on the target's distribution there, the seed and the position alone, never on how
many rows were verified together. So a draft token is accepted exactly where plain decoding would have picked it, the
output distribution is the target's, and one seed gives the same tokens with and without drafting. Drafts are point
masses, for which this accepts exactly as often as rejection sampling (Leviathan et al., arXiv 2211.17192).

Processors come in transformers' order: repetition penalty, temperature, top-k, top-p, min-p.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from engine.config import Sampling
from engine.decoding import one_row
from engine.decoding.one_row import GOLDEN, MIX_1, MIX_2, NO_TOKEN

_MASK = (1 << 64) - 1
_HEAD = 256  # a nucleus is seldom larger; sorting a whole vocabulary may take a CPU longer than the forward pass


def _signed(value: int) -> int:
    """A 64-bit pattern as the int64 that torch stores it in."""
    value &= _MASK
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift(value: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of int64."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix(value: torch.Tensor) -> torch.Tensor:
    """splitmix64's finaliser, element by element; int64 multiplication wraps."""
    value = (value ^ _shift(value, 30)) * _signed(MIX_1)
    value = (value ^ _shift(value, 27)) * _signed(MIX_2)
    return value ^ _shift(value, 31)


def gumbel_noise(seed: int, positions: Sequence[int], vocab_size: int, device: torch.device) -> torch.Tensor:
    """Standard Gumbel noise (len(positions), vocab_size), float64.

    Each number depends on the seed, the position and the token's id alone.
    """
    key = _mix(torch.tensor([_signed(seed * GOLDEN + 1)], device=device))
    rows = _mix(key ^ torch.tensor([_signed(p * GOLDEN) for p in positions], device=device))
    steps = torch.arange(1, vocab_size + 1, device=device) * _signed(GOLDEN)
    bits = _mix(rows[:, None] + steps[None, :])
    return -torch.log(-torch.log(_uniform(bits)))


def _uniform(bits: torch.Tensor) -> torch.Tensor:
    """64 random bits as float64 inside (0, 1), neither end included: 52 bits and a half are exact."""
    return (_shift(bits, 12).double() + 0.5) * 2.0**-52


def process_logits(logits: torch.Tensor, sampling: Sampling, seen: torch.Tensor | None) -> torch.Tensor:
    """Logits of the processed distribution, float32 (rows, vocab); -inf where a token is excluded.

    `seen` marks (rows, vocab) the tokens of each row's own history, for the repetition penalty.
    """
    scores = _penalised(logits, sampling, seen)
    if sampling.greedy:
        return scores
    scores = scores / sampling.temperature
    excluded = float("-inf")
    if 0 < sampling.top_k < scores.shape[-1]:
        least = torch.topk(scores, sampling.top_k).values[:, -1:]
        scores = scores.masked_fill(scores < least, excluded)
    if sampling.top_p < 1.0:
        scores = scores.masked_fill(scores < _least_of_nucleus(scores, sampling.top_p), excluded)
    if sampling.min_p > 0.0:
        low = scores < scores.amax(-1, keepdim=True) + math.log(sampling.min_p)
        scores = scores.masked_fill(low, excluded)
    return scores


def _penalised(logits: torch.Tensor, sampling: Sampling, seen: torch.Tensor | None) -> torch.Tensor:
    """Logits in float32 with the repetition penalty on the tokens that were `seen`."""
    scores = logits.float()
    if seen is not None:
        penalty = sampling.repetition_penalty
        scores = torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)
    return scores


def _least_of_nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest score (rows, 1) in the smallest set of likeliest tokens that holds `top_p`; equals stay together.

    Synchronises once, to learn whether the likeliest few were enough.
    """
    weights = _weights(scores)
    total = weights.sum(-1, keepdim=True)
    needed = torch.minimum((total.double() * top_p).ceil().long(), total)
    ordered, order = torch.topk(scores, min(_HEAD, scores.shape[-1]))
    sums = weights.gather(-1, order).cumsum(-1)
    if not bool((sums[:, -1:] >= needed).all()):
        ordered, order = torch.sort(scores, descending=True)
        sums = weights.gather(-1, order).cumsum(-1)
    last = (sums < needed).sum(-1, keepdim=True).clamp(max=sums.shape[-1] - 1)
    return ordered.gather(-1, last)


def _weights(scores: torch.Tensor) -> torch.Tensor:
    """Probabilities up to a factor as whole numbers, 2**40 for the likeliest token of a row.

    Whole numbers have the same sum in whatever order they are added. Sums of floats on CUDA depend on how many rows
    there are (one row alone is scanned by another kernel), and `cumsum` there even differs from run to run.
    """
    return (torch.exp(scores - scores.amax(-1, keepdim=True)) * 2.0**40).long()


def _largest(logits: npt.NDArray[np.float32]) -> list[int]:
    """The token with the largest number in each row, NO_TOKEN where that is not finite; NaN counts as the largest.

    >>> _largest(np.array([[1, 3, 3], [1, np.nan, 5], [np.inf, 0, 0]], np.float32))
    [1, -1, -1]
    """
    picks = logits.argmax(-1)
    picks[~np.isfinite(logits[np.arange(len(picks)), picks])] = NO_TOKEN
    found: list[int] = picks.tolist()
    return found


class NodeSampler:
    """Picks the target's own token at every node of one answer.

    Owns the set of tokens seen so far where a repetition penalty needs it: prompt and committed tokens.
    """

    def __init__(self, sampling: Sampling, prompt_ids: Sequence[int], vocab_size: int, device: torch.device) -> None:
        self._sampling = sampling
        self._device = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        self._seen: torch.Tensor | None = None
        if sampling.repetition_penalty != 1.0:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool, device=self._device)
            self._seen[torch.tensor(sorted(set(prompt_ids)), device=self._device)] = True

    @property
    def _takes_largest(self) -> bool:
        """Whether picking is finding a row's largest number on a processor: torch takes ten times as long for that."""
        return self._device.type == "cpu" and self._sampling.greedy and self._seen is None

    @property
    def temperature(self) -> float:
        """The answer's temperature, 0 for greedy."""
        return 0.0 if self._sampling.greedy else self._sampling.temperature

    @property
    def lazy(self) -> bool:
        """Whether picking row by row, as the walk comes to them, is cheaper than all rows at once: where no device
        must be waited for, and a row takes more than its largest number."""
        return self._device.type == "cpu" and not self._takes_largest

    def pick_one(self, logits: torch.Tensor, path_ids: Sequence[int], position: int) -> int:
        """The target's token behind one row (vocab,), as `pick` finds it."""
        row = logits.to(self._device)
        if self._device.type != "cpu" or self._sampling.greedy:
            return self.pick(row[None], [path_ids], [position])[0]
        if self._seen is not None:
            row = _penalised(row, self._sampling, self._seen_per_row([path_ids]))[0]
        return one_row.pick(row.float().numpy(), self._sampling, position)

    def pick(self, logits: torch.Tensor, paths: Sequence[Sequence[int]], positions: Sequence[int]) -> list[int]:
        """The target's token at each node, NO_TOKEN where a row is not finite; synchronises with the device once,
        for top-p twice.

        `logits` (nodes, vocab): row i follows the committed tokens and `paths[i]`; `positions[i]` is the absolute
        position of the token that it picks.
        """
        if self._takes_largest and logits.dtype == torch.float32:
            return _largest(logits.numpy())
        logits = logits.to(self._device)
        broken = ~logits.amax(-1).isfinite()
        scores = process_logits(logits, self._sampling, self._seen_per_row(paths))
        if not self._sampling.greedy:
            scores = scores.double() + self._noise(positions, scores.shape[-1], scores.device)
        picks: list[int] = scores.argmax(-1).masked_fill(broken, NO_TOKEN).tolist()
        return picks

    def commit(self, token_ids: Sequence[int]) -> None:
        """Tokens that became part of the answer."""
        if self._seen is not None and token_ids:
            self._seen[torch.tensor(token_ids, device=self._device)] = True

    def _noise(self, positions: Sequence[int], vocab_size: int, device: torch.device) -> torch.Tensor:
        """One row of noise per position; nodes of equal depth share theirs."""
        distinct = sorted(set(positions))
        noise = gumbel_noise(self._sampling.seed, distinct, vocab_size, device)
        if len(distinct) == len(positions):
            return noise
        return noise[torch.tensor([distinct.index(position) for position in positions], device=device)]

    def _seen_per_row(self, paths: Sequence[Sequence[int]]) -> torch.Tensor | None:
        if self._seen is None:
            return None
        rows = self._seen.repeat(len(paths), 1)
        for row, path in enumerate(paths):
            if path:
                rows[row, torch.tensor(path, device=self._device)] = True
        return rows
