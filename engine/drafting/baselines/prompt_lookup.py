"""Prompt lookup decoding (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding), as transformers does it.

The longest ending of the text, up to three tokens, that stands anywhere earlier: what followed its oldest occurrence
is the draft, ten tokens at most (`transformers.generation.candidate_generator.PromptLookupCandidateGenerator`). It
looks up an index of first occurrences instead of searching the text each round; the drafts are the same.
"""

from engine.drafting.baselines.conversation import ConversationDrafter
from engine.drafting.drafter import EMPTY_DRAFT, Draft, MinChance

LONGEST_MATCH = 3
NUM_TOKENS = 10


class PromptLookupDrafter(ConversationDrafter):
    """Copies what followed the oldest occurrence of the text's ending.

    >>> drafter = PromptLookupDrafter()
    >>> drafter.begin([1, 2, 3, 4, 1, 2, 9, 1, 2])
    >>> drafter.draft(3).token_ids
    (3, 4, 1)
    """

    source = "prompt-lookup"

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[tuple[int, ...], int] = {}  # n-gram -> where its oldest continuation begins

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        for length in range(min(LONGEST_MATCH, len(self._token_ids)), 0, -1):
            start = self._first.get(tuple(self._token_ids[-length:]))
            if start is not None:
                return self._chain(self._token_ids[start : start + min(NUM_TOKENS, max_size)])
        return EMPTY_DRAFT

    def _forget(self) -> None:
        self._first.clear()

    def _learn(self, token_id: int) -> None:
        position = len(self._token_ids)
        for length in range(1, min(LONGEST_MATCH, position) + 1):
            self._first.setdefault(tuple(self._token_ids[-length:]), position)
