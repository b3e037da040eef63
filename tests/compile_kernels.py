"""Compile every kernel in the shapes of an 8B model for compute capability 8.0 and 9.0, on any machine.

Triton's compiler and NVIDIA's assembler need no GPU. Prints registers' and shared memory's needs; fails where a
kernel does not compile or asks for more shared memory than the device has.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from engine.forward.cuda.kernels import attention, linear, nf4, row_operations

SHARED = {80: 99 * 1024, 90: 227 * 1024}  # bytes that a program may have; 8.0: those of its consumer relatives
FLOATS = {"scale", "softcap", "epsilon", "branch_epsilon"}
POINTERS = {
    "x queries keys values stream normed new_stream result weight bias": "*bf16",
    "out outs tops sums pieces absmax2 code2 offset table cosines sines branch_scale query_scale key_scale": "*fp32",
    "positions paths committed slots shift": "*i32",
    "packed absmax": "*u8",
}
TYPES = {name: kind for names, kind in POINTERS.items() for name in names.split()}
PARTS = {"SMALL": 256, "NUM_SMALL": 64, "LARGE": 2048}
UNALIGNED = {"rows", "parts"} | FLOATS


def compile_one(kernel: Any, capability: int, constants: dict[str, Any], types: dict[str, str], **options: int) -> None:
    names = kernel.arg_names
    kinds = {name: types.get(name, TYPES.get(name, "fp32" if name in FLOATS else "i32")) for name in names}
    signature = {name: "constexpr" if name in constants else kinds[name] for name in names}
    aligned = [i for i, name in enumerate(names) if name not in constants and name not in UNALIGNED]
    attributes = {(i,): [["tt.divisibility", 16]] for i in aligned}
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    shared = built.metadata.shared
    print(f"{capability} {kernel.__name__:16} shared {shared:6} of {SHARED[capability]}")
    if shared > SHARED[capability]:
        raise SystemExit(f"{kernel.__name__} needs {shared} bytes of shared memory.")


def main() -> None:
    llama = {"HEADS": 32, "SIZE": 128, "DIM": 128, **PARTS}
    heads = {"HEADS": 32, "GROUPS": 4, "DOT": tl.bfloat16, **PARTS}
    for capability in (80, 90):
        for count in (1, 2, 4):
            tile = {"ROWS": 16 * count, "COLUMNS": 64, "DOT": tl.bfloat16, "BIAS": False, "bias": None}
            stages = linear.stages_for(count)
            shape = {"STEPS": 32, "DEPTH": 128}
            compile_one(linear._products, capability, tile | shape, {}, num_warps=4, num_stages=stages)
            quantised = tile | {"STEPS": 64, "NESTED": True}
            compile_one(nf4._nf4_products, capability, quantised, {}, num_warps=4, num_stages=4)
        for size, window, softcap in ((64, 0, False), (128, 0, False), (256, 4096, True)):
            shape = {
                "SIZE": size,
                "DIM": size,
                "WINDOW": window,
                "SOFTCAP": softcap,
                "BLOCK": attention.block_for(size),
            }
            compile_one(attention._parts, capability, heads | shape, {}, num_warps=4, num_stages=3)
        compile_one(attention._together, capability, llama | {"GATHERED": 16}, {}, num_warps=2)
        norm = {"PIECES": 4, "BRANCH": True, "SIZE": 4096, "BLOCK": 4096}
        compile_one(row_operations._add_norm, capability, norm, {"scale": "*bf16"}, num_warps=8)
        gate = {"SIZE": 14336, "PIECES": 1, "WIDE": 1024}
        for activation in row_operations.ACTIVATIONS:
            compile_one(
                row_operations._gate, capability, gate | {"ACTIVATION": activation}, {"out": "*bf16"}, num_warps=4
            )
        rope = {"HEADS": 32, "KV_HEADS": 8, "SIZE": 128, "TURNED": 128, "NORM": True, "PIECES": 4, "BLOCK": 128}
        compile_one(row_operations._rope_and_cache, capability, rope, {}, num_warps=1)
        finish = {"SIZE": 128256, "PIECES": 2, "WIDE": 1024}
        compile_one(row_operations._finish, capability, finish, {"out": "*bf16"}, num_warps=4)
    print("All kernels compiled.")


if __name__ == "__main__":
    main()
