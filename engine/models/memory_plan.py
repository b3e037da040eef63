"""Whether a model fits, before a weight is read: weights + keys and values at the context + what forward passes make on
their way + what the device's libraries take, against the device's free bytes.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from engine.config import ModelSpec, Quant
from engine.errors import NotEnoughMemory
from engine.forward.slots import slots_for
from engine.forward.widths import MAX_WIDTH, WIDTHS
from engine.forward.workspace import head_shape, prefill_bytes, round_bytes
from engine.models.checkpoints.checkpoint import ModelShape
from engine.models.hardware import GB, Device, choose_device, choose_dtype, gigabytes

_NF4_BYTES = 0.52  # per weight: 4 bits and a nested scale per 64 weights
_INT8_BYTES = 1.0
_CUDA_OVERHEAD = int(0.8 * GB)  # CUDA's context, kernels, libraries, what recorded rounds take beside their numbers
_CUDA_HEADROOM = int(0.5 * GB)  # a desktop's own windows
CPU_OVERHEAD = int(0.2 * GB)  # activations of a prefill chunk, the allocator's slack
SMALLER_QUANTS: dict[Quant, tuple[Quant, ...]] = {"none": ("int8", "nf4"), "int8": ("nf4",), "nf4": ()}
MIN_CONTEXT = 1024  # tokens; a shorter context is no chat
_CONTEXT_STEP = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """What a model will take. `kv_bytes` are the keys and values of one token, `work_bytes` what forward passes make at
    this context: a prefill chunk's masks, the memory that recorded rounds work in."""

    weights_bytes: int
    kv_bytes: int
    work_bytes: int
    overhead_bytes: int
    context_length: int

    @property
    def context_bytes(self) -> int:
        """What the context's length decides."""
        return self.kv_bytes * self.context_length + self.work_bytes

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.overhead_bytes + self.context_bytes

    def fits(self, device: Device) -> bool:
        """Whether there is room; in a memory shared with everything else, half of what the weights leave stays free."""
        left = device.free_bytes - self.weights_bytes - self.overhead_bytes
        return self.context_bytes <= (left if device.kind == "cuda" else left // 2)


def estimate_weights(shape: ModelShape, dtype: torch.dtype, quant: str) -> int:
    """Bytes of the weights on the device. Embeddings and head are never quantised; a tied head counts once."""
    linear = {"none": float(dtype.itemsize), "int8": _INT8_BYTES, "nf4": _NF4_BYTES}[quant]
    total = 0.0
    for tensor in shape.text_tensors:
        quantised = len(tensor.shape) == 2 and not tensor.name.endswith(("embed_tokens.weight", "lm_head.weight"))
        total += tensor.num_elements * (linear if quantised else dtype.itemsize)
    return int(total)


def _second_head(shape: ModelShape, dtype: torch.dtype) -> int:
    """Bytes of a tied head on a processor, which holds it in an order of its own beside the embedding."""
    names = {tensor.name for tensor in shape.text_tensors}
    if any(name.endswith("lm_head.weight") for name in names):
        return 0
    sizes = [t.num_elements for t in shape.text_tensors if t.name.endswith("embed_tokens.weight")]
    return sum(sizes) * dtype.itemsize


def kv_bytes_per_token(config: dict[str, Any], dtype: torch.dtype) -> int:
    """Bytes of one token's keys and values over all layers; sliding layers keep theirs too, so that crop works."""
    _, kv_heads, size = head_shape(config)
    return int(2 * config["num_hidden_layers"] * kv_heads * size * dtype.itemsize)


def trained_context(config: dict[str, Any]) -> tuple[int, str]:
    """The context to offer, and a note where it is less than the model's maker names.

    LongRoPE computes every position differently once the text passes the original length: a draft that crosses it
    would change rows that are already committed. So the original length is where the context ends.
    """
    longest = int(config.get("max_position_embeddings") or 2048)
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, dict) else None
    if kind == "longrope":
        original = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
        if original and int(original) < longest:
            note = f"The context is {int(original):,} tokens: beyond that the model's LongRoPE changes earlier rows."
            return int(original), note
    return longest, ""


def plan(shape: ModelShape, spec: ModelSpec, device: Device, dtype: torch.dtype) -> tuple[MemoryPlan, tuple[str, ...]]:
    """Fit a model into free memory, with a shorter context where it must be; notes say so.

    Raises `NotEnoughMemory` with what is needed, what is there, and what would fit.
    """
    longest, note = trained_context(shape.config)
    notes = [note] if note else []
    wanted = longest if spec.max_context is None else min(spec.max_context, longest)
    if spec.max_context is not None and spec.max_context > longest:
        notes.append(f"The context is {longest:,} tokens, not {spec.max_context:,}: the model was trained for no more.")
    plan_for = partial(_plan_for, shape, device, dtype, spec.quant)
    full = plan_for(wanted)
    if full.fits(device):
        return full, tuple(notes)
    steps = range(1, wanted // _CONTEXT_STEP + 1)
    fitting = bisect_left(steps, True, key=lambda step: not plan_for(step * _CONTEXT_STEP).fits(device)) * _CONTEXT_STEP
    if fitting >= min(wanted, MIN_CONTEXT):
        notes.append(
            f"The context is {fitting:,} tokens instead of {wanted:,}: more does not fit into the "
            f"{gigabytes(device.free_bytes)} that are free on {device.name}."
        )
        return plan_for(fitting), tuple(notes)
    raise NotEnoughMemory(_no_room(shape, spec, device, dtype, min(wanted, MIN_CONTEXT)))


def _plan_for(shape: ModelShape, device: Device, dtype: torch.dtype, quant: str, context: int) -> MemoryPlan:
    config, slots = shape.config, slots_for(context + MAX_WIDTH)
    work = prefill_bytes(config, dtype.itemsize, slots, device.kind)
    if device.kind == "cuda":
        work += round_bytes(config, dtype.itemsize, slots, WIDTHS)
    on_cpu = CPU_OVERHEAD + _second_head(shape, dtype)
    return MemoryPlan(
        weights_bytes=estimate_weights(shape, dtype, quant),
        kv_bytes=kv_bytes_per_token(config, dtype),
        work_bytes=work,
        overhead_bytes=_CUDA_OVERHEAD + _CUDA_HEADROOM if device.kind == "cuda" else on_cpu,
        context_length=context,
    )


def _no_room(shape: ModelShape, spec: ModelSpec, device: Device, dtype: torch.dtype, shortest: int) -> str:
    need = _plan_for(shape, device, dtype, spec.quant, shortest)
    options = []
    for quant in SMALLER_QUANTS[spec.quant]:
        smaller = _plan_for(shape, device, dtype, quant, shortest)
        if smaller.fits(device):
            options.append(f"load it with {quant} (about {gigabytes(smaller.total_bytes)})")
    if not options and device.kind != "cpu":
        cpu = choose_device("cpu")
        on_cpu = _plan_for(shape, cpu, choose_dtype("auto", cpu, shape.num_parameters), "none", shortest)
        if on_cpu.fits(cpu):
            options.append(f"run it on the CPU (about {gigabytes(on_cpu.total_bytes)}, slowly)")
    options.append("choose a smaller model" if options else "close other programs or choose a smaller model")
    advice = ", or ".join(options)
    return (
        f"{shape.name} needs about {gigabytes(need.total_bytes)} with a context of {shortest:,} tokens, and "
        f"{gigabytes(device.free_bytes)} are free on {device.name}: {advice}."
    )
