"""What is used of the `gguf` package: how many bytes each type of weights takes, and what numbers they stand for."""

from functools import lru_cache
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
