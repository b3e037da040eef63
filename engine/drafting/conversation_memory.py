"""What other conversations said: token ids to draft from, apart from the current conversation.

One flat text with hash chains, in which a separator that is no token keeps conversations from running into one
another. Removing a conversation builds the chains anew, so that nothing of it is left; over the cap the oldest go
first, an eighth of the cap at once, which keeps the cost per absorbed token constant. To be used from one thread.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.drafting.history import BYTES_PER_TOKEN, History, make_history
from engine.drafting.kernel import KERNEL, with_room

_SEPARATOR = -1
_SPARE = 8  # evicting makes room for an eighth of the cap more than is needed at once


class ConversationMemory:
    """At most `cap_tokens` tokens of conversations, each under the key it was absorbed with.

    >>> memory = ConversationMemory(cap_tokens=100)
    >>> memory.absorb("a", [1, 2, 3])
    >>> memory.absorb("b", [4, 5])
    >>> memory.num_tokens
    5
    >>> memory.forget("a")
    >>> memory.num_tokens
    2
    """

    BYTES_PER_TOKEN = BYTES_PER_TOKEN

    def __init__(self, cap_tokens: int) -> None:
        if cap_tokens < 0:
            raise ValueError(f"A memory's cap is a number of tokens, 0 or more; got {cap_tokens}.")
        self.cap_tokens = cap_tokens
        self._spans: dict[str, tuple[int, int]] = {}  # the positions of each conversation, the oldest first
        self._starts: tuple[list[int], list[str]] | None = None  # where they begin, and their keys; made when asked for
        self.history: History = make_history(0)

    @property
    def num_tokens(self) -> int:
        """Tokens that can be drafted from."""
        return sum(end - start for start, end in self._spans.values())

    @property
    def num_bytes(self) -> int:
        """What the arrays take."""
        return sum(array.nbytes for array in self.history)

    def span(self, key: str | None) -> tuple[int, int]:
        """The positions of one conversation; an empty span where it is not known."""
        return (0, 0) if key is None else self._spans.get(key, (0, 0))

    @property
    def sizes(self) -> dict[str, int]:
        """Tokens of each conversation, the oldest first."""
        return {key: end - start for key, (start, end) in self._spans.items()}

    def key_at(self, position: int) -> str:
        """Whose token stands at this position."""
        if self._starts is None:
            self._starts = [start for start, _ in self._spans.values()], list(self._spans)
        starts, keys = self._starts
        return keys[bisect_right(starts, position) - 1]

    def absorb(self, key: str, token_ids: Sequence[int]) -> None:
        """Learn a conversation, in place of what was known under this key; of a longer one than the cap, its end."""
        fresh = np.asarray(token_ids[max(0, len(token_ids) - self.cap_tokens) :], np.int32)
        self.forget(key)
        if not fresh.size:
            return
        self._make_room(fresh.size)
        start = int(self.history.size[0])
        self._write(np.append(fresh, np.int32(_SEPARATOR)))
        self._spans[key] = (start, start + fresh.size)
        self._starts = None

    def forget(self, key: str) -> None:
        """Remove everything that this conversation contributed."""
        if self._spans.pop(key, None) is not None:
            self._rebuild()

    def clear(self) -> None:
        """Forget everything."""
        self._spans.clear()
        self._starts = None
        self.history = make_history(0)

    def _make_room(self, num_tokens: int) -> None:
        """Evict the oldest conversations until this many more tokens fit."""
        known = self.num_tokens
        if known + num_tokens <= self.cap_tokens:
            return
        room = self.cap_tokens - num_tokens - self.cap_tokens // _SPARE
        for key, (start, end) in list(self._spans.items()):
            if known <= max(0, room):
                break
            del self._spans[key]
            known -= end - start
        self._rebuild()

    def _write(self, token_ids: npt.NDArray[np.int32]) -> None:
        self.history = with_room(self.history, token_ids.size)
        KERNEL.extend(self.history, token_ids)

    def _rebuild(self) -> None:
        """Write what is left anew."""
        self._starts = None
        old = self.history
        kept = [(key, old.tokens[start : end + 1].copy()) for key, (start, end) in self._spans.items()]
        self.history = make_history(sum(text.size for _, text in kept))
        for key, text in kept:
            start = int(self.history.size[0])
            KERNEL.extend(self.history, text)
            self._spans[key] = (start, start + text.size - 1)
