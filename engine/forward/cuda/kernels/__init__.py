"""The arithmetic of a round as Triton kernels, whose rows have the same bits however many rows stand beside them.

**Why bits do not depend on the width.** Every product multiplies tiles of exactly 16 rows by the same matrix
instruction; a round of 64 rows repeats it four times, a round of one leaves 15 rows empty. An output element is the
sum over its own row alone, in an order that the weight's shape fixes: k ascending, in a number of pieces that goes by
shape and device, added up one after another and never by atomics. Attention cuts the cache at fixed positions and puts
the pieces together in their order; slots that a row must not see add exact zeros. Everything else is one row at a
time. So neither the width, nor a row's place, nor its neighbours can reach its bits, and `engine.probe.exactness`
checks that on the loaded weights.

This room can be imported without Triton; its modules cannot. Triton comes with torch's CUDA builds. With
TRITON_INTERPRET=1 the kernels run on a processor, which is how they are tested: slowly.
"""

import importlib.util
import os

import torch

from engine.forward.widths import MAX_WIDTH

TILE = 16  # rows of a product
MAX_ROWS = MAX_WIDTH
_OLDEST = (8, 0)  # compute capability: bfloat16 in the matrix units


def interpreted() -> bool:
    """Whether kernels run under Triton's interpreter, on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def available(device: torch.device) -> str | None:
    """None where the kernels can run on `device`, else why not, as a sentence."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed."
    if interpreted():
        return None
    if device.type != "cuda":
        return f"Triton kernels need a CUDA device; this one is {device.type}."
    capability = torch.cuda.get_device_capability(device)
    if capability < _OLDEST:
        return f"Triton kernels need compute capability 8.0; this device has {capability[0]}.{capability[1]}."
    return None


def processors(device: torch.device) -> int:
    """Multiprocessors of the device, which the kernels' pieces go by; the same on every start."""
    if device.type != "cuda":
        return 8
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


class CannotRun(Exception):
    """These kernels cannot run this model on this device; the message is a sentence that says why."""
