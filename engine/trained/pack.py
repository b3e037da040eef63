"""A pack: a folder with a drafter that was trained for one model, and how good it was found.

    config.json            format, kind, sizes of each part, and which model it belongs to
    drafter.safetensors    their weights, and the ids of the tokens that they can draft
    calibration.json       of each head, and each depth of Chimera: by what scores are multiplied to become
                           log-probabilities
    eval.json              what it was measured to bring, for people

Packs may come from anywhere: nothing of one is run, and what does not fit is refused in a sentence. No pack can change
an answer, for what it proposes is only ever compared with the target's own tokens.
"""

import errno
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from engine.drafting.sources.chimera import MAX_DEPTH, MAX_UNROLLED
from engine.drafting.sources.heads import MAX_HEADS, NUM_LATTICE
from engine.errors import UnusablePack
from engine.models.hardware import choose_device
from engine.models.identity import ModelIdentity
from engine.models.ram import gigabytes
from engine.trained.block_heads import HeadSizes
from engine.trained.chimera import CACHED, CONTEXT, ChimeraSizes
from engine.trained.rescorer import RescorerSizes

Kind = Literal["heads", "chimera", "both"]
Sizes = HeadSizes | ChimeraSizes | RescorerSizes

FORMAT = "slipstream-drafter-2"
CONFIG, WEIGHTS, CALIBRATION, EVALUATION = "config.json", "drafter.safetensors", "calibration.json", "eval.json"
IDS, HEAD = "draft_ids", "head"
PARTS: dict[str, type[Sizes]] = {"heads": HeadSizes, "chimera": ChimeraSizes, "rescorer": RescorerSizes}
_OF_KIND: dict[Kind, set[str]] = {"heads": {"heads"}, "chimera": {"chimera"}, "both": {"heads", "chimera"}}
_MOST_TEXT = 2**20  # bytes of a JSON file
_MOST_HEADER = 2**20  # bytes of a safetensors file beside its weights
_MOST_SHOWN = 60  # characters of what a file says, in a sentence
_RANGES = {
    "num_heads": (1, MAX_HEADS),
    "hidden_size": (1, 2**16),
    "inner_size": (1, 2**15),
    "trigram_size": (1, 2**15),
    "width": (2, 2**14),
    "depth": (1, MAX_DEPTH),
    "rank": (1, 2**11),
    "draft_vocab": (NUM_LATTICE, 2**18),
}
_DTYPES = {"BF16": 2, "F16": 2, "F32": 4}  # bytes
_SHARPNESS = (0.05, 20.0)
_ROWS = 256  # of a pass whose states are handed over


@dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig:
    """Whose a pack is, and the sizes of the parts that it has, heads or Chimera at least."""

    model: ModelIdentity
    heads: HeadSizes | None = None
    chimera: ChimeraSizes | None = None
    rescorer: RescorerSizes | None = None  # for benchmarks

    @property
    def kind(self) -> Kind:
        return "both" if self.heads and self.chimera else "heads" if self.heads else "chimera"

    @property
    def parts(self) -> dict[str, Sizes]:
        """Sizes of the parts that there are, by name."""
        return {name: sizes for name in PARTS if (sizes := getattr(self, name)) is not None}

    @property
    def draft_vocab(self) -> int:
        return next(iter(self.parts.values())).draft_vocab

    @property
    def working_numbers(self) -> int:
        """What drafting keeps beside the weights: the target's states that wait to be read, read again in one piece,
        and Chimera's own keys and values."""
        hidden = self.model.hidden_size
        if self.chimera is None:
            return _ROWS * hidden
        cached = 2 * (CACHED + MAX_UNROLLED) * self.chimera.width if self.chimera.context else 0
        return (_ROWS + 2 * CONTEXT) * hidden + cached

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every weight, by its name in the file; all parts have one head in common."""
        found: dict[str, tuple[int, ...]] = {}
        for part, sizes in self.parts.items():
            found |= {_stored(part, name): shape for name, shape in sizes.shapes().items()}
        return found


def _stored(part: str, name: str) -> str:
    """The name of a part's weight in the file."""
    return name if name == HEAD else f"{part}.{name}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pack:
    """A pack that was read. `sharpness`: by head, `chimera_sharpness`: by depth, see `calibration.json`."""

    folder: Path
    config: PackConfig
    weights: dict[str, torch.Tensor]
    draft_ids: torch.Tensor  # (draft vocabulary,), ascending
    sharpness: tuple[float, ...] = ()
    chimera_sharpness: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.name

    def part(self, name: str) -> dict[str, torch.Tensor]:
        """The weights of a part that it has."""
        return {each: self.weights[_stored(name, each)] for each in self.config.parts[name].shapes()}


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


