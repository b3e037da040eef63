"""Argument blocks: compiled code finds the very arrays that it is to work on, and nothing of another type."""

import gc
import weakref
from copy import deepcopy
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from engine.drafting.compiled.arguments import ArgumentBlock, borrowed, layout_of


class Pair(NamedTuple):
    counts: Any
    rows: Any


class Nested(NamedTuple):
    pair: Pair
    weights: Any


def make_nested() -> Nested:
    return Nested(Pair(np.zeros(3, np.int64), np.arange(6, dtype=np.int32).reshape(2, 3)), np.ones(4, np.float32))


write_nested, nested_in = layout_of(make_nested())


@numba.njit
def write(words: Any, nested: Any) -> None:
    write_nested(words, borrowed(nested))


@numba.njit
def work(words: Any, position: int) -> float:
    nested = nested_in(words)
    nested.pair.counts[position] += nested.pair.rows[1, position]
    row = nested.pair.rows[0]
    row[position] = 7
    return nested.weights.sum() + len(nested.pair.counts)


def test_compiled_code_works_on_the_arrays_themselves() -> None:
    first, second = make_nested(), make_nested()
    block, other = ArgumentBlock(write), ArgumentBlock(write)
    other.words_for(second)
    for _ in range(3):
        assert work(block.words_for(first), 1) == 7.0
        gc.collect()
    assert first.pair.counts.tolist() == [0, 12, 0]
    assert first.pair.rows.tolist() == [[0, 7, 2], [3, 4, 5]]
    assert second.pair.counts.tolist() == [0, 0, 0]


def test_a_replaced_array_is_found_without_being_asked_for() -> None:
    """Nobody can forget to write the words anew."""
    nested = make_nested()
    block = ArgumentBlock(write)
    work(block.words_for(nested), 1)
    replaced = nested._replace(pair=nested.pair._replace(counts=np.zeros(3, np.int64)))
    work(block.words_for(replaced), 1)
    assert nested.pair.counts.tolist() == [0, 4, 0]
    assert replaced.pair.counts.tolist() == [0, 4, 0]


def test_the_arrays_of_the_words_are_kept() -> None:
    """Words that somebody still holds name no memory that was given back."""
    nested = make_nested()
    counts = weakref.ref(nested.pair.counts)
    block = ArgumentBlock(write)
    words = block.words_for(nested)
    del nested
    gc.collect()
    assert counts() is not None
    assert work(words, 2) == 7.0
    block.words_for(make_nested())
    assert counts() is None


def test_a_copy_names_its_own_arrays() -> None:
    nested = make_nested()
    block = ArgumentBlock(write)
    block.words_for(nested)
    copied_block, copied = deepcopy((block, nested))
    work(copied_block.words_for(copied), 1)
    assert nested.pair.counts.tolist() == [0, 0, 0]
    assert copied.pair.counts.tolist() == [0, 4, 0]


def test_another_type_is_refused() -> None:
    nested = make_nested()
    with pytest.raises(numba.TypingError):
        ArgumentBlock(write).words_for(nested._replace(weights=np.ones(4, np.float64)))
