"""A product with 8-bit weights on a processor, for the layers that bitsandbytes quantised: one scale for each output.

bitsandbytes' own product takes 10 times as long there. A row's numbers become integers too, of up to 16 bits, so that
next to nothing is lost beside what the weights lost; `loops` multiplies. Also the only file that reads
bitsandbytes' 8-bit layers; `tests/engine/forward/test_libraries.py` says what of them is gone.
"""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from engine.forward.int8 import loops
from engine.forward.threads import start_threads, threads_for

log = logging.getLogger(__name__)

_PIECE = 2**22  # weights that are brought into order at a time
_STEPS = 127  # of a weight, on either side of 0
_LEAST = 1e-30  # of an output's weights, else they count as zeros
_MOST = 32_767  # a row's greatest number as an integer
# What one thread does in a second, roughly: weights read, and products of two numbers.
_READS, _MULTIPLIES = 25e9, 100e9
_TRIED = 64  # outputs that are compared with float64


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """Weights in the kernel's order, (blocks, pairs of inputs, lanes, 2); `limit`: what a row's integers may reach
    without a sum that overflows."""

    blocks: torch.Tensor
    scales: torch.Tensor  # (blocks * lanes,)
    bias: torch.Tensor  # (blocks * lanes,)
    inputs: int
    outputs: int
    limit: int


def layer_weights(module: nn.Module, *, quantise: bool = False) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A layer's weights (out, in) in int8 and what 1 is in each output (out,), on a processor: those of bitsandbytes'
    8-bit layers and, with `quantise`, of plain ones. None for other modules."""
    weight: Any = getattr(module, "weight", None)
    if not isinstance(weight, nn.Parameter) or weight.device.type != "cpu":
        return None
    if type(module) is nn.Linear:
        return quantised(weight.data) if quantise else None
    greatest = getattr(weight, "SCB", None)
    if greatest is None:  # after its first product a layer keeps it elsewhere
        greatest = getattr(getattr(module, "state", None), "SCB", None)
    return None if greatest is None else (weight.data, greatest.float() / _STEPS)


def release(module: Any) -> None:
    """Let a layer's weights go. A parameter of its own: an embedding that is tied to this one keeps the weight."""
    module.weight = nn.Parameter(module.weight.data.new_empty(0), requires_grad=False)
    if type(module) is not nn.Linear:
        module.state.CB = module.state.SCB = None


def quantised(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (out, in) in int8 and what 1 is in each output (out,), as bitsandbytes rounds them."""
    scales = weight.abs().amax(1).float().clamp(min=_LEAST) / _STEPS
    whole = torch.empty(weight.shape, dtype=torch.int8)
    step = max(1, _PIECE // weight.shape[1])
    for begin in range(0, len(weight), step):
        piece = slice(begin, begin + step)
        whole[piece] = (weight[piece].float() / scales[piece, None]).round_().to(torch.int8)
    return whole, scales


def pack(weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> Int8Weight | None:
    """Bring weights (out, in) in int8 into the kernel's order; None where it does not compute what float64 does."""
    start_threads()
    packed = _in_order(weight, scales, bias)
    return packed if _computes(packed, weight, scales, bias) else None


def _in_order(weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> Int8Weight:
    outputs, inputs = weight.shape
    lanes = loops.WIDE if "AVX512" in torch.backends.cpu.get_cpu_capability() else loops.NARROW
    num_blocks, pairs = -(-outputs // lanes), -(-inputs // 2)
    blocks = torch.zeros((num_blocks, pairs, lanes, 2), dtype=torch.int8)
    greatest = 1
    step = max(1, _PIECE // inputs // lanes)
    for begin in range(0, num_blocks, step):
        piece = weight[begin * lanes : (begin + step) * lanes]
        greatest = max(greatest, int(piece.short().abs().sum(1, dtype=torch.int64).max()))
        padded = nn.functional.pad(piece, (0, 2 * pairs - inputs, 0, -len(piece) % lanes))
        blocks[begin : begin + step] = padded.view(-1, lanes, pairs, 2).transpose(1, 2)
    unused = (0, num_blocks * lanes - outputs)
    return Int8Weight(
        blocks=blocks,
        scales=nn.functional.pad(scales.float(), unused),
        bias=nn.functional.pad(torch.zeros(outputs) if bias is None else bias.float(), unused),
        inputs=inputs,
        outputs=outputs,
        limit=min(_MOST, (2**31 - 1) // greatest),
    )


def multiply(x: torch.Tensor, packed: Int8Weight, threads: int | None = None) -> torch.Tensor:
    """x (rows, in) times the weights, (rows, out), in x's format. A row has the same bits whatever stands beside it,
    and with any number of threads (None: one, or as many as torch has where that is quicker)."""
    given = x.float().contiguous()
    rows = len(given)
    if threads is None:
        num_weights = packed.inputs * packed.outputs
        threads = threads_for(max(num_weights / _READS, rows * num_weights / _MULTIPLIES))
    out = torch.empty((rows, packed.outputs))
    arguments = (
        tuple(packed.blocks.shape[:3]),
        packed.blocks.data_ptr(),
        packed.scales.data_ptr(),
        packed.bias.data_ptr(),
        given.data_ptr(),
        rows,
        packed.inputs,
        packed.limit,
        out.data_ptr(),
        packed.outputs,
    )
    if threads > 1:
        loops.multiply_together(*arguments, threads)
    else:
        loops.multiply(*arguments)
    return out if x.dtype == torch.float32 else out.to(x.dtype)


def _computes(packed: Int8Weight, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Whether the kernel gives what float64 does for some rows and outputs, but for half a step of a row's integers."""
    noise = torch.Generator().manual_seed(0)
    x = torch.randn((7, packed.inputs), generator=noise)
    tried = torch.linspace(0, packed.outputs - 1, min(_TRIED, packed.outputs)).long()
    exact_weight = weight[tried].double() * scales[tried].double()[:, None]
    exact = x.double() @ exact_weight.T
    if bias is not None:
        exact += bias[tried].double()
    steps = x.abs().amax(1).double() / packed.limit
    allowed = 0.51 * steps[:, None] * exact_weight.abs().sum(1) + 1e-6 * exact.abs().max()
    for threads in (1, 2):
        error = (multiply(x, packed, threads)[:, tried].double() - exact).abs()
        if not bool((error <= allowed).all()):
            log.error("The product with 8-bit weights is off by %s on this processor.", float((error - allowed).max()))
            return False
    return True
