"""Which model a GGUF file describes: its architecture and sizes as transformers' configuration of the same model.

llama.cpp names what differs from file to file, and knows by heart what is the same for a family; so does this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import UnsupportedModel
from engine.models.checkpoints.gguf.header import StoredTensor, damaged
from engine.models.checkpoints.gguf.metadata import Metadata
from engine.models.checkpoints.gguf.rope import rope_parameters
from engine.models.checkpoints.supported import FAMILIES

_BIASES = ("attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias")
_EMBEDDING = ("bert", "nomic-bert", "jina-bert", "modern-bert", "neo-bert", "gemma-embedding", "t5encoder", "eurobert")
_MOST_LAYERS = 1024  # the deepest models have an eighth of it; building a model of more takes long
_GEMMA2_27B, _GEMMA3_27B = 46, 62  # layers; these scale attention by other sizes than the rest of their families


@dataclass(frozen=True, slots=True)
class Described:
    """A file's metadata with its tensors by llama.cpp's names, which settle what metadata leave out."""

    name: str
    metadata: Metadata
    tensors: dict[str, StoredTensor]

    def key(self, name: str) -> str:
        return f"{self.metadata.architecture}.{name}"

    def integer(self, name: str, default: int | None = None, *, lowest: int = 0, highest: int = 2**31 - 1) -> int:
        return self.metadata.integer(self.key(name), default, lowest=lowest, highest=highest)

    def number(self, name: str, default: float) -> float:
        return shortest(self.metadata.number(self.key(name), default))

    def has(self, name: str) -> bool:
        return self.key(name) in self.metadata


def shortest(value: float) -> float:
    """The shortest decimal that is the same number in 32 bits, which is what a maker's config.json says.

    >>> shortest(9.999999747378752e-06)
    1e-05
    """
    return float(str(np.float32(value)))


def check_kind(metadata: Metadata, num_tensors: int, name: str) -> None:
    """Refuse what is no language model by itself. Raises `UnsupportedModel` or `BrokenModel`."""
    architecture, kind = metadata.architecture, metadata.text("general.type") or "model"
    if kind == "adapter" or "adapter.type" in metadata:
        raise UnsupportedModel(
            f"{name} is an adapter (LoRA) without its base model. Merge it into the base model with llama.cpp's "
            "llama-export-lora, and choose the merged file."
        )
    if kind == "mmproj" or architecture == "clip":
        raise UnsupportedModel(
            f"{name} is the part of a model that sees or hears (mmproj). Choose the file of its language model."
        )
    if not architecture:
        raise damaged(metadata.file, "its header names no architecture")
    if not num_tensors:
        raise UnsupportedModel(f"{name} holds a vocabulary without weights. Choose the file that holds the model.")
    if architecture.startswith(_EMBEDDING) or metadata.integer(f"{architecture}.pooling_type", 0):
        raise UnsupportedModel(
            f"{name} is an embedding model ({architecture}), which does not write text. Choose a chat model."
        )
    if architecture not in ARCHITECTURES:
        raise UnsupportedModel(
            f"{name} has the architecture {architecture[:40]!r}, which is not supported as GGUF. Choose a dense model "
            f"of the {FAMILIES} families."
        )
    if metadata.integer(f"{architecture}.expert_count", 0):
        raise UnsupportedModel(
            f"{name} is a mixture of experts ({architecture}), which is not supported. Choose a dense model of the "
            f"{FAMILIES} families."
        )


def text_config(described: Described) -> dict[str, Any]:
    """The model's configuration as transformers names it. Raises `BrokenModel` or `UnsupportedModel`."""
    config = _common(described)
    ARCHITECTURES[described.metadata.architecture](described, config)
    return config


