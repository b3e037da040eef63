"""What this machine has: its devices, their names and free bytes, and the dtype and threads that suit them.

Free bytes are what is free now, since Windows spills video memory into RAM rather than failing. Knows no models.
"""

import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.errors import UnsupportedDevice
from engine.models.ram import free_ram

_SMALL_MODEL = 10**9  # parameters; below it a CPU without bfloat16 instructions computes in float32
_QUICK_MODEL = 2 * 10**8  # parameters; below it float32 is quick enough, and its words are those that the maker meant
_ONE_THREAD_MODEL = 5 * 10**7  # parameters; below it handing work to other threads takes longer than the work
_ALL_THREADS = torch.get_num_threads()  # as torch found the machine, before anything was set


@dataclass(frozen=True, slots=True)
class Device:
    """A place to compute. `free_bytes` is what may be used now."""

    torch_device: torch.device
    name: str
    free_bytes: int

    @property
    def kind(self) -> str:
        return self.torch_device.type


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
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def choose_dtype(wanted: str, device: Device, num_parameters: int, quant: str = "none") -> torch.dtype:
    """The dtype to compute in; "auto" goes by device, size and quantisation."""
    if wanted != "auto":
        dtype = getattr(torch, wanted)
        assert isinstance(dtype, torch.dtype)
        return dtype
    if device.kind == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device.torch_device) >= (8, 0) else torch.float16
    if device.kind == "mps":
        return torch.float16
    if num_parameters >= _SMALL_MODEL:
        return torch.bfloat16
    # 8-bit weights are multiplied as integers, so bfloat16 would save nothing but a small cache's memory. The smallest
    # models are for demonstration: they say nothing that bfloat16 could spoil.
    exact = quant == "int8" or _ONE_THREAD_MODEL <= num_parameters < _QUICK_MODEL
    return torch.float32 if exact or not has_bfloat16() else torch.bfloat16


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def choose_threads(wanted: int | None, device: Device, num_parameters: int) -> int:
    """Threads to compute with; the same on every start, since some kernels' rounding depends on it."""
    if wanted is not None:
        return wanted
    return 1 if device.kind == "cpu" and num_parameters < _ONE_THREAD_MODEL else _ALL_THREADS
