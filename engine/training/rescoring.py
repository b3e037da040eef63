"""Ways to make a draft of a lattice, as arXiv 2404.09221 has them.

Each head's likeliest token (*alone*). Scored again greedily, from left to right: with n-grams of other answers
(*local*), with a small language model (*neural*), with the learned Markov term (*markov*). The path that is the
likeliest of all with those n-grams (*global*), and the 16 likeliest paths, verified together. The best path that the
lattice holds (*oracle*), which no drafter can know.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.trained.block_heads import BlockHeads
from engine.trained.rescorer import TOKENS, Rescorer
from engine.training.evaluate import Draft, Floats, Lattices, Numbers, replayed
from engine.training.examples import NO_TOKEN

NUM_PATHS = 16
_ALPHAS = (0.1, 0.2, 0.4, 0.8, 1.6)
_ORDERS = (3, 2, 1)  # tokens of context, longest first
_BACK_OFF = 0.4  # for each shorter context (stupid backoff, Brants et al., 2007)
_RARE = 1e-4

Added = Callable[[Numbers, Sequence[int]], Floats]
"""What is added to the scores of tokens behind a path."""


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


class Neural:
    """What a rescoring model says of tokens behind a path."""

    def __init__(self, rescorer: Rescorer) -> None:
        self._weights = {name: each.detach().float().cpu().numpy() for name, each in rescorer.named_parameters()}
        rows = np.concatenate((self._weights["head"], self._weights["other"][None]))
        self._entries = rows / np.sqrt(np.square(rows).mean(1, keepdims=True) + 1e-6)
        self._outside = rescorer.sizes.draft_vocab

    def scores(self, numbers: Numbers, path: Sequence[int]) -> Floats:
        weights = self._weights
        before = [self._outside] * TOKENS + [each if each != NO_TOKEN else self._outside for each in path]
        inner = weights["inner"] @ self._entries[before[-TOKENS:]].ravel() + weights["inner_bias"]
        vector = weights["outer"] @ (inner / (1 + np.exp(-inner)))
        scores: Floats = weights["head"][numbers] @ vector + weights["bias"][numbers]
        return scores


class Refined:
    """Ways to make a draft of a lattice, an example at a time, with its first `length` heads."""

    def __init__(self, heads: BlockHeads, lattices: Lattices, ngrams: NGrams, length: int | None = None) -> None:
        self._left = heads.left.detach().float().cpu().numpy()
        self._right = heads.right.detach().float().cpu().numpy()
        self._lattices = lattices
        self._ngrams = ngrams
        self._length = length or lattices.numbers.shape[1]

    def alone(self, at: int) -> list[int]:
        return self._greedily(at, lambda numbers, path: np.zeros(len(numbers), np.float32))

    def markov(self, at: int) -> list[int]:
        return self._greedily(at, self.markov_term)

    def local(self, alpha: float) -> Draft:
        return lambda at: self._greedily(at, self.ngram_term(alpha))

    def neural(self, alpha: float, neural: Neural) -> Draft:
        return lambda at: self._greedily(at, lambda numbers, path: alpha * neural.scores(numbers, path))

    def joint(self, alpha: float) -> Draft:
        """The path that is the likeliest with n-grams."""
        return lambda at: self.paths(at, self.ngram_term(alpha))[0]

    def oracle(self, at: int) -> list[int]:
        lattices, length = self._lattices, self._length
        wanted = lattices.wanted[at, 1 : 1 + length]
        held = (lattices.numbers[at, :length] == wanted[:, None]).any(1)
        return [int(token) if there else NO_TOKEN for token, there in zip(wanted, held, strict=True)]

    def best_of(self, alpha: float) -> Draft:
        """Of the likeliest paths with n-grams, the one that agrees longest."""

        def draft(at: int) -> list[int]:
            wanted = self._lattices.wanted[at, 1 : 1 + self._length]
            return max(self.paths(at, self.ngram_term(alpha)), key=lambda path: _agreeing(path, wanted))

        return draft

    def markov_term(self, numbers: Numbers, path: Sequence[int]) -> Floats:
        term: Floats = self._right[numbers] @ self._left[path[-1]]
        return term

    def ngram_term(self, alpha: float) -> Added:
        return lambda numbers, path: (alpha * self._ngrams.log_chances(numbers, path)).astype(np.float32)

    def paths(self, at: int, added: Added) -> list[list[int]]:
        """The likeliest paths of the lattice, best first: those that are kept at each position, as in a beam search."""
        before = self._before(at)
        kept: list[tuple[float, list[int]]] = [(0.0, before)]
        for index in range(self._length):
            numbers, scores = self._lattices.numbers[at, index], self._lattices.scores[at, index]
            scores = scores - np.logaddexp(np.logaddexp.reduce(scores), self._lattices.rests[at, index])
            longer = [
                (odds + float(score), [*path, int(number)])
                for odds, path in kept
                for number, score in zip(numbers, scores + added(numbers, path), strict=True)
            ]
            kept = sorted(longer, key=lambda each: -each[0])[:NUM_PATHS]
        return [path[len(before) :] for _, path in kept]

    def _greedily(self, at: int, added: Added) -> list[int]:
        path = self._before(at)
        start = len(path)
        lattices, length = self._lattices, self._length
        for numbers, scores in zip(lattices.numbers[at, :length], lattices.scores[at, :length], strict=True):
            path.append(int(numbers[(scores + added(numbers, path)).argmax()]))
        return path[start:]

    def _before(self, at: int) -> list[int]:
        """The answer's last tokens that are known at an example, at most as many as n-grams read."""
        first = at
        while first > max(0, at - _ORDERS[0] + 1) and self._lattices.answers[first - 1] == self._lattices.answers[at]:
            first -= 1
        return [int(number) for number in self._lattices.wanted[first : at + 1, 0]]


