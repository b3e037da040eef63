"""The adaptive drafter: every source merged in one tree, each token with a calibrated chance of being committed.

Sources are the conversation's own text (the multi-level N-gram module), the alignment pointer with its swaps, contexts
with a token skipped, other conversations (memory) and the model's own likeliest tokens (recycled logits). How often
each of them is right is learnt as answers go on, and outlives the conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.drafting.allowance import Allowance
from engine.drafting.calibration import begin_answer, make_calibration
from engine.drafting.drafter import EMPTY_DRAFT, Draft
from engine.drafting.kernel import KERNEL, with_room
from engine.drafting.memory import ConversationMemory
from engine.drafting.ngram import clear, make_history
from engine.drafting.pointer import make_pointer, make_swaps
from engine.drafting.proposals import SOURCES, Sources, make_proposals
from engine.drafting.recycled import NUM_TOP, make_recycled
from engine.drafting.tree import MAX_NODES, make_tree

_LEAST_CHANCE = 0.003  # on no known curve does a row cost so little that a node less likely than this pays for it
_BANDS = (0.0, 0.5, 1.0)  # temperatures up to each of these, and above the last, are calibrated apart


@dataclass(frozen=True, slots=True)
class DrafterOptions:
    """Which parts are in use. All of them but in an ablation."""

    pointer: bool = True
    skip: bool = True
    memory: bool = True
    recycled: bool = True
    calibration: bool = True  # without: what the priors say
    tree: bool = True  # without: chains


class AdaptiveDrafter:
    """Drafts for one conversation at a time.

    From `memory` it drafts while `use_memory` is set. `conversation` is the key under which the present conversation
    may itself be in memory: that part is not drawn on, for the prompt already holds it.

    >>> drafter = AdaptiveDrafter()
    >>> drafter.begin([1, 2, 3, 4, 5, 9, 1, 2, 3])
    >>> drafter.draft(2, chain=True).token_ids
    (4, 5)
    """

    num_top = NUM_TOP

    def __init__(self, memory: ConversationMemory | None = None, options: DrafterOptions | None = None) -> None:
        self.memory = memory if memory is not None else ConversationMemory(0)
        self.options = options or DrafterOptions()
        self.use_memory = True
        self.allowance: Allowance | None = Allowance()
        self.conversation: str | None = None
        self._known_as: str | None = None  # the conversation that the present text belongs to
        self._pointer, self._tree, self._calibration = make_pointer(), make_tree(), make_calibration()
        self._shared, self._apart = (
            make_recycled(),
            make_recycled(),
        )  # of conversations in memory, and of one that is not
        self._sources = Sources(
            make_history(0),
            self.memory.history,
            self._shared,
            make_swaps(),
            np.zeros(2, np.int64),
            np.zeros(4, np.bool_),
            make_proposals(),
        )

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        ids = np.asarray(token_ids, np.int32)
        history = self._sources.history
        known = int(history.size[0])
        if known > ids.size or not np.array_equal(ids[:known], history.tokens[:known]):
            clear(history)
            known = 0
            if self.conversation is None or self.conversation != self._known_as:
                self._apart.forget()
        self._known_as = self.conversation
        history = with_room(history, ids.size - known)
        KERNEL.extend(history, ids[known:])
        options = self.options
        recycled = self._shared if self.use_memory else self._apart
        self._sources = self._sources._replace(history=history, recycled=recycled)
        self._sources.uses[:] = (options.pointer, options.skip, options.memory and self.use_memory, options.recycled)
        self._sources.swaps[:] = make_swaps()
        self._pointer[:] = make_pointer()
        band = sum(temperature > edge for edge in _BANDS)
        begin_answer(self._calibration, band=band, start=ids.size - 1, learns=options.calibration)

    def draft(self, max_size: int, *, chain: bool = False, worth: float = 0.0) -> Draft:
        if max_size < 1:
            return EMPTY_DRAFT
        size = KERNEL.grow(
            self._tree,
            self._with_memory(),
            self._calibration,
            self._pointer,
            min(max_size, MAX_NODES),
            chain or not self.options.tree,
            max(worth, _LEAST_CHANCE),
        )
        if not size:
            return EMPTY_DRAFT
        token_ids, parents, sources = self._tree.nodes[:, :size].tolist()
        return Draft(
            tuple(token_ids),
            tuple(parents),
            tuple(self._tree.chances[:size].tolist()),
            tuple([SOURCES[source] for source in sources]),
        )

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        ids = np.array(token_ids, np.int32)
        history = with_room(self._sources.history, ids.size)
        if history is not self._sources.history:
            self._sources = self._sources._replace(history=history)
        KERNEL.follow(self._with_memory(), self._calibration, self._pointer, ids)

    def recycle(
        self, contexts: npt.NDArray[np.int32], top_ids: npt.NDArray[np.int32], top_chances: npt.NDArray[np.float32]
    ) -> None:
        if self.options.recycled:
            KERNEL.store(self._sources.recycled, contexts, top_ids, top_chances)

    def forget_recycled(self) -> None:
        """Forget what the model found likely: when a conversation goes, for nobody can tell what came from it."""
        self._shared.forget()
        self._apart.forget()

    def _with_memory(self) -> Sources:
        """The sources with the memory as it is now."""
        if self._sources.memory is not self.memory.history:
            self._sources = self._sources._replace(memory=self.memory.history)
        self._sources.own[:] = self.memory.span(self.conversation)
        return self._sources


def warm_up() -> None:
    """Compile everything that drafting needs, or load it from the cache on disk."""
    drafter = AdaptiveDrafter(ConversationMemory(64))
    drafter.memory.absorb("", [1, 2, 3, 4])
    drafter.begin((1, 2, 3, 4, 1, 2, 3))
    drafter.recycle(np.zeros((1, 2), np.int32), np.zeros((1, NUM_TOP), np.int32), np.ones((1, NUM_TOP), np.float32))
    drafter.commit(drafter.draft(4), (4, 5))
