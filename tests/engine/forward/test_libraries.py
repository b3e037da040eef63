"""What the forward pass uses of other libraries beyond their documented interfaces: a failure says what is gone."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.forward import packed_linear
from engine.forward.attention import Visibility
from engine.forward.body import FAMILIES, build_body
from engine.forward.cpu import row_loops
from engine.forward.int8.product import layer_weights, release
from engine.forward.kv_cache import KVCache
from engine.forward.transformers_seam import NAME, run, stock_attention, use_attention

TinyModel = Callable[..., Path]


def test_torchs_operators_for_packed_weights() -> None:
    missing = packed_linear.missing_operators()
    assert not missing, f"torch.ops.mkldnn has no {', '.join(missing)}: weights stay unpacked, and rounds are slower"


def test_bitsandbytes_8_bit_layers() -> None:
    from bitsandbytes.nn import Linear8bitLt

    layer = Linear8bitLt(64, 32, bias=False, has_fp16_weights=False, threshold=0.0).to("cpu")
    before = layer_weights(layer)
    assert before is not None, (
        "bitsandbytes keeps an 8-bit layer's weights and scales elsewhere before its first product"
    )
    with torch.inference_mode():
        layer(torch.ones(2, 64))
    after = layer_weights(layer)
    assert after is not None, "bitsandbytes keeps an 8-bit layer's scales elsewhere after its first product"
    assert before[0].dtype == after[0].dtype == torch.int8
    assert torch.equal(before[1], after[1])
    release(layer)
    assert layer_weights(layer) is None


def test_without_these_operators_weights_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "_OPERATORS", ("_linear_pointwise", "_of_another_version"))
    assert packed_linear.missing_operators() == ["_of_another_version"]
    assert not packed_linear.packs(torch.zeros(4, 4))


def test_what_transformers_hands_to_attention_and_cache(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.forward import transformers_seam

    model = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.float32)
    seen: list[dict[str, Any]] = []

    def attention(*tensors: Any, **options: Any) -> Any:
        seen.append(options)
        return transformers_seam_attend(*tensors, **options)

    transformers_seam_attend = transformers_seam.attend
    monkeypatch.setattr(transformers_seam, "attend", attention)
    stock = use_attention(model)
    assert stock != NAME, "transformers keeps the name of a model's attention elsewhere"
    cache = KVCache(256)
    visibility = Visibility(0, (-1, 0), (0, 1), 2, 256, torch.float32, torch.device("cpu"))
    with torch.inference_mode():
        logits = run(model, [5, 6], visibility.positions, cache.window(256), visibility, 0)
    assert len(seen) == model.config.num_hidden_layers, "transformers does not call the attention that is registered"
    assert seen[0].get("visibility") is visibility, "transformers does not hand unknown arguments on to the attention"
    assert "scaling" in seen[0], "transformers names the scale of scores otherwise"
    assert cache.layer(0)[0][:, :2].any(), "transformers does not write into the cache by `update`"
    assert logits.shape == (2, model.config.vocab_size), "transformers names the rows to keep otherwise"
    with stock_attention(model, stock):
        assert model.config._attn_implementation == stock
    assert model.config._attn_implementation == NAME


@pytest.mark.parametrize(
    "family", ["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "phi3", "smollm3"]
)
def test_what_is_read_of_a_familys_modules(tiny_model: TinyModel, family: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model(family), dtype=torch.float32)
    assert model.config.model_type in FAMILIES, f"transformers calls {family} another name"
    assert build_body(model) is not None, f"transformers' modules of {family} have another structure"


def test_numbas_extension_points() -> None:
    builder = set(dir(importlib.import_module("llvmlite.ir").IRBuilder))
    missing = sorted({"inttoptr", "bitcast", "fcmp_ordered", "select"} - builder)
    assert not missing, f"numba's code builder has no {', '.join(missing)}"
    numbers, row = np.zeros(0, np.float32), np.array([3.0, -4.0], np.float32)
    scale, normed = np.ones(2, np.float32), np.zeros(2, np.float32)
    addresses = [each.ctypes.data for each in (row, scale, normed)]
    row_loops.add_norm(numbers, addresses[0], 0, 0, 0.0, addresses[1], 0.0, addresses[0], addresses[2], 1, 2)
    expected = row / np.sqrt(12.5)
    assert np.allclose(normed, expected), "numba reads memory by address, or floats by their bits, otherwise"


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_what_the_nf4_kernel_reads_of_bitsandbytes() -> None:
    from bitsandbytes.functional import quantize_4bit

    weight, state = quantize_4bit(torch.randn(64, 64), quant_type="nf4", compress_statistics=True)
    wanted = {"quant_type", "blocksize", "nested", "absmax", "offset", "state2", "code", "shape"}
    missing = sorted(name for name in wanted if not hasattr(state, name))
    assert not missing, f"bitsandbytes' state of a quantised weight has no {', '.join(missing)}"
    assert weight.dtype == torch.uint8, "bitsandbytes packs two weights otherwise than into a byte"
