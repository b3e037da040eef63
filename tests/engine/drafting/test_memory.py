"""Memory over conversations: what it keeps, what it forgets, what it costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.drafting.adaptive import AdaptiveDrafter
from engine.drafting.conversation_memory import ConversationMemory

conversations = st.lists(
    st.tuples(st.sampled_from("abcd"), st.lists(st.integers(0, 5), max_size=30)), min_size=1, max_size=8
)


def text_of(memory: ConversationMemory) -> list[int]:
    return memory.history.tokens[: memory.history.size[0]].tolist()


def same(one: ConversationMemory, other: ConversationMemory) -> bool:
    """Whether nothing that drafting reads differs."""
    size = int(one.history.size[0])
    return (
        text_of(one) == text_of(other)
        and np.array_equal(one.history.heads, other.history.heads)
        and np.array_equal(one.history.links[:, :size], other.history.links[:, :size])
    )


@given(absorbed=conversations, forgotten=st.sampled_from("abcd"))
def test_forgetting_leaves_what_was_there_without_it(absorbed: list[tuple[str, list[int]]], forgotten: str) -> None:
    memory, without = ConversationMemory(10_000), ConversationMemory(10_000)
    for key, token_ids in absorbed:
        memory.absorb(key, token_ids)
        if key != forgotten:
            without.absorb(key, token_ids)
    memory.forget(forgotten)
    assert same(memory, without)


@given(absorbed=conversations, cap=st.integers(0, 60))
def test_the_cap_holds_and_the_oldest_go_first(absorbed: list[tuple[str, list[int]]], cap: int) -> None:
    memory = ConversationMemory(cap)
    newest: dict[str, list[int]] = {}
    for key, token_ids in absorbed:
        memory.absorb(key, token_ids)
        newest.pop(key, None)
        if token_ids:
            newest[key] = token_ids
        assert memory.num_tokens <= cap
    kept = [key for key in newest if memory.span(key) != (0, 0)]
    assert kept == list(newest)[len(newest) - len(kept) :]  # an end of the order of arrival
    for key in kept:
        start, end = memory.span(key)
        assert memory.history.tokens[start:end].tolist() == newest[key][max(0, len(newest[key]) - cap) :]


def test_a_conversation_absorbed_again_replaces_itself() -> None:
    memory = ConversationMemory(100)
    memory.absorb("a", [1, 2, 3])
    memory.absorb("a", [1, 2, 3, 4])
    assert memory.num_tokens == 4
    memory.clear()
    assert memory.num_tokens == 0
    assert text_of(memory) == []


def test_the_stated_bytes_hold() -> None:
    memory = ConversationMemory(50_000)
    rng = np.random.default_rng(0)
    for key in range(60):
        memory.absorb(str(key), rng.integers(0, 300_000, 1500).tolist())
        assert memory.num_bytes <= memory.BYTES_PER_TOKEN * (memory.num_tokens + key + 1) + (64 << 10)
    assert memory.num_tokens <= 50_000


def test_a_negative_cap_is_refused() -> None:
    with pytest.raises(ValueError, match="cap"):
        ConversationMemory(-1)


def drafted(drafter: AdaptiveDrafter, prompt: list[int]) -> tuple[int, ...]:
    drafter.begin(prompt)
    return drafter.draft(4, chain=True).token_ids


def test_memory_is_drafted_from_unless_switched_off_forgotten_or_the_conversations_own() -> None:
    memory = ConversationMemory(1000)
    memory.absorb("old", list(range(100, 120)))
    drafter = AdaptiveDrafter(memory)
    prompt = [1, 100, 101, 102, 103]
    assert drafted(drafter, prompt) == (104, 105, 106, 107)
    drafter.use_memory = False
    assert drafted(drafter, prompt) == ()
    drafter.use_memory = True
    drafter.conversation = "old"
    assert drafted(drafter, prompt) == ()
    drafter.conversation = None
    assert drafted(drafter, prompt) == (104, 105, 106, 107)
    memory.forget("old")
    assert drafted(drafter, prompt) == ()


def test_conversations_do_not_run_into_one_another() -> None:
    memory = ConversationMemory(1000)
    memory.absorb("a", [50, 51, 52])
    memory.absorb("b", [60, 61, 62])
    assert drafted(AdaptiveDrafter(memory), [1, 50, 51, 52]) == ()
