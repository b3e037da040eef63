"""Two generations of one prompt on one device: alternating slices, each clock counting only its own; the verdict."""

import time
from collections.abc import Callable, Iterator

from engine.config import Mode
from engine.decoding.generation import Generation, Prefilled
from engine.events import Divergence, Finished, LaneEvent, Verdict
from engine.metrics import ratio

_SLICE_S = 0.1  # how long a lane runs before the other has its turn


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


def verdict(plain: Finished, adaptive: Finished, margin: Callable[[int], float]) -> Verdict:
    """Compare the answers token by token; `margin(position)` is the top-two logit difference at a place.

    Lanes that were stopped early are compared as far as both came.
    """
    complete = "cancelled" not in (plain.stop_reason, adaptive.stop_reason)
    both = min(len(plain.token_ids), len(adaptive.token_ids))
    position = next((i for i in range(both) if plain.token_ids[i] != adaptive.token_ids[i]), both)
    parted = position < both or (complete and len(plain.token_ids) != len(adaptive.token_ids))
    divergence = None
    if parted:
        divergence = Divergence(
            position=position,
            plain_id=_at(plain.token_ids, position),
            adaptive_id=_at(adaptive.token_ids, position),
            margin=margin(position),
        )
    fast, slow = adaptive.stats.tokens_per_s, plain.stats.tokens_per_s
    return Verdict(
        identical=not parted,
        num_compared=both,
        divergence=divergence,
        plain=plain.stats,
        adaptive=adaptive.stats,
        speedup=ratio(fast, slow) if fast and slow else None,
        complete=complete,
    )


def _at(token_ids: tuple[int, ...], position: int) -> int | None:
    return token_ids[position] if position < len(token_ids) else None
