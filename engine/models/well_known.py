"""Open chat models that are offered for download, and which of them suits this machine best.

The facts are in `assets/chat_models.toml`, dated. No torch and no network: the page's process reads them.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.models.checkpoints.checkpoint import ModelShape, Tensor
from engine.models.checkpoints.gguf.names import label_of
from engine.models.footprint import estimate_weights
from engine.models.on_disk.fit import SMALL_MODEL, fit

FACTS = Path(__file__).resolve().parents[2] / "assets" / "chat_models.toml"
QUICK_TOKENS_PER_S = 5.0  # about as fast as people read
# Parameters of what is quick enough where nothing was measured here: memory feeds processors 20 to 60 GB/s, Apple's
# GPUs 100 or more, and other GPUs so much that what fits is quick.
_UNMEASURED = {"cpu": 2 * 10**9, "mps": 5 * 10**9}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """A model that can be downloaded. `model` is what to load; `hub_id` its maker's own repository."""

    name: str
    hub_id: str
    repository: str
    file: str
    gguf_bytes: int
    safetensors_bytes: int
    licence: str
    gated: bool
    context: int
    good_for: str
    shape: ModelShape

    @property
    def quantisation(self) -> str:
        return label_of(self.file.removesuffix(".gguf"))

    @property
    def model(self) -> str:
        return f"{self.repository}:{self.quantisation}"


@cache
def chat_models() -> tuple[ChatModel, ...]:
    """All of them, the smallest first."""
    facts = tomllib.loads(FACTS.read_text(encoding="utf-8"))
    return tuple(_chat_model(model) for model in facts["model"])


def best_for(free_bytes: int, device: str, bytes_per_s: float | None) -> ChatModel | None:
    """The largest model that fits comfortably and is tolerably quick here; where none is quick, the smallest that fits,
    and None where none does.

    It fits comfortably where `fit` says `fits`: unquantised, in `free_bytes`, with a usual context. It is quick where
    it would write five tokens a second without drafts. A token reads all weights once, so that is `bytes_per_s`, what
    the loaded model was measured to read in a second, over the bytes that this model's weights take. Where nothing was
    measured, a limit on parameters for this kind of `device` ("cpu", "mps", "cuda") takes its place.
    """
    fitting = [model for model in chat_models() if fit(model.shape, free_bytes) == "fits"]
    suits = fitting
    if bytes_per_s is None:
        suits = [m for m in suits if m.shape.num_parameters <= _UNMEASURED.get(device, m.shape.num_parameters)]
    else:
        suits = [m for m in suits if bytes_per_s / weights_in_memory(m.shape) >= QUICK_TOKENS_PER_S]
    if not suits:  # a busy moment may have been measured, and somebody who asks wants an answer
        return min(fitting, key=lambda model: model.shape.num_parameters, default=None)
    return max(suits, key=lambda model: model.shape.num_parameters)


def weights_in_memory(shape: ModelShape) -> int:
    """Bytes of a model's weights where it computes, whatever its file's format: 32 bits for small ones, else 16."""
    return estimate_weights(shape, 4 if shape.num_parameters < SMALL_MODEL else 2, "none")


def _chat_model(facts: dict[str, Any]) -> ChatModel:
    return ChatModel(
        name=facts["name"],
        hub_id=facts["hub_id"],
        repository=facts["gguf"],
        file=facts["file"],
        gguf_bytes=facts["bytes"]["gguf"],
        safetensors_bytes=facts["bytes"]["safetensors"],
        licence=facts["licence"],
        gated=facts["gated"],
        context=facts["context"],
        good_for=facts["good_for"],
        shape=_shape(facts["name"], facts["context"], facts["shape"]),
    )


def _shape(name: str, context: int, facts: dict[str, Any]) -> ModelShape:
    """The model's sizes as a checkpoint would give them: the embedding, the head where it is apart, all the rest."""
    layers, hidden = facts["layers"], facts["hidden"]
    heads, kv_heads, head_dim = facts["heads"], facts["kv_heads"], facts["head_dim"]
    attention = 2 * hidden * head_dim * (heads + kv_heads)
    rest = layers * (attention + 3 * hidden * facts["feed_forward"])  # norms are a thousandth of a per cent
    config = {
        "model_type": facts["family"],
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "hidden_size": hidden,
        "intermediate_size": facts["feed_forward"],
        "vocab_size": facts["vocabulary"],
        "max_position_embeddings": context,
        "tie_word_embeddings": facts["tied"],
    }
    table = (facts["vocabulary"], hidden)
    tensors = [Tensor("model.embed_tokens.weight", "", table), Tensor("layers", "", (rest, 1))]
    if not facts["tied"]:
        tensors.append(Tensor("lm_head.weight", "", table))
    return ModelShape(name, config, tuple(tensors))
