"""Whether a model fits, before a weight is read: weights + keys and values at the context + what forward passes make on
their way + what the device's libraries take, against the device's free bytes.
"""

from functools import partial

import torch

from engine.config import Backend, Quant
from engine.errors import NotEnoughMemory
from engine.models.checkpoints.checkpoint import ModelShape
from engine.models.footprint import (
    MIN_CONTEXT,
    MemoryPlan,
    longest_fitting,
    plan_as_stored,
    plan_for,
    trained_context,
)
from engine.models.hardware import Device, choose_device, choose_dtype
from engine.models.ram import gigabytes

SMALLER_QUANTS: dict[Quant, tuple[Quant, ...]] = {"none": ("int8", "nf4"), "int8": ("nf4",), "nf4": ()}


def plan(
    shape: ModelShape,
    device: Device,
    dtype: torch.dtype,
    quant: Quant = "none",
    max_context: int | None = None,
    backend: Backend = "torch",
) -> tuple[MemoryPlan, tuple[str, ...]]:
    """Fit a model into free memory, with a shorter context where it must be; notes say so.

    Raises `NotEnoughMemory` with what is needed, what is there, and what would fit.
    """
    longest, note = trained_context(shape.config)
    notes = [note] if note else []
    wanted = longest if max_context is None else min(max_context, longest)
    if max_context is not None and max_context > longest:
        notes.append(f"The context is {longest:,} tokens, not {max_context:,}: the model was trained for no more.")
    plan_at = partial(plan_for, shape, device.kind, dtype.itemsize, quant)
    if backend == "llama-cpp":
        plan_at = partial(plan_as_stored, shape)
    fitting = longest_fitting(plan_at, wanted, device)
    if 0 < fitting < wanted:
        notes.append(
            f"The context is {fitting:,} tokens instead of {wanted:,}: more does not fit into the "
            f"{gigabytes(device.free_bytes)} that are free on {device.name}."
        )
    if fitting:
        return plan_at(fitting), tuple(notes)
    shortest = min(wanted, MIN_CONTEXT)
    options = [] if backend == "llama-cpp" else _smaller(shape, quant, device, dtype, shortest)
    raise NotEnoughMemory(_no_room(shape, device, plan_at(shortest), options))


def slow_nf4(shape: ModelShape, device: Device, dtype: torch.dtype, max_context: int | None = None) -> str:
    """The sentence for NF4 on a processor, and what to choose instead."""
    try:
        plan(shape, device, dtype, "int8", max_context)
        instead = "Load the model with int8: that fits here."
    except NotEnoughMemory:
        instead = "A smaller model with int8 would be quicker."
    return (
        f"nf4 is slow without a GPU: bitsandbytes has no fast kernels for processors. SmolLM2-135M wrote 5 "
        f"tokens a second with it, and 14 without. {instead}"
    )


def _smaller(shape: ModelShape, quant: Quant, device: Device, dtype: torch.dtype, shortest: int) -> list[str]:
    """Other ways to load the model, which would fit."""
    options = []
    for smaller_quant in SMALLER_QUANTS[quant]:
        smaller = plan_for(shape, device.kind, dtype.itemsize, smaller_quant, shortest)
        if smaller.fits(device):
            options.append(f"load it with {smaller_quant} (about {gigabytes(smaller.total_bytes)})")
    if not options and device.kind != "cpu":
        cpu = choose_device("cpu")
        on_cpu = plan_for(shape, cpu.kind, choose_dtype("auto", cpu, shape.num_parameters).itemsize, "none", shortest)
        if on_cpu.fits(cpu):
            options.append(f"run it on the CPU (about {gigabytes(on_cpu.total_bytes)}, slowly)")
    return options


def _no_room(shape: ModelShape, device: Device, need: MemoryPlan, options: list[str]) -> str:
    last = "choose a smaller model" if options else "close other programs or choose a smaller model"
    advice = ", or ".join([*options, last])
    return (
        f"{shape.name} needs about {gigabytes(need.total_bytes)} with a context of {need.context_length:,} tokens, and "
        f"{gigabytes(device.free_bytes)} are free on {device.name}: {advice}."
    )
