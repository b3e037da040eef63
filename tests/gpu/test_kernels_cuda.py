"""The kernels on a CUDA device: against float64 in true shapes, bit-equal at every width, recorded equal to eager."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import ModelSpec
from engine.forward.cuda import kernels
from engine.forward.transformers_target import TransformersTarget
from engine.forward.widths import WIDTHS
from engine.models.loader import load_model
from engine.probe.exactness import certify

CUDA = torch.device("cuda")
REASON = kernels.available(CUDA) if torch.cuda.is_available() else "this machine has no CUDA device"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

SHAPES = [(6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (1152, 896), (1000, 192)]  # outputs, inputs
TOKENS = [(i * 7919) % 250 + 3 for i in range(400)]


def operand(outputs: int, inputs: int, quant: str, dtype: torch.dtype) -> tuple[Any, torch.Tensor]:
    """The product and the weight that it stands for."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    from engine.forward.cuda.kernels.linear import Dense
    from engine.forward.cuda.kernels.nf4 import Nf4

    torch.manual_seed(outputs)
    weight = torch.randn(outputs, inputs, device=CUDA, dtype=dtype)
    processors = kernels.processors(CUDA)
    if quant == "none":
        return Dense(weight, None, processors), weight
    module: Any = Linear4bit(inputs, outputs, bias=False, compute_dtype=dtype, quant_type="nf4")
    module.weight.data = weight.cpu()
    module = module.to(CUDA)
    made = dequantize_4bit(module.weight.data, module.weight.quant_state).to(dtype)
    return Nf4([module], None, processors), made


@pytest.mark.parametrize("quant", ["none", "nf4"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_products_in_true_shapes(outputs: int, inputs: int, dtype: torch.dtype, quant: str) -> None:
    product, weight = operand(outputs, inputs, quant, dtype)
    x = torch.randn(64, inputs, device=CUDA, dtype=dtype)
    whole = product(x)
    exact = x.double() @ weight.double().T
    # The matrix units cut sums in float32 where a processor rounds them.
    assert (whole.double().sum(0) - exact).abs().max() < 1e-4 * exact.abs().max()
    order = torch.randperm(64, device=CUDA)
    assert torch.equal(product(x[order].contiguous()), whole[:, order])
    for rows in WIDTHS:
        assert torch.equal(product(x[:rows].contiguous()), whole[:, :rows]), rows
        assert torch.equal(product(x[-rows:].contiguous()), whole[:, -rows:]), rows
    x[1:] = float("nan")
    assert torch.equal(product(x)[:, 0], whole[:, 0])


@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(32, 8, 128), (32, 8, 64), (8, 4, 256), (14, 2, 64)])
@pytest.mark.parametrize("length", [63, 1000, 8100, 20000])
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (512, 50.0)])
def test_attention(
    heads: int, kv_heads: int, size: int, length: int, window: int | None, softcap: float | None
) -> None:
    from engine.forward.cuda.kernels.attention import attend

    torch.manual_seed(length)
    rows = 24
    keys, values = torch.randn(2, kv_heads, length + 100, size, device=CUDA, dtype=torch.bfloat16)
    queries = torch.randn(rows, heads, size, device=CUDA, dtype=torch.bfloat16)
    positions = torch.arange(length, length + rows, dtype=torch.int32, device=CUDA)
    chain = torch.arange(64, dtype=torch.int32, device=CUDA)

    def run(begin: int, end: int) -> torch.Tensor:
        committed = torch.tensor([length + begin], dtype=torch.int32, device=CUDA)
        paths = chain.repeat(end - begin, 1)
        picked, places = queries[begin:end].contiguous(), positions[begin:end].contiguous()
        return attend(picked, keys, values, places, paths, committed, scale=size**-0.5, window=window, softcap=softcap)

    whole = run(0, rows)
    for begin, end in ((0, 1), (1, 2), (2, 5), (5, 13), (13, 24)):
        assert torch.equal(run(begin, end), whole[begin:end])
    slots = torch.arange(keys.shape[1], device=CUDA)
    hidden = slots[None] > positions[:, None]
    hidden |= slots[None] <= positions[:, None] - (window or 1 << 30)
    scores = torch.einsum("rkgd,ksd->rkgs", queries.double().view(rows, kv_heads, -1, size), keys.double())
    scores = scores * size**-0.5
    scores = scores if softcap is None else torch.tanh(scores / softcap) * softcap
    weights = scores.masked_fill(hidden[:, None, None], float("-inf")).softmax(-1)
    exact = torch.einsum("rkgs,ksd->rkgd", weights, values.double()).reshape(rows, -1)
    assert (whole.double() - exact).abs().max() < 0.02


