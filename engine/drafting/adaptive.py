"""The adaptive drafter: every source merged in one tree, each token with a calibrated chance of being committed.

Sources are the conversation's own text (multi-level N-gram module), the alignment pointer, contexts with a token
skipped, other conversations (memory) and the model's own likeliest tokens (recycled). Which of them is right how
often is learnt as answers go on, and outlives the conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.drafting.drafter import EMPTY_DRAFT, Draft
from engine.drafting.history import append, clear, make_history, with_room
from engine.drafting.memory import ConversationMemory
from engine.drafting.recycled import NUM_TOP, make_recycled, store
from engine.drafting.proposals import make_proposals
from engine.drafting.tree import MAX_NODES, follow, grow, make_grown
from engine.drafting.weights import N_ANS, make_judged, make_weights

_FLOOR = 0.003  # a node that is committed this rarely is not worth drawing on
_BANDS = (0.0, 0.5, 1.0)  # upper ends of the bands of temperature that are calibrated apart


@dataclass(frozen=True, slots=True)
class DrafterOptions:
    """Which parts are in use; all but for ablation."""

    pointer: bool = True
    skip: bool = True
    memory: bool = True
    recycled: bool = True
    calibration: bool = True
    tree: bool = True


class AdaptiveDrafter:
    """Drafts for one conversation at a time; what it learnt of its sources outlives the conversation.

    `use_memory` switches memory off for answers to come; `conversation` is the key under which the present
    conversation may itself be in memory: that part is not drawn on, for it is known already.

    >>> drafter = AdaptiveDrafter()
    >>> drafter.begin([1, 2, 3, 4, 5, 9, 1, 2, 3])
    >>> drafter.draft(2).token_ids
    (4, 5)
    """

    num_top = NUM_TOP

    def __init__(self, memory: ConversationMemory | None = None, options: DrafterOptions = DrafterOptions()) -> None:
        self.memory = memory
        self.options = options
        self.use_memory = True
        self.conversation: str | None = None
        self._nothing = make_history(0)
        self._history = make_history(0)
        self._recycled = make_recycled()
        self._weights = make_weights()
        self._proposals, self._judged, self._grown = make_proposals(), make_judged(), make_grown()
        self._pointer = np.array([-1, 0, 0], np.int32)
        self._status = np.zeros(3, np.int64)
        self._own = np.zeros(2, np.int64)
        self._flags = np.zeros(5, np.int64)

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        ids = np.asarray(token_ids, np.int32)
        known = int(self._history.size[0])
        if known > ids.size or not np.array_equal(ids[:known], self._history.tokens[:known]):
            clear(self._history)
            known = 0
        self._append(ids[known:])
        self._pointer[:] = (-1, 0, 0)
        band = sum(temperature > edge for edge in _BANDS)
        self._status[:] = (0, band, ids.size - 1)
        self._weights.values[N_ANS : N_ANS + 6] = 0
        options = self.options
        uses_memory = options.memory and self.use_memory and self.memory is not None and self.memory.num_tokens > 0
        self._flags[:] = (options.pointer, options.skip, uses_memory, options.recycled, options.calibration)

    def draft(self, max_size: int, *, chain: bool = False, worth: float = 0.0) -> Draft:
        if max_size < 1:
            return EMPTY_DRAFT
        size = grow(
            *self._state(), min(max_size, MAX_NODES), chain or not self.options.tree, max(worth, _FLOOR)
        )
        if not size:
            return EMPTY_DRAFT
        token_ids, parents, lengths = self._grown.heap_chances[:, :size].tolist()
        return Draft(
            tuple(token_ids),
            tuple(parents),
            tuple(self._grown.own_chance[:size].tolist()),
            tuple([_SOURCES[length] for length in lengths]),
        )

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        ids = np.array(token_ids, np.int32)
        self._history = with_room(self._history, ids.size)
        follow(*self._state(), ids)

    def recycle(
        self, contexts: npt.NDArray[np.int32], top_ids: npt.NDArray[np.int32], top_chances: npt.NDArray[np.float32]
    ) -> None:
        store(self._recycled, contexts, top_ids, top_chances)

    def _append(self, token_ids: npt.NDArray[np.int32]) -> None:
        self._history = with_room(self._history, token_ids.size)
        append(self._history, token_ids)

    def _state(self):
        memory = self._nothing if self.memory is None else self.memory.history
        if self.memory is not None:
            self._own[:] = self.memory.span(self.conversation)
        return (
            self._history, memory, self._recycled, self._weights, self._proposals, self._judged, self._grown,
            self._pointer, self._status, self._own, self._flags,
        )


def warm_up() -> None:
    """Compile everything that drafting needs, or load it from the cache."""
    memory = ConversationMemory(64)
    memory.absorb("warm-up", [1, 2, 3, 4])
    drafter = AdaptiveDrafter(memory)
    drafter.begin([1, 2, 3, 4, 1, 2, 3])
    drafter.recycle(np.zeros((1, 2), np.int32), np.zeros((1, NUM_TOP), np.int32), np.ones((1, NUM_TOP), np.float32))
    drafter.commit(drafter.draft(4), [4, 5])


_SOURCES = tuple("other" if length == 0 else f"ngram-{length}" for length in range(33))
