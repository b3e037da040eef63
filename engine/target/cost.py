"""T(width, context): what a round costs on this machine, measured when the model is loaded.

Widths are timed in turn, round after round, so that a busy moment hits all of them, and a low quantile of each
counts: other programs can only make a round slower. Nothing that decides a token's bits may depend on these figures;
they only choose among equal ways.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping

from engine.target.kv_cache import KVCache
from engine.target.transformers_target import MAX_WIDTH, SLOT_STEP, TransformersTarget

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_CONTEXTS = (64, 1024)
_BUDGET_S = 0.5  # per context; the fewest samples are taken all the same
_SAMPLES = (4, 20)
_QUANTILE = 0.25


class CostCurve:
    """Seconds per round by width and context, linear between the measured points.

    >>> curve = CostCurve({64: {1: 1.0, 4: 1.3}, 1088: {1: 2.0, 4: 2.3}})
    >>> round(curve.cost(2, 64), 6), round(curve.cost(4, 576), 6)
    (1.1, 1.8)
    """

    def __init__(self, measured: Mapping[int, Mapping[int, float]]) -> None:
        self._contexts = sorted(measured)
        self._rows = [_all_widths(measured[context]) for context in self._contexts]
        self.points = tuple(sorted(measured[self._contexts[0]].items()))
        self._cache: dict[int, Callable[[int], float]] = {}

    def cost(self, width: int, context: int) -> float:
        return self.at(context)(width)

    def at(self, context: int) -> Callable[[int], float]:
        """width -> seconds at that many committed tokens; contexts are told apart in steps of cache slots."""
        step = context // SLOT_STEP
        if step not in self._cache:
            self._cache[step] = self._interpolate(context).__getitem__
        return self._cache[step]

    def _interpolate(self, context: int) -> list[float]:
        if len(self._contexts) == 1:
            return self._rows[0]
        (low, high), (first, last) = (self._contexts[0], self._contexts[-1]), (self._rows[0], self._rows[-1])
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


def measure(target: TransformersTarget) -> CostCurve:
    """Time rounds of every width at a short and at a longer context. Synchronises with the device."""
    limit = max(0, target.context_length - MAX_WIDTH)
    contexts = sorted({min(context, limit) for context in _CONTEXTS})
    cache = target.new_cache(contexts[-1])
    measured: dict[int, dict[int, float]] = {}
    for context in contexts:
        cache.crop(context)  # the rows' content does not matter for the time: zeros will do
        samples = {width: [_one_round(target, cache, width)] for width in WIDTHS}
        for taken in samples.values():
            taken.clear()  # the first round of a width warms up
        once = sum(_one_round(target, cache, width) for width in WIDTHS)
        for _ in range(max(_SAMPLES[0], min(_SAMPLES[1], int(_BUDGET_S / once)))):
            for width in WIDTHS:
                samples[width].append(_one_round(target, cache, width))
        measured[context] = {width: sorted(taken)[int(_QUANTILE * len(taken))] for width, taken in samples.items()}
    return CostCurve(measured)


def _one_round(target: TransformersTarget, cache: KVCache, width: int) -> float:
    # As in decoding, where most rounds follow one of their own width: behind a wide one, a narrow one took 10 % longer.
    target.forward(cache, [1] * width).argmax(-1).tolist()
    started = time.perf_counter()
    target.forward(cache, [1] * width).argmax(-1).tolist()
    return time.perf_counter() - started
