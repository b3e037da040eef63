"""The N-gram module's hash chains against brute force."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.drafting.history import (
    BYTES_PER_TOKEN,
    LENGTHS,
    LONGEST,
    NOWHERE,
    NUM_LENGTHS,
    History,
    agreement,
    clear,
    find,
    make_history,
)
from engine.drafting.kernel import KERNEL, with_room

ids = st.lists(st.integers(0, 4), max_size=80)


def history_of(token_ids: list[int]) -> History:
    history = with_room(make_history(0), len(token_ids))
    KERNEL.extend(history, np.array(token_ids, np.int32))
    return history


def positions(history: History, line: list[int], level: int) -> list[int]:
    """All positions that followed the end of `line`, by the chain of this level."""
    text = np.array(line, np.int32)
    position = find(history, text, len(line), level)
    found = []
    while position != NOWHERE:
        if agreement(history, position, text, len(line)) >= LENGTHS[level]:
            found.append(int(position))
        position = history.links[level, position]
    return found


@given(text=ids, line=ids, level=st.integers(0, NUM_LENGTHS - 1))
def test_a_chain_holds_all_places_that_followed_a_context_latest_first(
    text: list[int], line: list[int], level: int
) -> None:
    length = LENGTHS[level]
    expected = [p for p in range(length, len(text)) if len(line) >= length and text[p - length : p] == line[-length:]]
    assert positions(history_of(text), line, level) == expected[::-1]


@given(text=ids, line=ids, data=st.data())
def test_agreement_is_the_length_of_the_common_end(text: list[int], line: list[int], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(text)))
    expected = 0
    while expected < min(position, len(line)) and text[position - 1 - expected] == line[-1 - expected]:
        expected += 1
    found = agreement(history_of(text), position, np.array(line, np.int32), len(line))
    assert found == min(expected, LONGEST)


@given(first=ids, second=ids)
def test_extending_in_pieces_is_extending_at_once(first: list[int], second: list[int]) -> None:
    pieces = history_of(first)
    KERNEL.extend(pieces, np.array(second, np.int32))
    for level in range(NUM_LENGTHS):
        assert positions(pieces, first, level) == positions(history_of(first + second), first, level)


def test_the_texts_end_is_no_context_of_its_start() -> None:
    assert positions(history_of([7, 1, 2, 9]), [9], 0) == []


def test_a_cleared_history_knows_nothing() -> None:
    history = history_of([1, 2, 1, 2])
    clear(history)
    assert positions(history, [1], 0) == []
    KERNEL.extend(history, np.array([1, 3], np.int32))
    assert positions(history, [1], 0) == [1]


@settings(max_examples=20)
@given(steps=st.lists(st.integers(1, 3000), min_size=1, max_size=8))
def test_a_text_takes_no_more_than_the_stated_bytes_a_token(steps: list[int]) -> None:
    history = make_history(0)
    least = sum(array.nbytes for array in history)
    for count in steps:
        history = with_room(history, count)
        KERNEL.extend(history, np.full(count, 7, np.int32))
    assert history.size[0] == sum(steps)
    assert history.tokens[: sum(steps)].tolist() == [7] * sum(steps)
    assert sum(array.nbytes for array in history) <= max(least, BYTES_PER_TOKEN * sum(steps) + 64)
