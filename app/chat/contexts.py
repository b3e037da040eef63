"""What a model takes at a context, before it is loaded: an estimate. At a load `engine.models.memory_plan` decides."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from app.chat.offers import file_of, kind_of_device
from engine.config import ModelSpec
from engine.errors import EngineError
from engine.models import catalog
from engine.models.checkpoints.checkpoint import ModelShape
from engine.models.footprint import MIN_CONTEXT, MemoryPlan, plan_as_stored, plan_for, trained_context
from engine.models.on_disk.fit import SMALL_MODEL, free_bytes
from engine.remote.address import is_address

SHORTEST, LONGEST = 256, 2**24  # tokens that can be asked for: a shorter one has no room for a question and an answer
_STEP = 256
_ITEMSIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
_EIGHT_BITS = 1.2  # bytes a weight; a file with no more is loaded in 8 bits where it is computed here


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEstimate:
    """`context`: as it was asked for, or as long as the model was `trained` for; `fitting`: what there is room for, 0:
    not even for a chat."""

    context: int
    trained: int
    fitting: int
    total_bytes: int
    free_bytes: int


def checked(text: str) -> int | None:
    """The length that a person wrote, None: as long as fits. Raises `ValueError`."""
    digits = text.replace(",", "").replace(".", "").replace(" ", "")
    if not digits:
        return None
    if not digits.isascii() or not digits.isdecimal() or not SHORTEST <= int(digits[:10]) <= LONGEST:
        raise ValueError(
            f"The longest context must be a whole number of tokens from {SHORTEST} to {LONGEST:,}, or empty for as "
            "much as fits."
        )
    return int(digits)


def estimate(environment: Mapping[str, str], spec: ModelSpec, freed: int, *, as_stored: bool) -> ContextEstimate | None:
    """What is known of the model on this disk that `spec` names; None where nothing is. `freed` bytes are given back
    before it is loaded; `as_stored`: llama.cpp is here, which keeps GGUF weights as their file has them."""
    try:
        shape, gguf = _shape(environment, spec.model)
    except (EngineError, ValueError, OSError):
        return None
    if shape is None:
        return None
    kind = kind_of_device(spec.device)
    stored = as_stored and gguf and kind == "cpu" and spec.quant in ("auto", "none") and spec.dtype == "auto"
    plan_at = partial(plan_as_stored, shape) if stored else partial(plan_for, shape, kind, *_numbers(shape, spec, kind))
    room = _Room(kind, free_bytes(spec.device, freed))
    longest, _ = trained_context(shape.config)
    wanted = min(spec.max_context or longest, longest)
    fitting = wanted if plan_at(wanted).fits(room) else _fitting(plan_at, wanted, room)
    return ContextEstimate(
        context=wanted,
        trained=longest,
        fitting=fitting,
        total_bytes=plan_at(fitting or min(wanted, MIN_CONTEXT)).total_bytes,
        free_bytes=room.free_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Room:
    kind: str
    free_bytes: int


def _shape(environment: Mapping[str, str], model: str) -> tuple[ModelShape | None, bool]:
    """The model's sizes, and whether its weights are in a GGUF file."""
    if is_address(model):
        return None, False
    location = catalog.resolve(model)
    path = location.path or (file_of(environment, model) if location.gguf else None)
    if path is None:
        return None, False
    return catalog.read_checkpoint(path, location.name), path.suffix.lower() == ".gguf"


def _numbers(shape: ModelShape, spec: ModelSpec, kind: str) -> tuple[int, str]:
    """Bytes of a number, and how weights are compressed."""
    small = kind == "cpu" and shape.num_parameters < SMALL_MODEL
    itemsize = _ITEMSIZES.get(spec.dtype, 4 if small else 2)
    if spec.quant != "auto":
        return itemsize, spec.quant
    stored = sum(tensor.num_bytes for tensor in shape.text_tensors)
    few = 0 < stored <= _EIGHT_BITS * shape.num_parameters
    return itemsize, "int8" if few and kind == "cpu" else "none"


def _fitting(plan_at: "partial[MemoryPlan]", wanted: int, room: _Room) -> int:
    """The longest context that there is room for, as a load shortens it; 0 where that would be no chat."""
    steps = range(1, wanted // _STEP + 1)
    found = bisect_left(steps, True, key=lambda step: not plan_at(step * _STEP).fits(room)) * _STEP
    return found if found >= min(wanted, MIN_CONTEXT) else 0
