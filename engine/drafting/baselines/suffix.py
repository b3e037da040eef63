"""Longest suffix match (SAM-Decoding's dynamic automaton, arXiv 2411.10666, section 3), as its authors set it up.

The longest ending of the conversation that occurred before, of any length, found in a suffix automaton; what followed
its first occurrence is the draft: four tokens for each that matched, forty at most (the settings of
github.com/hyx1999/SAM-Decoding). A fixed size did worse on recorded chats wherever width costs anything. Neither the
paper's static automaton of other texts nor its other drafter for short matches is here.
"""

from engine.drafting.baselines.conversation import ConversationDrafter
from engine.drafting.baselines.suffix_automaton import SuffixAutomaton
from engine.drafting.drafter import Draft, MinChance

NUM_TOKENS = 40
PER_MATCHED = 4


class SuffixDrafter(ConversationDrafter):
    """Copies what followed the longest match.

    >>> drafter = SuffixDrafter()
    >>> drafter.begin([2, 8, 8, 1, 2, 5, 6, 1, 2])
    >>> drafter.draft(3).token_ids  # "1 2" was followed by 5
    (5, 6, 1)
    """

    source = "suffix"

    def __init__(self) -> None:
        super().__init__()
        self._automaton = SuffixAutomaton()

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        length, end = self._automaton.longest_repeat()
        return self._chain(
            self._token_ids[end : end + min(NUM_TOKENS, PER_MATCHED * length, max_size)] if length else []
        )

    def _forget(self) -> None:
        self._automaton = SuffixAutomaton()

    def _learn(self, token_id: int) -> None:
        self._automaton.extend((token_id,))
