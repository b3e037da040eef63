"""Models that are on this machine already, as values that a page can list."""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.models import bundled
from engine.models.on_disk.finder import find_models
from engine.models.on_disk.fit import Fit, fit, free_bytes


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


def comes_along() -> bool:
    """Whether the model of the first start is installed."""
    return bundled.find() is not None
