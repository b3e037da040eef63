"""Weights from GGUF files are the numbers that the `gguf` package says, and the model is the one they were made of."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from engine.config import ModelSpec
from engine.errors import BrokenModel, DownloadCancelled, EngineError, UnsupportedDevice
from engine.events import LoadProgress
from engine.models import quantised
from engine.models.loader import LoadedModel, load_model
from tests import models
from tests.gguf_files import converted, gguf_name, hub_weights, restored, write_gguf

TinyModel = Callable[..., Path]

LLAMA3 = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0}
LLAMA3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 1024}


def load(path: Path, **options: Any) -> LoadedModel:
    return load_model(ModelSpec(**{"model": str(path), "device": "cpu", "dtype": "fp32", **options}), lambda _: None)


def wide(tiny_model: TinyModel, family: str, **options: Any) -> Path:
    """A model whose rows are long enough for blocks of 256 weights."""
    return tiny_model(family, hidden_size=256, intermediate_size=256, **options)


def stored_numbers(file: Path) -> dict[str, np.ndarray]:
    """What the package reads by itself."""
    return {
        tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type).reshape(tuple(reversed(tensor.shape)))
        for tensor in gguf.GGUFReader(file).tensors
    }


def as_safetensors(folder: Path, file: Path, target: Path) -> Path:
    """The model in `folder` with the numbers that a GGUF file made of it holds."""
    models.copy_model(folder, target)
    config, numbers = json.loads((folder / "config.json").read_text()), stored_numbers(file)
    weights = {
        name: np.ascontiguousarray(restored(name, numbers[gguf_name(name, architecture_in(file))], config))
        for name in hub_weights(folder)
    }
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    return target


def architecture_in(file: Path) -> str:
    return str(gguf.GGUFReader(file).fields["general.architecture"].contents())


def logits(loaded: LoadedModel, length: int = 100) -> torch.Tensor:
    ids = torch.arange(length).reshape(1, -1) * 7 % 250
    with torch.inference_mode():
        answer: torch.Tensor = loaded.model(ids).logits
    return answer


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "phi3"])
def test_a_model_is_the_one_it_was_made_of(tiny_model: TinyModel, tmp_path: Path, family: str) -> None:
    folder = tiny_model(family)
    file = write_gguf(tmp_path / "tiny.gguf", folder)
    loaded, original = load(file), load(as_safetensors(folder, file, tmp_path / "copy"))
    assert loaded.architecture == original.architecture
    assert loaded.notes == original.notes == ()
    assert loaded.num_parameters == original.num_parameters
    assert loaded.context_length == original.context_length
    assert torch.equal(logits(loaded), logits(original))
    assert torch.allclose(logits(loaded), logits(load(folder)), atol=1e-4)  # Gemma's norms lose bits in the file


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q5_1", "Q4_0", "Q4_K", "Q6_K"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "phi3"])
def test_quantised_numbers_are_those_of_the_package(
    tiny_model: TinyModel, tmp_path: Path, family: str, kind: str
) -> None:
    folder = wide(tiny_model, family)
    file = write_gguf(tmp_path / "tiny.gguf", folder, kind)
    loaded = load(file)
    config, numbers = json.loads((folder / "config.json").read_text()), stored_numbers(file)
    parameters = dict(loaded.model.named_parameters())
    assert {gguf_name(name, architecture_in(file)) for name in parameters} == set(numbers)
    for name, parameter in parameters.items():
        stored = numbers[gguf_name(name, architecture_in(file))]
        assert np.array_equal(parameter.numpy(), restored(name, stored, config)), name
    copy = as_safetensors(folder, file, tmp_path / "copy")
    assert torch.equal(logits(loaded), logits(load(copy)))


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_weights_are_rounded_once(tiny_model: TinyModel, tmp_path: Path, dtype: Any) -> None:
    folder = wide(tiny_model, "llama")
    file = write_gguf(tmp_path / "tiny.gguf", folder, "Q4_K")
    copy = as_safetensors(folder, file, tmp_path / "copy")
    ours, theirs = (dict(load(path, dtype=dtype).model.named_parameters()) for path in (file, copy))
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


@pytest.mark.parametrize("quant", ["int8", "nf4"])
def test_a_file_is_quantised_as_its_original_is(tiny_model: TinyModel, tmp_path: Path, quant: Any) -> None:
    folder = wide(tiny_model, "llama")
    file = write_gguf(tmp_path / "tiny.gguf", folder, "Q8_0")
    copy = as_safetensors(folder, file, tmp_path / "copy")
    assert torch.equal(logits(load(file, quant=quant)), logits(load(copy, quant=quant)))


def test_a_file_of_few_bits_is_computed_in_8_of_them(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_itself = partial(load, dtype="auto", backend="torch")
    folder = wide(tiny_model, "llama")
    file, half = (write_gguf(tmp_path / f"{kind}.gguf", folder, kind) for kind in ("Q8_0", "F16"))
    assert by_itself(file).quant == "int8"
    assert by_itself(file, quant="none").quant == "none"
    assert load(file).quant == "none"  # a dtype was asked for
    assert by_itself(half).quant == "none"
    assert by_itself(folder).quant == "none"

    def refuse(*_: Any) -> None:
        raise UnsupportedDevice("It cannot compute them here.")

    monkeypatch.setattr(quantised, "check_quantisation", refuse)
    assert by_itself(file).quant == "none"


# --- positions


def test_llama_3s_scaling_is_told_by_its_factors(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = tiny_model("llama", head_dim=64, rope_parameters=LLAMA3)
    factors = np.array(llama3_factors(64), dtype=np.float32)
    file = write_gguf(tmp_path / "tiny.gguf", folder, tensors={"rope_freqs.weight": factors})
    loaded = load(file)
    assert loaded.notes == ()
    assert {**loaded.model.config.rope_parameters} == LLAMA3
    assert torch.equal(logits(loaded), logits(load(folder)))


def llama3_factors(size: int) -> list[float]:
    """As llama.cpp's converter computes them."""
    factors = []
    for i in range(0, size, 2):
        wavelength = 2 * math.pi * 500_000 ** (i / size)
        smooth = (8192 / wavelength - 1) / (4 - 1)
        if wavelength < 8192 / 4:
            factors.append(1.0)
        elif wavelength > 8192:
            factors.append(8.0)
        else:
            factors.append(1 / ((1 - smooth) / 8 + smooth))
    return factors


