"""Keys and values of one conversation: allocated once, a length, and crop is setting that length.

Rows are written at their absolute slot before attention reads them. Slots behind the length hold zeros or rows of
rejected drafts: finite, and masked out. A round's own rows stay where they stand until the next round, so that a path
through a tree of them can be committed. transformers' attention modules call `update`; nothing else here knows them.
"""

from collections.abc import Sequence
from typing import Any

import torch


class KVCache:
    """Keys and values for up to `capacity` tokens, batch 1; `length` tokens of them are committed.

    Layers are allocated by `reserve`, all in one, or when the first forward pass shows their shape (heads, head_dim).
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._block: torch.Tensor | None = None  # (2 * layers, kv_heads, capacity, head_dim), where all are in one
        self.recorded: dict[int, Any] = {}  # rounds that were recorded over this memory, by width
        self._written: torch.Tensor | None = None
        self._visible = 0  # slots that attention reads in the present forward pass

    def show(self, slots: int, written: torch.Tensor | None = None) -> None:
        """Let the next forward pass read this many slots. It writes its rows from `length` on, or its first rows at
        the slots `written` and the others, which are padding, nowhere."""
        if slots > self.capacity:
            raise ValueError(f"The KV cache holds {self.capacity} tokens; {slots} were asked for.")
        self._visible = slots
        self._written = written

    def reserve(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> None:
        """Allocate all layers in one, unless there are some already."""
        if self._keys:
            return
        self._block = torch.zeros((2 * layers, kv_heads, self.capacity, head_dim), dtype=dtype, device=device)
        self._keys = list(self._block[:layers, None])
        self._values = list(self._block[layers:, None])

    def layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values, all slots of them: (kv_heads, capacity, head_dim)."""
        return self._keys[index][0], self._values[index][0]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new rows (1, kv_heads, rows, head_dim) and return views of all visible slots."""
        if layer == len(self._keys):
            self._keys.append(self._allocate(keys))
            self._values.append(self._allocate(values))
        if self._written is None:
            end = self.length + keys.shape[2]
            self._keys[layer][:, :, self.length : end] = keys
            self._values[layer][:, :, self.length : end] = values
        else:
            rows = len(self._written)
            self._keys[layer].index_copy_(2, self._written, keys[:, :, :rows])
            self._values[layer].index_copy_(2, self._written, values[:, :, :rows])
        return self.seen(layer)

    def seen(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values in the slots that attention reads: (1, kv_heads, slots, head_dim)."""
        return self._keys[index][:, :, : self._visible], self._values[index][:, :, : self._visible]

    @torch.inference_mode()
    def commit(self, rows: Sequence[int], *, in_place: bool) -> None:
        """Make these rows of the last round, a path from its first row on, the next tokens of the cache.

        `in_place`: they stand at the slots of their positions already, and only the length changes. Else they are
        gathered and written, all layers at once where they are in one allocation.
        """
        start, self.length = self.length, self.length + len(rows)
        if in_place:
            return
        where = torch.tensor(rows, device=self._keys[0].device)
        where = start + where if self._written is None else self._written.index_select(0, where)
        for tensor in (*self._keys, *self._values) if self._block is None else (self._block,):
            tensor[:, :, start : self.length] = tensor.index_select(2, where)

    def crop(self, length: int) -> None:
        """Forget all tokens from `length` on; O(1)."""
        if not 0 <= length <= self.capacity:
            raise ValueError(f"The KV cache holds {self.capacity} tokens; it cannot be cropped to {length}.")
        self.length = length

    def clear(self) -> None:
        """Forget all tokens and let go of the memory, which is allocated anew by the next forward pass."""
        self.length = 0
        self._keys.clear()
        self._values.clear()
        self._block = None
        self.recorded.clear()

    def copy(self, capacity: int) -> "KVCache":
        """A second cache with the same committed tokens."""
        twin = KVCache(capacity)
        twin.length = self.length
        if self._block is not None:
            tensors, heads, _, size = self._block.shape
            twin.reserve(tensors // 2, heads, size, self._block.dtype, self._block.device)
            assert twin._block is not None
            twin._block[:, :, : self.length] = self._block[:, :, : self.length]
            return twin
        for rows, copies in ((self._keys, twin._keys), (self._values, twin._values)):
            for row in rows:
                copied = twin._allocate(row)
                copied[:, :, : self.length] = row[:, :, : self.length]
                copies.append(copied)
        return twin

    @property
    def num_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (*self._keys, *self._values))

    def _allocate(self, like: torch.Tensor) -> torch.Tensor:
        # Zeros, not garbage: a masked slot has weight 0, and 0 * NaN would be NaN.
        shape = (1, like.shape[1], self.capacity, like.shape[3])
        return torch.zeros(shape, dtype=like.dtype, device=like.device)
