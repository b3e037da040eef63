"""Keys and values of one conversation: one allocation per layer, a length, and crop is setting that length.

Rows are written at their absolute slot before attention reads them. Slots behind the length hold zeros or rows of
rejected drafts: finite, and masked out. A round's own rows are kept until the next round, so that a path through a
tree of them can be committed whatever stands in their slots by then. transformers' attention modules call `update`;
nothing else here knows them.
"""

from collections.abc import Sequence

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
        self._fresh: list[tuple[torch.Tensor, torch.Tensor]] = []  # by layer, the present round's rows
        self._visible = 0  # slots that attention reads in the present forward pass

    def show(self, slots: int) -> None:
        """Let the next forward pass read this many slots; it writes its rows from `length` on."""
        if slots > self.capacity:
            raise ValueError(f"The KV cache holds {self.capacity} tokens; {slots} were asked for.")
        self._visible = slots
        self._fresh.clear()

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
        self._fresh.append((keys, values))
        return self._keys[layer][:, :, : self._visible], self._values[layer][:, :, : self._visible]

    def lay(self, first: int, last: int, depth: int) -> None:
        """Write rows first..last of the layer that was updated last to the slots from `length` + `depth` on."""
        layer = len(self._fresh) - 1
        start, end = self.length + depth, self.length + depth + last + 1 - first
        keys, values = self._fresh[layer]
        self._keys[layer][:, :, start:end] = keys[:, :, first : last + 1]
        self._values[layer][:, :, start:end] = values[:, :, first : last + 1]

    @torch.inference_mode()
    def commit(self, rows: Sequence[int], *, in_place: bool) -> None:
        """Make these rows of the last round, a path from its first row on, the next tokens of the cache.

        `in_place`: its rows still stand where they were written, so leading ones need no copying. Else one gather and
        one write per layer and tensor.
        """
        count = len(rows)
        start, self.length = self.length, self.length + count
        if in_place and rows[-1] == count - 1:
            return
        where = torch.tensor(rows, device=self._keys[0].device)
        for layer, (keys, values) in enumerate(self._fresh):
            self._keys[layer][:, :, start : start + count] = keys.index_select(2, where)
            self._values[layer][:, :, start : start + count] = values.index_select(2, where)

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
        self._fresh.clear()

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
