"""T(width, context): what a round costs on this machine, measured when the model is loaded.

Widths are timed in turn, round after round, so that a busy moment hits all of them, and a low quantile of each
counts: other programs can only make a round slower. Nothing that decides a token's bits may depend on these figures;
they only choose among equal ways.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from engine.drafting.size import least_worth
from engine.target.kv_cache import KVCache
from engine.target.transformers_target import MAX_WIDTH, SLOT_STEP, TransformersTarget

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_CONTEXTS = (64, 1024)
_BUDGET_S = 0.5  # per context; the fewest samples are taken all the same
_SAMPLES = (4, 20)
_QUANTILE = 0.25
_BRANCHED = 16  # the width that side branches are timed in
_BRANCHES = 6


@dataclass(frozen=True, slots=True)
class RoundCost:
    """Seconds of a round at one context: by width (index 0 unused), and what it adds to them.

    >>> cost = RoundCost(rounds=(0.0, 1.0, 1.1, 1.3), extras=(0.0, 0.1, 0.2, 0.3), branch_s=0.25)
    >>> cost(3), cost.plain_share(3, branches=2)
    (1.6, 0.5555555555555556)
    >>> round(cost.worth((1, 2, 3)), 6)
    0.181818
    """

    rounds: tuple[float, ...]
    extras: tuple[float, ...]  # telling the drafter of the likeliest tokens
    branch_s: float  # each side branch that is attended apart

    def __call__(self, width: int) -> float:
        return self.rounds[width] + self.extras[width]

    def plain_share(self, width: int, branches: int) -> float:
        """A plain-fast round's time over that of a forward pass of this width and so many side branches."""
        return self.rounds[1] / (self.rounds[width] + self.branch_s * branches)

    def worth(self, widths: Sequence[int]) -> float:
        """The chance below which no node pays for its row, whatever the width."""
        return least_worth(widths, self)