def target_of(folder: Path, quant: str = "none", **options: Any) -> TransformersTarget:
    spec = ModelSpec(**{"model": str(folder), "device": "cuda", "quant": quant})
    loaded = load_model(spec, lambda _: None)
    return TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length, **options)


def decoded(target: TransformersTarget, widths: tuple[int, ...]) -> torch.Tensor:
    """Logits of 80 tokens behind 300, by rounds of these widths in turn."""
    cache = target.new_cache(400)
    list(target.prefill(cache, TOKENS[:300]))
    rows, turn = [], 0
    while cache.length < 380:
        width = widths[turn % len(widths)]
        piece = TOKENS[cache.length : min(380, cache.length + width)]
        rows.append(target.forward(cache, piece, width=width))
        cache.crop(cache.length + len(piece))
        turn += 1
    return torch.cat(rows)


FAMILIES = ("llama", "qwen3", "gemma2", "gemma3", "mistral", "phi3", "smollm3")


@pytest.mark.parametrize(
    ("family", "quant"), [*((family, "none") for family in FAMILIES), ("llama", "nf4"), ("gemma2", "nf4")]
)
def test_plain_and_wide_rounds_have_the_same_bits(tiny_model: Callable[..., Path], family: str, quant: str) -> None:
    options = {"hidden_size": 128, "intermediate_size": 192}  # whole blocks of NF4
    target = target_of(tiny_model(family, **options), quant)
    assert target.runs_kernels, target.notes
    plain = decoded(target, (1,))
    for widths in ((16,), (3, 1, 24, 8), (64,)):
        assert torch.equal(decoded(target, widths), plain)
    assert target.notes == ()  # all of it was recorded
    certificate = certify(target)
    assert (certificate.tier, certificate.trees) == ("A", True)


def test_the_control_differs(tiny_model: Callable[..., Path]) -> None:
    """torch's own products and attention, widths mixed: the comparison can fail."""
    folder = tiny_model("llama", hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=4)
    target = target_of(folder, stock_layers=True)
    assert not target.runs_kernels
    plain = decoded(target, (1,))
    assert not all(torch.equal(decoded(target, widths), plain) for widths in ((16,), (64,), (3, 1, 24, 8)))


def test_recorded_rounds_equal_eager_ones(tiny_model: Callable[..., Path]) -> None:
    target = target_of(tiny_model("qwen3"))
    recorded = [decoded(target, widths) for widths in ((1,), (7, 16))]
    assert target._rounds is not None
    target._rounds.note = "not recorded, for this test"
    for widths, wanted in zip(((1,), (7, 16)), recorded, strict=True):
        assert torch.equal(decoded(target, widths), wanted)


def test_a_round_that_cannot_be_recorded_runs_eagerly_and_says_so(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_of(tiny_model("llama"))
    wanted = decoded(target, (4,))

    def fails(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory, on purpose")

    monkeypatch.setattr(torch.cuda, "graph", fails)
    assert torch.equal(decoded(target, (4,)), wanted)
    assert "out of memory" in target.notes[0]


def test_nothing_is_left_when_a_target_goes(tiny_model: Callable[..., Path]) -> None:
    folder = tiny_model("llama")
    decoded(target_of(folder), (1,))  # what libraries keep for themselves
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    target = target_of(folder)
    cache = target.new_cache()
    target.prepare(cache, WIDTHS)
    assert len(target._rounds.recorded(cache)) == len(WIDTHS)
    del target, cache
    gc.collect()
    assert torch.cuda.memory_allocated() == before
