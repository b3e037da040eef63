"""The N-gram module against brute force, and what its adaptive drafter learns."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.drafting.adaptive import AdaptiveDrafter
from engine.drafting.drafter import EMPTY_DRAFT
from engine.drafting.ngram import NgramIndex, Successor

ids = st.lists(st.integers(0, 4), max_size=60)


def brute_force(history: list[int], context: list[int], levels: int) -> Successor | None:
    """The definition, read off the text: the longest end of the context that was followed by anything."""
    for level in range(min(levels, len(context)), 0, -1):
        end = context[-level:]
        followers = [history[i + level] for i in range(len(history) - level) if history[i : i + level] == end]
        if followers:
            counts = Counter(followers)
            most = max(counts.values())
            best = next(token for token in reversed(followers) if _reached(followers, token) == most)
            return Successor(best, level, most, len(followers))
    return None


def _reached(followers: list[int], token: int) -> int:
    return followers.count(token)


@given(history=ids, context=st.lists(st.integers(0, 4), max_size=6), levels=st.integers(1, 5))
def test_successor_equals_brute_force_up_to_ties(history: list[int], context: list[int], levels: int) -> None:
    index = NgramIndex(levels)
    index.extend(history)
    found, expected = index.successor(context), brute_force(history, context, levels)
    if found is None or expected is None:
        assert found == expected
        return
    assert (found.level, found.count, found.total) == (expected.level, expected.count, expected.total)
    assert found.token_id == expected.token_id


@given(first=ids, second=ids)
def test_extending_in_pieces_is_extending_at_once(first: list[int], second: list[int]) -> None:
    whole, pieces = NgramIndex(3), NgramIndex(3)
    whole.extend(first + second)
    pieces.extend(first)
    pieces.extend(second)
    for context in ([0], [1, 2], [2, 3, 4], first[-3:]):
        assert whole.successor(context) == pieces.successor(context)


def test_the_prompts_end_is_no_context_of_its_start() -> None:
    index = NgramIndex(2)
    index.extend([7, 1, 2, 9])
    assert index.successor([9]) is None


def test_no_level_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one level"):
        NgramIndex(0)


def test_a_drafter_follows_a_copy() -> None:
    text = list(range(100, 130))
    drafter = AdaptiveDrafter()
    drafter.begin([*text, 1, *text[:4]])
    draft = drafter.draft(16)
    assert len(draft) > 4
    assert draft.token_ids == tuple(text[4 : 4 + len(draft)])
    assert draft.sources[:2] == ("ngram-4", "ngram-5")
    assert all(0 < p < 1 for p in draft.chances)


def test_right_proposals_raise_and_wrong_ones_lower_the_probability() -> None:
    prompt = [1, 2, 3] * 20 + [1, 2]

    def probability_after(committed: int) -> float:
        drafter = AdaptiveDrafter()
        for _ in range(10):
            drafter.begin(prompt)
            drafter.commit(drafter.draft(1), [committed])
        drafter.begin(prompt)
        return drafter.draft(1).chances[0]

    fresh = AdaptiveDrafter()
    fresh.begin(prompt)
    assert probability_after(99) < fresh.draft(1).chances[0] < probability_after(3)


def test_a_silent_drafter_still_learns_when_to_speak_again() -> None:
    """Proposals are labelled although their drafts were not verified (shadow labels)."""
    drafter = AdaptiveDrafter()
    drafter.begin([1, 2, 3, 1, 2, 3, 1])
    before = drafter.draft(4).chances[0]
    for token in [2, 3, 1] * 6:
        proposal = drafter.draft(4)
        drafter.commit(proposal, [token])  # what a round of draft size 0 commits
    assert drafter.draft(4).chances[0] > before


def test_an_answer_that_goes_elsewhere_is_believed_soon() -> None:
    """What earlier answers taught does not outweigh the present one's own failures; the next one starts afresh."""
    drafter = AdaptiveDrafter()
    copied = [1, 2, 3, 4, 5, 6, 7, 8] * 8
    drafter.begin(copied)
    for token in [1, 2, 3, 4, 5, 6, 7, 8] * 20:
        drafter.commit(drafter.draft(4), [token])
    drafter.begin([9, 1, 9, 2, 9, 3, 9])
    confident = drafter.draft(1).chances[0]
    for token in range(20, 40):  # "9" comes again and again, each time followed by something new
        drafter.commit(drafter.draft(1), [token, 9])
    assert drafter.draft(1).chances[0] < confident / 2
    drafter.begin(copied)
    assert drafter.draft(1).chances[0] > 0.9


def test_an_edit_rebuilds_and_a_continuation_extends() -> None:
    drafter = AdaptiveDrafter()
    drafter.begin([5, 6, 7, 8, 5, 6])
    assert drafter.draft(2).token_ids == (7, 8)
    drafter.begin([5, 6, 9, 9, 5, 6])  # the message was edited: 7 is gone
    assert drafter.draft(2).token_ids == (9, 9)
    drafter.begin([5, 6, 9, 9, 5, 6, 4, 9])
    assert drafter.draft(1).token_ids == (5,)


def test_nothing_known_means_an_empty_draft() -> None:
    drafter = AdaptiveDrafter()
    drafter.begin([1, 2, 3])
    assert drafter.draft(8) is EMPTY_DRAFT
    assert len(drafter.draft(0)) == 0
