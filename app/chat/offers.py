"""Models that are on this machine already, and those that can be downloaded, as values that a page can list."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.events import ModelInfo
from engine.models import bundled
from engine.models.on_disk.finder import find_models
from engine.models.on_disk.fit import Fit, fit, free_bytes, gpu_bytes
from engine.models.well_known import ChatModel, best_for, chat_models, weights_in_memory

_TELLING_BYTES = 10**8  # a smaller model's rounds take longer than reading its weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model that another program keeps on this disk: what to load, what it is called, and whether it fits."""

    model: str
    name: str
    program: str
    size_bytes: int
    fit: Fit


def offers(environment: Mapping[str, str], device: str, freed: int) -> list[Offer]:
    """What is there now; `freed` bytes are given back when the model that is there now makes way."""
    room = free_bytes(device, freed)
    return [
        Offer(
            model=found.model,
            name=found.name,
            program=found.program,
            size_bytes=found.size_bytes,
            fit=fit(found.shape, room),
        )
        for found in find_models(environment)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloadable:
    """A model of the catalogue: whether it fits, is the best fit, is here already or in part, and takes how much."""

    chat_model: ChatModel
    fit: Fit
    best: bool
    here: bool
    partial_bytes: int
    memory_bytes: int


def downloadable(
    environment: Mapping[str, str],
    device: str,
    freed: int,
    info: ModelInfo | None,
    num_partial: Callable[[ChatModel], int],
) -> list[Downloadable]:
    """The catalogue as it looks from here; `info` is of the model that is there now, by which speed is judged."""
    room = free_bytes(device, freed)
    found = {model.model for model in find_models(environment)}
    best = best_for(room, kind_of_device(device), _bytes_per_s(info))
    return [
        Downloadable(
            chat_model=model,
            fit=fit(model.shape, room),
            best=model is best,
            here=bool({model.model, f"{model.repository}/{model.file}"} & found),
            partial_bytes=num_partial(model),
            memory_bytes=weights_in_memory(model.shape),
        )
        for model in chat_models()
    ]


def kind_of_device(device: str) -> str:
    """What `device` stands for: "auto" as the engine will choose, without its libraries."""
    if device != "auto":
        return device.partition(":")[0]
    if gpu_bytes():
        return "cuda"
    return "mps" if platform.system() == "Darwin" and platform.machine() == "arm64" else "cpu"


def _bytes_per_s(info: ModelInfo | None) -> float | None:
    """How many bytes of weights a second the loaded model reads, one token at a time; None where that says nothing."""
    if info is None or info.cost_curve is None or info.weights_bytes < _TELLING_BYTES:
        return None
    seconds = dict(info.cost_curve).get(1)
    return info.weights_bytes / seconds if seconds else None


def file_of(environment: Mapping[str, str], model: str) -> Path | None:
    """The GGUF file that another program keeps on this disk of a model of the Hub."""
    files = (found.file for found in find_models(environment) if found.model == model)
    return next((file for file in files if file.suffix.lower() == ".gguf"), None)


def comes_along() -> bool:
    """Whether the model of the first start is installed."""
    return bundled.find() is not None