def _agreeing(path: Sequence[int], wanted: Numbers) -> int:
    count = 0
    while count < len(path) and path[count] == wanted[count]:
        count += 1
    return count


def weights_for(
    heads: BlockHeads,
    lattices: Lattices,
    ngrams: NGrams,
    neural: Neural | None,
    length: int | None = None,
    *,
    paths: bool = False,
) -> dict[str, float]:
    """The weights of n-grams and of the rescoring model that serve these answers best, which must not be those to be
    evaluated; with `paths`, which take a while, also that of n-grams for whole paths."""
    tried = Refined(heads, lattices, ngrams, length)
    makers: dict[str, Callable[[float], Draft]] = {"local": tried.local}
    if paths:
        makers["global"] = tried.joint
    if neural is not None:
        makers["neural"] = lambda alpha: tried.neural(alpha, neural)

    def tokens(make: Callable[[float], Draft], alpha: float) -> float:
        return replayed(lattices, make(alpha))["tokens_per_round"] or 0.0

    return {name: max(_ALPHAS, key=lambda alpha, make=make: tokens(make, alpha)) for name, make in makers.items()}  # type: ignore[misc]


def ways_of(
    heads: BlockHeads,
    lattices: Lattices,
    ngrams: NGrams,
    neural: Neural | None,
    weights: Mapping[str, float],
    length: int | None = None,
) -> dict[str, Draft]:
    """All ways that there are weights for, by name, each to be replayed."""
    refined = Refined(heads, lattices, ngrams, length)
    found: dict[str, Draft] = {
        "alone": refined.alone,
        "local": refined.local(weights["local"]),
    }
    if "global" in weights:
        found["global"] = refined.joint(weights["global"])
        found["global-16"] = refined.best_of(weights["global"])
    if neural is not None:
        found["neural"] = refined.neural(weights["neural"], neural)
    return found | {"markov": refined.markov, "oracle": refined.oracle}
