"""T(width, context): what a round costs on this machine, measured when the model is loaded.

Widths are timed in turn, round after round, so that a busy moment hits all of them, and a low quantile of each
counts: other programs can only make a round slower. For the same reason a few samples are enough where an earlier
curve of the same model is known, and of both the smaller time counts: on a busy machine every load improves the curve.
Nothing that decides a token's bits may depend on these figures; they only choose among equal ways.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch

from engine.forward.slots import SLOT_STEP
from engine.forward.target import Cache, Target
from engine.forward.widths import MAX_WIDTH, WIDTHS
from engine.probe.steps import Passes, Steps, run

_CONTEXTS = (64, 1024)
_BUDGET_S = 0.5  # per context; the fewest samples are taken all the same
_SAMPLES = (4, 20)
_AGAIN_BUDGET_S, _AGAIN_SAMPLES = 0.05, (1, 4)  # where an earlier curve is known
# The longest such measurement: a slower model keeps its earlier curve until `--check` measures it again.
_AGAIN_AT_MOST_S = 3.0
_QUANTILE = 0.25
_NARROW = 12


# (share of what is asked, chance that a drafted token is right): conversation, small jobs on a text, copying. The
# chances follow SmolLM2's tokens a round there (1.4, about 2, 4 to 6: BENCHMARKS.md), the shares are a guess.
_KINDS = ((0.5, 0.25), (0.3, 0.5), (0.2, 0.85))


@dataclass(frozen=True, slots=True)
class RoundCost:
    """Seconds of a round at one context, by width (index 0 unused).

    >>> cost = RoundCost(rounds=(0.0, 1.0, 1.1, 1.25), extras=(0.0, 0.1, 0.2, 0.3))
    >>> cost(3), cost.plain_share(3)
    (1.55, 0.8)
    """

    rounds: tuple[float, ...]
    extras: tuple[float, ...]  # reading the most likely tokens for the drafter

    def __call__(self, width: int) -> float:
        return self.rounds[width] + self.extras[width]

    def plain_share(self, width: int) -> float:
        """A plain-fast round's time over that of a forward pass of this width."""
        return self.rounds[1] / self.rounds[width]


