"""What a model takes at a context, before it is loaded: an estimate. At a load `engine.models.memory_plan` decides."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from app.chat.offers import file_of, kind_of_device
from engine.config import ModelSpec
from engine.errors import EngineError
from engine.models import catalog
from engine.models.checkpoints.checkpoint import ModelShape
from engine.models.footprint import (
    MIN_CONTEXT,
    has_few_bits,
    longest_fitting,
    plan_as_stored,
    plan_for,
    trained_context,
)
from engine.models.on_disk.fit import SMALL_MODEL, free_bytes, gpu_bytes
from engine.remote.address import is_address

SHORTEST, LONGEST = 256, 2**24  # tokens that can be asked for: a shorter one has no room for a question and an answer
_ITEMSIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
_LENGTH = re.compile(r"\d+|\d{1,3}(?:([., \u00a0\u2009\u202f])\d{3})(?:\1\d{3})*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEstimate:
    """`asked`: what a person wrote, if anything; `context`: that, or as long as the model was `trained` for; `fitting`:
    what there is room for, 0: not even for a chat."""

    asked: int | None
    context: int
    trained: int
    fitting: int
    total_bytes: int
    free_bytes: int


def checked(text: str) -> int | None:
    """The length that a person wrote, None: as long as fits. Raises `ValueError`.

    >>> checked("4096"), checked("4,096"), checked("4.096"), checked("4 096"), checked(" ")
    (4096, 4096, 4096, 4096, None)
    """
    text = text.strip()
    if not text:
        return None
    digits = re.sub(r"\D", "", text).lstrip("0") if _LENGTH.fullmatch(text) else ""
    if not digits or len(digits) > len(str(LONGEST)) or not SHORTEST <= int(digits) <= LONGEST:
        raise ValueError(
            f"The longest context must be a whole number of tokens from {SHORTEST} to {LONGEST:,}, or empty for as "
            "much as fits."
        )
    return int(digits)


def estimate(environment: Mapping[str, str], spec: ModelSpec, freed: int, *, as_stored: bool) -> ContextEstimate | None:
    """What is known of the model on this disk that `spec` names; None where nothing is. `freed` bytes are given back
    before it is loaded; `as_stored`: llama.cpp is here, which keeps GGUF weights as their file has them."""
    kind = kind_of_device(spec.device)
    try:
        shape, gguf = _shape(environment, spec.model)
        if shape is None:
            return None
        stored = as_stored and gguf and kind == "cpu" and spec.quant in ("auto", "none") and spec.dtype == "auto"
        numbers = _numbers(shape, spec, kind)
        plan_at = partial(plan_as_stored, shape) if stored else partial(plan_for, shape, kind, *numbers)
        room = _Room(kind, gpu_bytes() if kind == "cuda" else free_bytes("cpu", freed))
        longest, _ = trained_context(shape.config)
        wanted = min(spec.max_context or longest, longest)
        fitting = longest_fitting(plan_at, wanted, room)
        total = plan_at(fitting or min(wanted, MIN_CONTEXT)).total_bytes
    except (
        EngineError,
        ValueError,
        TypeError,
        KeyError,
        ArithmeticError,
        OSError,
    ):  # a load says what is wrong with it
        return None
    return ContextEstimate(
        asked=spec.max_context,
        context=wanted,
        trained=longest,
        fitting=fitting,
        total_bytes=total,
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
    about = path.stat()
    return _read(path, location.name, about.st_mtime_ns, about.st_size), path.suffix.lower() == ".gguf"


@lru_cache(maxsize=4)
def _read(path: Path, name: str, _changed_ns: int, _size: int) -> ModelShape:
    """A long header takes half a second, and somebody may be typing."""
    return catalog.read_checkpoint(path, name)


def _numbers(shape: ModelShape, spec: ModelSpec, kind: str) -> tuple[int, str]:
    """Bytes of a number, and how weights are compressed."""
    small = kind == "cpu" and shape.num_parameters < SMALL_MODEL
    itemsize = _ITEMSIZES.get(spec.dtype, 4 if small else 2)
    if spec.quant != "auto":
        return itemsize, spec.quant
    return itemsize, "int8" if kind == "cpu" and spec.dtype == "auto" and has_few_bits(shape) else "none"
