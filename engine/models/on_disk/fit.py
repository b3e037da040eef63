"""Whether a model fits into this machine: an estimate for lists. At a load `engine.models.memory_plan` decides."""

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Literal

from engine.models.checkpoints.checkpoint import ModelShape
from engine.models.footprint import MIN_CONTEXT, plan_for, trained_context
from engine.models.ram import free_ram

Fit = Literal["fits", "tight", "too large"]
_EASY_CONTEXT = 4096  # tokens
SMALL_MODEL = 10**9  # parameters; up to it a processor computes in float32


@dataclass(frozen=True, slots=True)
class _Memory:
    free_bytes: int
    kind: str = "cpu"  # its plan counts more than a GPU's, and needs no torch


def fit(shape: ModelShape, free_bytes: int) -> Fit:
    """`fits`: as it is, with a usual context. `tight`: with a short context, or quantised. Else `too large`."""
    memory = _Memory(free_bytes)
    longest, _ = trained_context(shape.config)
    itemsize = 4 if shape.num_parameters < SMALL_MODEL else 2
    if plan_for(shape, "cpu", itemsize, "none", min(longest, _EASY_CONTEXT)).fits(memory):
        return "fits"
    for quant in ("none", "int8", "nf4"):
        if plan_for(shape, "cpu", 2, quant, min(longest, MIN_CONTEXT)).fits(memory):
            return "tight"
    return "too large"


def least_bytes(shape: ModelShape) -> int:
    """What a model takes at least: in 4 bits, with the shortest context that is a chat."""
    return plan_for(shape, "cpu", 2, "nf4", MIN_CONTEXT).total_bytes


def free_bytes(device: str, freed: int = 0) -> int:
    """Bytes that a model may take on `device`; `freed` are those that go with the model that is there now."""
    ram = free_ram() + freed
    return ram if device in ("cpu", "mps") else max(ram, gpu_bytes())


@cache
def gpu_bytes() -> int:
    """All memory of the largest NVIDIA GPU; 0 where there is none. Asked once."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    command = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
        return max((int(line) for line in answer.stdout.split()), default=0) * 2**20
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0
