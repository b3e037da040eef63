"""Products with 8-bit weights, number by number against sums in int64, whatever stands beside a row."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.config import ModelSpec
from engine.forward.int8 import loops
from engine.forward.int8 import product as int8_product
from engine.forward.int8.product import Int8Weight, multiply, pack, quantised
from engine.forward.product import Product
from engine.forward.transformers_target import TransformersTarget
from engine.forward.widths import MAX_WIDTH, WIDTHS
from engine.models.loader import LoadedModel, load_model
from engine.probe.exactness import certify

TinyModel = Callable[..., Path]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def expected(
    x: torch.Tensor, packed: Int8Weight, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """What `multiply` promises, rounding by rounding."""
    top = x.abs().amax(1, keepdim=True).clamp(min=1e-30)
    numbers = (x * (torch.tensor(float(packed.limit)) / top)).round().long()
    sums = numbers @ weight.long().T
    assert sums.abs().max() < 2**31
    y = sums.float() * (top / packed.limit * scales)
    return y if bias is None else y + bias


@pytest.mark.parametrize("processor", ["AVX512", "AVX2"])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 32), (17, 33), (64, 48), (250, 100), (1537, 70)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_every_number_is_the_sum_in_int64(
    inputs: int, outputs: int, with_bias: bool, processor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    weight, scales = quantised(torch.randn(outputs, inputs))
    bias = torch.randn(outputs) if with_bias else None
    packed = pack(weight, scales, bias)
    assert packed is not None
    assert packed.blocks.shape[2] == (loops.WIDE if processor == "AVX512" else loops.NARROW)
    for rows in (*range(1, 10), 31, MAX_WIDTH, 130):
        x = torch.randn(rows, inputs) * torch.logspace(-3, 3, rows)[:, None]
        for threads in (None, 1, 2):
            assert torch.equal(multiply(x, packed, threads), expected(x, packed, weight, scales, bias))


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    packed = pack(*quantised(torch.randn(192, 576)), None)
    assert packed is not None
    x = torch.randn(MAX_WIDTH, 576)
    whole = multiply(x, packed)
    for rows in WIDTHS:
        assert torch.equal(multiply(x[:rows], packed), whole[:rows])
        assert torch.equal(multiply(x[-rows:], packed, 2), whole[-rows:])


def test_the_largest_sums_do_not_overflow() -> None:
    weight, scales = torch.full((5, 40_001), 127, dtype=torch.int8), torch.ones(5)
    packed = pack(weight, scales, None)
    assert packed is not None
    x = torch.full((2, 40_001), 3.0)
    x[1] *= -1
    assert torch.equal(multiply(x, packed), expected(x, packed, weight, scales, None))
    assert multiply(x, packed)[0, 0] == pytest.approx(3 * 127 * 40_001, rel=2e-3)


def test_zeros_tiny_and_impossible_numbers_stay_in_their_rows() -> None:
    packed = pack(*quantised(torch.randn(40, 64)), None)
    assert packed is not None
    x = torch.randn(5, 64)
    alone = multiply(x[4:], packed)
    x[0] = 0
    x[1] = 1e-38
    x[2, 7] = float("nan")
    x[3, 60] = float("inf")
    y = multiply(x, packed)
    assert not y[0].any()
    assert y[1].abs().max() < 1e-30
    assert y[2:4].isnan().all()
    assert torch.equal(y[4:], alone)


def test_weights_are_rounded_as_bitsandbytes_rounds_them() -> None:
    from bitsandbytes.nn import Linear8bitLt

    plain = nn.Linear(96, 64)
    layer = Linear8bitLt(96, 64, has_fp16_weights=False, threshold=0.0)
    layer.load_state_dict(plain.state_dict())
    found = int8_product.layer_weights(layer.to("cpu"))
    assert found is not None
    weight, scales = quantised(plain.weight.data)
    assert (found[0].int() - weight.int()).abs().max() <= 1  # it rounds to float16 first
    torch.testing.assert_close(found[1], scales, rtol=1e-3, atol=0)
    assert int8_product.layer_weights(plain) is None


def test_a_kernel_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    right = loops.multiply
    monkeypatch.setattr(loops, "multiply", lambda *arguments: right(*arguments[:7], 3, *arguments[8:]))
    layer = nn.Linear(64, 32).requires_grad_(False)
    assert pack(*quantised(layer.weight.data), None) is None
    x = torch.randn(3, 64)
    exact = layer(x)
    product = Product(layer)
    product.pack(quantise=True)
    assert not product.is_int8
    torch.testing.assert_close(product(x), exact)


def test_torchs_threads_stay_as_they_are() -> None:
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from engine.forward.int8.product import pack, quantised\n"
        "assert pack(*quantised(torch.ones(4, 4)), None) is not None\n"
        "assert torch.get_num_threads() == 1, torch.get_num_threads()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


# --- a whole model


def load(folder: Path, **options: Any) -> tuple[LoadedModel, TransformersTarget]:
    loaded = load_model(ModelSpec(model=str(folder), device="cpu", **options), lambda _: None)
    return loaded, TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)


@pytest.mark.parametrize("family", ["llama", "gemma", "phi3", "qwen3"])
def test_a_model_with_8_bit_weights(tiny_model: TinyModel, family: str) -> None:
    token_ids = list(range(3, 40))
    _, plain = load(tiny_model(family), dtype="float32")
    loaded, target = load(tiny_model(family), quant="int8")
    assert target.notes == ()
    assert loaded.dtype is torch.float32
    assert target.implementation == ("compiled", "int8")
    assert target.stock_model is None
    left = [m.weight.numel() for m in loaded.model.modules() if isinstance(m, nn.Linear)]
    assert not any(left), "the weights are in memory twice"
    ours, theirs = (each.forward(each.new_cache(64), token_ids) for each in (target, plain))
    assert torch.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.995
    certificate = certify(target)
    assert (certificate.tier, certificate.widths) == ("A", WIDTHS)


def test_a_model_of_transformers_own_layers_says_that_it_is_slow(tiny_model: TinyModel) -> None:
    loaded = load_model(ModelSpec(model=str(tiny_model("llama")), device="cpu", quant="int8"), lambda _: None)
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length, stock_layers=True)
    assert target.implementation == ("transformers",)
    assert "bitsandbytes" in target.notes[0]
