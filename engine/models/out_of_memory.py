"""Where a device runs out of memory: what is left to do, in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from engine.config import Quant
from engine.errors import NotEnoughMemory
from engine.models.footprint import CPU_OVERHEAD, MIN_CONTEXT
from engine.models.hardware import choose_device
from engine.models.memory_plan import SMALLER_QUANTS
from engine.models.ram import free_ram, gigabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """A model on a device, as far as memory goes: what is left to do when that runs out."""

    model: str
    device_name: str
    device_type: str
    quant: Quant
    weights_bytes: int
    context_length: int

    def remedies(self, *, answering: bool) -> tuple[str, ...]:
        """What helps, the least loss first, and nothing that is done already."""
        steps = ["start a new chat"] if answering else []
        steps.append("close other programs that use its memory")
        if self.context_length > MIN_CONTEXT:
            shorter = max(MIN_CONTEXT, self.context_length // 2)
            steps.append(f"give the model a shorter context (--max-context {shorter})")
        steps += [f"load it with {quant}" for quant in SMALLER_QUANTS[self.quant]]
        if self.device_type != "cpu" and free_ram() > self.weights_bytes + CPU_OVERHEAD:
            steps.append("run it on the CPU, slowly (--device cpu)")
        return (*steps, "choose a smaller model")

    def in_words(self, *, answering: bool) -> NotEnoughMemory:
        """The failure, as one sentence with what to do next."""
        doing = "answered" if answering else "was loaded"
        steps = ", or ".join(self.remedies(answering=answering))
        ran_out = f"{self.device_name} ran out of memory while {self.model} {doing}"
        return NotEnoughMemory(f"{ran_out}. In this order: {steps}.")


@contextmanager
def out_of_memory_in_words(footprint: Footprint | None = None, *, answering: bool = False) -> Iterator[None]:
    """Turn a device's running out of memory into `NotEnoughMemory`, whose sentence fits the model where one is given; a
    block or a decorator."""
    try:
        yield
    except (RuntimeError, MemoryError) as exc:  # torch.OutOfMemoryError is a RuntimeError
        if not is_out_of_memory(exc):
            raise
        if footprint is not None:
            raise footprint.in_words(answering=answering) from exc
        raise NotEnoughMemory(
            "The device ran out of memory. In this order: close other programs that use its memory, or choose a "
            "shorter context, or a smaller model."
        ) from exc


def require_bytes(num_bytes: int, device: torch.device, what: str) -> None:
    """Raise `NotEnoughMemory` unless `num_bytes` are free on `device`; `what` begins the sentence, as in "A second
    cache".
    """
    found = choose_device(str(device))
    if num_bytes > found.free_bytes:
        raise NotEnoughMemory(
            f"{what} takes {gigabytes(num_bytes)}, and {gigabytes(found.free_bytes)} are free on {found.name}: close "
            "other programs that use its memory, allow fewer new tokens, or give the model a shorter context "
            "(--max-context)."
        )


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether a device says that it has no memory left; a CPU's allocator says so in a plain RuntimeError."""
    said = str(exc)
    known = isinstance(exc, torch.OutOfMemoryError | MemoryError)
    return known or "allocate memory" in said or "out of memory" in said
