"""Random models have the shapes they are named after, finite activations, and are refused where words are needed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import ModelSpec
from engine.errors import ModelNotFound, NotEnoughMemory, UnsupportedModel
from engine.events import LoadProgress
from engine.forward.transformers_target import TransformersTarget
from engine.models import random_models
from engine.models.catalog import resolve
from engine.models.hardware import Device
from engine.models.loader import LoadedModel
from engine.models.random_models import load_any, load_random
from engine.models.shapes import PREFIX, SHAPES

SMALL = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 500,
}  # fmt: skip
# As the makers count them, a tied head once.
PARAMETERS = {
    "llama-3.1-8b": 8_030_261_248,
    "qwen3-8b": 8_190_735_360,
    "llama-3.2-1b": 1_235_814_400,
    "qwen3-0.6b": 596_049_920,
    "qwen2.5-0.5b": 494_032_768,
}


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shape once more as `small-NAME`, with what makes its family and little else."""
    for name in list(SHAPES):
        head = {"head_dim": 32} if "head_dim" in SHAPES[name] else {}
        monkeypatch.setitem(SHAPES, f"small-{name}", SHAPES[name] | SMALL | head)


def load(name: str, reports: list[LoadProgress] | None = None, **options: Any) -> LoadedModel:
    options = {"dtype": "bfloat16", "device": "cpu", "max_context": 512} | options
    return load_random(ModelSpec(model=PREFIX + name, **options), [].append if reports is None else reports.append)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_true_shape(name: str) -> None:
    model = random_models._skeleton(random_models._config(PREFIX + name), torch.bfloat16)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    attention = model.model.layers[0].self_attn
    assert (attention.q_proj.bias is not None) == (name == "qwen2.5-0.5b")
    assert hasattr(attention, "q_norm") == name.startswith("qwen3")
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == (name[-2:] != "8b")
    rope = model.config.rope_parameters
    assert rope["rope_theta"] == (5e5 if name.startswith("llama") else 1e6)
    assert rope["rope_type"] == ("llama3" if name.startswith("llama") else "default")


def test_every_shape_is_counted() -> None:
    assert {name for name in SHAPES if not name.startswith("small-")} == set(PARAMETERS)


@pytest.mark.parametrize("quant", ["none", "int8", "nf4"])
@pytest.mark.parametrize("name", ["small-llama-3.1-8b", "small-qwen3-0.6b", "small-qwen2.5-0.5b"])
def test_activations_are_sane(name: str, quant: str) -> None:
    loaded = load(name, quant=quant)
    assert (loaded.name, loaded.quant, loaded.tokenizer, loaded.context_length) == (PREFIX + name, quant, None, 512)
    quantised = type(loaded.model.model.layers[0].mlp.down_proj).__name__
    assert quantised == {"none": "Linear", "int8": "Linear8bitLt", "nf4": "Linear4bit"}[quant]
    assert type(loaded.model.lm_head) is torch.nn.Linear
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)
    assert target.runs_body  # our own order of work agrees with transformers' modules on these weights
    logits = target.forward(target.new_cache(16), list(range(16))).float()
    assert logits.isfinite().all()
    assert 0.2 < logits.std() < 5
    assert len({int(row.argmax()) for row in logits}) > 8  # no row says what another says


def test_weights_are_all_different_rows_and_the_same_every_time() -> None:
    first, second = (load("small-llama-3.1-8b").model for _ in range(2))
    for (name, weight), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(weight, other), name
        if weight.dim() == 2:
            assert len(weight.unique(dim=0)) == len(weight), name


def test_noise_begins_again_behind_its_end() -> None:
    noise = torch.arange(random_models._NOISE, dtype=torch.float32)
    value = random_models._tiled((3, 500_000), noise).view(-1)
    assert value[random_models._NOISE - 1 :][:3].tolist() == [random_models._NOISE - 1, 0, 1]
    assert torch.equal(random_models._tiled((2, 5), noise).view(-1), noise[:10])


def test_tied_weights_are_counted_once() -> None:
    loaded = load("small-qwen2.5-0.5b")
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight
    assert loaded.weights_bytes == 2 * loaded.num_parameters


def test_progress_is_reported() -> None:
    reports: list[LoadProgress] = []
    load("small-qwen3-8b", reports)
    assert reports[0].done == 0
    assert reports[-1].done == reports[-1].total


def test_too_large_a_model_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Device(torch.device("cpu"), "a small machine", 4 * 10**9)
    monkeypatch.setattr("engine.models.loader.choose_device", lambda wanted: cpu)
    monkeypatch.setattr(random_models, "_build", lambda *_: pytest.fail("nothing may be made"))
    with pytest.raises(NotEnoughMemory, match=r"random:llama-3.1-8b needs about 16\.\d GB .* 4\.0 GB are free"):
        load("llama-3.1-8b", max_context=None)


def test_memory_that_runs_out_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 16 bytes")

    monkeypatch.setattr(random_models, "_build", no_memory)
    with pytest.raises(NotEnoughMemory, match="ran out of memory while random:small-qwen3-8b was loaded"):
        load("small-qwen3-8b")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ModelNotFound, match=r"There is no random:gpt: known are random:llama-3.1-8b, "):
        load("gpt")


def test_without_words_there_is_no_chat() -> None:
    with pytest.raises(UnsupportedModel, match="random:qwen3-8b has random weights and no words"):
        resolve("random:qwen3-8b")


def test_other_names_are_loaded_as_ever(tiny_model: Any) -> None:
    folder: Path = tiny_model("qwen3")
    assert load_any(ModelSpec(model=str(folder), device="cpu"), lambda _: None).tokenizer is not None
