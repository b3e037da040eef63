"""The adaptive drafter: the N-gram module's chain, each token with a calibrated chance of being accepted."""

from collections.abc import Sequence

from engine.drafting.calibration import Calibration
from engine.drafting.drafter import EMPTY_DRAFT, Draft, NoDrafter
from engine.drafting.ngram import NgramIndex, Successor

LEVELS = 6  # contexts of up to six tokens

# Where nothing is known yet: how often such proposals were right in recorded chats of two 7-8B models.
_PRIORS = {1: 0.25, 2: 0.45, 3: 0.6, 4: 0.68, 5: 0.72, 6: 0.9}
# A text that does not follow what was learnt elsewhere is believed within a few rounds: the present answer's first
# proposals, right over expected and at most 1, scale all chances. On recorded chats it gained up to 3 % where width is
# dear, and cost up to 0.8 % where it is cheap.
_TRUST = 1.0  # right and expected proposals that an answer starts from
_RECENT = 24.0  # rounds it remembers
_FLOOR = 0.03  # a chain that is accepted this rarely is not worth drawing on


def _bucket(count: int) -> int:
    """0, 1, 2, 3-4, 5-8, 9 and more."""
    return count if count < 3 else 3 if count < 5 else 4 if count < 9 else 5


class AdaptiveDrafter(NoDrafter):
    """Drafts with the N-gram module of one conversation; its calibration outlives the conversation.

    >>> drafter = AdaptiveDrafter()
    >>> drafter.begin([1, 2, 3, 4, 5, 9, 1, 2, 3])
    >>> drafter.draft(2).token_ids
    (4, 5)
    """

    def __init__(self) -> None:
        self._index = NgramIndex(LEVELS)
        self._calibration = Calibration(_PRIORS)
        self._streak = 0  # committed tokens in a row that were proposed rightly
        self._right = self._expected = _TRUST  # of this answer's first proposals, the older ones fading
        self._features: list[tuple[int, tuple[int, int, int]]] = []  # of the last draft, token by token

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        known = self._index.token_ids
        if list(token_ids[: len(known)]) != known:
            self._index.clear()
        self._index.extend(token_ids[len(self._index.token_ids) :])
        self._streak = 0
        self._right = self._expected = _TRUST

    def draft(self, max_size: int, *, chain: bool = False, worth: float = 0.0) -> Draft:
        context = self._index.token_ids[-LEVELS:]
        token_ids: list[int] = []
        chances: list[float] = []
        sources: list[str] = []
        self._features = []
        chance = 1.0
        correction = min(1.0, self._right / self._expected)
        while len(token_ids) < max_size:
            successor = self._index.successor(context)
            if successor is None:
                break
            features = self._describe(successor, self._streak + len(token_ids))
            probability = self._calibration.probability(*features) * correction
            chance *= probability
            if chance < _FLOOR and token_ids:
                break
            self._features.append(features)
            token_ids.append(successor.token_id)
            chances.append(chance)
            sources.append(_SOURCES[successor.level])
            context.append(successor.token_id)
        if not token_ids:
            return EMPTY_DRAFT
        return Draft(tuple(token_ids), tuple(range(-1, len(token_ids) - 1)), tuple(chances), tuple(sources))

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        right = 0
        if draft.token_ids:
            self._surprise(draft.token_ids[0] == token_ids[0], self._calibration.probability(*self._features[0]))
        for proposed, committed, features in zip(draft.token_ids, token_ids, self._features, strict=False):
            self._calibration.label(*features, proposed == committed)
            if proposed != committed:
                break
            right += 1
        self._streak = self._streak + right if right == len(token_ids) else 0
        self._index.extend(token_ids)

    def _surprise(self, right: bool, expected: float) -> None:
        """Count a first proposal of this answer against what calibration expected of it; older ones fade."""
        fade = 1 - 1 / _RECENT
        self._right = _TRUST + (self._right - _TRUST) * fade + right
        self._expected = _TRUST + (self._expected - _TRUST) * fade + expected

    @staticmethod
    def _describe(successor: Successor, streak: int) -> tuple[int, tuple[int, int, int]]:
        """The features a proposal is calibrated by: level, share of its context's followers, support, streak."""
        share = 4 * successor.count // successor.total
        return successor.level, (share, _bucket(successor.total), _bucket(streak))


_SOURCES = {level: f"ngram-{level}" for level in range(1, LEVELS + 1)}
