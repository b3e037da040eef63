"""The probe that finds which round widths of this model on this device give bit-equal rows.

Kernels round differently for different numbers of rows, so a near-tie may flip when a token is verified beside
others. The probe runs one chain of tokens through rounds of every width, cut at different places and with padding
beside it, and compares all logits bit by bit. Which widths are used follows from that alone, never from a timing.
"""

from collections.abc import Sequence

import torch

from engine.events import Certificate
from engine.target.cost import WIDTHS
from engine.target.kv_cache import KVCache
from engine.target.transformers_target import MAX_WIDTH, TransformersTarget

_CONTEXTS = (40, 300)  # one and two blocks of cache slots
FAST = Certificate(setting="fast", tier="C", widths=WIDTHS)


def certify(target: TransformersTarget) -> Certificate:
    """Find the largest set of widths whose rows agree to the last bit; among equals the one with the narrowest.

    Where no two agree, one width serves both modes, if its rows do not depend on their place and neighbours; where
    even that fails, the certificate is tier C and promises nothing.
    """
    limit = target.context_length - 2 * MAX_WIDTH
    contexts = sorted({min(context, limit) for context in _CONTEXTS})
    traces = {width: _trace(target, contexts, width) for width in WIDTHS}
    groups: list[list[int]] = []
    for width, rows in traces.items():
        if rows is None:
            continue
        for group in groups:
            if _agree(rows, traces[group[0]]):
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


def _trace(target: TransformersTarget, contexts: Sequence[int], width: int) -> list[torch.Tensor] | None:
    """Logits of the probe chain through rounds of one width; None where they depend on place or neighbours."""
    rows: list[torch.Tensor] = []
    cache = target.new_cache(contexts[-1] + MAX_WIDTH)
    for context in contexts:
        prompt = _tokens(context, salt=1)
        cache.crop(0)
        for _ in target.prefill(cache, prompt):
            pass
        chain = _tokens(min(MAX_WIDTH, 4 * width), salt=2)
        whole = _run(target, cache, context, chain, width, step=width)
        # The same rows at other places of the round and beside padding: cut the chain into other pieces.
        cut = _run(target, cache, context, chain[: width + width // 2], width, step=max(1, (width + 1) // 2))
        if not torch.equal(whole[: len(cut)], cut):
            return None
        rows.append(whole)
    return rows


def _run(
    target: TransformersTarget, cache: KVCache, start: int, chain: Sequence[int], width: int, step: int
) -> torch.Tensor:
    """Logits (len(chain), vocab) with `step` tokens a round of `width` rows."""
    cache.crop(start)
    rows = []
    for first in range(0, len(chain), step):
        piece = chain[first : first + step]
        rows.append(target.forward(cache, piece, width=width))
        cache.crop(cache.length + len(piece))
    return torch.cat(rows)


def _agree(rows: list[torch.Tensor], others: list[torch.Tensor] | None) -> bool:
    """Whether two traces are bit-equal as far as both go."""
    if others is None:
        return False
    pairs = [(a, b, min(len(a), len(b))) for a, b in zip(rows, others, strict=True)]
    return all(torch.equal(a[:n], b[:n]) for a, b, n in pairs)


def _tokens(count: int, salt: int) -> list[int]:
    """Token ids that every vocabulary has, and that do not repeat soon."""
    return [(index * 7919 + salt * 104729) % 251 + 1 for index in range(count)]
