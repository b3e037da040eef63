"""Products of at most 64 rows with a bfloat16, float16 or float32 weight, each row's bits independent of the others.

The weight is the left operand, so that its 64 output columns fill the matrix instruction and the 16 rows are its
narrow side. All rows of a round use a weight tile while it is in shared memory: memory is read once, whatever the
width. The order of work follows from (outputs, inputs, processors) alone. Knows nothing of models.
"""

import torch
import triton
import triton.language as tl

from engine.forward.cuda.kernels import MAX_ROWS, TILE, interpreted

COLUMNS = 64  # outputs of one program: Hopper's matrix instruction takes 64
_DEPTH = 128  # inputs of one step
_FEWEST_STEPS = 2  # of a piece: below, starting and adding up cost more than the parallel work saves
_MOST_PIECES = 16


@triton.jit(do_not_specialize=("rows",))
def _products(
    x,
    weight,
    bias,
    out,
    rows,
    outputs,
    inputs,
    STEPS: tl.constexpr,
    BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    DOT: tl.constexpr,
):
    """out[piece, row, column]: the sum over one piece of the inputs; the bias belongs to the first."""
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    piece = tl.program_id(1)
    tile = tl.arange(0, 16)
    ks = piece * STEPS * DEPTH + tl.arange(0, DEPTH)
    weight_at = weight + columns[:, None].to(tl.int64) * inputs + ks[None, :]
    x_at = x + tile[None, :] * inputs + ks[:, None]
    start = tl.zeros((COLUMNS, 16), tl.float32)
    if BIAS:
        first = tl.load(bias + columns, mask=columns < outputs, other=0.0).to(tl.float32)
        start += tl.where(piece == 0, first, 0.0)[:, None]
    sums0, sums1, sums2, sums3 = start, start, start, start
    for step in range(STEPS):
        done = step * DEPTH
        inside = ks + done < inputs
        w = tl.load(weight_at + done, mask=(columns < outputs)[:, None] & inside[None, :], other=0.0).to(DOT)
        x0 = tl.load(x_at + done, mask=inside[:, None] & (tile < rows)[None, :], other=0.0).to(DOT)
        sums0 = tl.dot(w, x0, sums0, input_precision="ieee")
        if ROWS > 16:
            x1 = tl.load(x_at + 16 * inputs + done, mask=inside[:, None] & (tile + 16 < rows)[None, :], other=0.0)
            sums1 = tl.dot(w, x1.to(DOT), sums1, input_precision="ieee")
        if ROWS > 32:
            x2 = tl.load(x_at + 32 * inputs + done, mask=inside[:, None] & (tile + 32 < rows)[None, :], other=0.0)
            sums2 = tl.dot(w, x2.to(DOT), sums2, input_precision="ieee")
            x3 = tl.load(x_at + 48 * inputs + done, mask=inside[:, None] & (tile + 48 < rows)[None, :], other=0.0)
            sums3 = tl.dot(w, x3.to(DOT), sums3, input_precision="ieee")
    out += piece.to(tl.int64) * rows * outputs
    store_tile(out, sums0, columns, tile, rows, outputs)
    if ROWS > 16:
        store_tile(out, sums1, columns, tile + 16, rows, outputs)
    if ROWS > 32:
        store_tile(out, sums2, columns, tile + 32, rows, outputs)
        store_tile(out, sums3, columns, tile + 48, rows, outputs)


@triton.jit
def store_tile(out, sums, columns, tile, rows, outputs):
    at = out + tile[None, :] * outputs + columns[:, None]
    tl.store(at, sums.to(out.dtype.element_ty), mask=(columns < outputs)[:, None] & (tile < rows)[None, :])


class Dense:
    """y = x W^T + b for a weight (outputs, inputs), contiguous, and a bias (outputs,) or None."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, processors: int) -> None:
        if not weight.is_contiguous():
            raise ValueError(f"The weight must be contiguous; its strides are {weight.stride()}.")
        self._weight = weight
        self._bias = bias
        self.outputs, self.inputs = weight.shape
        self._depth = _DEPTH * 2 // weight.element_size()
        self.pieces, self._steps = pieces_for(self.outputs, self.inputs, self._depth, processors)

    def __call__(self, x: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """(rows, inputs) -> (pieces, rows, outputs) in `dtype`; the product is the sum of its pieces, in order."""
        rows = check_rows(x, self.inputs)
        out = torch.empty((self.pieces, rows, self.outputs), dtype=dtype, device=x.device)
        tiles = tiles_for(rows)
        _products[(triton.cdiv(self.outputs, COLUMNS), self.pieces)](
            x,
            self._weight,
            self._bias,
            out,
            rows,
            self.outputs,
            self.inputs,
            STEPS=self._steps,
            BIAS=self._bias is not None,
            ROWS=tiles * TILE,
            COLUMNS=COLUMNS,
            DEPTH=self._depth,
            DOT=dot_type(x.dtype),
            num_warps=4,
            num_stages=stages_for(tiles),
        )
        return out


def pieces_for(outputs: int, inputs: int, depth: int, processors: int) -> tuple[int, int]:
    """Into how many pieces a product's inputs are cut, and the steps of each: enough programs for all processors.

    >>> pieces_for(4096, 4096, 128, 132), pieces_for(28672, 4096, 128, 132)
    ((4, 8), (1, 32))
    """
    programs, steps = -(-outputs // COLUMNS), -(-inputs // depth)
    pieces = 1
    while pieces < _MOST_PIECES and programs * pieces * 2 < processors * 3 and steps >= 2 * pieces * _FEWEST_STEPS:
        pieces *= 2
    each = -(-steps // pieces)
    return -(-steps // each), each


def check_rows(x: torch.Tensor, inputs: int) -> int:
    """The number of rows of `x`, which the kernels read as one block of memory."""
    rows = x.shape[0]
    if not 0 < rows <= MAX_ROWS or x.shape[1] != inputs or not x.is_contiguous():
        raise ValueError(f"Expected 1 to {MAX_ROWS} contiguous rows of {inputs}; got {tuple(x.shape)}.")
    return rows


def stages_for(tiles: int) -> int:
    """Steps that are fetched ahead, as shared memory allows; they touch no bits."""
    return 4 if tiles < 4 else 3


def tiles_for(rows: int) -> int:
    """Tiles of 16 rows in one program: 1, 2 or 4."""
    return 1 if rows <= TILE else 2 if rows <= 2 * TILE else 4


def dot_type(dtype: torch.dtype) -> tl.dtype:
    """What is multiplied; the interpreter has no bfloat16 product, and float32 holds its factors exactly."""
    if interpreted():
        return tl.float32
    return {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}[dtype]
