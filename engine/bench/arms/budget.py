"""A drafter whose drafts are verified whole, whatever that costs: drafters compared at an equal number of nodes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from engine.drafting.allowance import Allowance
from engine.drafting.drafter import EMPTY_DRAFT, Draft, Drafter, MinChance, State


class WholeDraft:
    """Takes the chances off another drafter's drafts, by which their size would be chosen, and bounds them itself.

    >>> from engine.bench.arms.drafters import OracleDrafter
    >>> drafter = WholeDraft(OracleDrafter((7, 8, 9, 2)), 2)
    >>> drafter.begin([1, 1, 7])
    >>> drafter.draft(15)
    Draft(token_ids=(8, 9), parents=(-1, 0), chances=(), sources=('oracle', 'oracle'))
    """

    def __init__(self, drafter: Drafter, max_nodes: int) -> None:
        self.num_top = drafter.num_top
        self.allowance: Allowance | None = None
        self.num_states = drafter.num_states
        self._drafter = drafter
        self._max_nodes = max_nodes
        self._draft = EMPTY_DRAFT  # as the drafter itself gave it

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        self._drafter.begin(token_ids, temperature)

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        self._draft = self._drafter.draft(min(max_size, self._max_nodes), chain=chain)
        return replace(self._draft, chances=())

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        self._drafter.commit(self._draft, token_ids)

    def recycle(
        self, contexts: npt.NDArray[np.int32], top_ids: npt.NDArray[np.int32], top_chances: npt.NDArray[np.float32]
    ) -> None:
        self._drafter.recycle(contexts, top_ids, top_chances)

    def see(self, states: State) -> None:
        self._drafter.see(states)

    def charge(self, *, plain_s: float, extra: float, sources: Sequence[str], accepted: int) -> float:
        """Nothing: what drafts cost does not count here."""
        return 0.0
