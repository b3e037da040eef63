"""What the baselines share: one conversation's tokens, learned as they are committed, forgotten with the next one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from engine.drafting.drafter import Draft, MinChance, NoDrafter, chain


class ConversationDrafter(NoDrafter, ABC):
    """A drafter that knows nothing but the present conversation's tokens."""

    source: str
    """Its name, as the source of a token."""

    def __init__(self) -> None:
        self._token_ids: list[int] = []

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        known = len(self._token_ids)
        if list(token_ids[:known]) != self._token_ids:
            self._token_ids.clear()
            self._forget()
            known = 0
        self._extend(token_ids[known:])

    @abstractmethod
    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        """As in `Drafter`."""

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        self._extend(token_ids)

    def _extend(self, token_ids: Sequence[int]) -> None:
        for token_id in token_ids:
            self._learn(token_id)
            self._token_ids.append(token_id)

    def _chain(self, token_ids: Sequence[int]) -> Draft:
        return chain(token_ids, self.source)

    @abstractmethod
    def _forget(self) -> None:
        """Drop all that was learned of a conversation."""

    @abstractmethod
    def _learn(self, token_id: int) -> None:
        """Take up the token that follows `_token_ids`, which does not hold it yet."""
