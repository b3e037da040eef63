"""The baseline drafters against brute force on small alphabets, and the published structures they are made of."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

from engine.drafting.baselines.anpd import AnpdDrafter
from engine.drafting.baselines.prompt_lookup import PromptLookupDrafter
from engine.drafting.baselines.racer import NgramTrie, RacerDrafter
from engine.drafting.baselines.recycling import TokenRecyclingDrafter, tree_paths
from engine.drafting.baselines.suffix import SuffixDrafter
from engine.drafting.baselines.suffix_automaton import SuffixAutomaton
from engine.drafting.drafter import ROOT, Draft, Drafter
from engine.drafting.registry import DRAFTER_NAMES, NEED_LOGITS, DrafterName, make_drafter

texts = st.lists(st.integers(0, 3), min_size=2, max_size=60)
BASELINES = tuple(name for name in DRAFTER_NAMES if name != "adaptive")


def begun(drafter: Drafter, text: Sequence[int]) -> Drafter:
    drafter.begin(text)
    return drafter


def top(drafter: Drafter, rows: dict[int, list[int]]) -> None:
    """Tell a drafter the likeliest tokens behind some tokens."""
    contexts = np.array([[0, token_id] for token_id in rows], np.int32)
    top_ids = np.array(list(rows.values()), np.int32)
    drafter.recycle(contexts, top_ids, np.ones(top_ids.shape, np.float32))


def paths(draft: Draft) -> list[tuple[int, ...]]:
    """The tokens from the root to each node."""
    found: list[tuple[int, ...]] = []
    for token_id, parent in zip(draft.token_ids, draft.parents, strict=True):
        assert parent < len(found)
        found.append((*(() if parent == ROOT else found[parent]), token_id))
    return found


@given(texts)
def test_prompt_lookup_drafts_what_transformers_would(text: list[int]) -> None:
    theirs = PromptLookupCandidateGenerator(num_output_tokens=10, max_matching_ngram_size=3, max_length=10_000)
    candidates, _ = theirs.get_candidates(torch.tensor([text]))
    assert begun(PromptLookupDrafter(), text).draft(31).token_ids == tuple(candidates[0, len(text) :].tolist())


def most_frequent(text: Sequence[int], context: Sequence[int]) -> int | None:
    """What followed a context most often, of equals what got there first."""
    counts: dict[int, int] = {}
    best = None
    for place in range(len(context), len(text)):
        if list(text[place - len(context) : place]) == list(context):
            counts[text[place]] = counts.get(text[place], 0) + 1
            if best is None or counts[text[place]] > counts[best]:
                best = text[place]
    return best


@given(texts)
def test_anpd_proposes_the_most_frequent_successor_of_the_highest_level(text: list[int]) -> None:
    wanted: list[int] = []
    while len(wanted) < 8:
        context = [*text, *wanted][-3:]
        found = [most_frequent(text, context[start:]) for start in range(len(context))]
        known = [token_id for token_id in found if token_id is not None]
        if not known:
            break
        wanted.append(known[0])
    assert begun(AnpdDrafter(), text).draft(31).token_ids == tuple(wanted)


def longest_repeat(text: Sequence[int]) -> tuple[int, int]:
    for length in range(len(text) - 1, 0, -1):
        for end in range(length, len(text)):
            if text[end - length : end] == text[-length:]:
                return length, end
    return 0, 0


@given(texts)
def test_the_automaton_finds_the_longest_ending_that_came_before(text: list[int]) -> None:
    automaton = SuffixAutomaton()
    for place, token_id in enumerate(text, start=1):
        automaton.extend([token_id])
        assert automaton.longest_repeat() == longest_repeat(text[:place])


@given(texts, texts, st.integers(0, 5), st.none() | st.integers(0, 5))
def test_the_automaton_follows_other_tokens_as_far_as_they_go(
    text: list[int], other: list[int], start: int, limit: int | None
) -> None:
    automaton = SuffixAutomaton()
    automaton.extend(text)
    stretches = {tuple(text[i:j]) for i in range(len(text)) for j in range(i, len(text) + 1)}
    rest = other[start:] if limit is None else other[start : start + limit]
    wanted = max(size for size in range(len(rest) + 1) if tuple(rest[:size]) in stretches)
    assert automaton.longest_prefix(other, start, limit) == wanted


@given(texts)
def test_suffix_copies_what_followed_the_longest_match(text: list[int]) -> None:
    length, end = longest_repeat(text)
    wanted = text[end : end + min(4 * length, 40)]
    assert list(begun(SuffixDrafter(), text).draft(100).token_ids) == wanted


def test_the_recycling_tree_is_the_published_one() -> None:
    places = tree_paths()
    assert [sum(len(place) == depth for place in places) for depth in range(1, 7)] == [8, 21, 25, 15, 8, 3]
    for size in range(1, len(places) + 1):  # whatever it is cut to, no place lacks the one above it
        assert places[size - 1][:-1] in {(), *places[: size - 1]}


@given(st.dictionaries(st.integers(0, 9), st.permutations(range(8)), min_size=1), st.integers(1, 80))
def test_recycling_follows_the_ranks_of_its_tree(rows: dict[int, list[int]], size: int) -> None:
    drafter = begun(TokenRecyclingDrafter(), [9, 0])
    top(drafter, rows)
    wanted = []
    for place in tree_paths()[:size]:
        tokens: list[int] = []
        for rank in place:
            row = rows.get(tokens[-1] if tokens else 0)
            if row is None:
                break
            tokens.append(row[rank])
        else:
            wanted.append(tuple(tokens))
    assert paths(drafter.draft(size)) == wanted


def test_the_last_row_of_a_token_counts_and_outlives_the_conversation() -> None:
    drafter = begun(TokenRecyclingDrafter(), [1, 5])
    assert len(drafter.draft(10)) == 0
    top(drafter, {5: [7, 6, 5, 4, 3, 2, 1, 0]})
    top(drafter, {5: [0, 1, 2, 3, 4, 5, 6, 7]})
    assert drafter.draft(1).token_ids == (0,)
    drafter.begin([2, 2, 5])
    assert drafter.draft(1).token_ids == (0,)
    drafter.commit(drafter.draft(1), (9,))
    assert len(drafter.draft(10)) == 0


def occurrences(text: Sequence[int], gram: Sequence[int]) -> int:
    return sum(tuple(text[i : i + len(gram)]) == tuple(gram) for i in range(len(text)))


@given(texts)
def test_the_trie_counts_what_followed_each_ending(text: list[int]) -> None:
    trie = NgramTrie(4)
    for token_id in text:
        trie.append(token_id)
    for length, state in enumerate(trie.endings(1), start=1):
        ending = text[-length:]
        if length == 4:
            assert trie.children(state) == []  # a longer n-gram is not kept
        else:
            counted = {token_id: count for count, token_id, _ in trie.children(state)}
            every = {token_id: occurrences(text, [*ending, token_id]) for token_id in range(4)}
            assert counted == {token_id: count for token_id, count in every.items() if count}


def test_the_logits_tree_has_the_published_breadths() -> None:
    rows = {token_id: list(range(8 * token_id + 1, 8 * token_id + 9)) for token_id in range(600)}
    drafter = begun(RacerDrafter(), [700, 0])  # nothing to retrieve, and no two tokens are alike
    top(drafter, rows)
    draft = drafter.draft(100)
    sizes = [sum(len(path) == depth for path in paths(draft)) for depth in range(1, 5)]
    assert sizes == [8, 8 + 4 + 2 + 5, (4 + 2 + 6) + (2 + 3) + 2 + 5, 64 - 8 - 19 - 24]
    children = [draft.parents.count(node) for node in range(27)]
    assert children[:8] == [8, 4, 2, 1, 1, 1, 1, 1]
    assert children[8:16] == [4, 2, 1, 1, 1, 1, 1, 1]


@given(texts, st.integers(1, 70), st.booleans())
def test_racer_retrieves_the_most_frequent_continuations_first(text: list[int], size: int, logits: bool) -> None:
    drafter = begun(RacerDrafter(), text)
    if logits:
        top(drafter, {token_id: [*range(10, 17), token_id] for token_id in range(4)})
    found = paths(drafter.draft(size))
    assert len(found) == len(set(found)) <= min(size, 64)
    retrieved = [path for path in found if max(path) < 4 and (not logits or len(path) == 1)]
    endings = [tuple(text[-length:]) for length in range(2, min(10, len(text)) + 1)]
    every = {
        tuple(text[i + len(ending) : j])
        for ending in endings
        for i in range(len(text))
        if tuple(text[i : i + len(ending)]) == ending
        for j in range(i + len(ending) + 1, min(i + 10, len(text)) + 1)
    }
    if not logits:
        assert set(found) <= every
        assert len(found) == min(size, 64, len(every))
    firsts = [path[0] for path in retrieved if len(path) == 1 and path in every]
    if firsts:  # the very first is the token that followed "the last two" most often
        assert occurrences(text, [*text[-2:], firsts[0]]) == max(occurrences(text, [*text[-2:], x]) for x in range(4))


@pytest.mark.parametrize("name", BASELINES)
@given(texts, st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 70), st.booleans())
def test_every_baseline_keeps_the_protocol(
    name: DrafterName, text: list[int], more: list[int], size: int, as_chain: bool
) -> None:
    rows = {token_id: [(token_id + rank) % 9 for rank in range(8)] for token_id in range(9)}
    drafter = begun(make_drafter(name), text)
    if drafter.num_top:
        top(drafter, rows)
    draft = drafter.draft(size, chain=as_chain)
    assert len(draft) <= size
    assert draft.chances == ()
    assert set(draft.sources) <= {name}
    assert len(set(paths(draft))) == len(draft)
    if as_chain:
        assert draft.parents == tuple(range(-1, len(draft) - 1))
    drafter.commit(draft, more)
    fresh = begun(make_drafter(name), [*text, *more])
    if drafter.num_top:
        top(fresh, rows)
    assert drafter.draft(64) == fresh.draft(64)
    drafter.begin([*text, *more, 1])  # the same conversation goes on
    fresh.begin([3, *text, 1])  # another one
    drafter.begin([3, *text, 1])
    assert drafter.draft(64) == fresh.draft(64)


def test_every_name_makes_a_drafter() -> None:
    for name in DRAFTER_NAMES:
        drafter = begun(make_drafter(name), [1, 2, 3, 1, 2])
        assert len(drafter.draft(4)) <= 4
        if name != "adaptive":
            assert (drafter.num_top > 0) == (name in NEED_LOGITS)
