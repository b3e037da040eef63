"""How fast each product runs by itself, in the shapes of an 8B model, as a share of the measured copy bandwidth.

One JSON object on standard output. Weights lie in several copies, so that no cache of the device holds them.
"""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from bitsandbytes.nn import Linear4bit

from engine.forward.cuda import kernels
from engine.forward.cuda.kernels.linear import Dense
from engine.forward.cuda.kernels.nf4 import Nf4

SHAPES = {"qkv": (6144, 4096), "merge": (4096, 4096), "gate_up": (28672, 4096), "down": (4096, 14336)}
ROWS = (1, 16, 64)
CUDA = torch.device("cuda")
COLD_BYTES = 512 << 20  # several times the largest second-level cache


def seconds(calls: list[Any], turns: int = 5) -> float:
    """The median time of one of `calls`, each run in turn on the device's clock."""
    taken = []
    for turn in range(turns + 1):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for call in calls:
            call()
        end.record()
        end.synchronize()
        if turn:
            taken.append(start.elapsed_time(end) / 1000 / len(calls))
    return median(taken)


def recorded(call: Any) -> Any:
    """The call as a graph, so that launching it costs no time of Python's."""
    call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def copy_bandwidth() -> float:
    """Bytes read and written per second by a copy of 1 GiB."""
    block = torch.empty(1 << 30, dtype=torch.uint8, device=CUDA)
    copy = torch.empty_like(block)
    return 2 * block.nbytes / seconds([lambda: copy.copy_(block)] * 4)


def operand(outputs: int, inputs: int, quant: str) -> tuple[Any, int]:
    weight = torch.randn(outputs, inputs, device=CUDA, dtype=torch.bfloat16)
    if quant == "bf16":
        return Dense(weight, None, kernels.processors(CUDA)), weight.nbytes
    module: Any = Linear4bit(inputs, outputs, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
    module.weight.data = weight.cpu()
    module = module.to(CUDA)
    return Nf4(
        [module], None, kernels.processors(CUDA)
    ), module.weight.data.nbytes + outputs * inputs // 64 + outputs * inputs // 4096


@torch.inference_mode()
def main() -> None:
    bandwidth = copy_bandwidth()
    results = []
    for quant in ("bf16", "nf4"):
        for name, (outputs, inputs) in SHAPES.items():
            first, num_bytes = operand(outputs, inputs, quant)
            operands = [first, *(operand(outputs, inputs, quant)[0] for _ in range(COLD_BYTES // num_bytes))]
            for rows in ROWS:
                x = torch.randn(rows, inputs, device=CUDA, dtype=torch.bfloat16)
                taken = seconds([recorded(lambda each=each, x=x: each(x)) for each in operands])
                share = num_bytes / taken / bandwidth
                results.append(
                    {"product": name, "quant": quant, "rows": rows, "us": taken * 1e6, "bandwidth_share": share}
                )
            del operands, first
            torch.cuda.empty_cache()
    name = torch.cuda.get_device_name()
    print(json.dumps({"device_name": name, "copy_bytes_per_s": bandwidth, "results": results}))


if __name__ == "__main__":
    main()