class CostCurve:
    """Seconds per round by width and context, linear between the measured points.

    `tops` and `branch_s` are what `RoundCost` adds, by width and by context.

    >>> curve = CostCurve({64: {1: 1.0, 4: 1.3}, 1088: {1: 2.0, 4: 2.3}})
    >>> round(curve.cost(2, 64), 6), round(curve.cost(4, 576), 6)
    (1.1, 1.8)
    """

    def __init__(
        self,
        measured: Mapping[int, Mapping[int, float]],
        tops: Mapping[int, float] | None = None,
        branch_s: Mapping[int, float] | None = None,
    ) -> None:
        self._contexts = sorted(measured)
        self._rows = [_all_widths(measured[context]) for context in self._contexts]
        self._tops = tuple(_all_widths(tops or {1: 0.0}))
        self._branch_s = [(branch_s or {}).get(context, 0.0) for context in self._contexts]
        self.points = tuple(sorted(measured[self._contexts[0]].items()))
        self._cache: dict[tuple[int, bool, bool], RoundCost] = {}

    def cost(self, width: int, context: int) -> float:
        return self.at(context)(width)

    def at(self, context: int, *, tops: bool = False, apart: bool = False) -> RoundCost:
        """The cost at that many committed tokens, in steps of cache slots; with telling the likeliest tokens if
        `tops`, and with side branches attended apart if `apart`."""
        key = (context // SLOT_STEP, tops, apart)
        if key not in self._cache:
            rounds = self._interpolate(context, self._rows)
            (branch_s,) = self._interpolate(context, [[seconds] for seconds in self._branch_s])
            extras = self._tops if tops else (0.0,) * (MAX_WIDTH + 1)
            self._cache[key] = RoundCost(tuple(rounds), extras, branch_s if apart else 0.0)
        return self._cache[key]

    def _interpolate(self, context: int, rows: Sequence[list[float]]) -> list[float]:
        if len(rows) == 1:
            return rows[0]
        (low, high), (first, last) = (self._contexts[0], self._contexts[-1]), (rows[0], rows[-1])
        share = max(0.0, (context - low) / (high - low))
        return [a + max(0.0, b - a) * share for a, b in zip(first, last, strict=True)]


def _all_widths(measured: Mapping[int, float]) -> list[float]:
    """Index by width, 0 (unused) to MAX_WIDTH."""
    widths = sorted(measured)
    seconds = [measured[widths[0]]] * (MAX_WIDTH + 1)
    for width in range(widths[0], MAX_WIDTH + 1):
        right = min(bisect_left(widths, width), len(widths) - 1)
        left = max(0, right - 1) if widths[right] != width else right
        a, b = widths[left], widths[right]
        share = 0.0 if a == b else min(1.0, (width - a) / (b - a))
        seconds[width] = measured[a] + (measured[b] - measured[a]) * share
    return seconds


def measure(
    target: TransformersTarget,
    apart: Sequence[int] = (),
    tell: Callable[[torch.Tensor], object] | None = None,
) -> CostCurve:
    """Time rounds of every width at a short and at a longer context. Synchronises with the device.

    With `apart`, widths that side branches may be attended in, their cost is measured too; `tell` is timed on the
    logits (width, vocab) of every width. The narrow widths, which most rounds have, are sampled most.
    """
    limit = max(0, target.context_length - MAX_WIDTH)
    contexts = sorted({min(context, limit) for context in _CONTEXTS})
    cache = target.new_cache(contexts[-1])
    measured: dict[int, dict[int, float]] = {}
    tops: dict[int, list[float]] = {width: [] for width in WIDTHS}
    branch_s: dict[int, float] = {}
    branched = [row - 1 for row in range(_BRANCHED - _BRANCHES)] + list(range(_BRANCHES))
    for context in contexts:
        cache.crop(context)  # the rows' content does not matter for the time: zeros will do
        arms: dict[int, tuple[int, Sequence[int]]] = {width: (width, ()) for width in WIDTHS}
        if apart:
            arms[0] = (_BRANCHED, branched)
        samples: dict[int, list[float]] = {arm: [] for arm in arms}
        for width, parents in arms.values():
            _one_round(target, cache, width, parents, apart)  # the first round of a width warms up
        started = time.perf_counter()
        while True:
            for arm, (width, parents) in arms.items():
                seconds, logits = _one_round(target, cache, width, parents, apart)
                samples[arm].append(seconds)
                if tell is not None and arm:
                    tops[arm].append(_timed(tell, logits))
            taken, passed = len(samples[1]), time.perf_counter() - started
            if taken >= _SAMPLES[1] or (taken >= _SAMPLES[0] and passed * (taken + 1) / taken > _BUDGET_S):
                break
        measured[context] = {width: _low(samples[width]) for width in WIDTHS}
        if apart:
            branch_s[context] = max(0.0, _low(samples[0]) - measured[context][_BRANCHED]) / _BRANCHES
    told = {width: _low(seconds) for width, seconds in tops.items()} if tell is not None else None
    return CostCurve(measured, told, branch_s)


def _low(seconds: list[float]) -> float:
    return sorted(seconds)[int(_QUANTILE * len(seconds))]


def _timed(tell: Callable[[torch.Tensor], object], logits: torch.Tensor) -> float:
    started = time.perf_counter()
    tell(logits)
    return time.perf_counter() - started


def _one_round(
    target: TransformersTarget, cache: KVCache, width: int, parents: Sequence[int], apart: Sequence[int]
) -> tuple[float, torch.Tensor]:
    # As in decoding, where most rounds follow one of their own width: behind a wide one, a narrow one took 10 % longer.
    target.forward(cache, [1] * width, parents=parents, apart=apart).argmax(-1).tolist()
    started = time.perf_counter()
    logits = target.forward(cache, [1] * width, parents=parents, apart=apart)
    logits.argmax(-1).tolist()
    return time.perf_counter() - started, logits
