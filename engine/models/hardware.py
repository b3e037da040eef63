"""What this machine has, and whether a model fits: device, dtype, memory plan, before a weight is read.

Memory = weights + keys and values at the context + what forward passes make on their way + what the device's libraries
take; counted against *free* memory, since Windows spills video memory into RAM rather than failing. Where a device runs
out of it all the same, `Footprint` knows which steps are left.
"""

import platform
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from engine.config import ModelSpec, Quant
from engine.errors import NotEnoughMemory, UnsupportedDevice
from engine.forward.slots import slots_for
from engine.forward.transformers_target import MAX_WIDTH
from engine.forward.workspace import head_shape, prefill_bytes, round_bytes
from engine.models.catalog import Checkpoint
from engine.probe.cost import WIDTHS

GB = 10**9
_SMALL_MODEL = 10**9  # parameters; below it a CPU without bfloat16 instructions computes in float32
_ONE_THREAD_MODEL = 5 * 10**7  # parameters; below it handing work to other threads takes longer than the work
_NF4_BYTES = 0.52  # per weight: 4 bits and a nested scale per 64 weights
_INT8_BYTES = 1.0
_CUDA_OVERHEAD = int(0.8 * GB)  # CUDA's context, kernels, libraries, what recorded rounds take beside their numbers
_CUDA_HEADROOM = int(0.5 * GB)  # a desktop's own windows
_CPU_OVERHEAD = int(0.2 * GB)  # activations of a prefill chunk, the allocator's slack
_SMALLER_QUANTS: dict[Quant, tuple[Quant, ...]] = {"none": ("int8", "nf4"), "int8": ("nf4",), "nf4": ()}
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

    def fits(self, device: "Device") -> bool:
        """Whether there is room; in a memory shared with everything else, half of what the weights leave stays free."""
        left = device.free_bytes - self.weights_bytes - self.overhead_bytes
        return self.context_bytes <= (left if device.kind == "cuda" else left // 2)


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
    plan_for = partial(_plan_for, checkpoint, device, dtype, spec.quant)
    full = plan_for(wanted)
    if full.fits(device):
        return full, tuple(notes)
    steps = range(1, wanted // _CONTEXT_STEP + 1)
    fitting = bisect_left(steps, True, key=lambda step: not plan_for(step * _CONTEXT_STEP).fits(device)) * _CONTEXT_STEP
    if fitting >= min(wanted, _MIN_CONTEXT):
        notes.append(
            f"The context is {fitting:,} tokens instead of {wanted:,}: more does not fit into the "
            f"{gigabytes(device.free_bytes)} that are free on {device.name}."
        )
        return plan_for(fitting), tuple(notes)
    raise NotEnoughMemory(_no_room(checkpoint, spec, device, dtype, min(wanted, _MIN_CONTEXT)))


def _plan_for(checkpoint: Checkpoint, device: Device, dtype: torch.dtype, quant: str, context: int) -> MemoryPlan:
    config, slots = checkpoint.config, slots_for(context + MAX_WIDTH)
    work = prefill_bytes(config, dtype.itemsize, slots, device.kind)
    if device.kind == "cuda":
        work += round_bytes(config, dtype.itemsize, slots, WIDTHS)
    on_cpu = _CPU_OVERHEAD + _second_head(checkpoint, dtype)
    return MemoryPlan(
        weights_bytes=estimate_weights(checkpoint, dtype, quant),
        kv_bytes=kv_bytes_per_token(config, dtype),
        work_bytes=work,
        overhead_bytes=_CUDA_OVERHEAD + _CUDA_HEADROOM if device.kind == "cuda" else on_cpu,
        context_length=context,
    )


def _no_room(checkpoint: Checkpoint, spec: ModelSpec, device: Device, dtype: torch.dtype, shortest: int) -> str:
    need = _plan_for(checkpoint, device, dtype, spec.quant, shortest)
    options = []
    for quant in _SMALLER_QUANTS[spec.quant]:
        smaller = _plan_for(checkpoint, device, dtype, quant, shortest)
        if smaller.fits(device):
            options.append(f"load it with {quant} (about {gigabytes(smaller.total_bytes)})")
    if not options and device.kind != "cpu":
        cpu = choose_device("cpu")
        on_cpu = _plan_for(checkpoint, cpu, choose_dtype("auto", cpu, checkpoint.num_parameters), "none", shortest)
        if on_cpu.fits(cpu):
            options.append(f"run it on the CPU (about {gigabytes(on_cpu.total_bytes)}, slowly)")
    options.append("choose a smaller model" if options else "close other programs or choose a smaller model")
    advice = ", or ".join(options)
    return (
        f"{checkpoint.name} needs about {gigabytes(need.total_bytes)} with a context of {shortest:,} tokens, and "
        f"{gigabytes(device.free_bytes)} are free on {device.name}: {advice}."
    )


def gigabytes(num_bytes: int) -> str:
    """A size for people."""
    return f"{num_bytes / GB:.1f} GB" if num_bytes >= GB // 10 else f"{num_bytes / 10**6:.0f} MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """A model on a device, as far as memory goes: what is left to do when that runs out."""

    model: str
    device_name: str
    device_type: str
    quant: Quant
    weights_bytes: int
    context_length: int

    def ladder(self, *, answering: bool) -> tuple[str, ...]:
        """What helps, the least loss first, and nothing that is done already."""
        steps = ["start a new chat"] if answering else []
        steps.append("close other programs that use its memory")
        if self.context_length > _MIN_CONTEXT:
            shorter = max(_MIN_CONTEXT, self.context_length // 2)
            steps.append(f"give the model a shorter context (--max-context {shorter})")
        steps += [f"load it with {quant}" for quant in _SMALLER_QUANTS[self.quant]]
        if self.device_type != "cpu" and free_ram() > self.weights_bytes + _CPU_OVERHEAD:
            steps.append("run it on the CPU, slowly (--device cpu)")
        return (*steps, "choose a smaller model")

    def told(self, *, answering: bool) -> NotEnoughMemory:
        """The sentence for a device that ran out of memory."""
        doing = "answered" if answering else "was loaded"
        steps = ", or ".join(self.ladder(answering=answering))
        ran_out = f"{self.device_name} ran out of memory while {self.model} {doing}"
        return NotEnoughMemory(f"{ran_out}. In this order: {steps}.")


@contextmanager
def memory_told(footprint: Footprint | None = None, *, answering: bool = False) -> Iterator[None]:
    """A device that runs out of memory is told in a sentence, which fits the model where one is known; as a block or a
    decorator."""
    try:
        yield
    except (RuntimeError, MemoryError) as exc:  # torch.OutOfMemoryError is a RuntimeError
        if not is_out_of_memory(exc):
            raise
        if footprint is not None:
            raise footprint.told(answering=answering) from exc
        raise NotEnoughMemory(
            "The device ran out of memory. In this order: close other programs that use its memory, or choose a "
            "shorter context, or a smaller model."
        ) from exc


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether a device says that it has no memory left; a CPU's allocator says so in a plain RuntimeError."""
    said = str(exc)
    known = isinstance(exc, torch.OutOfMemoryError | MemoryError)
    return known or "allocate memory" in said or "out of memory" in said
