"""The adaptive drafter: drafts are trees, sources are merged, and what it learns."""

import gc
from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.drafting.adaptive import AdaptiveDrafter, DrafterOptions
from engine.drafting.conversation_memory import ConversationMemory
from engine.drafting.drafter import EMPTY_DRAFT, ROOT, Draft
from engine.drafting.sources.recycled import NUM_TOP

ids = st.lists(st.integers(0, 6), min_size=1, max_size=60)


def begun(prompt: list[int], options: DrafterOptions | None = None, **attributes: object) -> AdaptiveDrafter:
    drafter = AdaptiveDrafter(options=options)
    for name, value in attributes.items():
        setattr(drafter, name, value)
    drafter.begin(prompt)
    return drafter


def recycle(drafter: AdaptiveDrafter, successors: dict[tuple[int, int], list[int]]) -> None:
    """Recycled logits: behind each context these tokens, each half as likely as the one before."""
    others = range(900, 900 + NUM_TOP)
    drafter.recycle(
        np.array(list(successors), np.int32),
        np.array([[*tokens, *others][:NUM_TOP] for tokens in successors.values()], np.int32),
        np.array([[0.5**rank for rank in range(1, NUM_TOP + 1)]] * len(successors), np.float32),
    )


def check(draft: Draft, max_size: int) -> None:
    assert len(draft) <= max_size
    assert len(draft) == len(draft.parents) == len(draft.chances) == len(draft.sources)
    assert all(ROOT <= parent < node for node, parent in enumerate(draft.parents))
    assert len(set(zip(draft.parents, draft.token_ids, strict=True))) == len(draft)
    assert all(0 < chance < 1 for chance in draft.chances)
    assert all(later <= earlier for earlier, later in pairwise(draft.chances))
    for node, parent in enumerate(draft.parents):
        assert parent == ROOT or draft.chances[node] <= draft.chances[parent]
        children = [draft.chances[i] for i, above in enumerate(draft.parents) if above == parent]
        assert sum(children) <= (1.0 if parent == ROOT else draft.chances[parent]) + 1e-5


@settings(max_examples=60)
@given(
    prompt=ids,
    answer=ids,
    memory_ids=ids,
    sizes=st.lists(st.integers(0, 70), min_size=1, max_size=8),
    chain=st.booleans(),
    with_logits=st.booleans(),
    temperature=st.sampled_from([0.0, 0.3, 0.8, 1.5]),
)
def test_drafts_are_trees_whatever_is_committed(
    prompt: list[int],
    answer: list[int],
    memory_ids: list[int],
    sizes: list[int],
    chain: bool,
    with_logits: bool,
    temperature: float,
) -> None:
    memory = ConversationMemory(1000)
    memory.absorb("other", memory_ids)
    one, two = AdaptiveDrafter(memory), AdaptiveDrafter(memory)
    for drafter in (one, two):
        drafter.begin(prompt, temperature)
        if with_logits:
            recycle(drafter, {(1, 2): [3, 4], (2, 3): [1, 5], (0, 0): [6, 0]})
    for size, token in zip(sizes, answer, strict=False):
        draft = one.draft(size, chain=chain)
        assert draft == two.draft(size, chain=chain)  # the same calls, the same drafts
        check(draft, size)
        if chain:
            assert draft.parents == tuple(range(-1, len(draft) - 1))
        one.commit(draft, [token])
        two.commit(draft, [token])


@settings(max_examples=30)
@given(prompt=ids, few=st.integers(1, 10))
def test_a_smaller_draft_is_the_beginning_of_a_larger_one(prompt: list[int], few: int) -> None:
    drafter = begun(prompt)
    large, small = drafter.draft(40), drafter.draft(few)
    assert small.token_ids == large.token_ids[:few]
    assert small.parents == large.parents[:few]


def test_a_copy_is_followed() -> None:
    text = list(range(100, 130))
    draft = begun([*text, 1, *text[:4]]).draft(16, chain=True)
    assert len(draft) > 4
    assert draft.token_ids == tuple(text[4 : 4 + len(draft)])
    assert draft.sources[:2] == ("ngram-4", "ngram-5")


def test_several_continuations_become_branches() -> None:
    draft = begun([5, 6, 7, 5, 6, 8, 5, 6]).draft(8)
    children = {token for token, parent in zip(draft.token_ids, draft.parents, strict=True) if parent == ROOT}
    assert {7, 8} <= children


def test_a_node_that_cannot_pay_is_not_drafted() -> None:
    drafter = begun([5, 6, 7, 5, 6, 8, 5, 6])
    assert all(chance >= 0.2 for chance in drafter.draft(32, min_chance=np.array([0.2])).chances)
    assert drafter.draft(32, min_chance=np.array([1.0])) is EMPTY_DRAFT
    assert len(drafter.draft(32)) > len(drafter.draft(32, min_chance=np.array([0.0, 0.0, 1.0]))) == 2


