"""The catalogue: its file's shape, what it says of sizes, and which model it recommends for which machine."""

import re
import tomllib
from datetime import date

import pytest

from engine.models.catalog import resolve
from engine.models.checkpoints.gguf.families import ARCHITECTURES
from engine.models.checkpoints.supported import SUPPORTED
from engine.models.footprint import kv_bytes_per_token
from engine.models.hub.quantisations import pick, quantisations
from engine.models.hub.remote_files import File
from engine.models.on_disk.fit import fit
from engine.models.well_known import FACTS, ChatModel, best_for, chat_models, weights_in_memory

GB = 10**9
KEYS = {"name", "hub_id", "gguf", "file", "bytes", "licence", "gated", "context", "good_for", "shape"}
SHAPE = {"family", "layers", "hidden", "feed_forward", "heads", "kv_heads", "head_dim", "vocabulary", "tied"}
ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PARAMETERS = {  # as the makers' files have them, norms and biases included
    "SmolLM2 360M": 361_821_120,
    "Qwen3 0.6B": 596_049_920,
    "Gemma 3 1B": 999_885_952,
    "Llama 3.2 1B": 1_235_814_400,
    "Qwen3 1.7B": 1_720_574_976,
    "SmolLM3 3B": 3_075_098_624,
    "Llama 3.2 3B": 3_212_749_824,
    "Phi-4-mini": 3_836_021_760,
    "Gemma 3 4B": 3_880_099_328,
    "Qwen3 4B": 4_022_468_096,
    "Mistral 7B": 7_248_023_552,
    "Qwen3 8B": 8_190_735_360,
    "Qwen3 14B": 14_768_307_200,
}
all_models = pytest.mark.parametrize("model", chat_models(), ids=lambda model: model.name)


def test_the_file_has_these_facts_of_each_model_and_no_others() -> None:
    facts = tomllib.loads(FACTS.read_text(encoding="utf-8"))
    assert date.fromisoformat(facts.pop("date")).year >= 2026
    assert set(facts) == {"model"}
    for model in facts["model"]:
        assert set(model) == KEYS
        assert set(model["shape"]) == SHAPE
        assert set(model["bytes"]) == {"gguf", "safetensors"}
    names = [model["name"] for model in facts["model"]]
    assert names == list(PARAMETERS)


@all_models
def test_names_are_such_as_can_be_loaded(model: ChatModel) -> None:
    assert ID.fullmatch(model.hub_id)
    assert ID.fullmatch(model.repository)
    location = resolve(model.model)
    assert (location.hub_id, location.gguf) == (model.repository, model.quantisation)
    assert pick(quantisations([File(model.file, 1)]), model.quantisation, model.repository).files[0].name == model.file
    assert model.shape.model_type in SUPPORTED
    assert model.shape.model_type.removesuffix("_text") in {*ARCHITECTURES, "mistral"}  # whose files say llama


@all_models
def test_sizes_follow_from_the_shape(model: ChatModel) -> None:
    shape = model.shape
    assert shape.num_parameters == pytest.approx(PARAMETERS[model.name], rel=2e-4)
    assert kv_bytes_per_token(shape.config, 2) == 4 * shape.config["num_hidden_layers"] * (
        shape.config["num_key_value_heads"] * shape.config["head_dim"]
    )
    bits = 8 * model.gguf_bytes / shape.num_parameters
    assert bits == pytest.approx(8.53 if model.quantisation == "Q8_0" else 5.2, abs=1.3)
    embedding = shape.config["vocab_size"] * shape.config["hidden_size"]
    sixteen = [2 * shape.num_parameters, 2 * (shape.num_parameters + embedding)]  # a tied head may be stored again
    seeing = 840_000_000 if model.name == "Gemma 3 4B" else 0
    assert any(model.safetensors_bytes - seeing == pytest.approx(size, rel=2e-3) for size in sixteen)


def test_they_are_in_the_order_of_their_sizes() -> None:
    sizes = [model.shape.num_parameters for model in chat_models()]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.5e9
    assert sizes[-1] > 14e9


@pytest.mark.parametrize(
    ("free", "device", "bytes_per_s", "best"),
    [
        (8 * GB, "cpu", None, "Qwen3 1.7B"),
        (64 * GB, "cpu", None, "Qwen3 1.7B"),
        (64 * GB, "mps", None, "Qwen3 4B"),
        (24 * GB, "cuda", None, "Qwen3 8B"),
        (64 * GB, "cuda", None, "Qwen3 14B"),
        (64 * GB, "cpu", 8 * GB, "SmolLM2 360M"),
        (64 * GB, "cpu", 30 * GB, "Qwen3 1.7B"),
        (64 * GB, "cpu", 45 * GB, "Qwen3 4B"),
        (64 * GB, "cpu", 4 * GB, "SmolLM2 360M"),
        (1 * GB, "cpu", None, None),
    ],
)
def test_the_best_fit(free: int, device: str, bytes_per_s: float | None, best: str | None) -> None:
    found = best_for(free, device, bytes_per_s)
    assert (found and found.name) == best
    if found is not None and bytes_per_s is not None:
        assert bytes_per_s / weights_in_memory(found.shape) >= 5 or found is chat_models()[0]
        assert fit(found.shape, free) == "fits"
