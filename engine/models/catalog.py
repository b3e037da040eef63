"""Which model is meant, and whether what lies in its folder can be loaded: all that is known before torch is.

    "starter" | a folder | owner/name  ->  Location  ->  Checkpoint: config, weight files, their tensors' sizes

Only safetensors are read: a pickled file runs code when it is opened. Knows nothing about devices or networks.
"""

import hashlib
import json
import math
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config import STARTER
from engine.errors import BrokenModel, EngineError, ModelNotFound, UnsupportedModel
from engine.models.shapes import PREFIX

STARTER_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "starter"

SUPPORTED = frozenset(
    {"llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "smollm3"}
    | {"gemma3"}  # of which the text model is loaded alone
)
FAMILIES = "Llama, Qwen2, Qwen3, Mistral, Gemma, Phi and SmolLM"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")
_WEB_ADDRESS = re.compile(r"https?://[^/]+/([^/]+/[^/?#]+)")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_RECURRENT_LAYERS = ("linear_attention", "mamba", "recurrent", "ssm", "conv", "rwkv", "hybrid")
_RECURRENT_TYPES = ("mamba", "rwkv", "jamba", "bamba", "zamba", "falcon_h1", "recurrent_gemma", "qwen3_next", "lfm2")
_MAX_HEADER = 100 * 2**20  # bytes; safetensors' own limit
_ITEM_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "U8": 1, "I8": 1, "BOOL": 1}


@dataclass(frozen=True, slots=True)
class Location:
    """Where a model is: a folder on this machine, or the Hub repository `hub_id`."""

    name: str
    folder: Path | None
    hub_id: str | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a weight file, as its header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model folder that was looked through and found whole. `config` is the text model's part of config.json."""

    name: str
    folder: Path
    config: dict[str, Any]
    model_type: str
    weight_files: tuple[Path, ...]
    tensors: tuple[Tensor, ...]

    @property
    def num_parameters(self) -> int:
        """Elements of the text model's tensors."""
        return sum(t.num_elements for t in self.text_tensors)

    @property
    def text_tensors(self) -> tuple[Tensor, ...]:
        """The tensors that end up on the device: no vision parts, no second copy of a tied head."""
        apart = ("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.")
        tensors = (t for t in self.tensors if not t.name.startswith(apart))
        return tuple(t for t in tensors if not (self.tied and t.name.endswith("lm_head.weight")))

    @property
    def fingerprint(self) -> str:
        """Names the folder's weights without reading them: their files' paths, sizes and times, and config.json.

        The time of a file's last change by any means is among them, where the system has one: a copy that brings its
        old date along does not go unnoticed.
        """
        digest = hashlib.sha256((self.folder / "config.json").read_bytes())
        for file in self.weight_files:
            stat = file.stat()
            digest.update(f"{file.resolve()}\0{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\0".encode())
        return digest.hexdigest()

    @property
    def tied(self) -> bool:
        default = self.model_type.startswith("gemma")  # configs leave out what is their class's default
        return bool(self.config.get("tie_word_embeddings", default))


def resolve(model: str) -> Location:
    """Find out what `model` names, without the network. Raises `ModelNotFound` or `UnsupportedModel`."""
    model = model.strip()
    if model.startswith(PREFIX):
        raise UnsupportedModel(
            f"{model} has random weights and no words: it is for `bench widths` and for `bench replay --target` alone. "
            "Choose a model that was trained."
        )
    if model == STARTER:
        return Location(STARTER, STARTER_FOLDER)
    address = _WEB_ADDRESS.fullmatch(model) or _WEB_ADDRESS.match(model)
    if address:
        model = address[1]
    path = Path(os.path.expanduser(model))  # unlike Path's own, os.path's tests say no to names that cannot be
    if os.path.isdir(path):
        return Location(path.resolve().name, _snapshot(path.resolve()))
    if model.lower().endswith(".gguf"):
        raise _gguf(path.name)
    if os.path.isfile(path):
        raise ModelNotFound(f"{path} is a file. Choose the folder it is in, the one with config.json.")
    if _HUB_ID.fullmatch(model) and not model.startswith(("./", "../", "~")):
        return Location(model, None, hub_id=model)
    raise ModelNotFound(
        f"There is no folder {model!r} on this machine, and it is no Hub id either (those look like "
        "Qwen/Qwen3-0.6B). Check the spelling, or choose 'starter'."
    )


def _snapshot(folder: Path) -> Path:
    """The newest snapshot where `folder` is a repository of the Hub cache; else `folder`."""
    snapshots = folder / "snapshots"
    if (folder / "config.json").exists() or not snapshots.is_dir():
        return folder
    main = folder / "refs" / "main"
    if main.is_file() and (snapshots / main.read_text().strip()).is_dir():
        return snapshots / main.read_text().strip()
    found = sorted(snapshots.iterdir(), key=lambda p: p.stat().st_mtime)
    return found[-1] if found else folder


