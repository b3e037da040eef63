"""What a drafter is: the seam between the decode loop and whatever proposes tokens.

A drafter knows token ids alone: no model, no device, no text. It must never be able to change an answer: whatever
it proposes is only ever compared with the target's own tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Draft:
    """A chain of proposed tokens, first to last.

    `probabilities[i]` is the estimated chance that token i is accepted, given that all before it were;
    `sources[i]` says where it came from, such as "ngram-4".
    """

    token_ids: tuple[int, ...]
    probabilities: tuple[float, ...]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.token_ids)


EMPTY_DRAFT = Draft((), (), ())


class Drafter(Protocol):
    """Proposes what comes next after all tokens it was given."""

    def begin(self, token_ids: Sequence[int]) -> None:
        """Make these tokens (prompt and first answer token) everything that is known of the conversation.

        Called once per answer; a drafter that already holds a prefix of them may keep it.
        """

    def draft(self, max_size: int) -> Draft:
        """Propose at most `max_size` tokens; an empty draft is always allowed."""

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        """Learn what one round committed, and so which tokens of `draft` were right.

        `draft` is what `draft()` returned, even where fewer of its tokens were verified.
        """


class NoDrafter:
    """Plain decoding: nothing is ever proposed."""

    def begin(self, token_ids: Sequence[int]) -> None:
        pass

    def draft(self, max_size: int) -> Draft:
        return EMPTY_DRAFT

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        pass
