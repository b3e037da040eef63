"""Products of at most 64 rows with weights that bitsandbytes holds in NF4, read as they lie in its buffers.

A byte holds two weights, the even input in the high nibble; each 64 inputs share a scale (`absmax`), and the scales are
bytes themselves where the quantisation is nested: code[byte] * absmax2[its block of 256] + offset. A tile of weights is
made whole in registers, rounded as bitsandbytes' own dequantisation rounds it, and multiplied as in `linear`: the order
of work is that of the shape, so a row's bits do not depend on the others.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import nn

from engine.forward.cuda.kernels import TILE
from engine.forward.cuda.kernels.linear import COLUMNS, check_rows, dot_type, pieces_for, store_tile, tiles_for

_BLOCK = 64  # inputs that share a scale: one step
_NESTED_BLOCK = 256  # scales that share a scale of theirs


@triton.jit(do_not_specialize=("rows",))
def _nf4_products(
    x,
    packed,
    absmax,
    absmax2,
    code2,
    shift,
    offset,
    table,
    bias,
    out,
    rows,
    outputs,
    inputs,
    STEPS: tl.constexpr,
    NESTED: tl.constexpr,
    BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DOT: tl.constexpr,
):
    """out[piece, row, column] as in `linear`; one step is one block of 64 inputs."""
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    piece = tl.program_id(1)
    tile = tl.arange(0, 16)
    ks = tl.arange(0, 64)
    blocks = inputs // 64
    packed_at = packed + columns[:, None].to(tl.int64) * (inputs // 2) + tl.arange(0, 32)[None, :]
    x_at = x + tile[None, :] * inputs + ks[:, None]
    if NESTED:
        shifts = tl.load(shift + columns, mask=columns < outputs, other=0)
        offsets = tl.load(offset + columns, mask=columns < outputs, other=0.0)
    start = tl.zeros((COLUMNS, 16), tl.float32)
    if BIAS:
        first = tl.load(bias + columns, mask=columns < outputs, other=0.0).to(tl.float32)
        start += tl.where(piece == 0, first, 0.0)[:, None]
    sums0, sums1, sums2, sums3 = start, start, start, start
    # Gathered from shared memory below: Triton would copy loads from a table one by one.
    values = tl.load(table + tl.arange(0, 16))
    for step in range(STEPS):
        block = piece * STEPS + step
        inside = block * 64 + ks < inputs
        there = (columns < outputs) & (block * 64 + columns * 0 < inputs)
        pairs = tl.load(packed_at + block * 32, mask=there[:, None], other=0).to(tl.int32)
        number = columns * blocks + block
        scale = tl.load(absmax + number, mask=there, other=0)
        if NESTED:
            outer = tl.load(absmax2 + (number + shifts) // 256, mask=there, other=0.0)
            scale = tl.load(code2 + scale.to(tl.int32)) * outer + offsets
        codes = tl.reshape(tl.interleave(pairs >> 4, pairs & 15), (COLUMNS * 64,))
        w = tl.reshape(tl.gather(values, codes, axis=0), (COLUMNS, 64)) * scale[:, None]
        w = w.to(x.dtype.element_ty).to(DOT)
        x0 = tl.load(x_at + block * 64, mask=inside[:, None] & (tile < rows)[None, :], other=0.0)
        sums0 = tl.dot(w, x0.to(DOT), sums0, input_precision="ieee")
        if ROWS > 16:
            x1 = tl.load(x_at + 16 * inputs + block * 64, mask=inside[:, None] & (tile + 16 < rows)[None, :], other=0.0)
            sums1 = tl.dot(w, x1.to(DOT), sums1, input_precision="ieee")
        if ROWS > 32:
            x2 = tl.load(x_at + 32 * inputs + block * 64, mask=inside[:, None] & (tile + 32 < rows)[None, :], other=0.0)
            sums2 = tl.dot(w, x2.to(DOT), sums2, input_precision="ieee")
            x3 = tl.load(x_at + 48 * inputs + block * 64, mask=inside[:, None] & (tile + 48 < rows)[None, :], other=0.0)
            sums3 = tl.dot(w, x3.to(DOT), sums3, input_precision="ieee")
    out += piece.to(tl.int64) * rows * outputs
    store_tile(out, sums0, columns, tile, rows, outputs)
    if ROWS > 16:
        store_tile(out, sums1, columns, tile + 16, rows, outputs)
    if ROWS > 32:
        store_tile(out, sums2, columns, tile + 32, rows, outputs)
        store_tile(out, sums3, columns, tile + 48, rows, outputs)


class Nf4:
    """y = x W^T + b for one or several `Linear4bit` modules that read the same x, their outputs side by side.

    Their buffers are joined, and the modules go on with views of them: memory holds every weight once, in 4 bits.
    """

    def __init__(self, modules: Sequence[Any], bias: torch.Tensor | None, processors: int) -> None:
        states = [module.weight.quant_state for module in modules]
        reason = unsupported(modules)
        if reason is not None:
            raise ValueError(reason)
        self.inputs = states[0].shape[1]
        self.outputs = sum(state.shape[0] for state in states)
        self._bias = bias
        self._table = states[0].code.float()
        self._packed = _joined([module.weight.data.view(-1) for module in modules])
        self._absmax = _joined([state.absmax for state in states])
        self._nested = bool(states[0].nested)
        begin = begin_block = 0
        for module, state in zip(modules, states, strict=True):
            end, end_block = begin + module.weight.data.numel(), begin_block + state.absmax.numel()
            module.weight.data = self._packed[begin:end].view(module.weight.data.shape)
            state.absmax = self._absmax[begin_block:end_block]
            begin, begin_block = end, end_block
        if self._nested:
            self._join_scales(states)
        self.pieces, self._steps = pieces_for(self.outputs, self.inputs, 2 * _BLOCK, processors)
        self._steps *= 2

    def _join_scales(self, states: Sequence[Any]) -> None:
        """The scales' scales one after another, each module's from a whole block on; `shift`: how far they moved."""
        device = self._packed.device
        self._code2 = states[0].state2.code.float()
        self._absmax2 = torch.cat([state.state2.absmax.float() for state in states])
        shifts, offsets, block, outer = [], [], 0, 0
        for state in states:
            shifts += [outer * _NESTED_BLOCK - block] * state.shape[0]
            offsets += [float(state.offset)] * state.shape[0]
            block += state.absmax.numel()
            outer += state.state2.absmax.numel()
        self._shift = torch.tensor(shifts, dtype=torch.int32, device=device)
        self._offset = torch.tensor(offsets, dtype=torch.float32, device=device)

    def __call__(self, x: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """(rows, inputs) -> (pieces, rows, outputs) in `dtype`; the product is the sum of its pieces, in order."""
        rows = check_rows(x, self.inputs)
        out = torch.empty((self.pieces, rows, self.outputs), dtype=dtype, device=x.device)
        nested = (self._absmax2, self._code2, self._shift, self._offset) if self._nested else (None,) * 4
        _nf4_products[(triton.cdiv(self.outputs, COLUMNS), self.pieces)](
            x,
            self._packed,
            self._absmax,
            *nested,
            self._table,
            self._bias,
            out,
            rows,
            self.outputs,
            self.inputs,
            STEPS=self._steps,
            NESTED=self._nested,
            BIAS=self._bias is not None,
            ROWS=tiles_for(rows) * TILE,
            COLUMNS=COLUMNS,
            DOT=dot_type(x.dtype),
            num_warps=4,
            num_stages=4,
            enable_fp_fusion=False,  # bitsandbytes rounds a scale's product and its sum apart
        )
        return out


def unsupported(modules: Sequence[nn.Module]) -> str | None:
    """None where the kernel reads these modules' buffers, else why not, as a sentence."""
    states = [getattr(getattr(module, "weight", None), "quant_state", None) for module in modules]
    nested = getattr(states[0], "nested", None)
    for state in states:
        if state is None:
            return f"The kernels read bfloat16, float16, float32 and NF4; a layer is {type(modules[0]).__name__}."
        if getattr(state, "packing_format_for_cpu", False):
            return "bitsandbytes has laid out the weights for this processor, in an order of its own."
        if state.quant_type != "nf4" or state.blocksize != _BLOCK or state.nested != nested:
            return f"The NF4 kernel reads blocks of {_BLOCK}; a layer has {state.quant_type} in {state.blocksize}."
        if state.nested and state.state2.blocksize != _NESTED_BLOCK:
            return f"The NF4 kernel reads scales in blocks of {_NESTED_BLOCK}; a layer has {state.state2.blocksize}."
        if state.shape[1] % _BLOCK:
            return f"The NF4 kernel reads rows of whole blocks of {_BLOCK}; a layer has {state.shape[1]} inputs."
    return None


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(list(parts))
