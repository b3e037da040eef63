"""The probe that finds which round widths of this model on this device give bit-equal rows.

Kernels round differently for different numbers of rows, so a near-tie may flip when a token is verified beside
others. The probe runs one chain of tokens through rounds of every width, cut at different places and with padding
beside it, and compares all logits bit by bit; then once more as side branches of trees, whose paths are committed.
Which widths are used, and whether trees are, follows from that alone, never from a timing.
"""

from collections.abc import Callable, Sequence
from typing import Literal

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
_TREE_ROWS = 16  # narrower rounds have no room for the probe's trees, and little use for any
_TREE_PATH = 8  # tokens that one of them commits: its first row, some of the spine, a branch
FAST = Certificate(setting="fast", tier="C", widths=WIDTHS, trees=True)


def certify(target: TransformersTarget, progress: Callable[[int], None] = lambda done: None) -> Certificate:
    """Find the largest set of widths whose rows agree to the last bit; among equals the one with the narrowest.

    Where no two agree, one width serves both modes, if its rows do not depend on their place and neighbours; where
    even that fails, the certificate is tier C and promises nothing. `progress` is told how many widths are done.
    """
    rows = min(max(_EVIDENCE // target.numbers_per_row, _ROWS[0]), _ROWS[1], target.context_length // 4)
    limit = max(0, target.context_length - max(rows, MAX_WIDTH) - MAX_WIDTH)
    contexts = sorted({min(context, limit) for context in _CONTEXTS})
    traces: dict[int, list[torch.Tensor] | None] = {width: [] for width in WIDTHS}
    chain = _tokens(max(rows, MAX_WIDTH), 2, target.vocab_size)
    cache = target.new_cache(contexts[-1] + len(chain))
    for part, context in enumerate(contexts):
        _prefill(target, cache, context)
        for index, (width, trace) in enumerate(traces.items()):
            progress((part * len(WIDTHS) + index) // len(contexts))
            if trace is not None:
                piece = _trace(target, cache, context, chain[: max(rows, width)], width)
                traces[width] = [*trace, piece] if piece is not None else None
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
        return Certificate(setting="exact", tier="C", widths=WIDTHS, trees=True)
    widths = max(groups, key=lambda group: (len(group), -group[0]))
    if len(widths) == 1:  # a fixed width: wide enough to draft in
        widths = max(groups, key=lambda group: group[0] if group[0] <= 8 else -group[0])
    trees = widths[-1] >= _TREE_ROWS
    for part, context in enumerate(contexts):
        _prefill(target, cache, context)
        wanted = traces[widths[-1]]
        trees = trees and wanted is not None and _trees_agree(target, cache, chain, widths, wanted[part])
    tier: Literal["A", "B"] = "A" if len(widths) == len(WIDTHS) else "B"
    return Certificate(setting="exact", tier=tier, widths=tuple(widths), trees=trees)


def _prefill(target: TransformersTarget, cache: KVCache, context: int) -> None:
    cache.crop(0)
    for _ in target.prefill(cache, _tokens(context, 1, target.vocab_size)):
        pass


def _trace(
    target: TransformersTarget, cache: KVCache, context: int, chain: Sequence[int], width: int
) -> torch.Tensor | None:
    """Logits of the probe chain behind `context` tokens through rounds of one width; None where they depend on place
    or neighbours."""
    whole = _run(target, cache, context, chain, width, step=width)
    # The same rows at other places of the round and beside padding: cut the chain into other pieces.
    cut = _run(target, cache, context, chain[: max(width, len(chain) // 4)], width, step=(width + 1) // 2)
    return whole if torch.equal(whole[: len(cut)], cut) else None


def _trees_agree(
    target: TransformersTarget, cache: KVCache, chain: Sequence[int], widths: Sequence[int], wanted: torch.Tensor
) -> bool:
    """Whether the chain has the same logits where its tokens are a side branch of every round.

    The branch leaves the spine at one of its first four rows; other tokens' branches leave before and behind it.
    """
    wide = [width for width in widths if width >= _TREE_ROWS]
    done = turn = 0
    while done + _TREE_PATH <= len(wanted):
        leaves = turn % 4  # the row that the branch follows
        branch = range(6, 6 + min(_TREE_PATH - 1 - leaves, slots_for(cache.length) - cache.length - 1 - leaves))
        if len(branch) < 1:  # at the end of a block: as decoding does, with a chain
            path: list[int] = list(range(slots_for(cache.length) - cache.length))
            logits = target.forward(cache, chain[done : done + len(path)], width=wide[0])
        else:
            path = [*range(leaves + 1), *branch]
            token_ids = [chain[(done + row + 11) % len(chain)] for row in range(branch.stop + 2)]
            for place, row in enumerate(path):
                token_ids[row] = chain[done + place]
            parents = [-1, 0, 1, 2, 3, 3, leaves, *branch[:-1], 0, branch.stop]
            logits = target.forward(cache, token_ids, parents=parents, apart=widths, width=wide[turn % len(wide)])
        if not torch.equal(logits[path], wanted[done : done + len(path)]):
            return False
        cache.commit(path, in_place=False)
        done, turn = done + len(path), turn + 1
    return True


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