def read_checkpoint(folder: Path, name: str) -> Checkpoint:
    """Look through a folder; it holds a model that can be loaded, or one sentence says what is missing.

    Raises `ModelNotFound`, `BrokenModel` or `UnsupportedModel`.
    """
    if not folder.is_dir():
        raise ModelNotFound(f"There is no folder {folder}. Check the path, or choose another model.")
    check_names({p.name for p in folder.iterdir()}, name, f"the folder {folder}")
    config = check_config(_read_config(folder, name), name)
    files = _weight_files(folder, name)
    tensors = tuple(t for file in files for t in read_header(file))
    return Checkpoint(name, folder, config, config["model_type"], files, tensors)


def check_names(names: set[str], name: str, where: str) -> None:
    """Refuse by file names alone, as the Hub lists them or a folder has them: no model, other formats, pickles."""
    if "config.json" not in names:
        if "adapter_config.json" in names:
            raise UnsupportedModel(
                f"{name} holds an adapter (LoRA) without its base model. Merge it into the base model, save that, and "
                "choose the merged folder."
            )
        if any(n.endswith(".gguf") for n in names):
            raise _gguf(name)
        raise ModelNotFound(
            f"There is no model in {where}: it has no config.json. Choose the place where config.json is."
        )
    if not names & {"model.safetensors", "model.safetensors.index.json"}:
        weights = [n for n in names if "/" not in n and n not in ("training_args.bin", "scheduler.pt")]
        if any(n.endswith(_PICKLED) for n in weights):
            raise UnsupportedModel(
                f"{name} has pickled weights (.bin or .pt), which can run code when they are opened. Choose a version "
                "with safetensors files, or convert it with transformers' save_pretrained."
            )
        if any(n.endswith(".gguf") for n in weights):
            raise _gguf(name)
        raise BrokenModel(f"{name}: there is no model.safetensors in {where}. Download the model again.")
    if not ({"tokenizer.json", "tokenizer.model"} & names or {"vocab.json", "merges.txt"} <= names):
        raise BrokenModel(
            f"{name} has no tokenizer: tokenizer.json is missing in {where}. Copy it from the original model."
        )


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BrokenModel(f"{name}: config.json cannot be read ({exc}). Download the model again.") from exc
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise BrokenModel(f"{name}: config.json names no model_type. Download the model again.")
    return config


def check_config(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Refuse what cannot be run; returns the text model's configuration. Raises `UnsupportedModel`."""
    model_type: str = config["model_type"]
    text = config
    if isinstance(config.get("text_config"), dict) and model_type == "gemma3":
        text = {"model_type": "gemma3_text", **config["text_config"]}
        text.setdefault("tie_word_embeddings", config.get("tie_word_embeddings", True))
    layers = {str(kind) for kind in text.get("layer_types") or ()}
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
    architectures = [str(a) for a in config.get("architectures") or ()]
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


def _gguf(name: str) -> EngineError:
    return UnsupportedModel(
        f"{name} is in the GGUF format. Choose the original model with safetensors files, and nf4 for a small size."
    )


def _weight_files(folder: Path, name: str) -> tuple[Path, ...]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists() or not index.exists():  # transformers looks for the single file first
        return (single,)
    try:
        shards = _shards(json.loads(index.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BrokenModel(f"{name}: {index.name} cannot be read. Download the model again.") from exc
    if any(Path(shard).name != shard for shard in shards):
        raise BrokenModel(f"{name}: {index.name} names files outside the folder. Download the model again.")
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise BrokenModel(
            f"{name}: {len(missing)} of {len(shards)} weight files are missing, the first is {missing[0]}. Download "
            "the model again; what is there is kept."
        )
    return tuple(folder / shard for shard in shards)


def _shards(index: dict[str, Any]) -> list[str]:
    """The files that an index names; transformers wants its `metadata`, too. Raises where it is no such thing."""
    shards = sorted({str(shard) for shard in index["weight_map"].values()})
    if not shards or not isinstance(index["metadata"], dict):
        raise ValueError("an index without files or metadata")
    return shards


def read_header(file: Path) -> list[Tensor]:
    """The tensors of a safetensors file, from its header alone. Raises `BrokenModel` where it is damaged."""
    if not file.is_file():  # a link to nowhere, say
        raise BrokenModel(f"{file.name} in {file.parent} is no file that can be read. Download the model again.")
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        if start.startswith(b"version "):
            raise BrokenModel(f"{file.name} is only a Git LFS placeholder. Run `git lfs pull` in {file.parent}.")
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise _damaged(file, size, "its header cannot be read")
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            tensors = [Tensor(key, str(t["dtype"]), tuple(map(int, t["shape"]))) for key, t in header.items()]
            end = max((int(t["data_offsets"][1]) for t in header.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise _damaged(file, size, "its header cannot be read") from exc
    if end != size - 8 - length:
        raise _damaged(file, size, f"its header announces {8 + length + end:,}")
    return tensors


def stored_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor in its file."""
    return tensor.num_elements * _ITEM_BYTES.get(tensor.dtype, 2)


def _damaged(file: Path, size: int, why: str) -> EngineError:
    return BrokenModel(f"{file.name} is damaged: it has {size:,} bytes and {why}. Delete it and download it again.")
