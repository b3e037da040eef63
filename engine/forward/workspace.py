"""What forward passes take beside weights, keys and values: bytes from shapes alone, before anything is loaded.

Upper bounds: of what a pass makes on its way, the pieces that grow with the context or the vocabulary, as if those of
one layer lived together.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any

from engine.forward.slots import chunk_for
from engine.forward.widths import MAX_WIDTH

_INT64, _BOOL, _FLOAT32 = 8, 1, 4  # bytes
# Columns of all pieces of a product that was cut into several: fewer than three programs of 64 columns for each
# multiprocessor (`kernels.linear.pieces_for`), and no device has more of those than this.
_CUT_COLUMNS = 3 * 64 * 192


def prefill_bytes(config: dict[str, Any], itemsize: int, slots: int, device_type: str) -> int:
    """Bytes of a prefill chunk's masks over `slots` cache slots, and of its scores where a softcap needs them whole."""
    heads, kv_heads, _ = head_shape(config)
    cells = chunk_for(device_type) * slots
    kinds = len(set(config.get("layer_types") or ("full_attention",)))  # a mask for each window
    masks = kinds * (heads // kv_heads) * cells * itemsize
    making = cells * (_INT64 + _BOOL + itemsize)
    scores = heads * cells * (_FLOAT32 + 2 * itemsize) if config.get("attn_logit_softcapping") else 0
    return masks + max(making, scores)


def round_bytes(config: dict[str, Any], itemsize: int, slots: int, widths: Sequence[int]) -> int:
    """Bytes that rounds of these widths keep when they are recorded over a cache of so many slots, and those of one
    round that runs unrecorded before; 0 without Triton, where rounds take less than a prefill."""
    if importlib.util.find_spec("triton") is None:
        return 0
    from engine.forward.cuda.kernels.attention import num_parts

    heads, kv_heads, size = head_shape(config)
    result = int(config["vocab_size"]) * itemsize
    softcapped = 2 * MAX_WIDTH * result if config.get("final_logit_softcapping") else 0
    padded_size = 1 << max(4, (size - 1).bit_length())
    attention = MAX_WIDTH * heads * num_parts(slots) * (padded_size + 2) * _FLOAT32
    columns = max(2 * int(config["intermediate_size"]), (heads + 2 * kv_heads) * size, _CUT_COLUMNS)
    products = 2 * MAX_WIDTH * columns * _FLOAT32  # one is added up while the next is made
    once = attention + products + softcapped
    return sum(widths) * result + once + (once + MAX_WIDTH * result)


def head_shape(config: dict[str, Any]) -> tuple[int, int, int]:
    """(heads, key heads, numbers of a head) of a model's attention."""
    heads = int(config["num_attention_heads"])
    size = config.get("head_dim") or config["hidden_size"] // heads
    return heads, int(config.get("num_key_value_heads") or heads), int(size)
