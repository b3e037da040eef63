"""Products with bitsandbytes' own NF4 buffers. Under Triton's interpreter, see test_kernels.

The interpreter cuts float32 to bfloat16 where a device rounds: weights are compared bit by bit in float32 alone.
"""

from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit

from engine.forward.cuda.kernels.nf4 import Nf4, unsupported


def modules(outputs: tuple[int, ...], inputs: int, *, nested: bool, blocksize: int = 64) -> list[Any]:
    torch.manual_seed(inputs)
    made = []
    for count in outputs:
        options = {"compute_dtype": torch.float32, "quant_type": "nf4", "compress_statistics": nested, "bias": False}
        module = Linear4bit(inputs, count, **options)
        module.weight.data = torch.randn(count, inputs) * count
        module.weight.blocksize = blocksize
        made.append(module.to("cpu"))
    return made


def weights(made: list[Any]) -> torch.Tensor:
    return torch.cat([dequantize_4bit(module.weight.data, module.weight.quant_state) for module in made])


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("sizes", [((64,), 64), ((96, 40, 40), 192), ((72,), 320)])
def test_the_weights_are_those_that_bitsandbytes_makes(sizes: tuple[tuple[int, ...], int], nested: bool) -> None:
    """Seen through rows that each pick one input; tails in outputs, and scales' blocks that end within a module."""
    made = modules(*sizes, nested=nested)
    theirs = weights(made)
    product = Nf4(made, None, 8)
    rows = torch.eye(sizes[1])
    pieces = [product(rows[begin : begin + 64]).sum(0) for begin in range(0, sizes[1], 64)]
    assert torch.equal(torch.cat(pieces).T, theirs)
    assert torch.equal(weights(made), theirs)  # the modules go on with views of the joined buffers
    assert made[0].weight.data.untyped_storage().data_ptr() == made[-1].weight.data.untyped_storage().data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_product_and_its_rows(dtype: torch.dtype) -> None:
    made = modules((96, 40), 320, nested=True)
    bias = torch.randn(136).to(dtype)
    exact_weight = weights(made).to(dtype).double()
    product = Nf4(made, bias, 8)
    x = torch.randn(33, 320).to(dtype)
    exact = x.double() @ exact_weight.T + bias.double()
    whole = product(x)
    tolerance = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    assert (whole.sum(0).double() - exact).abs().max() < tolerance * exact.abs().max()
    order = torch.randperm(33)
    assert torch.equal(product(x[order].contiguous()), whole[:, order])
    for rows in (1, 7, 16, 17):
        assert torch.equal(product(x[-rows:].contiguous()), whole[:, -rows:])


def test_what_the_kernel_cannot_read_is_named() -> None:
    assert unsupported(modules((64,), 64, nested=True)) is None
    assert "100 inputs" in str(unsupported(modules((64,), 100, nested=False)))
    assert "in 128" in str(unsupported(modules((64,), 128, nested=False, blocksize=128)))
    assert "Linear" in str(unsupported([torch.nn.Linear(64, 64)]))