def test_other_factors_are_refused(tiny_model: TinyModel, tmp_path: Path) -> None:
    factors = np.linspace(1, 8, 8, dtype=np.float32)
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), tensors={"rope_freqs.weight": factors})
    with pytest.raises(EngineError, match=r"way of its own.*Choose"):
        load(file)


@pytest.mark.parametrize(
    ("rope", "metadata"),
    [
        ({"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}, {"type": "linear", "factor": 4.0}),
        (YARN, {"type": "yarn", "factor": 4.0, "original_context_length": 1024}),
    ],
)
def test_stretched_positions(
    tiny_model: TinyModel, tmp_path: Path, rope: dict[str, Any], metadata: dict[str, Any]
) -> None:
    folder = tiny_model("qwen2", rope_parameters=rope)
    named = {f".rope.scaling.{key}": value for key, value in metadata.items()}
    file = write_gguf(tmp_path / "tiny.gguf", folder, metadata=named)
    assert torch.equal(logits(load(file)), logits(load(folder)))


def test_gemma_3s_positions(tiny_model: TinyModel, tmp_path: Path) -> None:
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    }
    folder = tiny_model("gemma3", rope_parameters=rope, num_hidden_layers=7)
    scaling = {".rope.scaling.type": "linear", ".rope.scaling.factor": 8.0}
    loaded = load(write_gguf(tmp_path / "tiny.gguf", folder, metadata=scaling))
    assert loaded.model.config.layer_types == load(folder).model.config.layer_types
    assert torch.allclose(logits(loaded), logits(load(folder)), atol=1e-4)


def test_longrope(tiny_model: TinyModel, tmp_path: Path) -> None:
    short, long = [1.0 + i / 8 for i in range(6)], [2.0 + i for i in range(6)]
    rope = {"rope_type": "longrope", "short_factor": short, "long_factor": long, "rope_theta": 10_000.0}
    rope |= {"partial_rotary_factor": 0.75, "original_max_position_embeddings": 1024}
    folder = tiny_model("phi3", rope_parameters=rope, original_max_position_embeddings=1024)
    tensors = {f"rope_factors_{kind}.weight": np.array(v, np.float32) for kind, v in (("short", short), ("long", long))}
    said = {".rope.scaling.original_context_length": 1024, ".rope.dimension_count": 12}
    said |= {".rope.scaling.attn_factor": math.sqrt(1 + math.log(4) / math.log(1024))}
    loaded = load(write_gguf(tmp_path / "tiny.gguf", folder, metadata=said, tensors=tensors))
    assert loaded.context_length == 1024
    assert torch.allclose(logits(loaded), logits(load(folder)), atol=1e-5)


def test_unknown_scaling_is_refused(tiny_model: TinyModel, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), metadata={".rope.scaling.type": "dynamic"})
    with pytest.raises(EngineError, match="dynamic"):
        load(file)


# --- what is not right with the weights


def test_missing_weights(tiny_model: TinyModel, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), without=("blk.1.ffn_up.weight",))
    with pytest.raises(BrokenModel, match=r"1 weights are in none of its files.*mlp\.up_proj"):
        load(file)


def test_weights_of_another_shape(tiny_model: TinyModel, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), metadata={".feed_forward_length": 2**31 - 1})
    with pytest.raises(BrokenModel, match=r"do not fit its header.*down_proj"):
        load(file)


def test_weights_left_over(tiny_model: TinyModel, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), tensors={"blk.0.more.weight": np.ones((4, 4))})
    (note,) = load(file).notes
    assert "blk.0.more.weight" in note


def test_progress_and_cancel_between_tensors(tiny_model: TinyModel, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), "Q8_0")
    seen: list[LoadProgress] = []
    load_model(ModelSpec(model=str(file), dtype="fp32"), seen.append)
    weights = [progress for progress in seen if progress.stage == "weights"]
    assert [progress.done for progress in weights] == sorted(progress.done for progress in weights)
    assert weights[-1].done == weights[-1].total == len(gguf.GGUFReader(file).tensors)

    def cancel(progress: LoadProgress) -> None:
        if progress.stage == "weights" and progress.done > 2:
            raise DownloadCancelled("Cancelled.")

    with pytest.raises(DownloadCancelled):
        load_model(ModelSpec(model=str(file), dtype="fp32"), cancel)


def test_converting_and_back() -> None:
    config = {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}
    weight = np.arange(64 * 3, dtype=np.float32).reshape(64, 3)
    name = "model.layers.0.self_attn.k_proj.weight"
    assert np.array_equal(restored(name, converted(name, weight, config), config), weight)
    assert not np.array_equal(converted(name, weight, config), weight)
