"""Adapters: merged as PEFT merges them, refused where they do not fit or are something else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.config import ModelSpec
from engine.errors import BrokenModel, EngineError, ModelNotFound, UnsupportedModel
from engine.models.loader import LoadedModel, load_model
from tests.gguf_files import write_gguf

LAYER = "model.layers.1.mlp.down_proj"


def load(folder: Path, **options: Any) -> LoadedModel:
    return load_model(ModelSpec(model=str(folder), dtype="float32", device="cpu", **options), lambda _: None)


def write(folder: Path, tensors: dict[str, torch.Tensor], **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "bias": "none", "init_lora_weights": True} | settings
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def pair(out: int, into: int, layer: str = LAYER, rank: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {
        f"base_model.model.{layer}.lora_A.weight": torch.randn(rank, into),
        f"base_model.model.{layer}.lora_B.weight": torch.randn(out, rank),
    }


def weights(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in loaded.model.named_parameters()}


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}], ids=["alpha over rank", "alpha over its root"])
@pytest.mark.parametrize("form", ["folder", "gguf"])
def test_an_adapter_is_merged_into_its_weights_and_no_others(
    form: str, settings: dict[str, Any], tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = tiny_model("llama")
    if form == "gguf":
        model = write_gguf(tmp_path / "tiny.gguf", model)
    tensors = pair(64, 128) | pair(32, 64, "model.layers.0.self_attn.k_proj", rank=3)
    adapter = write(tmp_path / "mine", tensors, **settings)
    before, loaded = weights(load(model)), load(model, adapter=str(adapter))
    assert loaded.name.endswith(" with mine")
    for name, merged in weights(loaded).items():
        key = f"base_model.model.{name.removesuffix('.weight')}.lora_"
        expected = before[name]
        if f"{key}A.weight" in tensors:
            a, b = tensors[f"{key}A.weight"], tensors[f"{key}B.weight"]
            scale = 8 / (a.shape[0] ** (0.5 if settings else 1))
            expected = before[name] + scale * (b @ a)
            assert not torch.equal(merged, before[name])
        torch.testing.assert_close(merged, expected)


def test_a_model_with_an_adapter_is_another_model(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    adapter = write(tmp_path / "mine", pair(64, 128))
    other = write(tmp_path / "other", pair(64, 128))
    model = tiny_model("llama")
    loads = [load(model), load(model, adapter=str(adapter)), load(model, adapter=str(other))]
    assert len({loaded.fingerprint for loaded in loads}) == 3


@pytest.mark.parametrize(
    ("tensors", "settings", "kind", "said"),
    [
        (pair(64, 96), {}, UnsupportedModel, "down_proj.weight of [64, 96], and the model has"),
        (pair(64, 128, "model.layers.7.mlp.down_proj"), {}, UnsupportedModel, "the model has no such weight"),
        (pair(64, 128), {"peft_type": "LOHA"}, UnsupportedModel, "of the kind 'LOHA'"),
        (pair(64, 128), {"use_dora": True}, UnsupportedModel, "needs use_dora = True"),
        (pair(64, 128), {"modules_to_save": ["lm_head"]}, UnsupportedModel, "needs modules_to_save"),
        (pair(64, 128), {"init_lora_weights": "pissa"}, UnsupportedModel, "needs init_lora_weights = 'pissa'"),
        (pair(64, 128), {"bias": "all"}, UnsupportedModel, "needs bias = 'all'"),
        (pair(64, 128), {"lora_alpha": "much"}, BrokenModel, "lora_alpha is no number"),
        (pair(64, 128) | {"extra": torch.ones(2)}, {}, UnsupportedModel, "it holds extra"),
        ({f"base_model.model.{LAYER}.lora_A.weight": torch.ones(2, 128)}, {}, BrokenModel, "only half"),
        (pair(64, 128) | {f"base_model.model.{LAYER}.lora_B.weight": torch.ones(64, 3)}, {}, BrokenModel, "do not fit"),
        (pair(64, 128) | {f"base_model.model.{LAYER}.lora_B.weight": torch.full((64, 2), torch.inf)}, {}, BrokenModel,
         "infinite"),
        ({}, {}, BrokenModel, "holds no weights"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_sentence(
    tensors: dict[str, torch.Tensor],
    settings: dict[str, Any],
    kind: type[EngineError],
    said: str,
    tiny_model: Callable[..., Path],
    tmp_path: Path,
) -> None:
    adapter = write(tmp_path / "mine", tensors, **settings)
    with pytest.raises(kind) as failure:
        load(tiny_model("llama"), adapter=str(adapter))
    assert said in str(failure.value)


def test_what_is_no_adapter_is_refused_in_a_sentence(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    model = tiny_model("llama")
    with pytest.raises(ModelNotFound, match=r"it has no adapter_config\.json"):
        load(model, adapter=str(tmp_path))
    pickled = write(tmp_path / "pickled", pair(64, 128))
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    with pytest.raises(UnsupportedModel, match="safetensors"):
        load(model, adapter=str(pickled))
    damaged = write(tmp_path / "damaged", pair(64, 128))
    (damaged / "adapter_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(BrokenModel, match="cannot be read"):
        load(model, adapter=str(damaged))
    with pytest.raises(UnsupportedModel, match="quantisation none"):
        load(model, adapter=str(write(tmp_path / "mine", pair(64, 128))), quant="int8")


def test_an_adapter_alone_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="--adapter"):
        load(write(tmp_path / "mine", pair(64, 128)))
