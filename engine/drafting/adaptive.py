"""The adaptive drafter: every source merged in one tree, each token with a calibrated chance of being committed.

Sources are the conversation's own text (the multi-level N-gram module), the alignment pointer with its swaps, contexts
with a token skipped, other conversations (memory), the model's own likeliest tokens (recycled logits), and what was
trained on its hidden states: heads and Chimera, where there are some. How often each of them is right is learned while
answers are written, and outlives the conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
from engine.drafting.looking import Look
from engine.drafting.sources.chimera import AT, Chimera
from engine.drafting.sources.heads import Heads
from engine.drafting.sources.memory import IN_MEMORY
from engine.drafting.sources.recycled import NUM_TOP, make_recycled
from engine.drafting.sources.registry import SOURCE_NAMES, Sources, forget_last_answer
from engine.drafting.tree import MAX_NODES, make_path

BRANCH_TOKENS = 50_000  # of a conversation without memory

_LEAST_CHANCE = 0.003  # on no known curve does a row cost so little that a node less likely than this pays for it
_FREE = np.zeros(1)  # rows that cost nothing
_MEMORY, _HEADS, _CHIMERA = (SOURCE_NAMES.index(name) for name in ("memory", "heads", "chimera"))
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
    the prompt already holds it. `heads` and `chimera` take time in every round: each looks ahead while that pays.

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
        chimera: Chimera | None = None,
    ) -> None:
        self.memory = memory if memory is not None else ConversationMemory(0)
        self.branches = ConversationMemory(BRANCH_TOKENS)
        self.options = options or DrafterOptions()
        self.use_memory = True
        self.allowance: Allowance | None = Allowance()
        self._heads = heads if "heads" not in self.options.without else None
        self._chimera = chimera if "chimera" not in self.options.without else None
        self.heads_look, self.chimera_look = Look("heads"), Look("chimera")
        self.num_states = max(1 if self._heads else 0, self._chimera.num_states if self._chimera else 0)
        self.conversation: str | None = None
        self._known_as: str | None = None  # the conversation that the present text belongs to
        self._parts = make_parts()
        self._arguments = ArgumentBlock(KERNEL.write_parts)
        self._states: list[State] = []  # that Chimera has not read yet, oldest first
        self._is_new = False  # the last of them is this round's
        sources = self._parts.sources
        if self._heads is not None:
            sources = sources._replace(lattice=self._heads.lattice)
        if self._chimera is not None:
            sources = sources._replace(unrolled=self._chimera.unrolled)
        self._replace(sources)
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
        sources.uses[_HEADS] &= self._heads is not None
        sources.uses[_CHIMERA] &= self._chimera is not None
        sources.lattice.behind[0] = NOWHERE
        self._states, self._is_new = [], False
        self.heads_look.begin()
        self.chimera_look.begin()
        if self._chimera is not None:
            self._chimera.begin(ids)
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
        self._end_look()

    def see(self, states: State) -> None:
        self._states = [*self._states, states] if self._chimera is not None else [states]
        while len(self._states) > 1 and sum(map(len, self._states[1:])) >= self.num_states:
            del self._states[0]
        self._is_new = True

    def charge(self, *, plain_s: float, extra: float, sources: Sequence[str], accepted: int) -> float:
        return sum(
            look.charge(plain_s=plain_s, extra=extra, sources=sources, accepted=accepted)
            for look, there in ((self.heads_look, self._heads), (self.chimera_look, self._chimera))
            if there is not None
        )

    def draft_every_round(self) -> None:
        """Ask every source in every round, whatever it costs: proofs must go by no clock."""
        self.allowance = self.heads_look.allowance = self.chimera_look.allowance = None

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
        """Let heads and Chimera look ahead of the text, where they may and a state is known."""
        self._end_look()
        if not self._is_new:
            return
        self._is_new = False
        history, lattice = self._parts.sources.history, self._parts.sources.lattice
        text = history.tokens[: int(history.size[0])]
        heads, chimera, states = self._heads, self._chimera, self._states
        if heads is not None and self.heads_look.due:
            self.heads_look.take(lambda: heads.look(states[-1][-1], int(text[-1])))
            lattice.behind[0] = len(text)
        if chimera is not None and self.chimera_look.due:
            self._states = []
            self.chimera_look.take(lambda: chimera.look(states, text))
            self._parts.path[AT] = 1

    def _end_look(self) -> None:
        """What was seen ahead was of one round alone."""
        self._parts.sources.lattice.behind[0] = NOWHERE
        self._parts.path[AT] = 0

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
