"""Keys and values of one conversation: allocated once, with a length; to crop is to set that length.

Rows are written at their absolute slot before attention reads them. Slots behind the length hold zeros or rows of
rejected drafts: finite, and masked out. A round's rows stay in their slots until the next round, so that a path through
a tree of them can be committed. transformers' attention modules call `CacheWindow.update`; all else is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


class Allocation:
    """The memory of a cache from `reserve` to `clear`, as an identity: what was recorded over it ends with it."""


class KVCache:
    """Keys and values for up to `capacity` tokens, batch 1; `length` tokens of them are committed.

    Layers are allocated by `reserve`, all in one block, or when the first forward pass shows their shape.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._block: torch.Tensor | None = None  # (2 * layers, kv_heads, capacity, head_dim), where all are in one
        self._allocation = Allocation()

    @property
    def allocation(self) -> Allocation:
        """The memory that this cache has now."""
        return self._allocation

    def window(self, slots: int, written: torch.Tensor | None = None) -> "CacheWindow":
        """What one forward pass reads and writes: it reads this many slots. It writes its rows from `length` on, or its
        first rows at the slots `written` and the others, which are padding, nowhere."""
        self.require(slots)
        return CacheWindow(self, slots, written)

    def require(self, slots: int) -> None:
        """Raise `ValueError` where the cache has fewer slots."""
        if slots > self.capacity:
            raise ValueError(f"The KV cache holds {self.capacity} tokens; {slots} were asked for.")

    def reserve(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> None:
        """Allocate all layers in one block, unless there are some already."""
        if self._keys:
            return
        self._block = torch.zeros((2 * layers, kv_heads, self.capacity, head_dim), dtype=dtype, device=device)
        self._keys = list(self._block[:layers, None])
        self._values = list(self._block[layers:, None])

    def layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values, all slots of them: (kv_heads, capacity, head_dim)."""
        return self._keys[index][0], self._values[index][0]

    def write(self, keys: torch.Tensor, values: torch.Tensor, layer: int, written: torch.Tensor | None) -> None:
        """Write a layer's new rows (1, kv_heads, rows, head_dim), as `window` says where."""
        if layer == len(self._keys):
            self._keys.append(self._allocate(keys))
            self._values.append(self._allocate(values))
        if written is None:
            end = self.length + keys.shape[2]
            self._keys[layer][:, :, self.length : end] = keys
            self._values[layer][:, :, self.length : end] = values
        else:
            rows = len(written)
            self._keys[layer].index_copy_(2, written, keys[:, :, :rows])
            self._values[layer].index_copy_(2, written, values[:, :, :rows])

    def read(self, layer: int, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values in the first slots: (1, kv_heads, slots, head_dim), views."""
        return self._keys[layer][:, :, :slots], self._values[layer][:, :, :slots]

    @torch.inference_mode()
    def commit(self, offsets: Sequence[int]) -> None:
        """Make rows of the last round the next tokens: a path from its first row on, by their slots behind `length`.

        Offsets ascend along a path. A path without gaps is in its slots already, and only the length changes; any other
        is gathered and written, all layers at once where they are in one block.
        """
        start, self.length = self.length, self.length + len(offsets)
        if offsets[-1] == len(offsets) - 1:
            return
        where = start + torch.tensor(offsets, device=self._keys[0].device)
        for tensor in (*self._keys, *self._values) if self._block is None else (self._block,):
            tensor[:, :, start : self.length] = tensor.index_select(2, where)

    def crop(self, length: int) -> None:
        """Forget all tokens from `length` on; O(1)."""
        if not 0 <= length <= self.capacity:
            raise ValueError(f"The KV cache holds {self.capacity} tokens; it cannot be cropped to {length}.")
        self.length = length

    def clear(self) -> None:
        """Forget all tokens and release the memory; the next forward pass allocates it again."""
        self.length = 0
        self._keys.clear()
        self._values.clear()
        self._block = None
        self._allocation = Allocation()

    @torch.inference_mode()
    def save(self) -> "SavedRows":
        """The committed tokens' keys and values, in main memory."""
        tensors = (*self._keys, *self._values) if self._block is None else (self._block,)
        device = tensors[0].device if tensors else torch.device("cpu")
        return SavedRows(tuple(map(self._saved, tensors)), self._block is not None, device)

    def _saved(self, tensor: torch.Tensor) -> torch.Tensor:
        rows = tensor[:, :, : self.length]
        return torch.empty(rows.shape, dtype=rows.dtype).copy_(rows)

    @torch.inference_mode()
    def restore(self, saved: "SavedRows") -> None:
        """Hold what `save` gave, and nothing else."""
        if not saved.rows:
            self.length = 0
            return
        like = saved.rows[0]
        self.require(like.shape[2])
        if not self._keys and saved.in_block:
            count, heads, _, size = like.shape
            self.reserve(count // 2, heads, size, like.dtype, saved.device)
        elif not self._keys:
            layers = len(saved.rows) // 2
            self._keys += [self._allocate(rows.to(saved.device)) for rows in saved.rows[:layers]]
            self._values += [self._allocate(rows.to(saved.device)) for rows in saved.rows[layers:]]
        tensors = (*self._keys, *self._values) if self._block is None else (self._block,)
        for tensor, rows in zip(tensors, saved.rows, strict=True):
            tensor[:, :, : rows.shape[2]] = rows.to(tensor.device)
        self.length = like.shape[2]

    def copy(self, capacity: int) -> "KVCache":
        """Make a second cache with the same committed tokens."""
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


@dataclass(frozen=True, slots=True)
class SavedRows:
    """Keys and values of committed tokens, outside of a cache: its tensors with so many slots."""

    rows: tuple[torch.Tensor, ...]
    in_block: bool
    device: torch.device  # of the cache


@dataclass(frozen=True, slots=True)
class CacheWindow:
    """A cache as one forward pass uses it: it reads `slots` slots and writes its rows as `KVCache.window` says."""

    cache: KVCache
    slots: int
    written: torch.Tensor | None

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a layer's new rows (1, kv_heads, rows, head_dim) and return views of all slots that are read."""
        self.cache.write(keys, values, layer, self.written)
        return self.read(layer)

    def read(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values in the slots that attention reads: (1, kv_heads, slots, head_dim)."""
        return self.cache.read(layer, self.slots)
