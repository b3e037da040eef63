"""The attention function that transformers' modules call in place of their own, registered as "slipstream".

Query heads that share a key head are packed into rows of one product, so keys and values are never repeated. Which
slots a row may see comes with the forward pass as a `Visibility`, so drafts, padding rows and sliding windows need no
mask from transformers. The number of slots read is fixed by the caller, by position alone: with it, a row's result
does not depend on which other rows were computed beside it, as far as the device's kernels allow.

A tree's side branch can be attended in two ways. *Together*: its rows stand in slots behind the spine's and a mask
shows each row its ancestors; cheap, but sums then run over other slots than in a chain, so bits differ. *Apart*: the
branch is laid at the slots that it would have in a chain, over the rows of others, and attended by itself; then each
row sees what it would see in a chain, slot by slot, and so has the bits of a chain.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from engine.target.kv_cache import KVCache

NAME = "slipstream"


@dataclass(frozen=True, slots=True)
class Branch:
    """A run of rows, each one's parent the row before it but for the first's.

    Attended with the rows from `start` to `stop`, which hold it and make a width that may be used.
    """

    first: int
    last: int
    depth: int  # of its first row
    start: int
    stop: int


def depths_of(parents: Sequence[int]) -> list[int]:
    """Tokens between row 0 and each row.

    >>> depths_of([-1, 0, 1, 0])
    [0, 1, 2, 1]
    """
    depths: list[int] = []
    for parent in parents:
        depths.append(0 if parent < 0 else depths[parent] + 1)
    return depths


def branches_of(parents: Sequence[int], rows: int, widths: Sequence[int]) -> tuple[Branch, ...]:
    """The side branches of `parents` in a round of `rows` rows, each padded with rows beside it to one of `widths`.

    >>> branches_of([-1, 0, 1, 0], 4, (2, 4))
    (Branch(first=3, last=3, depth=1, start=2, stop=4),)
    """
    depths = depths_of(parents)
    starts = [row for row, parent in enumerate(parents) if parent != row - 1]
    branches = []
    for first, end in zip(starts, [*starts[1:], len(parents)], strict=True):
        width = next(width for width in widths if width >= end - first)
        start = min(first, rows - width)
        branches.append(Branch(first, end - 1, depths[first], start, start + width))
    return tuple(branches)


class Visibility:
    """Which of `slots` cache slots each row of a round sees, and at which position it stands.

    Row i follows row parents[i] (row 0: the `cache.length` committed tokens), and sees these tokens, the rows above
    it and itself, within a sliding window. Rows beyond `parents` are padding. With `widths`, side branches are
    attended apart, padded to one of them; without, together. Masks are made once per forward pass and window.
    """

    def __init__(
        self,
        cache: KVCache,
        parents: Sequence[int],
        rows: int,
        slots: int,
        widths: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        length = cache.length
        self.cache = cache
        self.branches: tuple[Branch, ...] = ()
        self._hidden: torch.Tensor | None = None  # (rows, rows), which rows a row does not see
        self._slots = torch.arange(slots, device=device)
        self._dtype = dtype
        self._masks: dict[tuple[int | None, int, Branch | None], torch.Tensor] = {}
        if all(parent == row - 1 for row, parent in enumerate(parents)):
            self.positions = torch.arange(length, length + rows, device=device)
            return
        depths = torch.tensor([*depths_of(parents), *([0] * (rows - len(parents)))])
        self.positions = (length + depths).to(device)
        if widths:
            self.branches = branches_of(parents, rows, widths)
        else:
            hidden = np.ones((rows, rows), dtype=np.bool_)
            for row in range(rows):
                if 0 < row < len(parents):
                    hidden[row] = hidden[parents[row]]
                hidden[row, row] = False
            self._hidden = torch.from_numpy(hidden).to(device)
            self._slots[length : length + rows] = self.positions

    def mask(self, window: int | None, groups: int, branch: Branch | None = None) -> torch.Tensor:
        """What is added to the scores, (groups * rows, slots): 0 where seen, else -inf."""
        key = (window, groups, branch)
        if key not in self._masks:
            positions = self.positions[branch.start : branch.stop] if branch else self.positions
            distance = positions[:, None] - self._slots[None, :]
            hidden = distance < 0
            if window is not None:
                hidden |= distance >= window
            if self._hidden is not None:
                length = self.cache.length
                hidden[:, length : length + len(self._hidden)] |= self._hidden
            mask = torch.zeros(hidden.shape, dtype=self._dtype, device=hidden.device)
            self._masks[key] = mask.masked_fill_(hidden, float("-inf")).repeat(groups, 1)
        return self._masks[key]


def attend(
    module: torch.nn.Module,
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
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    groups = query.shape[1] // key.shape[1]
    out = _packed(query, key, value, visibility.mask(sliding_window, groups), scale, softcap)
    for branch in visibility.branches:
        visibility.cache.lay(branch.first, branch.last, branch.depth)
        rows = query[:, :, branch.start : branch.stop]
        beside = _packed(rows, key, value, visibility.mask(sliding_window, groups, branch), scale, softcap)
        first, last = branch.first - branch.start, branch.last - branch.start
        out[:, :, branch.first : branch.last + 1] = beside[:, :, first : last + 1]
    return out.transpose(1, 2), None


def _packed(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    """Attention with the query heads of one key head as rows of one product; (1, heads, rows, head_dim)."""
    heads, rows, head_dim = query.shape[1:]
    packed = query.reshape(1, key.shape[1], -1, head_dim)
    if softcap is None:
        out = F.scaled_dot_product_attention(packed, key, value, attn_mask=mask[None, None], scale=scale)
    else:  # Gemma 2 (arXiv 2408.00118, section 2): scores are squashed before the softmax
        scores = torch.tanh(packed @ key.transpose(2, 3) * (scale / softcap)) * softcap + mask
        out = scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value
    return out.reshape(1, heads, rows, -1)


attention: Callable[..., Any] = attend
AttentionInterface.register(NAME, attention)
