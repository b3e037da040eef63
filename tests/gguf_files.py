"""Writes models of the Hugging Face layout as GGUF, as llama.cpp's converter does, with the `gguf` package.

What the converter changes on the way is written out here again: names, the order of Llama's queries and keys, norms.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SMOLLM2_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_ARCHITECTURES = {"gemma3_text": "gemma3", "mistral": "llama"}
_PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


def architecture_of(config: Mapping[str, Any]) -> str:
    return _ARCHITECTURES.get(config["model_type"], config["model_type"])


def gguf_name(name: str, architecture: str) -> str:
    """llama.cpp's name of a weight."""
    stem, _, kind = name.rpartition(".")
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        sandwiched = part == "post_attention_layernorm" and architecture in ("gemma2", "gemma3")
        return f"blk.{layer}.{'post_attention_norm' if sandwiched else _PARTS[part]}.{kind}"
    return f"{_PARTS[stem]}.{kind}"


def converted(name: str, values: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """What llama.cpp's converter makes of a weight."""
    architecture = architecture_of(config)
    if architecture in ("llama", "smollm3") and ("q_proj" in name or "k_proj" in name):
        heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
        halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return values + np.float32(1)
    return values


def restored(name: str, values: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """What `converted` was made of."""
    architecture = architecture_of(config)
    if architecture in ("llama", "smollm3") and ("q_proj" in name or "k_proj" in name):
        heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
        pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return values - np.float32(1)
    return values


def hub_weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    if config.get("tie_word_embeddings", config["model_type"].startswith("gemma")):
        weights.pop("lm_head.weight", None)
    return weights


def quantised(values: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Weights as bytes of a type; those that the package only reads are made of random blocks."""
    import gguf

    type_ = gguf.GGMLQuantizationType[kind]
    try:
        return gguf.quantize(values, type_)
    except NotImplementedError:
        return random_blocks(values.shape, kind, seed)


def random_blocks(shape: tuple[int, ...], kind: str, seed: int) -> np.ndarray:
    """Random bytes in blocks of Q4_K or Q6_K, whose scales are small numbers."""
    import gguf

    weights, num_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (shape[0] * shape[1] // weights, num_bytes), dtype=np.uint8)
    scale = rng.uniform(2e-4, 4e-4, (len(blocks), 1)).astype(np.float16).view(np.uint8)
    if kind == "Q6_K":
        blocks[:, -2:] = scale
    else:
        blocks[:, :2], blocks[:, 2:4] = scale, (scale.view(np.float16) * np.float16(5)).view(np.uint8)
    return blocks.reshape(shape[0], -1)


def metadata_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What llama.cpp's converter says of a model, by the keys behind the architecture's name."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    rope = config["rope_parameters"]
    values: dict[str, Any] = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": float(rope.get("full_attention", rope)["rope_theta"]),
        "rope.dimension_count": head_dim,
    }
    if config.get("sliding_window"):
        values["attention.sliding_window"] = config["sliding_window"]
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config.get(key):
            values[key] = float(config[key])
    return values


def write_gguf(
    file: Path,
    folder: Path,
    kind: str = "F32",
    *,
    metadata: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
    without: tuple[str, ...] = (),
    tokenizer: Any = None,
) -> Path:
    """Write the model in `folder` as a GGUF file, its matrices as `kind`. `metadata` and `tensors` are added or take
    the place of the model's; a key that begins with a dot is the architecture's; a None takes a key away."""
    import gguf

    config = json.loads((folder / "config.json").read_text())
    architecture = architecture_of(config)
    values: dict[str, Any] = {f".{key}": value for key, value in metadata_of(config).items()}
    values |= vocabulary_of(tokenizer or _tokenizer(folder), architecture) | dict(metadata or {})
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(file, values.pop("general.architecture", architecture))
    for key, value in values.items():
        if key == "general.alignment":
            writer.add_custom_alignment(value)
        elif value is not None:
            add_value(writer, architecture + key if key.startswith(".") else key, value)
    weights = {gguf_name(name, architecture): converted(name, w, config) for name, w in hub_weights(folder).items()}
    for seed, (name, weight) in enumerate((weights | dict(tensors or {})).items()):
        if name in without:
            continue
        if weight.ndim == 1 or kind == "F32":
            writer.add_tensor(name, np.ascontiguousarray(weight, dtype=np.float32))
            continue
        whole_blocks = weight.shape[1] % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0] == 0
        used = kind if whole_blocks else "Q8_0"  # llama.cpp falls back, too
        writer.add_tensor(name, quantised(weight, used, seed), raw_dtype=gguf.GGMLQuantizationType[used])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def add_value(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def vocabulary_of(tokenizer: Any, architecture: str = "llama") -> dict[str, Any]:
    """A tokenizer as llama.cpp's converter writes it."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    spelled = dict(data["model"]["vocab"]) | {added["content"]: added["id"] for added in data["added_tokens"]}
    tokens = sorted(spelled, key=lambda token: spelled[token])
    special = {added["content"]: added["special"] for added in data["added_tokens"]}
    bytes_ = data["model"]["byte_fallback"]
    kinds = [
        6
        if bytes_ and token.startswith("<0x") and token.endswith(">")
        else 3
        if special.get(token)
        else 4
        if token in special
        else 1
        for token in tokens
    ]
    merges = [" ".join(merge) for merge in data["model"]["merges"]]
    values: dict[str, Any] = {
        "tokenizer.ggml.model": "llama" if bytes_ else "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": tokenizer.chat_template,
    }
    if bytes_:
        ranks = {"".join(merge): float(-rank) for rank, merge in reversed([*enumerate(data["model"]["merges"])])}
        values["tokenizer.ggml.scores"] = [ranks.get(token, -1e4) for token in tokens]
        values["tokenizer.ggml.add_space_prefix"] = not architecture.startswith("gemma")
    else:
        values |= {"tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.merges": merges}
    for key, number in (
        ("bos", tokenizer.bos_token_id),
        ("eos", tokenizer.eos_token_id),
        ("padding", tokenizer.pad_token_id),
        ("unknown", tokenizer.unk_token_id),
    ):
        if number is not None:
            values[f"tokenizer.ggml.{key}_token_id"] = number
    return values
