"""What heads propose in the tree: behind the token that a path really has, at its own position, once."""

import numpy as np
import pytest

from engine.drafting.adaptive import AdaptiveDrafter, DrafterOptions
from engine.drafting.drafter import ROOT, Draft
from engine.drafting.sources.heads import NUM_LATTICE, Lattice, make_lattice
from engine.drafting.sources.registry import SOURCE_NAMES

VOCABULARY = 40


class GivenHeads:
    """Heads whose lattice is given: `tokens[j]` are likeliest first, each half as likely as the one before."""

    def __init__(self, *tokens: list[int], left: list[float] | None = None, right: list[float] | None = None) -> None:
        one_row = np.zeros(VOCABULARY + 1, np.float32) if left is None else np.array(left, np.float32)
        columns = np.zeros(VOCABULARY, np.float32) if right is None else np.array(right, np.float32)
        numbers = np.arange(VOCABULARY, dtype=np.int32)
        self.lattice: Lattice = make_lattice(numbers, one_row[:, None], columns[:, None])
        self.asked: list[tuple[object, int]] = []
        self._tokens = tokens

    def look(self, state: object, last_id: int) -> None:
        self.asked.append((state, last_id))
        self.lattice.num_heads[0] = len(self._tokens)
        for head, tokens in enumerate(self._tokens):
            others = [token_id for token_id in range(VOCABULARY) if token_id not in tokens]
            self.lattice.token_ids[head] = self.lattice.numbers[head] = [*tokens, *others][:NUM_LATTICE]
            self.lattice.scores[head] = -np.log(2.0) * np.arange(1, NUM_LATTICE + 1)
            self.lattice.rests[head] = -9.0


def drafted(heads: GivenHeads, text: list[int], size: int = 4, *, chain: bool = True) -> Draft:
    drafter = AdaptiveDrafter(heads=heads, options=DrafterOptions(without=tuple({*SOURCE_NAMES} - {"heads", "ngram"})))
    drafter.begin(text)
    drafter.see(["state"])
    return drafter.draft(size, chain=chain)


def test_each_head_proposes_at_its_own_position() -> None:
    heads = GivenHeads([11, 12], [21, 22], [31, 32])
    draft = drafted(heads, [1, 2, 3], size=9)
    assert (draft.token_ids, draft.sources) == ((11, 21, 31), ("heads",) * 3)
    assert heads.asked == [("state", 3)]


def test_a_tree_takes_what_is_likeliest_of_all_positions() -> None:
    draft = drafted(GivenHeads([11, 12], [21, 22]), [1, 2, 3], size=8, chain=False)
    nodes = set(zip(draft.parents, draft.token_ids, strict=True))
    first = draft.token_ids.index(11)
    assert {(ROOT, 11), (ROOT, 12), (first, 21)} <= nodes


def test_a_token_is_scored_behind_the_one_that_the_path_has() -> None:
    """Behind 12 the second position's likeliest token becomes 22, behind 11 it stays 21."""
    left, right = [0.0] * (VOCABULARY + 1), [0.0] * VOCABULARY
    left[12], right[22] = 3.0, 2.0
    draft = drafted(GivenHeads([11, 12], [21, 22], left=left, right=right), [1, 2, 3], size=12, chain=False)
    behind = {parent: node for node, parent in reversed(list(enumerate(draft.parents)))}  # the likeliest child
    by_token = {draft.token_ids[node]: draft.token_ids[behind[node]] for node in range(len(draft)) if node in behind}
    assert (by_token[11], by_token[12]) == (21, 22)


def test_a_token_outside_the_draft_vocabulary_has_the_row_of_all_others() -> None:
    left, right = [0.0] * (VOCABULARY + 1), [0.0] * VOCABULARY
    left[-1], right[12] = 3.0, 2.0
    heads = GivenHeads([11, 12], left=left, right=right)
    assert drafted(heads, [1, 2, 3], size=1).token_ids == (11,)
    assert drafted(heads, [1, 2, 99], size=1).token_ids == (12,)


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_scores_that_are_no_numbers_propose_nothing(number: float) -> None:
    heads = GivenHeads([11, 12], left=[1.0] * (VOCABULARY + 1), right=[number] * VOCABULARY)
    assert drafted(heads, [1, 2, 3]).token_ids == ()


def test_a_token_that_the_conversation_proposes_too_is_one_proposal() -> None:
    draft = drafted(GivenHeads([4, 12]), [1, 2, 3, 4, 1, 2, 3], size=3, chain=False)
    first = [token_id for token_id, parent in zip(draft.token_ids, draft.parents, strict=True) if parent == ROOT]
    assert first.count(4) == 1
    assert draft.sources[draft.token_ids.index(4)] == "ngram-3"


def test_without_a_state_nothing_is_looked_for() -> None:
    heads = GivenHeads([11])
    drafter = AdaptiveDrafter(heads=heads)
    drafter.begin([1, 2, 3])
    assert len(drafter.draft(4)) == 0
    drafter.see(["state"])
    assert len(drafter.draft(4)) > 0
    assert len(drafter.draft(4)) == 0, "a state is that of one round"
    drafter.see(["state"])
    drafter.begin([1, 2])
    assert len(drafter.draft(4)) == 0, "and of one answer"
    assert len(heads.asked) == 1


@pytest.mark.parametrize("right", [True, False])
def test_it_learns_how_far_heads_can_be_trusted(right: bool) -> None:
    heads = GivenHeads([11, 12], [21, 22])
    drafter = AdaptiveDrafter(heads=heads)
    drafter.begin([1, 2, 3])
    chances = []
    for _ in range(30):
        drafter.see(["state"])
        draft = drafter.draft(1)
        chances += [draft.chances[0] if draft.chances else 0.0]
        drafter.commit(draft, [11] if right else [35])
        drafter.begin([1, 2, 3])
    assert (chances[-1] > chances[0]) == right
