"""What happens to one row at a time between a round's products, each in one kernel.

A product arrives as its pieces (pieces, rows, outputs) in float32, and is added up here, piece after piece, where it is
used: that saves a kernel and a rounding. Sums over a row are taken by one program, in an order of its own.
"""

import torch
import triton
import triton.language as tl

ACTIVATIONS = ("silu", "gelu_tanh")
_WIDE = 1024  # outputs of one program where a row is worked on in parts


@triton.jit
def _sum_pieces(pieces, at, stride, mask, PIECES: tl.constexpr):
    total = tl.load(pieces + at, mask=mask, other=0.0).to(tl.float32)
    for piece in tl.static_range(1, PIECES):
        total += tl.load(pieces + piece * stride + at, mask=mask, other=0.0)
    return total


@triton.jit
def _normed(x, scale, epsilon, columns, mask, SIZE: tl.constexpr):
    weight = tl.load(scale + columns, mask=mask, other=0.0).to(tl.float32)
    return x * tl.rsqrt(tl.sum(x * x, 0) / SIZE + epsilon) * weight


@triton.jit(do_not_specialize=("rows",))
def _add_norm(
    stream,
    pieces,
    branch_scale,
    branch_epsilon,
    scale,
    epsilon,
    new_stream,
    normed,
    rows,
    PIECES: tl.constexpr,
    BRANCH: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < SIZE
    x = tl.load(stream + row * SIZE + columns, mask=mask, other=0.0).to(tl.float32)
    if PIECES > 0:
        y = _sum_pieces(pieces, row * SIZE + columns, rows * SIZE, mask, PIECES)
        if BRANCH:
            y = _normed(y, branch_scale, branch_epsilon, columns, mask, SIZE)
        kept = (x + y).to(new_stream.dtype.element_ty)
        tl.store(new_stream + row * SIZE + columns, kept, mask=mask)
        x = kept.to(tl.float32)
    out = _normed(x, scale, epsilon, columns, mask, SIZE)
    tl.store(normed + row * SIZE + columns, out.to(normed.dtype.element_ty), mask=mask)


def add_norm(
    stream: torch.Tensor,
    pieces: torch.Tensor | None,
    branch: tuple[torch.Tensor, float] | None,
    norm: tuple[torch.Tensor, float],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add a layer's output, in `pieces`, to the stream (rows, size), and RMSNorm (arXiv 1910.07467) the sum.

    Returns the new stream and the normed rows. `norm`: scale (size,) and epsilon; `branch`: those of the norm that
    Gemma puts on what is added. Without `pieces` the stream stays.
    """
    rows, size = stream.shape
    normed = torch.empty_like(stream)
    added = stream if pieces is None else torch.empty_like(stream)
    block = triton.next_power_of_2(size)
    _add_norm[(rows,)](
        stream,
        pieces,
        branch[0] if branch else None,
        branch[1] if branch else 0.0,
        *norm,
        added,
        normed,
        rows,
        PIECES=0 if pieces is None else pieces.shape[0],
        BRANCH=branch is not None,
        SIZE=size,
        BLOCK=block,
        num_warps=4 if block <= 2048 else 8,
    )
    return added, normed


@triton.jit(do_not_specialize=("rows",))
def _gate(pieces, out, rows, SIZE: tl.constexpr, PIECES: tl.constexpr, ACTIVATION: tl.constexpr, WIDE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    mask = columns < SIZE
    stride = rows * 2 * SIZE
    gate = _sum_pieces(pieces, row * 2 * SIZE + columns, stride, mask, PIECES)
    up = _sum_pieces(pieces, row * 2 * SIZE + SIZE + columns, stride, mask, PIECES)
    if ACTIVATION == "silu":
        active = gate * tl.sigmoid(gate)
    else:  # 0.5 x (1 + tanh z) = x sigmoid(2 z)
        active = gate * tl.sigmoid(1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))
    tl.store(out + row * SIZE + columns, (active * up).to(out.dtype.element_ty), mask=mask)


def gate(pieces: torch.Tensor, activation: str, dtype: torch.dtype) -> torch.Tensor:
    """activation(gate) * up, (rows, size), of the product `pieces` (pieces, rows, 2 * size): gate, then up."""
    _, rows, both = pieces.shape
    out = torch.empty((rows, both // 2), dtype=dtype, device=pieces.device)
    _gate[(rows, triton.cdiv(both // 2, _WIDE))](
        pieces, out, rows, SIZE=both // 2, PIECES=pieces.shape[0], ACTIVATION=activation, WIDE=_WIDE, num_warps=4
    )
    return out


@triton.jit(do_not_specialize=("rows",))
def _rope_and_cache(
    pieces,
    query_scale,
    key_scale,
    epsilon,
    cosines,
    sines,
    slots,
    queries,
    keys,
    values,
    key_head,
    key_slot,
    value_head,
    value_slot,
    rows,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    TURNED: tl.constexpr,
    NORM: tl.constexpr,
    PIECES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    mask = columns < SIZE
    width: tl.constexpr = (HEADS + 2 * KV_HEADS) * SIZE
    at = row * width + head * SIZE
    x = _sum_pieces(pieces, at + columns, rows * width, mask, PIECES)
    slot = tl.load(slots + row).to(tl.int64)
    if head >= HEADS + KV_HEADS:
        value_at = values + (head - HEADS - KV_HEADS) * value_head + slot * value_slot + columns
        tl.store(value_at, x.to(values.dtype.element_ty), mask=mask & (slot + columns * 0 >= 0))
    else:
        half: tl.constexpr = TURNED // 2
        other = tl.where(columns < half, columns + half, columns - half)
        if TURNED > 0:
            y = _sum_pieces(pieces, at + other, rows * width, columns < TURNED, PIECES)
        if NORM:
            scale = query_scale if head < HEADS else key_scale
            shrink = tl.rsqrt(tl.sum(x * x, 0) / SIZE + epsilon)
            x = x * shrink * tl.load(scale + columns, mask=mask, other=0.0).to(tl.float32)
            if TURNED > 0:
                y = y * shrink * tl.load(scale + other, mask=columns < TURNED, other=0.0).to(tl.float32)
        if TURNED > 0:
            cos = tl.load(cosines + row * TURNED + columns, mask=columns < TURNED, other=1.0)
            sin = tl.load(sines + row * TURNED + columns, mask=columns < TURNED, other=0.0)
            x = x * cos + y * sin
        if head < HEADS:
            tl.store(queries + (row * HEADS + head) * SIZE + columns, x.to(queries.dtype.element_ty), mask=mask)
        else:
            key_at = keys + (head - HEADS) * key_head + slot * key_slot + columns
            tl.store(key_at, x.to(keys.dtype.element_ty), mask=mask & (slot + columns * 0 >= 0))


def rope_and_cache(
    pieces: torch.Tensor,
    heads: int,
    norms: tuple[torch.Tensor, torch.Tensor, float] | None,
    turn: tuple[torch.Tensor, torch.Tensor] | None,
    slots: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> torch.Tensor:
    """Queries (rows, heads, size) of the product `pieces` (pieces, rows, queries + keys + values); its keys and values
    go into `keys` and `values` (kv_heads, capacity, size) at `slots` (rows,), those at -1 nowhere.

    `norms`: scales (size,) of the queries' and keys' RMSNorm, and epsilon. `turn`: cosines and sines
    (rows, 1, turned) in float32, the sines of the first half with the rotation's minus (arXiv 2104.09864).
    """
    rows = pieces.shape[1]
    kv_heads, _, size = keys.shape
    queries = torch.empty((rows, heads, size), dtype=keys.dtype, device=pieces.device)
    _rope_and_cache[(rows, heads + 2 * kv_heads)](
        pieces,
        *(norms or (None, None, 0.0)),
        *(turn or (None, None)),
        slots,
        queries,
        keys,
        values,
        *keys.stride()[:2],
        *values.stride()[:2],
        rows,
        HEADS=heads,
        KV_HEADS=kv_heads,
        SIZE=size,
        TURNED=0 if turn is None else turn[0].shape[-1],
        NORM=norms is not None,
        PIECES=pieces.shape[0],
        BLOCK=triton.next_power_of_2(size),
        num_warps=1,
    )
    return queries


@triton.jit(do_not_specialize=("rows",))
def _finish(pieces, out, rows, SIZE: tl.constexpr, PIECES: tl.constexpr, WIDE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    mask = columns < SIZE
    total = _sum_pieces(pieces, row * SIZE + columns, rows * SIZE, mask, PIECES)
    tl.store(out + row * SIZE + columns, total.to(out.dtype.element_ty), mask=mask)


def finish(pieces: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The product itself, (rows, outputs), of its `pieces` (pieces, rows, outputs)."""
    count, rows, size = pieces.shape
    if count == 1 and pieces.dtype == dtype:
        return pieces[0]
    out = torch.empty((rows, size), dtype=dtype, device=pieces.device)
    _finish[(rows, triton.cdiv(size, _WIDE))](pieces, out, rows, SIZE=size, PIECES=count, WIDE=_WIDE, num_warps=4)
    return out
