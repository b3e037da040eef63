"""A LoRA adapter in PEFT's folder format (arXiv 2106.09685, section 4.1): what it holds, and which models it fits.

Reads no weights.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BrokenModel, ModelNotFound, UnsupportedModel
from engine.models.checkpoints.safetensors_folder import read_header
from engine.models.checkpoints.text_files import read_json

WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
# Settings under which an adapter is more than products added to linear layers, and their harmless values.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "use_dora": (False,),
    "use_qalora": (False,),
    "lora_bias": (False,),
    "fan_in_fan_out": (False,),
    "modules_to_save": (),
    "layer_replication": (),
    "alpha_pattern": (),
    "trainable_token_indices": (),
    "alora_invocation_tokens": (),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),  # others change the model's own weights, too
}


@dataclass(frozen=True, slots=True)
class LowRank:
    """What is added to one weight (out, in): `scale` x B (out, rank) A (rank, in)."""

    weight: str  # the name of the model's own weight
    a: str  # names in the file
    b: str
    shape: tuple[int, int]
    scale: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that was looked through and found whole."""

    name: str
    file: Path
    parts: tuple[LowRank, ...]

    @classmethod
    def read(cls, folder: Path, name: str = "") -> "Adapter":
        """Look through a folder; `name` is what people are told, else the folder's own.

        Raises `ModelNotFound`, `BrokenModel` or `UnsupportedModel`.
        """
        folder = folder.expanduser()
        if not (folder / _CONFIG).is_file():
            raise ModelNotFound(
                f"There is no adapter in {folder}: it has no {_CONFIG}. Choose the folder that has one."
            )
        name, file = name or folder.resolve().name, folder / WEIGHTS
        if not file.is_file():
            raise UnsupportedModel(
                f"The adapter {name} has no {WEIGHTS}. Choose a version with safetensors files; others can run code "
                "when they are opened."
            )
        rank_scale = _rank_scale(folder / _CONFIG, name)
        shapes: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
        for tensor in read_header(file):
            match = _NAME.fullmatch(tensor.name)
            if match is None:
                raise UnsupportedModel(f"The adapter {name} changes more than linear layers: it holds {tensor.name}.")
            shapes.setdefault(f"{match[1]}.weight", {})[match[2]] = (tensor.name, tensor.shape)
        if not shapes:
            raise BrokenModel(f"The adapter {name} holds no weights. Download it again.")
        return cls(name, file, tuple(_part(name, weight, pair, rank_scale) for weight, pair in sorted(shapes.items())))

    @property
    def fingerprint(self) -> str:
        """Names the adapter without reading its weights: their path, size and times, and what is done with them."""
        stat = self.file.stat()
        text = f"{self.file.resolve()}\0{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\0{self.parts}"
        return hashlib.sha256(text.encode()).hexdigest()

    def check_fits(self, shapes: Mapping[str, tuple[int, ...]], model: str) -> None:
        """Refuse an adapter of another model, whose weights have these shapes by name. Raises `UnsupportedModel`."""
        for part in self.parts:
            there = shapes.get(part.weight)
            if there != part.shape:
                why = f"has {list(there)}" if there else "has no such weight"
                raise UnsupportedModel(
                    f"The adapter {self.name} does not fit {model}: it changes {part.weight} of {list(part.shape)}, "
                    f"and the model {why}. Choose the model that it was made for."
                )


def _rank_scale(config_file: Path, name: str) -> Any:
    """How the scale follows from the rank."""
    try:
        config = read_json(config_file)
        kind, alpha, by_root = config["peft_type"], config["lora_alpha"], bool(config.get("use_rslora"))
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise ValueError("lora_alpha is no number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BrokenModel(f"The adapter {name}: {_CONFIG} cannot be read ({exc}). Download it again.") from exc
    if kind != "LORA":
        raise UnsupportedModel(f"The adapter {name} is of the kind {kind!r}; only LORA is read.")
    for setting, harmless in _PLAIN.items():
        value = config.get(setting)
        if value and value not in harmless:
            raise UnsupportedModel(f"The adapter {name} needs {setting} = {value!r}, which is not supported.")
    return lambda rank: alpha / (math.sqrt(rank) if by_root else rank)


def _part(name: str, weight: str, pair: dict[str, tuple[str, tuple[int, ...]]], rank_scale: Any) -> LowRank:
    if set(pair) != {"A", "B"}:
        raise BrokenModel(f"The adapter {name} holds only half of what it adds to {weight}. Download it again.")
    (a, a_shape), (b, b_shape) = pair["A"], pair["B"]
    if len(a_shape) != 2 or len(b_shape) != 2 or not 0 < a_shape[0] == b_shape[1]:
        raise BrokenModel(
            f"The adapter {name}: the two matrices for {weight} do not fit each other. Download it again."
        )
    return LowRank(weight, a, b, (b_shape[0], a_shape[1]), rank_scale(a_shape[0]))