class CostCurve:
    """Seconds per round by width and context, linear between the measured points.

    `tops` are the seconds that reading the most likely tokens for the drafter takes, by width.

    >>> curve = CostCurve({64: {1: 1.0, 4: 1.3}, 1088: {1: 2.0, 4: 2.3}})
    >>> round(curve.cost(2, 64), 6), round(curve.cost(4, 576), 6)
    (1.1, 1.8)
    """

    def __init__(
        self,
        measured: Mapping[int, Mapping[int, float]],
        tops: Mapping[int, float] | None = None,
    ) -> None:
        self._measured = measured
        self._measured_tops = tops or {1: 0.0}
        self._contexts = sorted(measured)
        self._rows = [_all_widths(measured[context]) for context in self._contexts]
        self._tops = tuple(_all_widths(self._measured_tops))
        self.points = tuple(sorted(measured[self._contexts[0]].items()))
        self._cache: dict[tuple[int, bool], RoundCost] = {}

    def to_json(self) -> dict[str, Any]:
        """What was measured, as JSON with text for keys; `from_json` is its inverse."""
        rounds = {str(context): _texts(seconds) for context, seconds in self._measured.items()}
        return {"rounds": rounds, "tops": _texts(self._measured_tops)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        rounds = {int(context): _numbers(seconds) for context, seconds in data["rounds"].items()}
        return cls(rounds, _numbers(data["tops"]))

    def lowered(self, other: "CostCurve") -> "CostCurve":
        """The smaller time of both, at the contexts and widths of this one.

        >>> CostCurve({64: {1: 1.0, 4: 1.3}}).lowered(CostCurve({64: {1: 1.1, 4: 1.2}})).points
        ((1, 1.0), (4, 1.2))
        """
        lower = {context: _lower(rows, other._measured.get(context, {})) for context, rows in self._measured.items()}
        return CostCurve(lower, _lower(self._measured_tops, other._measured_tops))

    @property
    def look_s(self) -> float:
        """Seconds that one sample of every width takes, with the rounds that warm up."""
        rows = self._measured.values()
        return sum(each * (4 if width <= _NARROW else 2) for row in rows for width, each in row.items())

    def cost(self, width: int, context: int) -> float:
        return self.at(context)(width)

    def at(self, context: int, *, tops: bool = False) -> RoundCost:
        """The cost at that many committed tokens, in steps of cache slots; with reading the most likely tokens
        if `tops`."""
        key = (context // SLOT_STEP, tops)
        if key not in self._cache:
            extras = self._tops if tops else (0.0,) * (MAX_WIDTH + 1)
            self._cache[key] = RoundCost(tuple(self._interpolate(context)), extras)
        return self._cache[key]

    def _interpolate(self, context: int) -> list[float]:
        if len(self._rows) == 1:
            return self._rows[0]
        (low, high), (first, last) = (self._contexts[0], self._contexts[-1]), (self._rows[0], self._rows[-1])
        share = max(0.0, (context - low) / (high - low))
        return [a + max(0.0, b - a) * share for a, b in zip(first, last, strict=True)]


def usual_token_s(cost: Callable[[int], float], widths: Iterable[int]) -> float:
    """Seconds that a token takes with drafts, over the kinds of answers that people ask for: for each, the width that
    serves it best. Rows that cost as much as tokens make it a plain round's time.

    >>> round(usual_token_s(lambda width: float(width), (1, 2, 4)), 3)
    1.0
    >>> round(usual_token_s(lambda width: 1.5 if width > 1 else 1.4, (1, 4)), 3)
    0.899
    """
    costs = {width: cost(width) for width in widths}

    def best(chance: float) -> float:
        return min(seconds / sum(chance**depth for depth in range(width)) for width, seconds in costs.items())

    return sum(share * best(chance) for share, chance in _KINDS)


def _texts(seconds: Mapping[int, float]) -> dict[str, float]:
    return {str(width): each for width, each in seconds.items()}


def _numbers(seconds: Mapping[str, float]) -> dict[int, float]:
    return {int(width): float(each) for width, each in seconds.items()}


def _lower(seconds: Mapping[int, float], others: Mapping[int, float]) -> dict[int, float]:
    return {width: min(each, others.get(width, each)) for width, each in seconds.items()}


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
    target: Target[Any],
    read_top: Callable[[torch.Tensor], object] | None = None,
    earlier: CostCurve | None = None,
) -> CostCurve:
    """Take all steps of `measure_steps`."""
    return run(measure_steps(target, read_top, earlier))


def measure_steps(
    target: Target[Any],
    read_top: Callable[[torch.Tensor], object] | None = None,
    earlier: CostCurve | None = None,
) -> Steps[CostCurve]:
    """Time rounds of every width at a short and at a longer context. Synchronises with the device.

    `read_top` is timed on the logits (width, vocab) of every width. With an `earlier` curve of this model on this
    machine a few samples are enough, or none. A step is one timed round; the target may do other work between two.
    """
    if earlier is not None and earlier.look_s > _AGAIN_AT_MOST_S:
        return earlier
    budget_s, (fewest, most) = (_BUDGET_S, _SAMPLES) if earlier is None else (_AGAIN_BUDGET_S, _AGAIN_SAMPLES)
    contexts = _contexts(target)
    cache = target.new_cache(contexts[-1])
    measured: dict[int, dict[int, float]] = {}
    top_samples: dict[int, list[float]] = {width: [] for width in WIDTHS}
    done, total = 0, least_passes(target, earlier)
    for context in contexts:
        for _ in target.fill(cache, context):
            yield Passes(done, total)
        samples: dict[int, list[float]] = {width: [] for width in WIDTHS}
        for width in WIDTHS:
            time_round(target, cache, width)  # the first round of a width warms up
            done = min(done + _passes(width), total)
            yield Passes(done, total)
        spent_s, taken = 0.0, 0  # what others do between two steps does not count
        while taken < fewest or (taken < most and spent_s * (taken + 1) / taken < budget_s):
            for width in WIDTHS:
                started = time.perf_counter()
                seconds, logits = time_round(target, cache, width)
                samples[width].append(seconds)
                if read_top is not None:
                    top_samples[width].append(_timed(read_top, logits))
                spent_s += time.perf_counter() - started
                done = min(done + _passes(width), total)
                yield Passes(done, total)
            taken += 1
        measured[context] = {width: _low(samples[width]) for width in WIDTHS}
    curve = CostCurve(measured, {width: _low(seconds) for width, seconds in top_samples.items()} if read_top else None)
    return curve if earlier is None else curve.lowered(earlier)


def least_passes(target: Target[Any], earlier: CostCurve | None = None) -> int:
    """How many forward passes `measure_steps` takes at least, where it measures."""
    fewest = (_SAMPLES if earlier is None else _AGAIN_SAMPLES)[0]
    return len(_contexts(target)) * (1 + fewest) * sum(map(_passes, WIDTHS))


def _contexts(target: Target[Any]) -> list[int]:
    limit = max(0, target.context_length - MAX_WIDTH)
    return sorted({min(context, limit) for context in _CONTEXTS})


def _passes(width: int) -> int:
    """How many forward passes `time_round` takes."""
    return 2 if width <= _NARROW else 1


def _low(seconds: list[float]) -> float:
    return sorted(seconds)[int(_QUANTILE * len(seconds))]


def _timed(read_top: Callable[[torch.Tensor], object], logits: torch.Tensor) -> float:
    started = time.perf_counter()
    read_top(logits)
    return time.perf_counter() - started


def time_round(target: Target[Any], cache: Cache, width: int) -> tuple[float, torch.Tensor]:
    """Seconds of a round with greedy picks, and its logits (width, vocab). Synchronises with the device."""
    # As in decoding, where most rounds follow one of their own width: behind a wide one, a narrow one took 10 % longer.
    if width <= _NARROW:
        target.forward(cache, [1] * width).argmax(-1).tolist()
    started = time.perf_counter()
    logits = target.forward(cache, [1] * width)
    logits.argmax(-1).tolist()
    return time.perf_counter() - started, logits