def require_memory(folder: Path, config: PackConfig, device: torch.device) -> None:
    """Raise `UnusablePack` where less is free than reading a folder's pack, and drafting with it, may take."""
    numbers = {name: math.prod(shape) for name, shape in config.shapes().items()}
    stored = max(_DTYPES.values()) * (sum(numbers.values()) + config.working_numbers)
    tables = 4 * sum(numbers.get(f"heads.{name}", 0) for name in ("left", "right"))
    ram = stored + tables + 8 * max(numbers.values())  # and what checks take
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
    kind, sizes, model = data.get("kind"), data.get("sizes"), data.get("model")
    if not isinstance(kind, str) or kind not in _OF_KIND:
        raise _unusable(folder, f"it is of a kind that is not known here, {str(kind)[:_MOST_SHOWN]!r}")
    wanted = next(parts for each, parts in _OF_KIND.items() if each == kind)
    if not isinstance(sizes, dict) or not wanted <= set(sizes) <= wanted | {"rescorer"}:
        raise _unusable(folder, f"its {CONFIG} does not give the sizes of {' and '.join(sorted(wanted))}")
    parts: dict[str, Any] = {name: _sizes(folder, PARTS[name], name, sizes[name]) for name in sizes}
    known = ModelIdentity.__dataclass_fields__
    if not isinstance(model, dict) or set(model) != set(known):
        raise _unusable(folder, f"its {CONFIG} does not say which model it belongs to")
    for name, field in known.items():
        if type(model[name]) is not field.type:
            raise _unusable(folder, f"{name} of the model in its {CONFIG} is no {field.type.__name__}")  # type: ignore[union-attr]
    config = PackConfig(model=ModelIdentity(**model), **parts)
    for each in config.parts.values():
        if (
            each.hidden_size != config.model.hidden_size
            or each.draft_vocab != config.draft_vocab
            or each.draft_vocab > config.model.vocab_size
        ):
            raise _unusable(folder, f"the sizes in its {CONFIG} are not those of its model")
    return config


def _sizes(folder: Path, kind: type[Sizes], part: str, said: object) -> Sizes:
    """The sizes of a part. Raises `UnusablePack`."""
    names = [field.name for field in fields(kind)]
    if not isinstance(said, dict) or set(said) != set(names):
        raise _unusable(folder, f"its {CONFIG} does not give the sizes {', '.join(names)} of {part}")
    for name in names:
        if name not in _RANGES:
            if type(said[name]) is not bool:
                raise _unusable(folder, f"{name} in its {CONFIG} must be true or false")
            continue
        low, high = _RANGES[name]
        if type(said[name]) is not int or not low <= said[name] <= high:
            raise _unusable(folder, f"{name} in its {CONFIG} must be a whole number from {low} to {high}")
    if said.get("width", 0) % 2:
        raise _unusable(folder, f"width in its {CONFIG} must be even")
    return kind(**said)


def read_pack(folder: Path, config: PackConfig | None = None) -> Pack:
    """Read a folder's pack with all that it needs, as its `config` describes it. Raises `UnusablePack`."""
    config = config or read_config(folder)
    said = _object(folder, CALIBRATION)
    sharpness = _sharpness(folder, said, "heads", config.heads.num_heads if config.heads else 0)
    of_chimera = _sharpness(folder, said, "chimera", config.chimera.depth if config.chimera else 0)
    weights = _read_weights(folder, config)
    ids = weights.pop(IDS)
    ascending = bool((ids[1:] > ids[:-1]).all()) and int(ids[0]) >= 0
    if not ascending or int(ids[-1]) >= config.model.vocab_size:
        raise _unusable(folder, f"{IDS} in {WEIGHTS} must be ascending token ids of its model")
    return Pack(
        folder=folder,
        config=config,
        weights=weights,
        draft_ids=ids,
        sharpness=sharpness,
        chimera_sharpness=of_chimera,
    )


def _sharpness(folder: Path, said: Mapping[str, Any], part: str, count: int) -> tuple[float, ...]:
    """What calibration.json says of a part. Raises `UnusablePack`."""
    if not count:
        return ()
    found = said.get(part)
    low, high = _SHARPNESS
    if not isinstance(found, list) or len(found) != count:
        raise _unusable(folder, f"its {CALIBRATION} does not give the sharpness of all {count} of {part}")
    if not all(type(each) in (int, float) and low <= each <= high for each in found):
        raise _unusable(folder, f"the sharpness in its {CALIBRATION} must be numbers from {low} to {high}")
    return tuple(float(each) for each in found)


def write_pack(
    folder: Path,
    config: PackConfig,
    parts: Mapping[str, Mapping[str, torch.Tensor]],
    draft_ids: torch.Tensor,
    sharpness: Mapping[str, tuple[float, ...]],
    evaluation: dict[str, Any],
) -> None:
    """Write a pack, the weights and the sharpness of each part by its name; config.json comes last, so that a folder is
    a pack only once it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)
    stored = {
        _stored(part, name): value.detach().to("cpu", torch.bfloat16).contiguous()
        for part, weights in parts.items()
        for name, value in weights.items()
    }
    draft = folder / WEIGHTS.replace(".safetensors", ".new")
    save_file({**stored, IDS: draft_ids.to("cpu", torch.int32)}, draft)
    os.replace(draft, folder / WEIGHTS)
    _write(folder / CALIBRATION, {part: [round(each, 6) for each in found] for part, found in sharpness.items()})
    _write(folder / EVALUATION, evaluation)
    sizes = {name: asdict(each) for name, each in config.parts.items()}
    _write(folder / CONFIG, {"format": FORMAT, "kind": config.kind, "sizes": sizes, "model": asdict(config.model)})


def _write(file: Path, value: dict[str, Any]) -> None:
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(draft, file)


def _read_weights(folder: Path, config: PackConfig) -> dict[str, torch.Tensor]:
    file = folder / WEIGHTS
    shapes = config.shapes() | {IDS: (config.draft_vocab,)}
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
