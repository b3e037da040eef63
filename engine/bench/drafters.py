"""Drafters that know how plain decoding answered: they put the verification to the test, not the drafting.

- *oracle*: always right, and past the answer's end it still proposes something.
- *wrong*: never right.
- *mixed*: right for a random number of tokens, wrong from there on, of a random size: every way that a round can end.

All claim to be sure of themselves, so that what they propose is verified.
"""

import random
from collections.abc import Sequence

from engine.drafting.drafter import EMPTY_DRAFT, Draft, NoDrafter, chain

_SURE = 0.99
_MIXED_SIZES = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15)


def _other_than(token_id: int) -> int:
    """An id that is valid in every vocabulary and not this one."""
    return token_id - 1 if token_id else 1


class OracleDrafter(NoDrafter):
    """Proposes what plain decoding committed.

    >>> drafter = OracleDrafter((7, 8, 9, 2))
    >>> drafter.begin([1, 1, 7])
    >>> drafter.draft(2).token_ids
    (8, 9)
    >>> drafter.commit(drafter.draft(2), (8, 9, 2))
    >>> drafter.draft(2).token_ids
    (1, 1)
    """

    source = "oracle"

    def __init__(self, committed: Sequence[int]) -> None:
        self._committed = tuple(committed)
        self._place = 0

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        self._place = 1  # the first token came from the prefill

    def draft(self, max_size: int, *, chain: bool = False, worth: float = 0.0) -> Draft:
        return self._draft(self._next(max_size))

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        self._place += len(token_ids)

    def _next(self, size: int) -> list[int]:
        """The plain answer's next tokens; what comes after its end is made up."""
        known = list(self._committed[self._place : self._place + size])
        return known + [1] * (size - len(known))

    def _draft(self, token_ids: Sequence[int]) -> Draft:
        return chain(token_ids, self.source, chance=_SURE) if token_ids else EMPTY_DRAFT


class WrongDrafter(OracleDrafter):
    """Proposes what plain decoding did not commit."""

    source = "wrong"

    def draft(self, max_size: int, *, chain: bool = False, worth: float = 0.0) -> Draft:
        return self._draft([_other_than(token_id) for token_id in self._next(max_size)])


class MixedDrafter(OracleDrafter):
    """Right for a while, then wrong; the sizes and places are random, by `seed`."""

    source = "mixed"

    def __init__(self, committed: Sequence[int], seed: int) -> None:
        super().__init__(committed)
        self._random = random.Random(seed)

    def draft(self, max_size: int, *, chain: bool = False, worth: float = 0.0) -> Draft:
        token_ids = self._next(min(max_size, self._random.choice(_MIXED_SIZES)))
        right = self._random.randint(0, len(token_ids))
        return self._draft(token_ids[:right] + [_other_than(token_id) for token_id in token_ids[right:]])