def test_nothing_known_means_an_empty_draft() -> None:
    drafter = begun([1, 2, 3])
    assert drafter.draft(8) is EMPTY_DRAFT
    assert drafter.draft(0) is EMPTY_DRAFT


def test_an_edit_rebuilds_and_a_continuation_extends() -> None:
    drafter = begun([5, 6, 7, 8, 5, 6])
    assert drafter.draft(2, chain=True).token_ids == (7, 8)
    drafter.begin([5, 6, 9, 9, 5, 6])  # the message was edited: 7 is gone
    assert drafter.draft(2, chain=True).token_ids == (9, 9)
    drafter.begin([5, 6, 9, 9, 5, 6, 4, 9])
    assert {9, 5} & set(drafter.draft(4).token_ids)
    assert 7 not in drafter.draft(32).token_ids


@pytest.mark.parametrize("edit", [[77], [77, 78, 79], []], ids=["substitution", "insertion", "deletion"])
def test_copying_goes_on_behind_an_edit(edit: list[int]) -> None:
    """One token was replaced, two were put in, or one left out: the pointer still knows where it was."""
    text = list(range(100, 140))
    drafter = begun([*text, 1, text[0]])
    for token in [*text[1:12], *edit]:
        drafter.commit(drafter.draft(4), [token])
    going_on = {text[12], text[13]} if edit else {text[12]}
    assert going_on & set(drafter.draft(8).token_ids)
    assert "pointer" in {*drafter.draft(8).sources} or not edit
    without = begun([*text, 1, *text[:12], *edit], DrafterOptions(without=("pointer", "skip")))
    assert not edit or not going_on & set(without.draft(8).token_ids)


def test_what_was_put_in_a_tokens_place_is_put_there_again() -> None:
    """A renaming: 50 has become 60 twice; in a third place, 60 is proposed behind a context that never had it."""
    text = [*range(100, 110), 50, *range(110, 120), 50, *range(120, 130), 50, *range(130, 140)]
    drafter = begun([*text, 1, text[0]])
    for token in text[1:-11]:
        drafter.commit(drafter.draft(1), [60 if token == 50 else token])
    draft = drafter.draft(64)
    roots = {token for token, parent in zip(draft.token_ids, draft.parents, strict=True) if parent == ROOT}
    assert {50, 60} <= roots
    assert draft.sources[draft.token_ids.index(60)] == "swap"


def test_skipping_proposes_behind_an_unknown_token() -> None:
    prompt = [1, 2, 3, 4, 9, 9, 1, 2, 77]  # "1 2 3" was followed by 4; now 77 stands in the place of 3
    assert 4 in begun(prompt, DrafterOptions(without=("pointer",))).draft(8).token_ids
    assert begun(prompt, DrafterOptions(without=("pointer", "skip"))).draft(8) is EMPTY_DRAFT


def test_recycled_logits_propose_what_the_text_never_had() -> None:
    drafter = begun([1, 2])
    assert drafter.draft(8) is EMPTY_DRAFT
    recycle(drafter, {(1, 2): [30, 31], (2, 30): [40], (9, 31): [41]})
    draft = drafter.draft(40)
    check(draft, 40)
    at = {
        (parent, token): node for node, (parent, token) in enumerate(zip(draft.parents, draft.token_ids, strict=True))
    }
    assert draft.sources[at[ROOT, 30]] == "recycled"
    assert draft.chances[at[ROOT, 30]] > draft.chances[at[ROOT, 31]]
    assert (at[ROOT, 30], 40) in at
    assert (at[ROOT, 31], 41) in at  # known behind another pair: the last token alone counts
    drafter.options = DrafterOptions(without=("recycled",))
    drafter.begin([1, 2])
    assert drafter.draft(8) is EMPTY_DRAFT


def test_recycled_logits_serve_all_conversations_until_they_are_forgotten() -> None:
    drafter = begun([1, 2], conversation="a")
    recycle(drafter, {(1, 2): [30]})
    drafter.conversation = "b"
    drafter.begin([5, 1, 2])
    assert 30 in drafter.draft(8).token_ids
    drafter.forget_recycled()
    assert 30 not in drafter.draft(8).token_ids


def test_recycled_logits_of_a_conversation_without_memory_leave_with_it() -> None:
    drafter = begun([1, 2], conversation="a", use_memory=False)
    recycle(drafter, {(1, 2): [30]})
    drafter.begin([1, 2, 3, 2])
    assert 30 in drafter.draft(8).token_ids
    drafter.begin([1, 4, 1, 2])  # regenerated or edited: the same conversation
    assert 30 in drafter.draft(8).token_ids
    drafter.use_memory = True
    drafter.begin([1, 4, 1, 2])
    assert 30 not in drafter.draft(8).token_ids
    drafter.use_memory = False
    drafter.conversation = "b"
    drafter.begin([5, 1, 2])
    assert 30 not in drafter.draft(8).token_ids


