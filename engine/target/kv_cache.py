"""Keys and values of one conversation: one allocation per layer, a length, and crop is setting that length.

Rows are written at their absolute slot before attention reads them. Slots behind the length hold zeros or rows of
rejected drafts: finite, and masked out. transformers' attention modules call `update`; nothing else here knows them.
"""

import torch


class KVCache:
    """Keys and values for up to `capacity` tokens, batch 1; `length` tokens of them are committed.

    Layers are allocated when the first forward pass shows their shape (heads, head_dim).
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._visible = 0  # slots that attention reads in the present forward pass

    def show(self, slots: int) -> None:
        """Let the next forward pass read this many slots; it writes its rows from `length` on."""
        if slots > self.capacity:
            raise ValueError(f"The KV cache holds {self.capacity} tokens; {slots} were asked for.")
        self._visible = slots

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new rows (1, kv_heads, rows, head_dim) and return views of all visible slots."""
        if layer == len(self._keys):
            self._keys.append(self._allocate(keys))
            self._values.append(self._allocate(values))
        end = self.length + keys.shape[2]
        self._keys[layer][:, :, self.length : end] = keys
        self._values[layer][:, :, self.length : end] = values
        return self._keys[layer][:, :, : self._visible], self._values[layer][:, :, : self._visible]

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

    def copy(self, capacity: int) -> "KVCache":
        """A second cache with the same committed tokens."""
        twin = KVCache(capacity)
        twin.length = self.length
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
