"""The drafters of one loaded model, and the conversations that they may draft from.

Changes of that memory are queued: they come at any time, and a running answer drafts from it. Knows no cache and no
model.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from engine.config import DrafterName, GenerationRequest
from engine.drafting.adaptive import AdaptiveDrafter
from engine.drafting.conversation_memory import ConversationMemory
from engine.drafting.drafter import ELSEWHERE, Drafter, NoDrafter
from engine.drafting.looking import Trained
from engine.drafting.registry import make_drafter

Encode = Callable[[Sequence[str]], list[int]]
"""A conversation's texts as token ids."""


class Drafters:
    """Makes drafters by name, keeps what they learn, and tells them which conversation they draft for.

    Only `remember` and `forget` may be called from any thread, at any time.
    """

    def __init__(self) -> None:
        self._asleep = False
        self._changes: deque[Callable[[], None]] = deque()
        self._encode: Encode | None = None  # None: no model, nothing to remember
        self._start(0)

    def begin(
        self, memory_tokens: int, encode: Encode, trained: Trained | None = None, *, asleep: bool = False
    ) -> None:
        """Start from nothing for a model that has just been loaded; `asleep`: nothing is compiled, so until `wake`
        nothing is drafted, and what is to be remembered waits."""
        self._asleep = asleep
        self._encode = encode
        self._start(memory_tokens, trained)

    def wake(self) -> None:
        """Draft from now on: everything is compiled."""
        self._asleep = False

    def end(self) -> None:
        """Forget everything, queued changes too: the model goes."""
        self._changes.clear()
        self._encode = None
        self._start(0)

    def _start(self, memory_tokens: int, trained: Trained | None = None) -> None:
        self.memory = ConversationMemory(memory_tokens)
        heads, chimera = (trained.heads, trained.chimera) if trained is not None else (None, None)
        self.adaptive = AdaptiveDrafter(self.memory, heads=heads, chimera=chimera)
        self._by_name: dict[DrafterName, Drafter] = {"adaptive": self.adaptive}
        self._elsewhere: tuple[str | None, bool, tuple[str, ...]] = (None, False, ())  # whose, with memory, what
        self._cached: str | None = None  # the conversation in the KV cache, where it is to be remembered

    # The memory of conversations

    def remember(self, conversation: str, texts: Sequence[str]) -> None:
        """Queue: let other conversations draft from these texts."""
        self._changes.append(partial(self._remember, conversation, tuple(texts)))

    def forget(self, conversation: str) -> None:
        """Queue: never draft from this conversation again."""
        self._changes.append(partial(self._forget, conversation))

    def catch_up(self) -> None:
        """Make the queued changes; only while nobody answers."""
        while self.catch_up_one():
            pass

    def catch_up_one(self) -> bool:
        """Make one of the queued changes; returns whether there was one."""
        if self._asleep or not self._changes:
            return False
        self._changes.popleft()()
        return True

    def _remember(self, conversation: str, texts: tuple[str, ...]) -> None:
        if self._encode is not None and texts:
            self.memory.absorb(conversation, self._encode(texts))

    def _forget(self, conversation: str) -> None:
        self.memory.forget(conversation)
        self.adaptive.forget_recycled()
        self._by_name = {"adaptive": self.adaptive}  # the others do not keep what they know by conversation
        if conversation == self._cached:
            self._cached = None
        if conversation == self._elsewhere[0]:
            self._take_elsewhere(None, True, ())

    @property
    def asleep(self) -> bool:
        """Whether nothing can be drafted yet."""
        return self._asleep

    @property
    def joining(self) -> str:
        """The conversation that becomes part of the memory when another one is answered, or ""."""
        return self._cached or ""

    # Answers

    def turn_to(self, request: GenerationRequest, cached_ids: Sequence[int]) -> None:
        """Draft for the request's conversation; the previous one becomes part of the memory.

        `cached_ids` belong to the previous one until this request's prefill. A request that fails before that leaves
        nothing more to remember.
        """
        self.catch_up()
        if self._cached is not None and self._cached != request.conversation:
            if self._asleep:
                self._changes.append(partial(self.memory.absorb, self._cached, list(cached_ids)))
            else:
                self.memory.absorb(self._cached, cached_ids)
        if self._cached != request.conversation or not request.memory:
            self._cached = None
        self.adaptive.conversation = request.conversation
        self.adaptive.use_memory = request.memory and self.memory.cap_tokens > 0
        if not self._asleep:
            self._take_elsewhere(request.conversation, self.adaptive.use_memory, request.elsewhere)

    def _take_elsewhere(self, conversation: str | None, use_memory: bool, texts: tuple[str, ...]) -> None:
        """Let these texts, in place of earlier ones, be drafted from: the present conversation's other branches.

        The memory leaves the present conversation out, because the prompt holds it; its other branches are not there.
        """
        if (conversation, use_memory, texts) == self._elsewhere:
            return
        self._elsewhere = conversation, use_memory, texts
        for memory in (self.memory, self.adaptive.branches):
            memory.forget(ELSEWHERE)
        if self._encode is not None and texts:
            memory = self.memory if use_memory else self.adaptive.branches
            memory.absorb(ELSEWHERE, self._encode(texts))

    def answered(self, request: GenerationRequest) -> None:
        """Note whose text the KV cache holds now."""
        self._cached = request.conversation if request.memory and not request.private else None

    def of(self, request: GenerationRequest) -> Drafter:
        """The drafter that the request asks for; in plain mode, or `asleep`, one that drafts nothing."""
        if request.mode == "plain" or self._asleep:
            return NoDrafter()
        if request.drafter not in self._by_name:
            self._by_name[request.drafter] = make_drafter(request.drafter)
        return self._by_name[request.drafter]
