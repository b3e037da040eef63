"""How good block drafts are, replayed over recorded answers; and how sure their scores may be.

Each answer is decoded again as chains of drafts: what agrees with the answer is committed with one token more. Tokens
per round are the papers' block efficiency. Ways to make a draft of a lattice, as arXiv 2404.09221 has them: each head's
likeliest token (*alone*); scored again from left to right with an n-gram model of other answers (*ngram*) or with the
learned Markov term (*markov*); and the best path that the lattice holds (*oracle*), which no drafter can know.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.drafting.sources.heads import NUM_LATTICE
from engine.metrics import ratio
from engine.trained.block_heads import BlockHeads
from engine.training.examples import NO_TOKEN, Examples

_ROWS = 256  # examples whose scores are computed together
_ALPHAS = (0.1, 0.2, 0.4, 0.8)
_SHARPNESS = np.geomspace(0.1, 3.0, 69)
_ORDERS = (3, 2, 1)  # tokens of context, longest first
_BACK_OFF = 0.4  # for each shorter context (stupid backoff, Brants et al., 2007)
_RARE = 1e-4

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Draft = Callable[[int], Sequence[int]]
"""The tokens drafted at an example, as numbers in the draft vocabulary."""


@dataclass(frozen=True, slots=True)
class Lattices:
    """Of some examples: `numbers` and `scores` (examples, heads, NUM_LATTICE) of the likeliest tokens, where the first
    head's Markov term, whose token before is known, decided which they are. `rests` (examples, heads): the log-sum of
    all other scores."""

    numbers: Numbers
    scores: Floats
    rests: Floats
    wanted: Numbers  # (examples, 1 + heads): what came, as numbers
    answers: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.numbers)


@torch.inference_mode()
def lattices_of(
    heads: BlockHeads, states: torch.Tensor, numbers: torch.Tensor, examples: Examples, chosen: Numbers
) -> Lattices:
    """The lattices of the chosen examples."""
    device = heads.head.device
    found: list[tuple[torch.Tensor, ...]] = []
    for start in range(0, len(chosen), _ROWS):
        rows = torch.from_numpy(chosen[start : start + _ROWS])
        last = numbers[rows, 0].to(device)
        scores = heads(states[rows].to(device, torch.float32), last)
        whole = scores.clone()
        whole[:, 0] += heads.markov(last)
        top = torch.topk(whole, NUM_LATTICE)
        rests = torch.logsumexp(whole.scatter(2, top.indices, -torch.inf), 2)
        found.append((top.indices.cpu(), scores.gather(2, top.indices).cpu(), rests.cpu()))
    count, size = heads.sizes.num_heads, (0, heads.sizes.num_heads, NUM_LATTICE)
    empty = (torch.zeros(size, dtype=torch.int64), torch.zeros(size), torch.zeros(size[:2]))
    top_numbers, top_scores, top_rests = (torch.cat(parts).numpy() for parts in zip(empty, *found, strict=True))
    wanted = numbers[torch.from_numpy(chosen)][:, : 1 + count].numpy()
    return Lattices(top_numbers, top_scores, top_rests, wanted, examples.answers[chosen])


class Refined:
    """Ways to make a draft of a lattice, an example at a time."""

    def __init__(self, heads: BlockHeads, lattices: Lattices, ngrams: "NGrams") -> None:
        self._left = heads.left.detach().float().cpu().numpy()
        self._right = heads.right.detach().float().cpu().numpy()
        self._lattices = lattices
        self._ngrams = ngrams

    def alone(self, at: int) -> list[int]:
        lattices = self._lattices
        best = lattices.scores[at].argmax(1)
        return [int(row[index]) for row, index in zip(lattices.numbers[at], best, strict=True)]

    def markov(self, at: int) -> list[int]:
        return self._greedily(at, lambda numbers, path: self._right[numbers] @ self._left[path[-1]])

    def ngram(self, alpha: float) -> Draft:
        return lambda at: self._greedily(at, lambda numbers, path: alpha * self._ngrams.log_chances(numbers, path))

    def oracle(self, at: int) -> list[int]:
        lattices = self._lattices
        wanted = lattices.wanted[at, 1:]
        held = (lattices.numbers[at] == wanted[:, None]).any(1)
        return [int(token) if there else NO_TOKEN for token, there in zip(wanted, held, strict=True)]

    def _greedily(self, at: int, added: Callable[[Numbers, list[int]], Floats]) -> list[int]:
        path = self._before(at)
        start = len(path)
        for numbers, scores in zip(self._lattices.numbers[at], self._lattices.scores[at], strict=True):
            path.append(int(numbers[(scores + added(numbers, path)).argmax()]))
        return path[start:]

    def _before(self, at: int) -> list[int]:
        """The answer's last tokens that are known at an example, at most as many as n-grams read."""
        first = at
        while first > max(0, at - _ORDERS[0] + 1) and self._lattices.answers[first - 1] == self._lattices.answers[at]:
            first -= 1
        return [int(number) for number in self._lattices.wanted[first : at + 1, 0]]


