"""What `engine.forward.slots` relies on: where a key stands, within its rules, changes no bit of the result."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from engine.forward.slots import BLOCK, take_slot

SLOTS, SIZE, ROWS, HEADS = 256, 64, 8, 200


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_moved_key_that_weighs_most_changes_no_bit(dtype: torch.dtype) -> None:
    """bfloat16 rounds most differences away, so there must be many numbers: 16 slots off, 1 in 400,000 differed."""
    generator = torch.Generator().manual_seed(1)
    place = 60
    taken = [False] * (1 + BLOCK)
    assert take_slot(taken, place - 1, 1, 0) == 1
    moved = place - 1 + take_slot(taken, place - 1, 1, 0)
    assert moved > place
    mask = torch.full((ROWS, SLOTS), float("-inf"), dtype=dtype)
    mask[:, :place] = 0
    natural_mask, moved_mask = mask.clone(), mask.clone()
    natural_mask[:, place] = moved_mask[:, moved] = 0
    for _ in range(20):
        query, keys, values = (torch.randn(1, HEADS, n, SIZE, generator=generator) for n in (1, SLOTS, SLOTS))
        keys[:, :, place] = (5 * query / (query.square().sum(-1, keepdim=True) * SIZE**-0.5))[:, :, 0]
        queries = (query + 0.1 * torch.randn(1, HEADS, ROWS, SIZE, generator=generator)).to(dtype)
        keys, values = keys.to(dtype), values.to(dtype)
        natural = scaled_dot_product_attention(queries, keys, values, attn_mask=natural_mask)
        keys[:, :, moved], values[:, :, moved] = keys[:, :, place], values[:, :, place]
        assert torch.equal(scaled_dot_product_attention(queries, keys, values, attn_mask=moved_mask), natural)
