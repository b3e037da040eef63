"""What is used of other libraries beyond their documented interfaces: the failing line names what is gone."""

import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import ModelSpec
from engine.errors import NetworkUnavailable
from engine.events import LoadProgress
from engine.models.checkpoints.gguf.package import block, can_dequantise, type_name
from engine.models.loader import load_model
from engine.models.network import settings_in_words
from tests.models import byte_tokenizer, metaspace_tokenizer

TinyModel = Callable[..., Path]


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("huggingface_hub", "get_session", []),
        ("huggingface_hub", "try_to_load_from_cache", ["repo_id", "filename"]),
        ("huggingface_hub", "get_hf_file_metadata", ["url", "headers", "timeout"]),
        ("huggingface_hub.utils", "build_hf_headers", []),
        ("huggingface_hub.file_download", "repo_folder_name", ["repo_id", "repo_type"]),
        ("transformers.utils.logging", "set_tqdm_hook", ["hook"]),
        ("transformers.utils.logging", "disable_default_handler", []),
        ("transformers.integrations.bitsandbytes", "replace_with_bnb_linear", ["model"]),
        ("gguf", "dequantize", ["data", "qtype"]),
        ("transformers", "AttentionInterface.register", []),
    ],
)
def test_functions(module: str, name: str, arguments: list[str]) -> None:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert set(arguments) <= set(inspect.signature(found).parameters)


def test_where_the_hub_and_its_cache_are() -> None:
    from huggingface_hub import constants

    assert constants.HF_HUB_CACHE
    assert constants.ENDPOINT
    assert "{filename}" in constants.HUGGINGFACE_CO_URL_TEMPLATE


@pytest.mark.parametrize("tokenizer", [byte_tokenizer(), metaspace_tokenizer()], ids=["bytes", "metaspace"])
def test_a_tokenizers_own_description(tokenizer: Any) -> None:
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    assert {"content", "id", "special"} <= set(data["added_tokens"][0])
    assert {"vocab", "unk_token"} <= set(data["model"])
    assert "post_processor" in data
    assert all(token.content for token in tokenizer.added_tokens_decoder.values())


def test_the_bar_of_weights(tiny_model: TinyModel) -> None:
    reports: list[LoadProgress] = []
    load_model(ModelSpec(model=str(tiny_model("llama")), device="cpu"), reports.append)
    assert "weights" in {report.stage for report in reports}, "transformers shows weights under another name"


@pytest.mark.parametrize(("quant", "attribute"), [("int8", "SCB"), ("nf4", "quant_state")])
def test_a_quantised_layer(tiny_model: TinyModel, quant: Any, attribute: str) -> None:
    spec = ModelSpec(model=str(tiny_model("llama")), device="cpu", quant=quant)
    layer = load_model(spec, lambda report: None).model.model.layers[0].mlp.up_proj
    assert hasattr(layer.weight, attribute)
    assert quant == "int8" or hasattr(layer, "support_avx512bf16_for_cpu")
    assert quant == "int8" or {"absmax", "blocksize", "nested", "shape"} <= set(dir(layer.weight.quant_state))


def test_what_a_load_says_about_its_weights(tiny_model: TinyModel) -> None:
    from transformers import AutoModelForCausalLM

    _, info = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), output_loading_info=True)
    assert {"missing_keys", "mismatched_keys", "unexpected_keys"} <= set(info)


def test_a_tensor_of_a_state_dict_is_read_when_its_turn_comes(tiny_model: TinyModel) -> None:
    """`engine.models.decoded` gives transformers tensors that are read with `[...]`, each once."""
    import torch
    from transformers import AutoConfig, LlamaForCausalLM

    config = AutoConfig.from_pretrained(tiny_model("llama"))
    read: list[str] = []

    class Lazy:
        def __init__(self, name: str, shape: tuple[int, ...]) -> None:
            self.name, self.shape = name, shape

        def __getitem__(self, index: object) -> torch.Tensor:
            assert index is Ellipsis
            read.append(self.name)
            return torch.full(self.shape, 0.5)

    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in LlamaForCausalLM(config).named_parameters()}
    lazy = {name: Lazy(name, shape) for name, shape in shapes.items()}
    model, info = LlamaForCausalLM.from_pretrained(None, config=config, state_dict=lazy, output_loading_info=True)
    assert sorted(read) == sorted(shapes)
    assert not info["missing_keys"]
    assert all((parameter == 0.5).all() for parameter in model.parameters())


def test_what_the_gguf_package_says_of_types() -> None:
    assert type_name(12) == "Q4_K"
    assert type_name(999) == ""
    assert block(12) == (256, 144)
    assert can_dequantise(12)
    assert not can_dequantise(15)  # Q8_K, of which it knows the size alone


def test_a_failure_that_says_nothing_is_named_by_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    with (
        pytest.raises(
            NetworkUnavailable, match=r"^The client: KeyError\. Correct or unset the system's proxy settings"
        ),
        settings_in_words("The client"),
    ):
        raise KeyError
