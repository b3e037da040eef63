"""Attention against float64, across parts, in trees and windows. Under Triton's interpreter, see test_kernels."""

from collections.abc import Sequence

import pytest
import torch

from engine.forward.cuda.kernels import attention
from engine.forward.cuda.kernels.attention import attend, num_parts

CAPACITY = 768


def reference(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: Sequence[int],
    paths: torch.Tensor,
    length: int,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    rows, heads, size = queries.shape
    groups = heads // keys.shape[0]
    out = torch.zeros(rows, heads, size, dtype=torch.float64)
    for row, position in enumerate(positions):
        slots = [p if p < length else length + int(paths[row, p - length]) for p in range(position + 1)]
        slots = slots[-window:] if window else slots
        for head in range(heads):
            scores = keys[head // groups, slots].double() @ queries[row, head].double() * size**-0.5
            if softcap:
                scores = torch.tanh(scores / softcap) * softcap
            out[row, head] = scores.softmax(0) @ values[head // groups, slots].double()
    return out.view(rows, -1)


def tensors(rows: int, heads: int, kv_heads: int, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, and keys and values that are views into something larger."""
    torch.manual_seed(rows + size)
    return (
        torch.randn(rows, heads, size),
        torch.randn(kv_heads, CAPACITY, size + 8)[..., :size],
        torch.randn(CAPACITY, kv_heads, size).transpose(0, 1),
    )


def numbers(values: Sequence[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


CHAIN = torch.arange(64, dtype=torch.int32)


@pytest.mark.parametrize(
    ("rows", "heads", "kv_heads", "size", "length", "window", "softcap"),
    [
        (1, 2, 1, 32, 0, None, None),
        (3, 4, 2, 32, 62, None, None),  # the first row without a part before its own path, the last with one
        (4, 4, 2, 64, 317, None, None),  # parts of 256, and own paths that begin at 256 and at 192
        (2, 3, 1, 80, 575, 100, None),
        (2, 2, 2, 32, 512, 40, 20.0),
        (1, 20, 1, 16, 130, None, None),  # more heads to a key head than a tile has rows
        (1, 2, 1, 256, 300, None, 50.0),
    ],
)
def test_a_chain_against_float64(
    rows: int, heads: int, kv_heads: int, size: int, length: int, window: int | None, softcap: float | None
) -> None:
    queries, keys, values = tensors(rows, heads, kv_heads, size)
    positions, paths = range(length, length + rows), CHAIN.repeat(rows, 1)
    out = attend(
        queries, keys, values, numbers(positions), paths, numbers([length]), scale=size**-0.5, window=window,
        softcap=softcap,
    )  # fmt: skip
    exact = reference(queries, keys, values, positions, paths, length, window, softcap)
    assert (out.double() - exact).abs().max() < 2e-6


def test_long_contexts_have_longer_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_SMALL", 64)
    monkeypatch.setattr(attention, "_NUM_SMALL", 2)
    monkeypatch.setattr(attention, "_LARGE", 192)
    assert [num_parts(capacity) for capacity in (64, 128, 129, 320, 321)] == [2, 3, 4, 4, 5]
    queries, keys, values = tensors(1, 2, 1, 16)
    for length in (190, 255, 500):
        paths = CHAIN[None]
        out = attend(queries, keys, values, numbers([length]), paths, numbers([length]), scale=0.25)
        exact = reference(queries, keys, values, [length], paths, length, None, None)
        assert (out.double() - exact).abs().max() < 2e-6


def test_bits_depend_neither_on_width_nor_on_where_the_round_began() -> None:
    """Positions 300 to 306 in one round, in others of one to four rows, in any order, beside rows of nonsense."""
    length, rows = 300, 7
    queries, keys, values = tensors(rows, 4, 2, 32)
    positions = numbers(range(length, length + rows))

    def run(chosen: Sequence[int], committed: int, **options: int) -> torch.Tensor:
        paths = CHAIN.repeat(len(chosen), 1)
        picked = queries[list(chosen)].contiguous()
        at = positions[list(chosen)].contiguous()
        return attend(picked, keys, values, at, paths, numbers([committed]), scale=0.2, **options)

    for options in ({}, {"window": 150}):
        whole = run(range(rows), length, **options)
        for begin, end in ((0, 1), (3, 7)):
            assert torch.equal(run(range(begin, end), length + begin, **options), whole[begin:end])
        order = [4, 0, 6, 2, 1, 5, 3]
        assert torch.equal(run(order, length, **options), whole[order])
    wanted = run(range(rows), length)[0]
    queries[1:] = 1e4
    assert torch.equal(run(range(rows), length)[0], wanted)


@pytest.mark.parametrize("length", [313, 318])  # the second reaches beyond a multiple of 64
def test_a_branch_has_the_bits_of_a_chain(length: int) -> None:
    """The same tokens one behind the other, and in a tree's slots with other branches between them."""
    own = 5
    queries, keys, values = tensors(own, 4, 2, 32)
    keys, values = keys.clone(), values.clone()
    positions = numbers(range(length, length + own))
    chain = attend(queries, keys, values, positions, CHAIN.repeat(own, 1), numbers([length]), scale=0.2)
    offsets = [0, 3, 4, 9, 40]
    slots, moved = torch.arange(length, length + own), length + torch.tensor(offsets)
    keys[:, moved], values[:, moved] = keys[:, slots], values[:, slots]
    hidden = [length + offset for offset in range(41) if offset not in offsets]
    keys[:, hidden] = values[:, hidden] = 1e4  # other branches
    paths = torch.zeros(own, 64, dtype=torch.int32)
    for depth in range(own):
        paths[depth:, depth] = offsets[depth]
    assert torch.equal(attend(queries, keys, values, positions, paths, numbers([length]), scale=0.2), chain)
