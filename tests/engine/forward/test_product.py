"""Products of few rows against float64, and each row by itself whatever stands beside it."""

import pytest
import torch
from torch import nn

from engine.forward.packed_linear import packs
from engine.forward.product import Product

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def linear(inputs: int, outputs: int, dtype: torch.dtype, *, bias: bool = False) -> nn.Linear:
    torch.manual_seed(inputs * 31 + outputs)
    return nn.Linear(inputs, outputs, bias=bias).to(dtype).requires_grad_(False)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sizes", [(64, (48,)), (96, (96, 32, 32)), (33, (17, 5))])
@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_a_packed_product_is_the_modules_side_by_side(
    dtype: torch.dtype, sizes: tuple[int, tuple[int, ...]], bias: bool
) -> None:
    modules = [linear(sizes[0], size, dtype, bias=bias) for size in sizes[1]]
    x = torch.randn(7, sizes[0], dtype=torch.float64).to(dtype)
    parts = [nn.functional.linear(x.double(), m.weight.double(), m.bias.double() if bias else None) for m in modules]
    exact = torch.cat(parts, -1)
    product = Product(*modules)
    for computed in (product(x), (product.pack(), product(x))[1]):
        assert computed.dtype == dtype
        assert (computed.double() - exact).abs().max() <= TOLERANCE[dtype] * exact.abs().max()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("inputs", [256, 1024, 1056, 2048])
@torch.inference_mode()
def test_a_row_does_not_depend_on_its_neighbours(dtype: torch.dtype, inputs: int) -> None:
    module = linear(inputs, 704, dtype)
    if not packs(module.weight):
        pytest.skip(f"oneDNN does not hold {dtype} weights on this machine")
    product = Product(module)
    product.pack()
    x = torch.randn(32, inputs, dtype=dtype)
    whole = product(x)
    for rows in (1, 2, 3, 5, 8, 31):
        assert torch.equal(product(x[:rows]), whole[:rows])
        assert torch.equal(product(x[-rows:]), whole[-rows:])
    assert torch.equal(torch.cat([product(row[None]) for row in x]), whole)


def test_a_tied_embedding_keeps_the_weight_that_moves() -> None:
    embedding, head = nn.Embedding(50, 16), linear(16, 50, torch.float32)
    head.weight = embedding.weight
    product = Product(head)
    x = torch.randn(2, 16)
    with torch.inference_mode():
        before = product(x)
        moved = product.pack()
        torch.testing.assert_close(product(x), before)
    assert embedding.weight.shape == (50, 16)
    assert moved == packs(embedding.weight.data)


def test_what_is_not_a_plain_linear_computes_by_itself() -> None:
    class Quantised(nn.Linear):
        pass

    module = Quantised(8, 4)
    product = Product(module, linear(8, 4, torch.float32))
    assert product.pack() is False
    x = torch.randn(3, 8)
    with torch.inference_mode():
        assert torch.equal(product(x)[:, :4], module(x))
