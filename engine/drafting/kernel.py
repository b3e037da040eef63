"""The drafter's compiled entry points, and all that they work on.

One call drafts, one commits, one appends text, one stores recycled logits.
"""

from collections.abc import Callable
from typing import NamedTuple

from engine.drafting.calibration import Calibration, Floats
from engine.drafting.compiled import entry_point, sources_digest
from engine.drafting.ngram import GROWTH, History, Tokens, make_history
from engine.drafting.ngram import extend as _extend
from engine.drafting.proposals import Sources
from engine.drafting.recycled import Recycled
from engine.drafting.recycled import store as _store
from engine.drafting.tree import Tree
from engine.drafting.tree import follow as _follow
from engine.drafting.tree import grow as _grow


class Kernel(NamedTuple):
    """The entry points. Each mentions `digest`, for it belongs to the cache's key only if it does."""

    extend: Callable[[History, Tokens], None]
    store: Callable[[Recycled, Tokens, Tokens, Floats], None]
    grow: Callable[[Tree, Sources, Calibration, Tokens, int, bool, float], int]
    follow: Callable[[Sources, Calibration, Tokens, Tokens], None]


def _make_kernel(digest: str) -> Kernel:
    @entry_point
    def extend(history: History, token_ids: Tokens) -> None:
        _ = digest
        _extend(history, token_ids)

    @entry_point
    def store(recycled: Recycled, contexts: Tokens, top_ids: Tokens, top_chances: Floats) -> None:
        _ = digest
        _store(recycled, contexts, top_ids, top_chances)

    @entry_point
    def grow(
        tree: Tree,
        sources: Sources,
        calibration: Calibration,
        pointer: Tokens,
        max_size: int,
        chain: bool,
        worth: float,
    ) -> int:
        _ = digest
        return _grow(tree, sources, calibration, pointer, max_size, chain, worth)

    @entry_point
    def follow(sources: Sources, calibration: Calibration, pointer: Tokens, token_ids: Tokens) -> None:
        _ = digest
        _follow(sources, calibration, pointer, token_ids)

    return Kernel(extend, store, grow, follow)


KERNEL = _make_kernel(sources_digest())


def with_room(history: History, num_tokens: int) -> History:
    """The same text with room for this many more tokens: itself, or a copy if it has too little."""
    size = int(history.size[0])
    if size + num_tokens <= history.tokens.size:
        return history

    larger = make_history(int((size + num_tokens) * GROWTH))
    KERNEL.extend(larger, history.tokens[:size])
    return larger
