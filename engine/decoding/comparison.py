"""Two generations of one prompt on one device: alternating slices, each clock counting only its own; the verdict."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from engine.config import Mode
from engine.decoding.generation import Generation, Prefilled
from engine.events import CompareEvent, Divergence, Finished, LaneEvent, PrefillProgress, Verdict
from engine.forward.target import Target
from engine.metrics import ratio

_SLICE_S = 0.1  # how long a lane runs before the other has its turn


def on_lane(
    lane: Mode, events: Generator[PrefillProgress, None, Prefilled | None]
) -> Generator[LaneEvent, None, Prefilled | None]:
    """Yield a prefill's events on one lane, and return what the prefill returns."""
    while True:
        try:
            yield LaneEvent(lane=lane, event=next(events))
        except StopIteration as end:
            prefilled: Prefilled | None = end.value
            return prefilled


def race(
    plain: Generation, adaptive: Generation, prefilled: Prefilled, cancelled: Callable[[], bool]
) -> Iterator[LaneEvent]:
    """Run both to their ends, slice by slice, from one prefill."""
    lanes: list[tuple[Mode, Generation]] = [("plain", plain), ("adaptive", adaptive)]
    for lane, generation in lanes:
        for event in generation.start(prefilled):
            yield LaneEvent(lane=lane, event=event)
    while any(generation.stop_reason is None for _, generation in lanes):
        for lane, generation in lanes:
            slice_end = time.perf_counter() + _SLICE_S
            while generation.stop_reason is None and time.perf_counter() < slice_end:
                if cancelled():
                    return
                for event in generation.step():
                    yield LaneEvent(lane=lane, event=event)


def finish(plain: Generation, adaptive: Generation, margin: Callable[[Sequence[int]], float]) -> Iterator[CompareEvent]:
    """End both answers and compare them; `margin` is the top-two logit difference behind some ids of the answer."""
    ends: dict[Mode, Finished] = {}
    lanes: list[tuple[Mode, Generation]] = [("plain", plain), ("adaptive", adaptive)]
    for lane, generation in lanes:
        for event in generation.finish():
            yield LaneEvent(lane=lane, event=event)
            if isinstance(event, Finished):
                ends[lane] = event
    yield verdict(ends["plain"], ends["adaptive"], margin)


def verdict(plain: Finished, adaptive: Finished, margin: Callable[[Sequence[int]], float]) -> Verdict:
    """Compare the answers token by token. Lanes that were stopped early are compared as far as both came."""
    complete = "cancelled" not in (plain.stop_reason, adaptive.stop_reason)
    both = min(len(plain.token_ids), len(adaptive.token_ids))
    position = next((i for i in range(both) if plain.token_ids[i] != adaptive.token_ids[i]), both)
    diverged = position < both or (complete and len(plain.token_ids) != len(adaptive.token_ids))
    divergence = None
    if diverged:
        divergence = Divergence(
            position=position,
            plain_id=_at(plain.token_ids, position),
            adaptive_id=_at(adaptive.token_ids, position),
            margin=margin(plain.token_ids[:position]),
        )
    fast, slow = adaptive.stats.tokens_per_s, plain.stats.tokens_per_s
    return Verdict(
        identical=not diverged,
        num_compared=both,
        divergence=divergence,
        plain=plain.stats,
        adaptive=adaptive.stats,
        speedup=ratio(fast, slow) if fast and slow else None,
        complete=complete,
    )


def top_two_margin(target: Target[Any], token_ids: Sequence[int]) -> float:
    """The difference of the two largest logits behind these tokens, as a prefill in a cache of its own finds it."""
    *_, logits = target.prefill(target.new_cache(len(token_ids)), token_ids)
    first, second = logits[0].float().topk(2).values.tolist()
    return float(first - second)


def _at(token_ids: tuple[int, ...], position: int) -> int | None:
    return token_ids[position] if position < len(token_ids) else None
