"""Attention of a round's rows over the cache: in parts that go by position alone, put together in their order.

The row at position q reads two kinds of positions, and where the one ends and the other begins goes by q:

- up to `border(q)`, a multiple of 64 that any round starts behind, keys stand at the slots of their positions. Query
  heads that share a key head, and rows of the round, are packed 16 to a tile, so keys are read once for all of them;
  the positions are cut into parts at fixed places, which run in parallel.
- the last 64 to 127 positions may be the round's own. One tile for each row reads them along that row's path: position
  p of it stands at slot p, or where the round has written it. So a token's sums are taken over the same positions in
  the same order, whether its ancestors were committed long ago, stand in a chain beside it, or in a branch of a tree.

Positions that a row must not see weigh exactly 0. The number of committed tokens is read from the device's memory.
Flash-decoding (Dao et al., 2023) has the parts; fixed places for them are what makes widths and trees agree.
"""

import torch
import triton
import triton.language as tl

from engine.forward.cuda.kernels import MAX_ROWS
from engine.forward.cuda.kernels.linear import dot_type

_SMALL, _NUM_SMALL, _LARGE = 256, 64, 2048  # positions of a part: short ones first, long ones for long contexts
_GATHERED = 16  # parts that are put together at a time
_LOG2E = 1.4426950408889634


@triton.jit
def _border(position):
    """Where the row's own path begins: at most the length of any cache that a round of 64 rows starts from."""
    return tl.maximum(position - 63, 0) // 64 * 64


@triton.jit
def _part_begin(part, SMALL: tl.constexpr, NUM_SMALL: tl.constexpr, LARGE: tl.constexpr):
    return tl.minimum(part, NUM_SMALL) * SMALL + tl.maximum(part - NUM_SMALL, 0) * LARGE


@triton.jit
def _walk(
    query,
    position,
    there,
    begin,
    end,
    keys,
    values,
    key_slot,
    value_slot,
    path,
    length,
    scale,
    softcap,
    PATH: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SIZE: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    DOT: tl.constexpr,
):
    """Softmax over positions [begin, end) for 16 queries, block after block: largest score (16,), sum of weights (16,),
    output (dims, 16). The queries are the narrow side of both products, as rows are in `linear`."""
    dims = tl.arange(0, DIM)
    largest = tl.full((16,), float("-inf"), tl.float32)
    weight_sum = tl.zeros((16,), tl.float32)
    out = tl.zeros((DIM, 16), tl.float32)
    for first in range(begin, end, BLOCK):
        p = first + tl.arange(0, BLOCK)
        slot = p
        if PATH:
            own = (p >= length) & (p < end)
            slot = tl.where(own, length + tl.load(path + p - length, mask=own, other=0), p)
        readable = (p < end)[:, None] & (dims < SIZE)[None, :]
        key = tl.load(keys + slot[:, None].to(tl.int64) * key_slot + dims[None, :], mask=readable, other=0.0).to(DOT)
        score = tl.dot(key, query, input_precision="ieee") * scale
        if SOFTCAP:  # Gemma 2 (arXiv 2408.00118, section 2); softcap * tanh(score / softcap)
            score = softcap * (1.0 - 2.0 / (tl.exp2(score * (2.0 * 1.4426950408889634) / softcap) + 1.0))
        score *= 1.4426950408889634
        if PATH:
            seen = there[None, :] & (p[:, None] <= position[None, :])
        else:
            seen = there[None, :] & (p[:, None] < _border(position)[None, :])
        seen &= (p < end)[:, None]
        if WINDOW > 0:
            seen &= p[:, None] > position[None, :] - WINDOW
        score = tl.where(seen, score, float("-inf"))
        higher = tl.maximum(largest, tl.max(score, 0))
        finite = tl.where(higher == float("-inf"), 0.0, higher)
        shrink = tl.exp2(largest - finite)
        weight = tl.exp2(score - finite[None, :])
        weight_sum = weight_sum * shrink + tl.sum(weight, 0)
        at = values + slot[:, None].to(tl.int64) * value_slot + dims[None, :]
        value = tl.load(at, mask=readable, other=0.0)
        out = out * shrink[None, :]
        out = tl.dot(tl.trans(value).to(DOT), weight.to(value.dtype).to(DOT), out, input_precision="ieee")
        largest = higher
    return largest, weight_sum, out


