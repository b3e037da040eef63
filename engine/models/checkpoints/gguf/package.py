"""What is used of the `gguf` package: how many bytes each type of weights takes, what numbers they stand for, and how a
file is written anew with some of them changed."""

import os
import struct
from collections.abc import Callable
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=256)
def type_name(type_id: int) -> str:
    """The name of a type of weights, such as Q4_K; "" where the package does not know it."""
    from gguf import GGMLQuantizationType

    try:
        return str(GGMLQuantizationType(type_id).name)
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def block(type_id: int) -> tuple[int, int]:
    """How many weights a block of a known type holds, and in how many bytes."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    weights, num_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(type_id)]
    return int(weights), int(num_bytes)


@lru_cache(maxsize=256)
def can_dequantise(type_id: int) -> bool:
    """Whether the package turns a known type into numbers."""
    try:
        dequantise(np.zeros((1, block(type_id)[1]), dtype=np.uint8), type_id)
    except NotImplementedError:
        return False
    return True


def dequantise(data: NDArray[np.uint8], type_id: int) -> NDArray[np.float32]:
    """The numbers that rows of bytes stand for, `(rows, bytes)` to `(rows, weights)`. Raises `NotImplementedError`."""
    from gguf import GGMLQuantizationType, dequantize

    with np.errstate(all="ignore"):  # damaged scales may be no numbers
        values: Any = dequantize(data, GGMLQuantizationType(type_id))
    return np.asarray(values, dtype=np.float32)


def size(shape: tuple[int, ...]) -> int:
    """The bytes of a matrix that `rewrite` writes."""
    from gguf import GGML_QUANT_SIZES

    weights, num_bytes = GGML_QUANT_SIZES[_written_as(shape)]
    return prod(shape) // int(weights) * int(num_bytes)


def rewrite(source: Path, target: Path, changed: set[str], numbers: Callable[[str], NDArray[np.float32]]) -> None:
    """Write a file with other numbers for the `changed` matrices, one at a time, as Q8_0 (F16 where rows have no whole
    blocks); all else is copied byte by byte. It is on the disk when this returns. Raises `OSError`, or what `numbers`
    raises."""
    from gguf import GGUFReader, quantize

    reader = GGUFReader(source)
    alignment = int(reader.alignment)
    with source.open("rb") as stream:
        head = stream.read(min(tensor.field.offset for tensor in reader.tensors))  # counts and all metadata
    infos, offset = [], 0
    for tensor in reader.tensors:
        dimensions = tensor.shape.tolist()  # the fastest first
        kind, num_bytes = tensor.tensor_type, int(tensor.n_bytes)
        if tensor.name in changed:
            shape = tuple(reversed(dimensions))
            kind, num_bytes = _written_as(shape), size(shape)
        name = tensor.name.encode()
        layout = f"<Q{len(name)}sI{len(dimensions)}QIQ"
        infos.append(struct.pack(layout, len(name), name, len(dimensions), *dimensions, int(kind), offset))
        offset += num_bytes + -num_bytes % alignment
    with target.open("wb") as stream:
        stream.write(head + b"".join(infos))
        for tensor in reader.tensors:
            stream.write(bytes(-stream.tell() % alignment))
            if tensor.name in changed:
                values = numbers(tensor.name)
                stream.write(quantize(values, _written_as(values.shape)).tobytes())
            else:
                stream.write(tensor.data.tobytes())
        stream.write(bytes(-stream.tell() % alignment))
        stream.flush()
        os.fsync(stream.fileno())


def _written_as(shape: tuple[int, ...]) -> Any:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType.F16 if shape[-1] % 32 else GGMLQuantizationType.Q8_0
