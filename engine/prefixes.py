"""Conversations that are set aside with their keys and values, so that taking turns between a few of them reads none
anew. Knows token ids, no text and no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.config import Exactness

WORTH = 64  # tokens: reading fewer again takes about as long as copying what stands before them
MOST = 8


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5]), common_prefix([], [1])
    (2, 0)
    """
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a cache held: its tokens, how many of them certified widths computed, their keys and values, and the last
    rows' logits of prompts within it."""

    token_ids: list[int]
    num_certified: int
    saved: Any
    last_rows: dict[tuple[int, Exactness], Any]

    def shared(self, token_ids: Sequence[int], exactness: Exactness) -> int:
        """How many tokens an answer to this prompt may reuse."""
        reusable = self.token_ids if exactness == "fast" else self.token_ids[: self.num_certified]
        return common_prefix(reusable, token_ids)


class Prefixes:
    """The latest ones, of at most `room` tokens together. What is kept depends on the prompts and on `room`, never on a
    clock; `room` follows the memory that is free when the model is loaded, and a twin that wants it clears all."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: list[Prefix] = []  # the latest last

    def __len__(self) -> int:
        return len(self._kept)

    def takes(self, token_ids: Sequence[int]) -> bool:
        """Whether there is room for this conversation, and none kept that begins with it."""
        begun = any(common_prefix(each.token_ids, token_ids) == len(token_ids) for each in self._kept)
        return len(token_ids) <= self._room and not begun

    def add(self, prefix: Prefix) -> None:
        """Set it aside, in place of earlier ones that it goes on with, and of the oldest for want of room."""
        ids = prefix.token_ids
        kept = [each for each in self._kept if common_prefix(each.token_ids, ids) < len(each.token_ids)]
        kept.append(prefix)
        while len(kept) > MOST or sum(len(each.token_ids) for each in kept) > self._room:
            del kept[0]
        self._kept = kept

    def take(self, token_ids: Sequence[int], exactness: Exactness, than: int) -> Prefix | None:
        """The one that saves an answer to this prompt the most, if that is worth it beside `than` reused tokens; it is
        not set aside any more."""
        best = max(self._kept, key=lambda each: each.shared(token_ids, exactness), default=None)
        if best is None or best.shared(token_ids, exactness) < than + WORTH:
            return None
        self._kept.remove(best)
        return best

    def clear(self) -> None:
        self._kept = []
