"""The attention function: `Body` calls it, and transformers' modules in place of their own (`transformers_seam`).

Query heads that share a key head are packed into rows of one product, so keys and values are never repeated. Which
slots a row may see is in a `Visibility` that belongs to the forward pass, so drafts, padding rows and sliding windows
need no mask from transformers. The number of slots read is fixed by the caller, by position alone: with it, a row's
result does not depend on which other rows were computed beside it, as far as the device's kernels allow.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

MIN_ROWS = 4  # a processor's kernels round fewer rows than these differently (seen in oneDNN and MKL: 1 and 2)


class Visibility:
    """Which of `slots` cache slots each row of a round sees, and the row's position.

    Row 0 follows the cache's `length` tokens; row i follows row parents[i] and is in slot length + offsets[i].
    Each sees these tokens, its ancestors and itself, within a sliding window. Rows beyond `parents` are padding: they
    continue a chain, or see what row 0 sees beside a tree. Masks are made once per forward pass and window.
    """

    def __init__(
        self,
        length: int,
        parents: Sequence[int],
        offsets: Sequence[int],
        rows: int,
        slots: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.written: torch.Tensor | None = None  # the slots of a tree's rows
        self.row_slots: torch.Tensor  # (rows,): each row's slot, -1 for a tree's padding
        self._length = length
        self._hidden: torch.Tensor | None = None  # (rows, slots - length): not an ancestor's slot
        self._slots = torch.arange(slots, device=device)  # the position of the token at each
        self._dtype = dtype
        self._unseen: dict[int | None, torch.Tensor] = {}
        self._masks: dict[tuple[int | None, int], torch.Tensor] = {}
        if is_chain(parents):
            self.positions = self.row_slots = torch.arange(length, length + rows, device=device)
            return
        hidden = np.ones((rows, slots - length), dtype=np.bool_)
        hidden[:, 0] = False
        depths = [0] * rows
        for row in range(1, len(parents)):
            depths[row] = depths[parents[row]] + 1
            hidden[row] = hidden[parents[row]]
            hidden[row, offsets[row]] = False
        self._hidden = torch.from_numpy(hidden).to(device)
        self.positions = (length + torch.tensor(depths)).to(device)
        self.written = (length + torch.tensor(offsets)).to(device)
        self.row_slots = torch.full((rows,), -1, device=device)
        self.row_slots[: len(parents)] = self.written
        self._slots[self.written] = self.positions[: len(parents)]

    def hidden(self, window: int | None) -> torch.Tensor:
        """Return which slots each row does not see, (rows, slots)."""
        if window not in self._unseen:
            self._unseen[window] = self._hide(self._distance(), window)
        return self._unseen[window]

    def mask(self, window: int | None, groups: int) -> torch.Tensor:
        """Return what is added to the scores, (groups * rows, slots): 0 where seen, else -inf; at least `MIN_ROWS`."""
        key = (window, groups)
        if key not in self._masks:
            distance = self._distance()
            hidden = self._hide(distance, window)
            mask = torch.zeros(hidden.shape, dtype=self._dtype, device=hidden.device)
            mask = mask.masked_fill_(hidden, float("-inf")).repeat(groups, 1)
            missing = MIN_ROWS - mask.shape[0]
            self._masks[key] = mask if missing <= 0 else torch.cat((mask, mask[-1:].expand(missing, -1)))
        return self._masks[key]

    def _distance(self) -> torch.Tensor:
        """How far before each row each slot's token is, (rows, slots)."""
        return self.positions[:, None] - self._slots[None, :]

    def _hide(self, distance: torch.Tensor, window: int | None) -> torch.Tensor:
        hidden = distance < 0
        if window is not None:
            hidden |= distance >= window
        if self._hidden is not None:
            hidden[:, self._length :] |= self._hidden
        return hidden


def is_chain(parents: Sequence[int]) -> bool:
    """Whether each row follows the one before it."""
    return all(parent == row - 1 for row, parent in enumerate(parents))


def attend(
    module: torch.nn.Module | None,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    visibility: Visibility,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of `query` (1, heads, rows, head_dim) over `key`, `value` (1, kv_heads, slots, head_dim).

    Returns (1, rows, heads, head_dim) as transformers' attention modules expect it.
    """
    heads, rows, head_dim = query.shape[1:]
    kv_heads = key.shape[1]
    groups = heads // kv_heads
    packed = query.reshape(1, kv_heads, groups * rows, head_dim)
    if groups * rows < MIN_ROWS:
        packed = torch.cat((packed, packed[:, :, -1:].expand(-1, -1, MIN_ROWS - groups * rows, -1)), 2)
    out = attend_packed(
        packed,
        key,
        value,
        heads,
        rows,
        visibility=visibility,
        scaling=head_dim**-0.5 if scaling is None else scaling,
        window=sliding_window,
        softcap=softcap,
    )
    return out[None], None


def attend_packed(
    packed: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    rows: int,
    *,
    visibility: Visibility,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """(rows, heads, head_dim) of queries (1, kv_heads, groups * rows, head_dim), at least `MIN_ROWS` a key head."""
    groups = heads // key.shape[1]
    mask = visibility.mask(window, groups)
    if softcap is None:
        out = F.scaled_dot_product_attention(packed, key, value, attn_mask=mask[None, None], scale=scaling)
    else:  # Gemma 2 (arXiv 2408.00118, section 2): scores are squashed before the softmax
        scores = torch.tanh(packed @ key.transpose(2, 3) * (scaling / softcap)) * softcap + mask
        out = scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value
    return out[0, :, : groups * rows].reshape(heads, rows, -1).transpose(0, 1)
