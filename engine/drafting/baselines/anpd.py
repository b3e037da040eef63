"""ANPD as published (arXiv 2404.08698, sections 3.1 to 3.3): a multi-level N-gram module and a fixed draft size.

For contexts of N-1 tokens down to one, the most frequent successor in the conversation so far; the highest level
that knows the context proposes, and K tokens are proposed one after the other. N and K as in the paper's experiments.
What the public code does beside the paper is left out: it takes the text up twice, lets an n-gram run from the end of
the prompt round to its start, and takes token 1 for "nothing found". Of equally frequent successors, which the paper
does not order, the first to get there is proposed.
"""

from collections.abc import Sequence

from engine.drafting.baselines.conversation import ConversationDrafter
from engine.drafting.drafter import Draft, MinChance

LEVELS = 4  # N: the longest context has N - 1 tokens
NUM_TOKENS = 8  # K


class _Followers:
    """How often each token followed one context, and the most frequent of them."""

    __slots__ = ("best", "counts")

    def __init__(self, token_id: int) -> None:
        self.best = token_id
        self.counts = {token_id: 1}

    def add(self, token_id: int) -> None:
        count = self.counts.get(token_id, 0) + 1
        self.counts[token_id] = count
        if count > self.counts[self.best]:
            self.best = token_id


class AnpdDrafter(ConversationDrafter):
    """Proposes the most frequent successor, again and again.

    >>> drafter = AnpdDrafter()
    >>> drafter.begin([5, 1, 2, 5, 1, 3, 5, 1, 3, 5, 1])
    >>> drafter.draft(4).token_ids
    (3, 5, 1, 3)
    """

    source = "anpd"

    def __init__(self) -> None:
        super().__init__()
        self._followers: dict[tuple[int, ...], _Followers] = {}

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        context = self._token_ids[1 - LEVELS :]
        token_ids: list[int] = []
        while len(token_ids) < min(NUM_TOKENS, max_size):
            token_id = self._successor([*context, *token_ids][1 - LEVELS :])
            if token_id is None:
                break
            token_ids.append(token_id)
        return self._chain(token_ids)

    def _successor(self, context: Sequence[int]) -> int | None:
        for start in range(len(context)):
            followers = self._followers.get(tuple(context[start:]))
            if followers is not None:
                return followers.best
        return None

    def _forget(self) -> None:
        self._followers.clear()

    def _learn(self, token_id: int) -> None:
        context = tuple(self._token_ids[1 - LEVELS :])
        for start in range(len(context)):
            followers = self._followers.get(context[start:])
            if followers is None:
                self._followers[context[start:]] = _Followers(token_id)
            else:
                followers.add(token_id)
