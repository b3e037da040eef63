"""The drafter's compiled entry points, and all that they work on.

One call drafts, one commits, one appends text, one stores recycled logits.
"""

from collections.abc import Callable
from typing import NamedTuple

from engine.drafting.calibration import Calibration, Floats, make_calibration
from engine.drafting.compiled.desk import Desk, borrowed, desk_for
from engine.drafting.compiled.numba_cache import entry_point, sources_digest
from engine.drafting.drafter import MinChance
from engine.drafting.proposals import Sources, make_sources
from engine.drafting.sources.ngram import GROWTH, History, Tokens, make_history
from engine.drafting.sources.ngram import extend as _extend
from engine.drafting.sources.pointer import make_pointer
from engine.drafting.sources.recycled import store as _store
from engine.drafting.tree import Tree, make_tree
from engine.drafting.tree import follow as _follow
from engine.drafting.tree import grow as _grow


class Parts(NamedTuple):
    """All that drafting for one conversation works on."""

    tree: Tree
    sources: Sources
    calibration: Calibration
    pointer: Tokens


def make_parts(memory: History) -> Parts:
    """Parts that know nothing yet, but for what is in memory."""
    return Parts(make_tree(), make_sources(memory), make_calibration(), make_pointer())


# Not among what the entry points enclose, which numba's cache compares: intrinsics differ in every process.
_put, _parts_on = desk_for(make_parts(make_history(0)))


class Kernel(NamedTuple):
    """The entry points. Each mentions `digest`, for it belongs to the cache's key only if it does."""

    extend: Callable[[History, Tokens], None]
    lay_out: Callable[[Desk, Parts], None]
    """Put parts on a desk; to be repeated when one of their arrays was replaced."""
    store: Callable[[Desk, Tokens, Tokens, Floats], None]
    grow: Callable[[Desk, int, bool, float, MinChance], int]
    follow: Callable[[Desk, Tokens], None]


def _make_kernel(digest: str) -> Kernel:
    @entry_point
    def extend(history: History, token_ids: Tokens) -> None:
        _ = digest
        _extend(borrowed(history), borrowed(token_ids))

    @entry_point
    def lay_out(desk: Desk, parts: Parts) -> None:
        _ = digest
        _put(desk, borrowed(parts))

    @entry_point
    def store(desk: Desk, contexts: Tokens, top_ids: Tokens, top_chances: Floats) -> None:
        _ = digest
        _store(_parts_on(desk).sources.recycled, borrowed(contexts), borrowed(top_ids), borrowed(top_chances))

    @entry_point
    def grow(desk: Desk, max_size: int, chain: bool, least: float, min_chance: MinChance) -> int:
        _ = digest
        parts, min_chance = _parts_on(desk), borrowed(min_chance)
        return _grow(parts.tree, parts.sources, parts.calibration, parts.pointer, max_size, chain, least, min_chance)

    @entry_point
    def follow(desk: Desk, token_ids: Tokens) -> None:
        _ = digest
        parts = _parts_on(desk)
        _follow(parts.sources, parts.calibration, parts.pointer, borrowed(token_ids))

    return Kernel(extend, lay_out, store, grow, follow)


KERNEL = _make_kernel(sources_digest())


def with_room(history: History, num_tokens: int) -> History:
    """The same text with room for this many more tokens: itself, or a copy if it has too little."""
    size = int(history.size[0])
    if size + num_tokens <= history.tokens.size:
        return history

    larger = make_history(int((size + num_tokens) * GROWTH))
    KERNEL.extend(larger, history.tokens[:size])
    return larger
