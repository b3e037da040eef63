"""The desk: compiled code finds the very arrays that were laid out, and nothing of another type is laid there."""

import gc
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from engine.drafting.compiled.desk import borrowed, desk_for, make_desk


class Pair(NamedTuple):
    counts: Any
    rows: Any


class Nested(NamedTuple):
    pair: Pair
    weights: Any


def make_nested() -> Nested:
    return Nested(Pair(np.zeros(3, np.int64), np.arange(6, dtype=np.int32).reshape(2, 3)), np.ones(4, np.float32))


put, read = desk_for(make_nested())


@numba.njit
def lay_out(desk: Any, nested: Any) -> None:
    put(desk, borrowed(nested))


@numba.njit
def work(desk: Any, place: int) -> float:
    nested = read(desk)
    nested.pair.counts[place] += nested.pair.rows[1, place]
    row = nested.pair.rows[0]
    row[place] = 7
    return nested.weights.sum() + len(nested.pair.counts)


def test_compiled_code_works_on_the_arrays_themselves() -> None:
    first, second = make_nested(), make_nested()
    desk, other = make_desk(), make_desk()
    lay_out(desk, first)
    lay_out(other, second)
    for _ in range(3):
        assert work(desk, 1) == 7.0
        gc.collect()
    assert first.pair.counts.tolist() == [0, 12, 0]
    assert first.pair.rows.tolist() == [[0, 7, 2], [3, 4, 5]]
    assert second.pair.counts.tolist() == [0, 0, 0]
    lay_out(desk, second)
    work(desk, 0)
    assert first.pair.counts.tolist() == [0, 12, 0]
    assert second.pair.counts.tolist() == [3, 0, 0]


def test_another_type_is_refused() -> None:
    nested = make_nested()
    with pytest.raises(numba.TypingError):
        lay_out(make_desk(), nested._replace(weights=np.ones(4, np.float64)))
