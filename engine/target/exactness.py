"""The probe that finds which round widths of this model on this device give bit-equal rows.

Kernels round differently for different numbers of rows, so a near-tie may flip when a token is verified beside
others. The probe runs one chain of tokens through rounds of every width, cut at different places and with padding
beside it, and compares all logits bit by bit. Which widths are used follows from that alone, never from a timing.
"""

from collections.abc import Callable, Sequence

import torch

from engine.events import Certificate
from engine.target.cost import WIDTHS
from engine.target.kv_cache import KVCache
from engine.target.transformers_target import MAX_WIDTH, TransformersTarget, slots_for

_CONTEXTS = (40, 300)  # one and two blocks of cache slots
# A kernel that rounds differently shows in few of the numbers it makes: on a CPU in bfloat16, attention with one row
# differed from the others in 1 of 2,500. Small models make few numbers a row, so they are given more rows.
_EVIDENCE = 150_000  # hidden numbers (rows x layers x hidden size) that each width is judged by
_ROWS = (16, 512)
FAST = Certificate(setting="fast", tier="C", widths=WIDTHS)


def certify(target: TransformersTarget, progress: Callable[[int], None] = lambda done: None) -> Certificate:
    """Find the largest set of widths whose rows agree to the last bit; among equals the one with the narrowest.

    Where no two agree, one width serves both modes, if its rows do not depend on their place and neighbours; where
    even that fails, the certificate is tier C and promises nothing. `progress` is told how many widths are done.
    """
    rows = min(max(_EVIDENCE // target.numbers_per_row, _ROWS[0]), _ROWS[1], target.context_length // 4)
    limit = max(0, target.context_length - max(rows, MAX_WIDTH) - MAX_WIDTH)
    contexts = sorted({min(context, limit) for context in _CONTEXTS})
    traces: dict[int, list[torch.Tensor] | None] = {}
    for width in WIDTHS:
        progress(len(traces))
        traces[width] = _trace(target, contexts, width, max(rows, width))
    groups: list[list[int]] = []
    for width, trace in traces.items():
        if trace is None:
            continue
        for group in groups:
            if _agree(trace, traces[group[0]]):
                group.append(width)
                break
        else:
            groups.append([width])
    if not groups:
        return Certificate(setting="exact", tier="C", widths=WIDTHS)
    widths = max(groups, key=lambda group: (len(group), -group[0]))
    if len(widths) == 1:  # a fixed width: wide enough to draft in
        widths = max(groups, key=lambda group: group[0] if group[0] <= 8 else -group[0])
    return Certificate(setting="exact", tier="A" if len(widths) == len(WIDTHS) else "B", widths=tuple(widths))


def _trace(target: TransformersTarget, contexts: Sequence[int], width: int, num_rows: int) -> list[torch.Tensor] | None:
    """Logits of the probe chain through rounds of one width; None where they depend on place or neighbours."""
    rows: list[torch.Tensor] = []
    cache = target.new_cache(contexts[-1] + num_rows)
    for context in contexts:
        prompt = _tokens(context, 1, target.vocab_size)
        cache.crop(0)
        for _ in target.prefill(cache, prompt):
            pass
        chain = _tokens(num_rows, 2, target.vocab_size)
        whole = _run(target, cache, context, chain, width, step=width)
        # The same rows at other places of the round and beside padding: cut the chain into other pieces.
        cut = _run(target, cache, context, chain[: max(width, num_rows // 4)], width, step=(width + 1) // 2)
        if not torch.equal(whole[: len(cut)], cut):
            return None
        rows.append(whole)
    return rows


def _run(
    target: TransformersTarget, cache: KVCache, start: int, chain: Sequence[int], width: int, step: int
) -> torch.Tensor:
    """Logits (len(chain), vocab) with up to `step` tokens a round of `width` rows; as in decoding, no round reaches
    beyond the block of cache slots that it starts in."""
    cache.crop(start)
    rows = []
    done = 0
    while done < len(chain):
        room = slots_for(cache.length) - cache.length
        piece = chain[done : done + min(step, room)]
        rows.append(target.forward(cache, piece, width=width))
        done += len(piece)
        cache.crop(cache.length + len(piece))
    return torch.cat(rows)


def _agree(rows: list[torch.Tensor], others: list[torch.Tensor] | None) -> bool:
    """Whether two traces are bit-equal as far as both go."""
    if others is None:
        return False
    pairs = [(a, b, min(len(a), len(b))) for a, b in zip(rows, others, strict=True)]
    return all(torch.equal(a[:n], b[:n]) for a, b, n in pairs)


def _tokens(count: int, salt: int, vocab_size: int) -> list[int]:
    """Token ids that the vocabulary has, and that do not repeat soon."""
    return [(index * 7919 + salt * 104729) % min(251, vocab_size - 1) + 1 for index in range(count)]
