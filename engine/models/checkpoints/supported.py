"""What can be run: which architectures, and which sets of files hold a model that can be read.

Safetensors and GGUF are read; a pickled file is not, since it runs code when it is opened.
"""

import re
from typing import Any

from engine.errors import BrokenModel, EngineError, ModelNotFound, UnsupportedModel

SUPPORTED = frozenset(
    {"llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "smollm3"}
    | {"gemma3"}  # of which the text model is loaded alone
)
FAMILIES = "Llama, Qwen2, Qwen3, Mistral, Gemma, Phi and SmolLM"

WHOLE_WEIGHTS = frozenset({"model.safetensors", "model.safetensors.index.json"})  # one of these names all weights
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_RECURRENT_LAYERS = ("linear_attention", "mamba", "recurrent", "ssm", "conv", "rwkv", "hybrid")
_RECURRENT_TYPES = ("mamba", "rwkv", "jamba", "bamba", "zamba", "falcon_h1", "recurrent_gemma", "qwen3_next", "lfm2")
_SHARD = re.compile(r"model-(\d+)-of-(\d+)\.safetensors")


def check_names(names: set[str], name: str, where: str) -> None:
    """Refuse by file names alone, those of a folder or of a Hub repository: no model, other formats, pickles."""
    if "config.json" not in names:
        if "adapter_config.json" in names:
            raise UnsupportedModel(
                f"{name} holds an adapter (LoRA) without its base model. Load the base model with --adapter and the "
                "adapter's folder."
            )
        if any(n.endswith(".gguf") for n in names):
            raise ModelNotFound(f"There are GGUF files and others in {where}, and no config.json. Name a GGUF file.")
        raise ModelNotFound(
            f"There is no model in {where}: it has no config.json. Choose the place where config.json is."
        )
    if not names & WHOLE_WEIGHTS:
        if shards := sorted(filter(_SHARD.fullmatch, names)):
            raise _no_index(shards, name, where)
        weights = [n for n in names if "/" not in n and n not in ("training_args.bin", "scheduler.pt")]
        if any(n.endswith(_PICKLED) for n in weights):
            raise UnsupportedModel(
                f"{name} has pickled weights (.bin or .pt), which can run code when they are opened. Choose a version "
                "with safetensors files, or convert it with transformers' save_pretrained."
            )
        raise BrokenModel(f"{name}: there is no model.safetensors in {where}. Download the model again.")
    halves = {"vocab.json", "merges.txt"}
    if not ({"tokenizer.json", "tokenizer.model"} & names or halves <= names):
        missing = min(halves - names) if halves & names else "tokenizer.json"
        raise BrokenModel(
            f"{name} has no whole tokenizer: {missing} is missing in {where}. Copy it from the original model."
        )


def _no_index(shards: list[str], name: str, where: str) -> EngineError:
    """The failure for weight files whose index is missing, and perhaps some of themselves."""
    width, total = next((len(m[1]), int(m[2])) for m in map(_SHARD.fullmatch, shards) if m)
    wanted = [f"model-{number:0{width}}-of-{total:0{width}}.safetensors" for number in range(1, total + 1)]
    missing = [shard for shard in wanted if shard not in shards] if total < 10_000 else []
    also = f", and {len(missing)} of its {total} weight files, the first is {missing[0]}" if missing else ""
    return BrokenModel(
        f"{name}: model.safetensors.index.json is missing in {where}{also}. The index says which weight file holds "
        "what: copy it from the original model, or download the model again."
    )


def check_config(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Refuse what cannot be run; returns the text model's configuration. Raises `UnsupportedModel` or `BrokenModel`."""
    model_type: str = config["model_type"]
    text = config
    if "text_config" in config and model_type == "gemma3":
        if not isinstance(config["text_config"], dict):
            raise BrokenModel(f"{name}: text_config in config.json is not an object. Download the model again.")
        text = {"tie_word_embeddings": config.get("tie_word_embeddings", True), **config["text_config"]}
        text["model_type"] = "gemma3_text"
    layers = _names(text, "layer_types", name)
    recurrent = any(part in kind for kind in layers for part in _RECURRENT_LAYERS)
    if recurrent or model_type.startswith(_RECURRENT_TYPES):
        raise UnsupportedModel(
            f"{name} ({model_type}) has recurrent layers, whose state cannot be taken back when a draft is rejected. "
            f"Choose a model of the {FAMILIES} families."
        )
    if model_type not in SUPPORTED:
        own_code = " and brings its own program code, which is never run" if config.get("auto_map") else ""
        raise UnsupportedModel(
            f"{name} has the architecture {model_type!r}, which is not supported{own_code}. Choose a dense model of "
            f"the {FAMILIES} families."
        )
    architectures = _names(config, "architectures", name)
    if architectures and not architectures[0].endswith(("ForCausalLM", "ForConditionalGeneration")):
        raise UnsupportedModel(
            f"{name} is a {architectures[0]}, which does not write text. Choose a causal language model (one whose "
            "config names ...ForCausalLM)."
        )
    method = config.get("quantization_config") or config.get("quantization")
    if method:
        how = method.get("quant_method", "its own method") if isinstance(method, dict) else "its own method"
        raise UnsupportedModel(
            f"{name} is stored quantised ({how}). Choose the original model and load it with int8 or nf4 instead."
        )
    return text


def _names(config: dict[str, Any], field: str, name: str) -> list[str]:
    """A field of config.json that is a list of names, or absent. Raises `BrokenModel`."""
    names = config.get(field) or []
    if not isinstance(names, list) or not all(isinstance(entry, str) for entry in names):
        raise BrokenModel(f"{name}: {field} in config.json is not a list of names. Download the model again.")
    return names
