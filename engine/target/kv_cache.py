"""Keys and values of one conversation: one allocation per layer, a length, and crop is setting that length.

Rows are written at their absolute slot before attention reads them. Slots behind the length hold zeros or rows of
rejected drafts: finite, and masked out. A round's own rows are kept until the next round, so that a path through a
tree of them can be committed from wherever they stand. transformers' attention modules call `update`;
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
        self._written: torch.Tensor | None = None
        self._visible = 0  # slots that attention reads in the present forward pass

    def show(self, slots: int, written: torch.Tensor | None = None) -> None:
        """Let the next forward pass read this many slots. It writes its rows from `length` on, or its first rows at
        the slots `written` and the others, which are padding, nowhere."""
        if slots > self.capacity:
            raise ValueError(f"The KV cache holds {self.capacity} tokens; {slots} were asked for.")
        self._visible = slots
        self._written = written
        self._fresh.clear()

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
        self._fresh.append((keys, values))
        return self._keys[layer][:, :, : self._visible], self._values[layer][:, :, : self._visible]

    @torch.inference_mode()
    def commit(self, rows: Sequence[int], *, in_place: bool) -> None:
        """Make these rows of the last round, a path from its first row on, the next tokens of the cache.

        `in_place`: they stand at the slots of their positions already, and only the length changes. Else one gather
        and one write per layer and tensor.
        """
        start, self.length = self.length, self.length + len(rows)
        if in_place:
            return
        where = torch.tensor(rows, device=self._keys[0].device)
        for layer, (keys, values) in enumerate(self._fresh):
            self._keys[layer][:, :, start : self.length] = keys.index_select(2, where)
            self._values[layer][:, :, start : self.length] = values.index_select(2, where)

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