def test_the_models_own_tokens_come_to_be_believed() -> None:
    """In a walk through what the model finds likeliest, recycled logits alone reach long drafts."""
    rng = np.random.default_rng(1)
    likeliest = {token: rng.choice(50, 3, replace=False).tolist() for token in range(50)}
    drafter = begun([0, 1])
    last, accepted = (0, 1), []
    for _ in range(300):
        recycle(drafter, {last: likeliest[last[1]]})
        draft = drafter.draft(48)
        token = likeliest[last[1]][0 if rng.random() < 0.7 else 1]
        roots = [t for t, parent in zip(draft.token_ids, draft.parents, strict=True) if parent == ROOT]
        accepted.append(token in roots)
        drafter.commit(draft, [token])
        last = (last[1], token)
    assert np.mean(accepted[100:]) > 0.9


def test_right_proposals_raise_and_wrong_ones_lower_the_chance() -> None:
    prompt = [1, 2, 3] * 20 + [1, 2]

    def chance_after(committed: int) -> float:
        drafter = AdaptiveDrafter()
        for _ in range(10):
            drafter.begin(prompt)
            drafter.commit(drafter.draft(1), [committed])
        drafter.begin(prompt)
        return drafter.draft(1).chances[0]

    assert chance_after(99) < begun(prompt).draft(1).chances[0] < chance_after(3)


def test_a_copy_goes_its_own_way() -> None:
    prompt = [1, 2, 3] * 20 + [1, 2]
    drafter = begun(prompt)
    before = drafter.draft(8)
    copy = deepcopy(drafter)
    recycle(copy, {(1, 2): [30]})
    for token in range(100, 160):
        copy.commit(copy.draft(8), [token])
    copy.begin(prompt)
    assert 30 in copy.draft(64).token_ids
    assert drafter.draft(8) == before
    del drafter
    gc.collect()
    assert copy.draft(8).token_ids


def test_without_calibration_nothing_is_learnt() -> None:
    prompt = [1, 2, 3] * 20 + [1, 2]
    drafter = begun(prompt, DrafterOptions(calibration=False))
    before = drafter.draft(1).chances
    drafter.commit(drafter.draft(1), [99])
    drafter.begin(prompt)
    assert drafter.draft(1).chances == before


def test_a_silent_drafter_still_learns_when_to_speak_again() -> None:
    """Proposals are labelled although nothing was drafted (shadow labels)."""
    drafter = begun([1, 2, 3, 1, 2, 3, 1])
    before = drafter.draft(4).chances[0]
    for token in [2, 3, 1] * 6:
        drafter.commit(EMPTY_DRAFT, [token])
    assert drafter.draft(4).chances[0] > before


def test_an_answer_that_goes_elsewhere_is_believed_soon() -> None:
    copied = [1, 2, 3, 4, 5, 6, 7, 8] * 8
    drafter = begun(copied)
    for token in [1, 2, 3, 4, 5, 6, 7, 8] * 20:
        drafter.commit(drafter.draft(4), [token])
    drafter.begin([9, 1, 9, 2, 9, 3, 9])
    confident = drafter.draft(1).chances[0]
    for token in range(20, 40):  # "9" comes again and again, each time followed by something new
        drafter.commit(drafter.draft(1), [token, 9])
    assert drafter.draft(1).chances[0] < confident
    drafter.begin(copied)
    assert drafter.draft(1).chances[0] > 0.9


def test_hot_answers_are_calibrated_apart() -> None:
    prompt = [1, 2, 3] * 20 + [1, 2]
    drafter = AdaptiveDrafter()

    def chance(temperature: float) -> float:
        drafter.begin(prompt, temperature)
        return drafter.draft(1).chances[0]

    for _ in range(30):
        for temperature, token in ((0.0, 3), (1.2, 99)):
            drafter.begin(prompt, temperature)
            drafter.commit(EMPTY_DRAFT, [token])
    assert chance(1.2) < chance(0.0)


def test_without_the_tree_drafts_are_chains() -> None:
    draft = begun([5, 6, 7, 5, 6, 8, 5, 6], DrafterOptions(tree=False)).draft(8)
    assert draft.parents == tuple(range(-1, len(draft) - 1))


def test_long_prompts_and_large_vocabularies() -> None:
    tokens = np.random.default_rng(0).integers(0, 300_000, 200_000).tolist()
    drafter = begun([*tokens, *tokens[1000:1004]])
    assert drafter.draft(8, chain=True).token_ids == tuple(tokens[1004:1012])
