"""The adaptive drafter: every source merged in one tree, each token with a calibrated chance of being committed.

Sources are the conversation's own text (the multi-level N-gram module), the alignment pointer with its swaps, contexts
with a token skipped, other conversations (memory), the model's own likeliest tokens (recycled logits), and heads that
were trained on its hidden states, where there are some. How often each of them is right is learned while answers are
written, and outlives the conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from engine.drafting.allowance import Allowance
from engine.drafting.calibration import begin_answer
from engine.drafting.compiled.arguments import ArgumentBlock
from engine.drafting.conversation_memory import ConversationMemory
from engine.drafting.drafter import EMPTY_DRAFT, Draft, MinChance, State
from engine.drafting.history import NOWHERE, clear
from engine.drafting.kernel import KERNEL, make_parts, with_room
from engine.drafting.layout import NAMES
from engine.drafting.sources.heads import Heads
from engine.drafting.sources.memory import IN_MEMORY
from engine.drafting.sources.recycled import NUM_TOP, make_recycled
from engine.drafting.sources.registry import SOURCE_NAMES, Sources, forget_last_answer
from engine.drafting.tree import MAX_NODES, make_path

BRANCH_TOKENS = 50_000  # of a conversation without memory

_LEAST_CHANCE = 0.003  # on no known curve does a row cost so little that a node less likely than this pays for it
_FREE = np.zeros(1)  # rows that cost nothing
_MEMORY, _HEADS = SOURCE_NAMES.index("memory"), SOURCE_NAMES.index("heads")
_BANDS = (0.0, 0.5, 1.0)  # temperatures up to each of these, and above the last, are calibrated apart


@dataclass(frozen=True, slots=True)
class DrafterOptions:
    """Which parts are in use. All of them but in an ablation."""

    without: tuple[str, ...] = ()  # names of sources
    calibration: bool = True  # without: what the priors say
    tree: bool = True  # without: chains

    def __post_init__(self) -> None:
        unknown = set(self.without) - set(SOURCE_NAMES)
        if unknown:
            raise ValueError(f"There is no source of drafts named {sorted(unknown)}; there are {SOURCE_NAMES}.")


class AdaptiveDrafter:
    """Drafts for one conversation at a time.

    While `use_memory` is set, it also drafts from `memory` and from what the model found likely in other conversations;
    else from `branches`, what this conversation alone said elsewhere.
    `conversation` is the key under which the current conversation may itself be in memory: that part is left out, for
    the prompt already holds it. `heads` take time in every round: they look ahead while that pays (`heads_allowance`).

    >>> drafter = AdaptiveDrafter()
    >>> drafter.begin([1, 2, 3, 4, 5, 9, 1, 2, 3])
    >>> drafter.draft(2, chain=True).token_ids
    (4, 5)
    """

    num_top = NUM_TOP

    def __init__(
        self,
        memory: ConversationMemory | None = None,
        options: DrafterOptions | None = None,
        heads: Heads | None = None,
    ) -> None:
        self.memory = memory if memory is not None else ConversationMemory(0)
        self.branches = ConversationMemory(BRANCH_TOKENS)
        self.options = options or DrafterOptions()
        self.use_memory = True
        self.allowance: Allowance | None = Allowance()
        self.heads_allowance: Allowance | None = Allowance()
        self.takes_states = heads is not None and "heads" not in self.options.without
        self.conversation: str | None = None
        self._known_as: str | None = None  # the conversation that the present text belongs to
        self._parts = make_parts()
        self._arguments = ArgumentBlock(KERNEL.write_parts)
        self._heads = heads
        self._state: State = None
        self._look_s = 0.0  # what looking ahead took in this round
        if heads is not None:
            self._replace(self._parts.sources._replace(lattice=heads.lattice))
        self._shared = self._parts.sources.recycled  # for conversations that have memory on
        self._unshared = make_recycled()  # for one that has it off

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        ids = np.asarray(token_ids, np.int32)
        history = self._parts.sources.history
        known = int(history.size[0])
        if known > ids.size or not np.array_equal(ids[:known], history.tokens[:known]):
            clear(history)
            known = 0
            if self.conversation is None or self.conversation != self._known_as:
                self._unshared.forget()
        self._known_as = self.conversation
        self._make_room(ids.size - known)
        KERNEL.extend(self._parts.sources.history, ids[known:])
        sources = self._parts.sources._replace(recycled=self._shared if self.use_memory else self._unshared)
        self._replace(sources)
        sources.uses[:] = [name not in self.options.without for name in SOURCE_NAMES]
        sources.uses[_MEMORY] &= self.use_memory or self.branches.num_tokens > 0
        sources.uses[_HEADS] &= self.takes_states
        sources.lattice.behind[0] = NOWHERE
        self._state = None
        forget_last_answer(sources)
        self._parts.path[:] = make_path()
        band = sum(temperature > edge for edge in _BANDS)
        begin_answer(self._parts.calibration, band=band, start=ids.size - 1, learns=self.options.calibration)

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        if max_size < 1:
            return EMPTY_DRAFT
        self._refresh_memory()
        self._look()
        chain = chain or not self.options.tree
        min_chance = _FREE if min_chance is None else min_chance
        words = self._arguments.words_for(self._parts)
        size = KERNEL.grow(words, min(max_size, MAX_NODES), chain, _LEAST_CHANCE, min_chance)
        if not size:
            return EMPTY_DRAFT
        tree = self._parts.tree
        token_ids, parents, names, places = tree.nodes[:, :size].tolist()
        return Draft(
            tuple(token_ids),
            tuple(parents),
            tuple(tree.chances[:size].tolist()),
            NAMES.of(names),
            self._named(places),
        )

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        self._refresh_memory()
        self._make_room(len(token_ids))
        KERNEL.follow(self._arguments.words_for(self._parts), np.array(token_ids, np.int32))
        self._parts.sources.lattice.behind[0] = NOWHERE  # it was of this round alone

    def see(self, state: State) -> None:
        self._state = state

    def charge(self, *, plain_s: float, extra: float, sources: Sequence[str], accepted: int) -> float:
        if self.heads_allowance is None:
            return 0.0
        of_heads = [source == "heads" for source in sources]
        rows = extra * sum(of_heads) / max(1, len(of_heads))
        looked = self._look_s / plain_s
        self.heads_allowance.note(spent=looked, gained=sum(of_heads[:accepted]) - rows)
        self._look_s = 0.0
        return looked

    def recycle(
        self, contexts: npt.NDArray[np.int32], top_ids: npt.NDArray[np.int32], top_chances: npt.NDArray[np.float32]
    ) -> None:
        if "recycled" not in self.options.without:
            KERNEL.store(self._arguments.words_for(self._parts), contexts, top_ids, top_chances)

    def forget_recycled(self) -> None:
        """Forget what the model found likely: nothing says which conversation it came from."""
        self._shared.forget()
        self._unshared.forget()

    def sketch(self, token_ids: Sequence[int], max_size: int) -> Draft:
        """What would be drafted behind these tokens in a new conversation; what is known of the present one stays."""
        other = AdaptiveDrafter(self.memory, DrafterOptions(without=("heads",)))
        other._shared = self._shared
        other._parts.calibration.weights[:] = self._parts.calibration.weights
        other.begin(token_ids)
        return other.draft(max_size)

    def _look(self) -> None:
        """Let the heads look ahead of the text, where they may and a state is known."""
        state, self._state = self._state, None
        history, lattice = self._parts.sources.history, self._parts.sources.lattice
        lattice.behind[0] = NOWHERE
        if self._heads is None or state is None or (self.heads_allowance and not self.heads_allowance.drafts):
            return
        started = perf_counter()
        size = int(history.size[0])
        self._heads.look(state, int(history.tokens[size - 1]))
        lattice.behind[0] = size
        self._look_s = perf_counter() - started

    def _named(self, places: list[int]) -> tuple[int | str, ...]:
        """Places with the keys of other conversations, in the memory that is drafted from."""
        if min(places) > IN_MEMORY:
            return tuple(places)
        memory = self.memory if self.use_memory else self.branches
        return tuple([place if place > IN_MEMORY else memory.key_at(IN_MEMORY - place) for place in places])

    def _refresh_memory(self) -> None:
        """Take the memory as it is now."""
        sources = self._parts.sources
        others = sources.memory
        memory = self.memory if self.use_memory else self.branches
        if others.history is not memory.history:
            others = others._replace(history=memory.history)
            self._replace(sources._replace(memory=others))
        others.current[0], others.current[1] = memory.span(self.conversation)

    def _make_room(self, num_tokens: int) -> None:
        """Let the text take up this many more tokens."""
        sources = self._parts.sources
        history = with_room(sources.history, num_tokens)
        if history is not sources.history:
            self._replace(sources._replace(history=history))

    def _replace(self, sources: Sources) -> None:
        self._parts = self._parts._replace(sources=sources)


def warm_up() -> None:
    """Compile everything that drafting needs, or load it from the cache on disk."""
    drafter = AdaptiveDrafter(ConversationMemory(64))
    drafter.memory.absorb("", [1, 2, 3, 4])
    drafter.begin((1, 2, 3, 4, 1, 2, 3))
    drafter.recycle(np.zeros((1, 2), np.int32), np.zeros((1, NUM_TOP), np.int32), np.ones((1, NUM_TOP), np.float32))
    drafter.commit(drafter.draft(4), (4, 5))
