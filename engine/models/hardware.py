"""What this machine has, and whether a model fits: device, dtype, memory plan, before a weight is read.

Memory = weights + keys and values at the context + what the device's libraries take; counted against *free* memory,
since Windows spills video memory into RAM rather than failing.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from engine.config import ModelSpec
from engine.errors import NotEnoughMemory, UnsupportedDevice
from engine.models.catalog import Checkpoint

GB = 10**9
_SMALL_MODEL = 10**9  # parameters; below it a CPU without bfloat16 instructions computes in float32
_ONE_THREAD_MODEL = 5 * 10**7  # parameters; below it handing work to other threads takes longer than the work
_NF4_BYTES = 0.52  # per weight: 4 bits and a nested scale per 64 weights
_INT8_BYTES = 1.0
_CUDA_OVERHEAD = int(0.8 * GB)  # context, kernels, workspace
_CUDA_HEADROOM = int(0.5 * GB)  # a desktop's own windows
_CPU_OVERHEAD = int(0.2 * GB)  # activations of a prefill chunk, the allocator's slack
_MIN_CONTEXT = 1024  # tokens; a shorter context is no chat
_CONTEXT_STEP = 256
_ALL_THREADS = torch.get_num_threads()  # as torch found the machine, before anything was set
_CGROUP = Path("/sys/fs/cgroup")  # where Linux keeps a container's limits


@dataclass(frozen=True, slots=True)
class Device:
    """A place to compute. `free_bytes` is what may be used now."""

    torch_device: torch.device
    name: str
    free_bytes: int

    @property
    def kind(self) -> str:
        return self.torch_device.type


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """What a model will take. `kv_bytes` are the keys and values of one token."""

    weights_bytes: int
    kv_bytes: int
    overhead_bytes: int
    context_length: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.overhead_bytes + self.kv_bytes * self.context_length


def choose_device(wanted: str) -> Device:
    """The device that `wanted` names; "auto" takes CUDA, else MPS, else the CPU. Raises `UnsupportedDevice`."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(wanted[5:]) if ":" in wanted else 0
        if not count:
            raise UnsupportedDevice("This machine has no CUDA device that PyTorch can use. Choose auto or cpu.")
        if index >= count:
            raise UnsupportedDevice(f"There is no {wanted}: this machine has cuda:0 to cuda:{count - 1}. Choose one.")
        device = torch.device("cuda", index)
        torch.cuda.empty_cache()  # what an earlier model left in the allocator is free too
        return Device(device, torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)[0])
    if wanted == "mps":
        if not torch.backends.mps.is_available():
            raise UnsupportedDevice("This machine has no Apple GPU that PyTorch can use. Choose auto or cpu.")
        limit = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return Device(torch.device("mps"), "Apple GPU", min(limit, free_ram()))
    return Device(torch.device("cpu"), cpu_name(), free_ram())


def cpu_name() -> str:
    """The processor's name as its maker writes it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def free_ram() -> int:
    """Bytes of memory that can be had without swapping, a container's limit included."""
    free: int = psutil.virtual_memory().available
    try:
        if (limit := (_CGROUP / "memory.max").read_text().strip()) != "max":
            free = min(free, int(limit) - int((_CGROUP / "memory.current").read_text()) + _reclaimable())
    except (OSError, ValueError):
        return free  # no such limit on this system
    return max(0, free)


def _reclaimable() -> int:
    """File pages in a container's account, which the kernel gives back when asked."""
    for line in (_CGROUP / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0


def choose_dtype(wanted: str, device: Device, num_parameters: int) -> torch.dtype:
    """The dtype to compute in; "auto" goes by device and size."""
    if wanted != "auto":
        dtype = getattr(torch, wanted)
        assert isinstance(dtype, torch.dtype)
        return dtype
    if device.kind == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device.torch_device) >= (8, 0) else torch.float16
    if device.kind == "mps":
        return torch.float16
    return torch.float32 if num_parameters < _SMALL_MODEL and not has_bfloat16() else torch.bfloat16


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def choose_threads(wanted: int | None, device: Device, num_parameters: int) -> int:
    """Threads to compute with; the same on every start, since some kernels' rounding depends on it."""
    if wanted is not None:
        return wanted
    return 1 if device.kind == "cpu" and num_parameters < _ONE_THREAD_MODEL else _ALL_THREADS


def estimate_weights(checkpoint: Checkpoint, dtype: torch.dtype, quant: str) -> int:
    """Bytes of the weights on the device. Embeddings and head are never quantised; a tied head counts once."""
    linear = {"none": float(dtype.itemsize), "int8": _INT8_BYTES, "nf4": _NF4_BYTES}[quant]
    total = 0.0
    for tensor in checkpoint.text_tensors:
        quantised = len(tensor.shape) == 2 and not tensor.name.endswith(("embed_tokens.weight", "lm_head.weight"))
        total += tensor.num_elements * (linear if quantised else dtype.itemsize)
    return int(total)