def _common(described: Described) -> dict[str, Any]:
    metadata, tensors = described.metadata, described.tensors
    for name in ("feed_forward_length", "attention.head_count", "attention.head_count_kv"):
        if not isinstance(metadata.values.get(described.key(name), 0), int):
            raise UnsupportedModel(
                f"{described.name} has layers of different sizes ({name}), which is not supported. Choose another "
                f"model of the {FAMILIES} families."
            )
    embedding = tensors.get("token_embd.weight")
    if embedding is None:
        raise damaged(metadata.file, "it has no token_embd.weight")
    vocab_size = embedding.shape[0]
    heads = described.integer("attention.head_count", lowest=1)
    hidden_size = described.integer("embedding_length", lowest=1)
    head_dim = described.integer("attention.key_length", hidden_size // heads, lowest=1)
    if described.integer("attention.value_length", head_dim) != head_dim:
        raise UnsupportedModel(f"{described.name} has values of another size than its keys, which is not supported.")
    layers = described.integer("block_count", lowest=1, highest=min(len(tensors), _MOST_LAYERS))
    tokens = {kind: metadata.token(kind, vocab_size) for kind in ("bos", "eos")}
    return {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": described.integer("feed_forward_length", lowest=1),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": described.integer("attention.head_count_kv", heads, lowest=1),
        "head_dim": head_dim,
        "max_position_embeddings": described.integer("context_length", lowest=1),
        "rms_norm_eps": described.number("attention.layer_norm_rms_epsilon", 1e-6),
        "rope_parameters": rope_parameters(described.name, metadata, tensors, head_dim),
        "tie_word_embeddings": "output.weight" not in tensors,
        "bos_token_id": tokens["bos"],
        "eos_token_id": tokens["eos"],
        "pad_token_id": metadata.token("padding", vocab_size),
    }


def _no_window(described: Described, config: dict[str, Any]) -> None:
    """Refuse a sliding window that the family's layers would not keep to."""
    window = described.integer("attention.sliding_window", 0)
    if 0 < window < config["max_position_embeddings"]:
        raise UnsupportedModel(
            f"{described.name} ({described.metadata.architecture}) has a sliding window of {window:,} tokens, which is "
            "not supported for its family. Choose its version with safetensors files."
        )


def _llama(described: Described, config: dict[str, Any]) -> None:
    """Llama, and Mistral, which llama.cpp takes for a Llama; only the latter has a sliding window."""
    biased = any(name.endswith(_BIASES) for name in described.tensors)
    config["attention_bias"] = biased
    config["mlp_bias"] = any(name.endswith("ffn_gate.bias") for name in described.tensors)
    config["model_type"] = "llama"
    if described.integer("attention.sliding_window", 0) and not biased:
        config["model_type"] = "mistral"
        config["sliding_window"] = described.integer("attention.sliding_window")
    else:
        _no_window(described, config)


def _qwen(described: Described, config: dict[str, Any]) -> None:
    config["model_type"] = described.metadata.architecture
    _no_window(described, config)


def _smollm3(described: Described, config: dict[str, Any]) -> None:
    """Every fourth layer has no rotary embedding, which no metadata say."""
    config |= {"model_type": "smollm3", "no_rope_layer_interval": 4}
    _no_window(described, config)


def _phi3(described: Described, config: dict[str, Any]) -> None:
    config["model_type"] = "phi3"
    if config.pop("head_dim") * config["num_attention_heads"] != config["hidden_size"]:
        raise UnsupportedModel(f"{described.name} has heads of a size that Phi 3 does not have. It is not supported.")
    config["sliding_window"] = described.integer("attention.sliding_window", 0) or None
    context = config["max_position_embeddings"]
    original = described.integer("rope.scaling.original_context_length", context, lowest=1)
    config["original_max_position_embeddings"] = original


def _gemma(described: Described, config: dict[str, Any]) -> None:
    config["model_type"] = "gemma"
    _no_window(described, config)


def _gemma2(described: Described, config: dict[str, Any]) -> None:
    config |= {
        "model_type": "gemma2",
        "sliding_window": described.integer("attention.sliding_window", 4096, lowest=1),
        "attn_logit_softcapping": described.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": described.number("final_logit_softcapping", 30.0),
        "query_pre_attn_scalar": _query_scale(config, _GEMMA2_27B),
    }


def _gemma3(described: Described, config: dict[str, Any]) -> None:
    config |= {
        "model_type": "gemma3_text",
        "sliding_window": described.integer("attention.sliding_window", lowest=1),
        "final_logit_softcapping": described.number("final_logit_softcapping", 0.0) or None,
        "query_pre_attn_scalar": _query_scale(config, _GEMMA3_27B),
        "rope_parameters": {
            "full_attention": config["rope_parameters"],
            "sliding_attention": {"rope_type": "default", "rope_theta": described.number("rope.freq_base_swa", 10000)},
        },
    }
    if described.has("attention.sliding_window_pattern"):
        config["layer_types"] = _layer_types(described, config["num_hidden_layers"])


def _layer_types(described: Described, layers: int) -> list[str]:
    """Which layers slide, as a list with a value for each layer or as the distance of those that do not."""
    key = described.key("attention.sliding_window_pattern")
    if isinstance(described.metadata.values[key], int):
        every = described.integer("attention.sliding_window_pattern", lowest=1)
        slides = [bool((layer + 1) % every) for layer in range(layers)]
    else:
        slides = [bool(value) for value in described.metadata.array(key, int)]
        if len(slides) != layers:
            raise damaged(described.metadata.file, f"its {key} has {len(slides):,} values for {layers} layers")
    return ["sliding_attention" if sliding else "full_attention" for sliding in slides]


def _query_scale(config: dict[str, Any], largest: int) -> int:
    if config["num_hidden_layers"] == largest:
        return int(config["hidden_size"] // config["num_attention_heads"])
    return int(config["head_dim"])


ARCHITECTURES: dict[str, Callable[[Described, dict[str, Any]], None]] = {
    "llama": _llama,
    "qwen2": _qwen,
    "qwen3": _qwen,
    "smollm3": _smollm3,
    "phi3": _phi3,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
}