class NGrams:
    """How often tokens followed others in some answers."""

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self._counts: dict[tuple[int, ...], Counter[int]] = {}
        for answer in answers:
            for end in range(1, len(answer)):
                for order in _ORDERS:
                    if order <= end:
                        self._counts.setdefault(tuple(answer[end - order : end]), Counter())[answer[end]] += 1

    def log_chances(self, numbers: Numbers, path: Sequence[int]) -> Floats:
        """The logs of the tokens' chances behind a path."""
        chances = np.zeros(len(numbers), np.float32)
        weight = 1.0
        for order in _ORDERS:
            known = self._counts.get(tuple(path[-order:])) if order <= len(path) else None
            if known is not None:
                total = known.total()
                here = np.array([known[int(number)] / total for number in numbers], np.float32)
                chances = np.where(chances == 0, weight * here, chances)
            weight *= _BACK_OFF
        return np.log(np.maximum(chances, _RARE)).astype(np.float32)


def replayed(lattices: Lattices, draft: Draft) -> dict[str, Any]:
    """Tokens per round of chains of drafts over all answers, and how often neighbours in a draft are equal."""
    tokens = rounds = repeats = neighbours = 0
    right = np.zeros(lattices.numbers.shape[1], np.int64)
    at = 0
    while at < len(lattices):
        drafted, wanted = draft(at), lattices.wanted[at, 1:]
        accepted = 0
        while accepted < len(drafted) and wanted[accepted] != NO_TOKEN and drafted[accepted] == wanted[accepted]:
            accepted += 1
        right += (np.asarray(drafted) == wanted) & (wanted != NO_TOKEN)
        repeats += sum(a == b for a, b in pairwise(drafted))
        neighbours += len(drafted) - 1
        step = 1
        while step <= accepted and at + step < len(lattices) and lattices.answers[at + step] == lattices.answers[at]:
            step += 1
        tokens += step
        rounds += 1
        at += step
    return {
        "tokens_per_round": ratio(tokens, rounds),
        "rounds": rounds,
        "repeats": ratio(repeats, neighbours),
        "top1": [ratio(int(count), rounds) for count in right],
    }


def sharpness_of(heads: BlockHeads, lattices: Lattices) -> tuple[float, ...]:
    """By head, what makes its scores, with the Markov term of the token that came before, the most likely."""
    left, right = (each.detach().float().cpu().numpy() for each in (heads.left, heads.right))
    found = []
    for head in range(lattices.numbers.shape[1]):
        wanted = lattices.wanted[:, 1 + head]
        real = wanted != NO_TOKEN
        numbers = lattices.numbers[real, head]
        before = lattices.wanted[real, head]
        scores = lattices.scores[real, head] + np.einsum("nkr,nr->nk", right[numbers], left[before])
        whole = np.concatenate((scores, lattices.rests[real, head][:, None]), 1)
        place = np.where(numbers == wanted[real][:, None], np.arange(NUM_LATTICE), NUM_LATTICE).min(1)
        found.append(_sharpest(whole, place))
    return tuple(found)


def _sharpest(scores: Floats, place: Numbers) -> float:
    """What makes the right places (rows,) of the scores (rows, columns) the most likely."""
    if not len(scores):
        return 1.0

    def likelihood(sharpness: float) -> float:
        sharp = scores * sharpness
        top = sharp.max(1, keepdims=True)
        totals = top[:, 0] + np.log(np.exp(sharp - top).sum(1))
        return float((sharp[np.arange(len(place)), place] - totals).sum())

    return float(max(_SHARPNESS, key=likelihood))


def table(
    heads: BlockHeads, calibrate: Lattices, evaluate: Lattices, answers: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Figures by way; the n-grams' weight is chosen on the answers to calibrate with, `answers` are those learned from,
    as numbers."""
    ngrams = NGrams(answers)
    tried = Refined(heads, calibrate, ngrams)
    alpha = max(_ALPHAS, key=lambda alpha: replayed(calibrate, tried.ngram(alpha))["tokens_per_round"] or 0.0)
    ways = Refined(heads, evaluate, ngrams)
    drafts = {"alone": ways.alone, "ngram": ways.ngram(alpha), "markov": ways.markov, "oracle": ways.oracle}
    return {"ngram_weight": alpha} | {name: replayed(evaluate, draft) for name, draft in drafts.items()}