@triton.jit(do_not_specialize=("rows", "parts"))
def _parts(
    queries,
    keys,
    values,
    outs,
    tops,
    sums,
    positions,
    paths,
    committed,
    key_head,
    key_slot,
    value_head,
    value_slot,
    scale,
    softcap,
    rows,
    parts,
    HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SIZE: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    DOT: tl.constexpr,
    SMALL: tl.constexpr,
    NUM_SMALL: tl.constexpr,
    LARGE: tl.constexpr,
):
    """Part 0 is the rows' own paths, a tile for each row; the others are the positions before, rows packed."""
    kv_head = tl.program_id(0)
    part = tl.program_id(2)
    tiles_each: tl.constexpr = (GROUPS + 15) // 16
    lane = tl.arange(0, 16)
    dims = tl.arange(0, DIM)
    if part == 0:
        one = tl.program_id(1) // tiles_each
        group = tl.program_id(1) % tiles_each * 16 + lane
        row = one + lane * 0
        there = group < GROUPS
    else:
        one = 0
        row = (tl.program_id(1) * 16 + lane) // GROUPS
        group = (tl.program_id(1) * 16 + lane) % GROUPS
        there = row < rows
    position = tl.load(positions + row, mask=there, other=0)
    if part == 0:
        last = tl.load(positions + one)
        begin = _border(last)
        end = last + 1
    else:
        begin = _part_begin(part - 1, SMALL, NUM_SMALL, LARGE)
        end = tl.minimum(_part_begin(part, SMALL, NUM_SMALL, LARGE), tl.max(tl.where(there, _border(position), 0), 0))
    if begin < end:
        head = row * HEADS + kv_head * GROUPS + group
        query_at = queries + head[None, :] * SIZE + dims[:, None]
        query = tl.load(query_at, mask=there[None, :] & (dims < SIZE)[:, None], other=0.0).to(DOT)
        keys += kv_head.to(tl.int64) * key_head
        values += kv_head.to(tl.int64) * value_head
        length = tl.load(committed)
        if part == 0:
            top, total, out = _walk(
                query, position, there, begin, end, keys, values, key_slot, value_slot, paths + one * 64, length,
                scale, softcap, True, WINDOW, SOFTCAP, SIZE, DIM, BLOCK, DOT,
            )  # fmt: skip
        else:
            if WINDOW > 0:  # whole blocks that no row sees would change nothing
                nearest = tl.min(tl.where(there, position, 2147483647), 0)
                begin = tl.maximum(begin, tl.maximum(nearest + 1 - WINDOW, 0) // BLOCK * BLOCK)
            top, total, out = _walk(
                query, position, there, begin, end, keys, values, key_slot, value_slot, paths, length,
                scale, softcap, False, WINDOW, SOFTCAP, SIZE, DIM, BLOCK, DOT,
            )  # fmt: skip
        at = head.to(tl.int64) * parts + part
        tl.store(tops + at, top, mask=there)
        tl.store(sums + at, total, mask=there)
        tl.store(outs + at[None, :] * DIM + dims[:, None], out, mask=there[None, :])


@triton.jit(do_not_specialize=("parts",))
def _together(
    outs,
    tops,
    sums,
    positions,
    result,
    parts,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    DIM: tl.constexpr,
    SMALL: tl.constexpr,
    NUM_SMALL: tl.constexpr,
    LARGE: tl.constexpr,
    GATHERED: tl.constexpr,
):
    """The parts that one row's position has, in their order, for one head: how many there are goes by position."""
    row = tl.program_id(0)
    head = tl.program_id(1)
    dims = tl.arange(0, DIM)
    border = _border(tl.load(positions + row))
    at = (row * HEADS + head).to(tl.int64) * parts
    small = (tl.minimum(border, SMALL * NUM_SMALL) + SMALL - 1) // SMALL
    used = 1 + small + (tl.maximum(border - SMALL * NUM_SMALL, 0) + LARGE - 1) // LARGE
    largest = tl.load(tops + at)
    for first in range(0, used, GATHERED):
        part = first + tl.arange(0, GATHERED)
        largest = tl.maximum(largest, tl.max(tl.load(tops + at + part, mask=part < used, other=float("-inf")), 0))
    total = 0.0
    out = tl.zeros((DIM,), tl.float32)
    for first in range(0, used, GATHERED):
        part = first + tl.arange(0, GATHERED)
        factor = tl.exp2(tl.load(tops + at + part, mask=part < used, other=float("-inf")) - largest)
        total += tl.sum(factor * tl.load(sums + at + part, mask=part < used, other=0.0), 0)
        some = tl.load(outs + (at + part)[:, None] * DIM + dims[None, :], mask=(part < used)[:, None], other=0.0)
        out += tl.sum(factor[:, None] * some, 0)
    at_result = result + (row * HEADS + head) * SIZE + dims
    tl.store(at_result, (out / total).to(result.dtype.element_ty), mask=dims < SIZE)


def block_for(size: int) -> int:
    """Positions of one step, by head size alone."""
    return 64 if size <= 128 else 32


def num_parts(capacity: int) -> int:
    """Parts of a row's positions at most, in a cache of that many slots; the first is its own path.

    >>> num_parts(256), num_parts(16384), num_parts(18433)
    (2, 65, 67)
    """
    small = min(_NUM_SMALL, -(-capacity // _SMALL))
    return 1 + small + -(-max(0, capacity - _SMALL * _NUM_SMALL) // _LARGE)


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: torch.Tensor,
    paths: torch.Tensor,
    committed: torch.Tensor,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Attention of `queries` (rows, heads, size) over `keys`, `values` (kv_heads, capacity, size), last stride 1.

    `committed` (1,) tokens are in the cache. The row at `positions[i]` (rows,) sees them and its own path: the token
    that stands d positions behind them is at slot committed + paths[i, d], `paths` being (rows, 64). All three are
    int32 on the device. Each sees the last `window` positions alone, if given. Returns (rows, heads * size).
    """
    rows, heads, size = queries.shape
    kv_heads, capacity, _ = keys.shape
    groups = heads // kv_heads
    parts = num_parts(capacity)
    dim = max(16, triton.next_power_of_2(size))
    outs = torch.empty((rows, heads, parts, dim), dtype=torch.float32, device=queries.device)
    tops, sums = torch.empty((2, rows, heads, parts), dtype=torch.float32, device=queries.device)
    result = torch.empty((rows, heads * size), dtype=queries.dtype, device=queries.device)
    places = {"SMALL": _SMALL, "NUM_SMALL": _NUM_SMALL, "LARGE": _LARGE}
    assert rows <= MAX_ROWS
    assert paths.shape[1] == MAX_ROWS
    _parts[(kv_heads, rows * triton.cdiv(groups, 16), parts)](
        queries,
        keys,
        values,
        outs,
        tops,
        sums,
        positions,
        paths,
        committed,
        *keys.stride()[:2],
        *values.stride()[:2],
        scale,
        softcap or 0.0,
        rows,
        parts,
        HEADS=heads,
        GROUPS=groups,
        WINDOW=window or 0,
        SOFTCAP=softcap is not None,
        SIZE=size,
        DIM=dim,
        BLOCK=block_for(dim),
        DOT=dot_type(queries.dtype),
        **places,
        num_warps=4,
        num_stages=3,
    )
    _together[(rows, heads)](
        outs, tops, sums, positions, result, parts, HEADS=heads, SIZE=size, DIM=dim, GATHERED=_GATHERED, **places,
        num_warps=2,
    )  # fmt: skip
    return result
