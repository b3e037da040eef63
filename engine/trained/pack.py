"""A pack: a folder with a drafter that was trained for one model, and how good it was found.

    config.json            format, kind, sizes, and which model it belongs to
    drafter.safetensors    its weights, and the ids of the tokens that it can draft
    calibration.json       of each head, by what its scores are multiplied to become log-probabilities
    eval.json              what it was measured to bring, for people

Packs may come from anywhere: nothing of one is run, and what does not fit is refused in a sentence. No pack can change
an answer, for what it proposes is only ever compared with the target's own tokens.
"""

import errno
import json
import math
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from engine.drafting.sources.heads import MAX_HEADS, NUM_LATTICE
from engine.errors import UnusablePack
from engine.models.hardware import choose_device
from engine.models.identity import ModelIdentity
from engine.models.ram import gigabytes
from engine.trained.block_heads import HeadSizes

FORMAT = "slipstream-drafter-1"
CONFIG, WEIGHTS, CALIBRATION, EVALUATION = "config.json", "drafter.safetensors", "calibration.json", "eval.json"
IDS = "draft_ids"
_MOST_TEXT = 2**20  # bytes of a JSON file
_MOST_HEADER = 2**20  # bytes of a safetensors file beside its weights
_MOST_SHOWN = 60  # characters of what a file says, in a sentence
_RANGES = {
    "num_heads": (1, MAX_HEADS),
    "hidden_size": (1, 2**16),
    "inner_size": (1, 2**15),
    "rank": (1, 2**11),
    "draft_vocab": (NUM_LATTICE, 2**18),
}
_DTYPES = {"BF16": 2, "F16": 2, "F32": 4}  # bytes
_SHARPNESS = (0.05, 20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig:
    """What a pack is and whose it is."""

    kind: Literal["heads"]
    sizes: HeadSizes
    model: ModelIdentity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pack:
    """A pack that was read. `sharpness`: by head, see `calibration.json`."""

    folder: Path
    config: PackConfig
    weights: dict[str, torch.Tensor]
    draft_ids: torch.Tensor  # (draft vocabulary,), ascending
    sharpness: tuple[float, ...]

    @property
    def name(self) -> str:
        return self.folder.name


def check_fits(folder: Path, own: ModelIdentity, model: ModelIdentity) -> None:
    """Raise `UnusablePack` unless the model of a folder's pack, `own`, has another one's states and tokens; its weights
    may be others."""
    for what, ours, theirs in (
        ("hidden states of {} numbers", own.hidden_size, model.hidden_size),
        ("a vocabulary of {} tokens", own.vocab_size, model.vocab_size),
        ("the architecture {}", own.architecture, model.architecture),
    ):
        if ours != theirs:
            raise UnusablePack(
                f"The drafter pack {folder} is for a model with {what.format(str(ours)[:_MOST_SHOWN])}, and this one "
                f"has {what.format(theirs)}: choose the pack of this model, or train one with train-drafter."
            )
    if own.tokenizer != model.tokenizer:
        raise UnusablePack(
            f"The drafter pack {folder} is for a model with another tokenizer: choose the pack of this model, or train "
            "one with train-drafter."
        )


def require_memory(folder: Path, sizes: HeadSizes, device: torch.device) -> None:
    """Raise `UnusablePack` where less is free than reading a folder's pack, and drafting with it, may take."""
    numbers = {name: math.prod(shape) for name, shape in sizes.shapes().items()}
    stored = max(_DTYPES.values()) * sum(numbers.values())
    ram = stored + 4 * (numbers["left"] + numbers["right"]) + 8 * max(numbers.values())  # tables, and what checks take
    places = {device.type: stored, "cpu": ram + (stored if device.type == "cpu" else 0)}
    for place, needed in places.items():
        found = choose_device(str(device) if place == device.type else place)
        if needed > found.free_bytes:
            raise UnusablePack(
                f"The drafter pack {folder} takes up to {gigabytes(needed)}, and {gigabytes(found.free_bytes)} are "
                f"free on {found.name}: close other programs that use its memory, choose a smaller pack, or load the "
                "model with --drafter-pack none."
            )


def read_config(folder: Path) -> PackConfig:
    """What a folder's pack is, without its weights. Raises `UnusablePack`."""
    data = _object(folder, CONFIG)
    if data.get("format") != FORMAT:
        raise _unusable(folder, f"its {CONFIG} does not say that it is one of the format {FORMAT}")
    if data.get("kind") != "heads":
        raise _unusable(folder, f"it is of a kind that is not known here, {str(data.get('kind'))[:_MOST_SHOWN]!r}")
    sizes, model = data.get("sizes"), data.get("model")
    if not isinstance(sizes, dict) or set(sizes) != set(_RANGES):
        raise _unusable(folder, f"its {CONFIG} does not give the sizes {', '.join(_RANGES)}")
    for name, (low, high) in _RANGES.items():
        if type(sizes[name]) is not int or not low <= sizes[name] <= high:
            raise _unusable(folder, f"{name} in its {CONFIG} must be a whole number from {low} to {high}")
    fields = ModelIdentity.__dataclass_fields__
    if not isinstance(model, dict) or set(model) != set(fields):
        raise _unusable(folder, f"its {CONFIG} does not say which model it belongs to")
    for name, field in fields.items():
        if type(model[name]) is not field.type:
            raise _unusable(folder, f"{name} of the model in its {CONFIG} is no {field.type.__name__}")  # type: ignore[union-attr]
    config = PackConfig(kind="heads", sizes=HeadSizes(**sizes), model=ModelIdentity(**model))
    if config.sizes.hidden_size != config.model.hidden_size or config.sizes.draft_vocab > config.model.vocab_size:
        raise _unusable(folder, f"the sizes in its {CONFIG} are not those of its model")
    return config


def read_pack(folder: Path, config: PackConfig | None = None) -> Pack:
    """Read a folder's pack with all that it needs, as its `config` describes it. Raises `UnusablePack`."""
    config = config or read_config(folder)
    sharpness = _object(folder, CALIBRATION).get("sharpness")
    low, high = _SHARPNESS
    if not isinstance(sharpness, list) or len(sharpness) != config.sizes.num_heads:
        raise _unusable(folder, f"its {CALIBRATION} does not give the sharpness of every head")
    if not all(type(each) in (int, float) and low <= each <= high for each in sharpness):
        raise _unusable(folder, f"the sharpness in its {CALIBRATION} must be numbers from {low} to {high}")
    weights = _read_weights(folder, config)
    ids = weights.pop(IDS)
    ascending = bool((ids[1:] > ids[:-1]).all()) and int(ids[0]) >= 0
    if not ascending or int(ids[-1]) >= config.model.vocab_size:
        raise _unusable(folder, f"{IDS} in {WEIGHTS} must be ascending token ids of its model")
    return Pack(
        folder=folder, config=config, weights=weights, draft_ids=ids, sharpness=tuple(float(each) for each in sharpness)
    )


def write_pack(
    folder: Path,
    config: PackConfig,
    weights: dict[str, torch.Tensor],
    draft_ids: torch.Tensor,
    sharpness: tuple[float, ...],
    evaluation: dict[str, Any],
) -> None:
    """Write a pack; config.json comes last, so that a folder is a pack only once it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)
    stored = {name: value.detach().to("cpu", torch.bfloat16).contiguous() for name, value in weights.items()}
    draft = folder / WEIGHTS.replace(".safetensors", ".new")
    save_file({**stored, IDS: draft_ids.to("cpu", torch.int32)}, draft)
    os.replace(draft, folder / WEIGHTS)
    _write(folder / CALIBRATION, {"sharpness": [round(each, 6) for each in sharpness]})
    _write(folder / EVALUATION, evaluation)
    described = {"format": FORMAT, "kind": config.kind, "sizes": asdict(config.sizes), "model": asdict(config.model)}
    _write(folder / CONFIG, described)


def _write(file: Path, value: dict[str, Any]) -> None:
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(draft, file)


def _read_weights(folder: Path, config: PackConfig) -> dict[str, torch.Tensor]:
    file = folder / WEIGHTS
    shapes = config.sizes.shapes() | {IDS: (config.sizes.draft_vocab,)}
    most = 4 * sum(math.prod(shape) for shape in shapes.values()) + _MOST_HEADER
    try:
        if _size(file) > most:
            raise _unusable(folder, f"its {WEIGHTS} is larger than the sizes in its {CONFIG} allow")
        with safe_open(file, framework="pt") as stored:
            if set(stored.keys()) != set(shapes):
                raise _unusable(folder, f"its {WEIGHTS} does not hold {', '.join(shapes)} and nothing else")
            for name, shape in shapes.items():
                piece = stored.get_slice(name)
                kinds = ("I32",) if name == IDS else tuple(_DTYPES)
                if tuple(piece.get_shape()) != shape or piece.get_dtype() not in kinds:
                    raise _unusable(folder, f"{name} in its {WEIGHTS} is not {list(shape)} of {' or '.join(kinds)}")
            weights = {name: stored.get_tensor(name).clone() for name in shapes}  # the file may change
    except OSError as exc:
        raise _unusable(folder, f"its {WEIGHTS} cannot be read ({exc.strerror or exc})") from exc
    except SafetensorError as exc:
        raise _unusable(folder, f"its {WEIGHTS} is no safetensors file, or a damaged one") from exc
    for name, value in weights.items():
        if name != IDS and not bool(torch.isfinite(value).all()):
            raise _unusable(folder, f"{name} in its {WEIGHTS} holds numbers that are none")
    return weights


def _object(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of the folder. Raises `UnusablePack`."""
    file = folder / name
    try:
        if _size(file) > _MOST_TEXT:
            raise _unusable(folder, f"its {name} is too large")
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise _unusable(folder, f"its {name} cannot be read ({exc.strerror})") from exc
    except (ValueError, RecursionError) as exc:
        raise _unusable(folder, f"its {name} is not JSON") from exc
    if not isinstance(data, dict):
        raise _unusable(folder, f"its {name} is no object")
    return data


def _size(file: Path) -> int:
    """Bytes of a regular file: a pipe or a device would be waited for. Raises `OSError`."""
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    return found.st_size


def _unusable(folder: Path, why: str) -> UnusablePack:
    return UnusablePack(
        f"The drafter pack {folder} cannot be used: {why}. Choose another one, or train one with train-drafter."
    )