def _second_head(checkpoint: Checkpoint, dtype: torch.dtype) -> int:
    """Bytes of a tied head on a processor, which holds it in an order of its own beside the embedding."""
    names = {tensor.name for tensor in checkpoint.text_tensors}
    if any(name.endswith("lm_head.weight") for name in names):
        return 0
    sizes = [t.num_elements for t in checkpoint.text_tensors if t.name.endswith("embed_tokens.weight")]
    return sum(sizes) * dtype.itemsize


def kv_bytes_per_token(config: dict[str, Any], dtype: torch.dtype) -> int:
    """Bytes of one token's keys and values over all layers; sliding layers keep theirs too, so that crop works."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    kv_heads = config.get("num_key_value_heads") or heads
    return int(2 * config["num_hidden_layers"] * kv_heads * head_dim * dtype.itemsize)


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


def plan(
    checkpoint: Checkpoint, spec: ModelSpec, device: Device, dtype: torch.dtype
) -> tuple[MemoryPlan, tuple[str, ...]]:
    """Fit a model into free memory, with a shorter context where it must be; notes say so.

    Raises `NotEnoughMemory` with what is needed, what is there, and what would fit.
    """
    longest, note = trained_context(checkpoint.config)
    notes = [note] if note else []
    wanted = longest if spec.max_context is None else min(spec.max_context, longest)
    if spec.max_context is not None and spec.max_context > longest:
        notes.append(f"The context is {longest:,} tokens, not {spec.max_context:,}: the model knows no more.")
    full = _full_plan(checkpoint, device, dtype, spec.quant, wanted)
    fitting = _longest_fit(full, device)
    if fitting >= wanted:
        return full, tuple(notes)
    if fitting >= min(wanted, _MIN_CONTEXT):
        notes.append(
            f"The context is {fitting:,} tokens instead of {wanted:,}: more does not fit into the "
            f"{gigabytes(device.free_bytes)} that are free on {device.name}."
        )
        return replace(full, context_length=fitting), tuple(notes)
    raise NotEnoughMemory(_no_room(checkpoint, spec, device, dtype, full))


def _full_plan(checkpoint: Checkpoint, device: Device, dtype: torch.dtype, quant: str, context: int) -> MemoryPlan:
    on_cpu = _CPU_OVERHEAD + _second_head(checkpoint, dtype)
    return MemoryPlan(
        weights_bytes=estimate_weights(checkpoint, dtype, quant),
        kv_bytes=kv_bytes_per_token(checkpoint.config, dtype),
        overhead_bytes=_CUDA_OVERHEAD + _CUDA_HEADROOM if device.kind == "cuda" else on_cpu,
        context_length=context,
    )


def _longest_fit(plan: MemoryPlan, device: Device) -> int:
    """Tokens of context that fit; up to half of what the weights leave of a memory shared with everything else."""
    left = device.free_bytes - plan.weights_bytes - plan.overhead_bytes
    if device.kind != "cuda":
        left //= 2
    tokens = max(0, left) // plan.kv_bytes
    return tokens if tokens >= plan.context_length else tokens // _CONTEXT_STEP * _CONTEXT_STEP


def _no_room(checkpoint: Checkpoint, spec: ModelSpec, device: Device, dtype: torch.dtype, full: MemoryPlan) -> str:
    shortest = min(full.context_length, _MIN_CONTEXT)
    need = replace(full, context_length=shortest).total_bytes
    options = []
    for quant in ("int8", "nf4"):
        smaller = _full_plan(checkpoint, device, dtype, quant, shortest)
        if spec.quant == "none" and _longest_fit(smaller, device) >= shortest:
            options.append(f"load it with {quant} (about {gigabytes(smaller.total_bytes)})")
    if not options and device.kind != "cpu":
        cpu = choose_device("cpu")
        on_cpu = _full_plan(checkpoint, cpu, choose_dtype("auto", cpu, checkpoint.num_parameters), "none", shortest)
        if _longest_fit(on_cpu, cpu) >= shortest:
            options.append(f"run it on the CPU (about {gigabytes(on_cpu.total_bytes)}, slowly)")
    options.append("choose a smaller model" if options else "close other programs or choose a smaller model")
    advice = ", or ".join(options)
    return (
        f"{checkpoint.name} needs about {gigabytes(need)} with a context of {shortest:,} tokens, and "
        f"{gigabytes(device.free_bytes)} are free on {device.name}: {advice}."
    )


def gigabytes(num_bytes: int) -> str:
    """A size for people."""
    return f"{num_bytes / GB:.1f} GB" if num_bytes >= GB // 10 else f"{num_bytes / 10**6:.0f} MB"


@contextmanager
def memory_told() -> Iterator[None]:
    """A device that runs out of memory is told in a sentence; as a block or a decorator."""
    try:
        yield
    except (RuntimeError, MemoryError) as exc:  # torch.OutOfMemoryError is a RuntimeError
        # A CPU's allocator says so in a plain RuntimeError.
        if not (isinstance(exc, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(exc)):
            raise
        raise NotEnoughMemory(
            "The device ran out of memory. Close other programs that use it, choose a shorter context, or load the "
            "model in 8 or 4 bits."
        ) from exc
