"""Products against float64, and every row's bits by themselves. Under Triton's interpreter, see test_kernels."""

import pytest
import torch

from engine.forward.cuda.kernels.linear import Dense, pieces_for
from engine.forward.cuda.kernels.row_operations import finish

SHAPES = [(64, 128, 8), (100, 272, 8), (17, 33, 8), (64, 1024, 64)]  # outputs, inputs, processors


def dense(shape: tuple[int, int, int], dtype: torch.dtype, *, bias: bool) -> tuple[Dense, torch.Tensor, torch.Tensor]:
    torch.manual_seed(sum(shape))
    outputs, inputs, processors = shape
    weight, offset = torch.randn(outputs, inputs).to(dtype), torch.randn(outputs).to(dtype)
    return Dense(weight, offset if bias else None, processors), weight, offset * bias


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 16, 19, 64])
def test_a_product_is_the_sum_of_its_pieces(shape: tuple[int, int, int], dtype: torch.dtype, rows: int) -> None:
    product, weight, bias = dense(shape, dtype, bias=rows > 1)
    x = torch.randn(rows, shape[1]).to(dtype)
    exact = x.double() @ weight.double().T + bias.double()
    pieces = product(x)
    assert pieces.shape == (product.pieces, rows, shape[0])
    assert (pieces.double().sum(0) - exact).abs().max() < 1e-5 * shape[1]
    torch.testing.assert_close(finish(pieces, torch.float32).double(), exact, atol=1e-5 * shape[1], rtol=0)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_a_row_has_the_same_bits_at_every_width_place_and_beside_any_neighbours(shape: tuple[int, int, int]) -> None:
    product, _, _ = dense(shape, torch.bfloat16, bias=True)
    x = torch.randn(64, shape[1]).to(torch.bfloat16)
    whole = product(x)
    order = torch.randperm(64)
    assert torch.equal(product(x[order].contiguous()), whole[:, order])
    for rows in (1, 2, 15, 17, 33):
        assert torch.equal(product(x[:rows].contiguous()), whole[:, :rows])
        assert torch.equal(product(x[-rows:].contiguous()), whole[:, -rows:])
    x[1:] = float("nan")
    assert torch.equal(product(x)[:, 0], whole[:, 0])


def test_pieces_follow_from_the_shape_and_cover_it() -> None:
    assert pieces_for(64, 1024, 128, 64) == (4, 2)
    for outputs, inputs in ((4096, 14336), (28672, 4096), (128256, 4096), (1024, 3072), (256, 100)):
        pieces, steps = pieces_for(outputs, inputs, 128, 132)
        assert (pieces - 1) * steps * 128 < inputs <= pieces * steps * 128


def test_what_the_kernel_would_read_wrongly_is_refused() -> None:
    product, _, _ = dense((64, 128, 8), torch.float32, bias=False)
    for x in (torch.zeros(65, 128), torch.zeros(2, 64), torch.zeros(128, 2).T):
        with pytest.raises(ValueError, match="contiguous rows of 128"):
            product(x)
    with pytest.raises(ValueError, match="must be contiguous"):
        Dense(torch.zeros(128, 64).T, None, 8)
