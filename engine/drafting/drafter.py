"""What a drafter is: the seam between the decode loop and what proposes tokens.

A drafter knows token ids alone: no model, no device, no text. It must never be able to change an answer: whatever
it proposes is only ever compared with the target's own tokens.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.drafting.allowance import Allowance

State = Any
"""A target's last hidden states behind some tokens in a row, (tokens, hidden), as the target hands them over: what was
trained on them knows what they are."""

MinChance = npt.NDArray[np.float64]
"""By the number of nodes that a draft has: the chance below which no further node can pay for its row."""

NO_PLACE = -1  # the place of a token that no text was read for
ROOT = -1  # the parent of a draft's first tokens: the last committed one

ELSEWHERE = "\0"  # the key of the present conversation's other branches: no conversation is called so


@dataclass(frozen=True, slots=True)
class Draft:
    """A tree of proposed tokens; a chain is the tree in which every token's parent is the one before it.

    Node i stands for `token_ids[i]` behind node `parents[i]` (`ROOT`: behind the last committed token). Parents come
    before their children, and two children of one parent never propose the same token. `chances[i]` is the estimated
    chance that node i is committed, all nodes above it included; they never rise from one node to the next, so that
    the first n nodes are the best tree of n nodes. A drafter that estimates nothing gives no chances: then all of its
    draft is verified. `sources[i]` says what proposed a token, such as "ngram-4", and `places[i]` where it was read: a
    position in this conversation's text, the key of another conversation, or `NO_PLACE`. A drafter may give no places.
    """

    token_ids: tuple[int, ...]
    parents: tuple[int, ...]
    chances: tuple[float, ...]
    sources: tuple[str, ...]
    places: tuple[int | str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.token_ids)

    def before(self, end_ids: Set[int]) -> "Draft":
        """The draft without these tokens, with which an answer ends, and without what stands behind them: where the
        target picks one, the answer ends, whether it was drafted or not, so its row would decide nothing.

        >>> Draft((5, 2, 6, 7), (ROOT, 0, ROOT, 1), (0.9, 0.8, 0.1, 0.1), ("a",) * 4).before({2})
        Draft(token_ids=(5, 6), parents=(-1, -1), chances=(0.9, 0.1), sources=('a', 'a'))
        """
        return self._ended(end_ids, keep=False)

    def up_to(self, end_ids: Set[int]) -> "Draft":
        """The draft without what stands behind one of these tokens, as people see it.

        >>> Draft((5, 2, 6, 7), (ROOT, 0, ROOT, 1), (0.9, 0.8, 0.1, 0.1), ("a",) * 4).up_to({2})
        Draft(token_ids=(5, 2, 6), parents=(-1, 0, -1), chances=(0.9, 0.8, 0.1), sources=('a', 'a', 'a'))
        """
        return self._ended(end_ids, keep=True)

    def _ended(self, end_ids: Set[int], *, keep: bool) -> "Draft":
        if end_ids.isdisjoint(self.token_ids):
            return self
        number = {ROOT: ROOT}  # of each node that something may stand behind, in the new draft
        kept: list[int] = []
        for node, (token_id, parent) in enumerate(zip(self.token_ids, self.parents, strict=True)):
            if parent in number and (keep or token_id not in end_ids):
                if token_id not in end_ids:
                    number[node] = len(kept)
                kept.append(node)
        return Draft(
            tuple(self.token_ids[node] for node in kept),
            tuple(number[self.parents[node]] for node in kept),
            tuple(self.chances[node] for node in kept) if self.chances else (),
            tuple(self.sources[node] for node in kept),
            tuple(self.places[node] for node in kept) if self.places else (),
        )


EMPTY_DRAFT = Draft((), (), (), ())


def chain(token_ids: Sequence[int], source: str, *, chance: float | None = None) -> Draft:
    """A chain from one source; `chance` is each token's own, given the ones before it.

    >>> chain([5, 6], "copied", chance=0.5)
    Draft(token_ids=(5, 6), parents=(-1, 0), chances=(0.5, 0.25), sources=('copied', 'copied'))
    """
    size = len(token_ids)
    chances = () if chance is None else tuple(chance ** (depth + 1) for depth in range(size))
    return Draft(tuple(token_ids), tuple(range(-1, size - 1)), chances, (source,) * size)


class Drafter(Protocol):
    """Proposes what comes next after all tokens it was given."""

    num_top: int
    """How many of the target's likeliest tokens it learns at every node (`recycle`); 0: none."""

    allowance: Allowance | None
    """What asking it may cost; None: it is asked in every round."""

    num_states: int
    """How many of the target's last hidden states it drafts from at most (`see`, `charge`); 0: none."""

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        """Make these tokens (prompt and first answer token) everything that is known of the conversation.

        Called once per answer; a drafter that already holds a prefix of them may keep it. `temperature` is that of
        the answer to come, 0 for greedy.
        """

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        """Propose at most `max_size` tokens, in one chain if `chain`; an empty draft is always allowed.

        `min_chance` may say from where on no further node can pay for its row, so that none need be proposed.
        """

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        """Learn what one round committed, and so which tokens of `draft` were right.

        `draft` is what `draft()` returned, even where fewer of its tokens were verified.
        """

    def recycle(
        self, contexts: npt.NDArray[np.int32], top_ids: npt.NDArray[np.int32], top_chances: npt.NDArray[np.float32]
    ) -> None:
        """Learn the target's own likeliest tokens behind some nodes, committed or not; never called if `num_top` is 0.

        `contexts` (rows, 2): the token above the node and the node's own, (t-1, t0). `top_ids`, `top_chances`
        (rows, num_top): the likeliest tokens there and their probabilities, likeliest first.
        """

    def see(self, states: State) -> None:
        """Take the target's states behind the last committed tokens but the last, which has yet to be read: as many as
        are new, and known.

        Called after `begin` and after each round, if `num_states` is not 0; not where no state is known.
        """

    def charge(self, *, plain_s: float, extra: float, sources: Sequence[str], accepted: int) -> float:
        """Learn what a round was worth, if `num_states` is not 0: a round without a draft takes `plain_s`, this one
        took that and a share `extra` of it more, for nodes of these `sources`, of which the first `accepted` were
        right.

        Returns what is counted here, in rounds without a draft, and so not by `allowance`.
        """


class NoDrafter:
    """Plain decoding: nothing is ever proposed, and nothing learned."""

    num_top = 0
    allowance: Allowance | None = None
    num_states = 0

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        pass

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        return EMPTY_DRAFT

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        pass

    def recycle(
        self, contexts: npt.NDArray[np.int32], top_ids: npt.NDArray[np.int32], top_chances: npt.NDArray[np.float32]
    ) -> None:
        raise AssertionError("a drafter with num_top 0 learns no likeliest tokens")

    def see(self, states: State) -> None:
        raise AssertionError("a drafter that takes no states is shown none")

    def charge(self, *, plain_s: float, extra: float, sources: Sequence[str], accepted: int) -> float:
        raise AssertionError("a drafter that takes no states is not charged for them")
