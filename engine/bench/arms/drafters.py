"""Drafters that know how plain decoding answered: they put the verification to the test, not the drafting.

- *oracle*: the right tokens, always, few or many of them; past the answer's end it still proposes something.
- *wrong*: never a right one.
- *mixed*: right for a random number of tokens, wrong from there on, of a random size: every way that a round can end.

About half of the drafts are chains, the others trees: wrong branches of random shapes grow beside the right path,
often before it, so that what is accepted is a side branch. All claim to be sure of themselves, so that what they
propose is verified.
"""

import random
from collections.abc import Sequence

from engine.drafting.drafter import EMPTY_DRAFT, ROOT, Draft, MinChance, NoDrafter

_SURE = 0.99
_TREES = 0.5  # the share of drafts that are trees
_SIZES = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 24, 40, 63)
_SHARES = tuple(1 / (size + 1) for size in _SIZES)  # of rounds: about as many tokens fall into short ones as into long


class OracleDrafter(NoDrafter):
    """Proposes what plain decoding committed.

    >>> drafter = OracleDrafter((7, 8, 9, 2))
    >>> drafter.begin([1, 1, 7])
    >>> drafter.draft(1).token_ids
    (8,)
    >>> drafter.commit(drafter.draft(1), (8, 9, 2))
    >>> drafter.draft(1).token_ids
    (1,)
    """

    source = "oracle"

    def __init__(self, committed: Sequence[int], seed: int = 0) -> None:
        self._committed = tuple(committed)
        self._position = 0
        self._highest = 1  # no larger id is sure to be in the vocabulary
        self._random = random.Random(seed)

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        self._position = 1  # the first token came from the prefill
        self._highest = max(1, *token_ids, *self._committed)

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        size = min(max_size, self._size(max_size) or 1)
        wrong = 0 if self._as_chain(chain) else self._random.randint(0, size // 2)
        return self._grow(size - wrong, wrong, chain=False)

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        self._position += len(token_ids)

    def _size(self, most: int) -> int:
        return min(most, *self._random.choices(_SIZES, _SHARES))

    def _as_chain(self, chain: bool) -> bool:
        return chain or self._random.random() >= _TREES

    def _next(self, size: int) -> list[int]:
        """The plain answer's next tokens; what comes after its end is made up."""
        known = list(self._committed[self._position : self._position + size])
        return known + [1] * (size - len(known))

    def _grow(self, right: int, wrong: int, *, chain: bool) -> Draft:
        """A draft of the next `right` tokens and up to `wrong` wrong ones: behind them if `chain`, else anywhere.

        Where all ids are taken, no node is added.
        """
        path = self._next(right + 1)  # its last token is never drafted
        following = {ROOT: path[0]}  # by node of the right path: the token that must not follow it
        nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node
        tip = last = ROOT
        kinds = [True] * right + [False] * wrong
        if not chain:
            self._random.shuffle(kinds)
        for is_right in kinds:
            if is_right:
                last = nodes[tip, following[tip]] = len(nodes)
                tip = last
                following[tip] = path[len(following)]
                continue
            parent = last if chain or self._random.random() < 0.5 else self._random.randrange(ROOT, len(nodes))
            token_id = self._random.randint(0, self._highest)
            if token_id == following.get(parent):
                token_id = token_id - 1 if token_id else 1
            if (parent, token_id) not in nodes:
                last = nodes[parent, token_id] = len(nodes)
        if not nodes:
            return EMPTY_DRAFT
        parents, token_ids = zip(*nodes, strict=True)
        return Draft(token_ids, parents, (_SURE,) * len(nodes), (self.source,) * len(nodes))


class WrongDrafter(OracleDrafter):
    """Proposes what plain decoding did not commit."""

    source = "wrong"

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        return self._grow(0, max_size, chain=self._as_chain(chain))


class MixedDrafter(OracleDrafter):
    """Right for a while, then wrong; sizes, positions and shapes are random, by `seed`."""

    source = "mixed"

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        size = self._size(max_size)
        right = self._random.randint(0, size)
        return self._grow(right, size - right, chain=self._as_chain(chain))
