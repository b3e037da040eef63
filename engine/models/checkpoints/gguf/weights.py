"""The weights of a GGUF file as numbers, a piece at a time, in the layout that transformers has for them.

llama.cpp orders the rows of Llama's queries and keys for its own rotary embedding, and adds 1 to Gemma's norms.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from engine.errors import BrokenModel
from engine.models.checkpoints.gguf import package
from engine.models.checkpoints.gguf.header import StoredTensor, damaged

_PIECE = 2**20  # weights in a piece, some megabytes on their way
_ROTATED = ("llama", "smollm3")
_SHIFTED = ("gemma", "gemma2", "gemma3")
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GEMMA_LAYER = _LAYER | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_LAYERS = {"gemma2": _GEMMA_LAYER, "gemma3": _GEMMA_LAYER, "phi3": _LAYER | {"ffn_up": "mlp.gate_up_proj"}}
_NAME = re.compile(r"(?:blk\.(\d{1,5})\.)?([a-z_]+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """A tensor with what undoes llama.cpp's changes: its rows in blocks of `rotated_by` (0: as they are) are put in
    transformers' order, and `shift` is added."""

    stored: StoredTensor
    rotated_by: int = 0
    shift: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    def pieces(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Some rows after another, as where they belong in the tensor and their numbers, (rows, *the rest of its
        shape). Raises `BrokenModel` or `OSError`."""
        stored, (rows, *row_shape) = self.stored, self.stored.shape
        targets = _unrotated(rows, self.rotated_by) if self.rotated_by else np.arange(rows)
        step = max(1, _PIECE // prod(row_shape)) if row_shape else rows  # one row of numbers is one piece
        row_bytes = stored.num_bytes // rows if row_shape else 0
        with stored.file.open("rb") as stream:
            stream.seek(stored.offset)
            for start in range(0, rows, step):
                count = min(step, rows - start)
                num_bytes = count * row_bytes or stored.num_bytes
                data = np.fromfile(stream, dtype=np.uint8, count=num_bytes)
                if data.size != num_bytes:
                    raise damaged(stored.file, "it became shorter while it was read")
                values = package.dequantise(data.reshape(1, -1), stored.type_id)  # blocks know nothing of rows
                if self.shift:
                    values = values + np.float32(self.shift)
                yield targets[start : start + count], values.reshape(count, *row_shape)

    def as_stored(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The whole tensor's numbers in transformers' layout as llama.cpp has them."""
        rows = values[_unrotated(len(values), self.rotated_by)] if self.rotated_by else values
        return rows - np.float32(self.shift) if self.shift else rows


def _unrotated(rows: int, heads: int) -> NDArray[np.int64]:
    """Where each stored row belongs: a head's numbers are stored in pairs (0, n/2), (1, n/2 + 1) and so on.

    >>> _unrotated(8, 2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(-1)


def transformers_name(name: str, architecture: str) -> str | None:
    """The name of a weight in transformers' model; None where it has no place there."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    layer, part, kind = match.groups()
    if layer is None:
        return f"{_OUTER[part]}.{kind}" if part in _OUTER else None
    parts = _LAYERS.get(architecture, _LAYER)
    return f"model.layers.{int(layer)}.{parts[part]}.{kind}" if part in parts else None


def stored_weight(stored: StoredTensor, architecture: str, heads: int, kv_heads: int) -> StoredWeight:
    """A tensor of a file with what llama.cpp did to it."""
    part = stored.name.split(".")[-2] if "." in stored.name else ""
    if architecture in _ROTATED and part in ("attn_q", "attn_k"):
        blocks = heads if part == "attn_q" else kv_heads
        if stored.shape[0] % (2 * blocks):
            raise BrokenModel(
                f"{stored.file.name} is damaged: its {stored.name} has {stored.shape[0]:,} rows for {blocks} heads. "
                "Delete it and download it again."
            )
        return StoredWeight(stored, rotated_by=blocks)
    if architecture in _SHIFTED and part.endswith("norm"):
        return StoredWeight(stored, shift=-1.0)
    return StoredWeight(stored)
