"""The drafter's compiled entry points, and all that they work on.

One call drafts, one commits, one appends text, one stores recycled logits.
"""

from collections.abc import Callable
from typing import NamedTuple

from engine.drafting.calibration import Calibration, Floats, make_calibration
from engine.drafting.compiled.arguments import Words, borrowed, layout_of
from engine.drafting.compiled.numba_cache import entry_point, sources_digest
from engine.drafting.drafter import MinChance
from engine.drafting.history import GROWTH, History, Tokens, make_history
from engine.drafting.history import extend as _extend
from engine.drafting.sources.recycled import store as _store
from engine.drafting.sources.registry import Sources, make_sources
from engine.drafting.tree import Tree, make_path, make_tree
from engine.drafting.tree import follow as _follow
from engine.drafting.tree import grow as _grow


class Parts(NamedTuple):
    """All that drafting for one conversation works on."""

    tree: Tree
    sources: Sources
    calibration: Calibration
    path: Tokens


def make_parts() -> Parts:
    """Parts that know nothing yet, and use no source."""
    return Parts(make_tree(), make_sources(), make_calibration(), make_path())


# Not among what the entry points enclose, which numba's cache compares: intrinsics differ in every process.
_write_parts, _parts_in = layout_of(make_parts())


class Kernel(NamedTuple):
    """The entry points. Each mentions `digest`, for it belongs to the cache's key only if it does."""

    extend: Callable[[History, Tokens], None]
    write_parts: Callable[[Words, Parts], None]
    """Write where parts stand into an argument block's words."""
    store: Callable[[Words, Tokens, Tokens, Floats], None]
    grow: Callable[[Words, int, bool, float, MinChance], int]
    follow: Callable[[Words, Tokens], None]


def _make_kernel(digest: str) -> Kernel:
    @entry_point
    def extend(history: History, token_ids: Tokens) -> None:
        _ = digest
        _extend(borrowed(history), borrowed(token_ids))

    @entry_point
    def write_parts(words: Words, parts: Parts) -> None:
        _ = digest
        _write_parts(words, borrowed(parts))

    @entry_point
    def store(words: Words, contexts: Tokens, top_ids: Tokens, top_chances: Floats) -> None:
        _ = digest
        _store(_parts_in(words).sources.recycled, borrowed(contexts), borrowed(top_ids), borrowed(top_chances))

    @entry_point
    def grow(words: Words, max_size: int, chain: bool, least: float, min_chance: MinChance) -> int:
        _ = digest
        parts, min_chance = _parts_in(words), borrowed(min_chance)
        return _grow(parts.tree, parts.sources, parts.calibration, parts.path, max_size, chain, least, min_chance)

    @entry_point
    def follow(words: Words, token_ids: Tokens) -> None:
        _ = digest
        parts = _parts_in(words)
        _follow(parts.sources, parts.calibration, parts.path, borrowed(token_ids))

    return Kernel(extend, write_parts, store, grow, follow)


KERNEL = _make_kernel(sources_digest())


def with_room(history: History, num_tokens: int) -> History:
    """The same text with room for this many more tokens: itself, or a copy if it has too little."""
    size = int(history.size[0])
    if size + num_tokens <= history.tokens.size:
        return history

    larger = make_history(int((size + num_tokens) * GROWTH))
    KERNEL.extend(larger, history.tokens[:size])
    return larger
