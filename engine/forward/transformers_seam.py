"""Where a transformers model computes with our attention and our cache: the only file that knows how they are called.

transformers offers the attention function as an extension; that a cache is no more than an object with `update`, and
that what it does not know is handed on to the attention function, it does not promise.
`tests/engine/forward/test_libraries.py` says which of that is gone with a new version.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from engine.forward.attention import Visibility, attend
from engine.forward.kv_cache import CacheWindow

NAME = "slipstream"


def use_attention(model: Any) -> str:
    """Let a transformers model compute with `attend`; returns the name of the attention that it had."""
    from transformers import AttentionInterface  # not at the top: what it reads from the environment may be broken

    AttentionInterface.register(NAME, attend)
    stock: str = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    return stock


@contextmanager
def stock_attention(model: Any, stock: str) -> Iterator[Any]:
    """Give the model its own attention, by name, for the duration of a block."""
    model.set_attn_implementation(stock)
    try:
        yield model
    finally:
        model.set_attn_implementation(NAME)


def run(
    model: Any,
    token_ids: Sequence[int],
    positions: torch.Tensor,
    window: CacheWindow,
    visibility: Visibility,
    keep: int | Sequence[int],
) -> torch.Tensor:
    """Logits (rows, vocab) of a pass of these rows at `positions` (rows,); with `keep` those of `Target.forward`."""
    output = model(
        input_ids=torch.tensor([token_ids], device=positions.device),
        position_ids=positions[None],
        past_key_values=window,
        use_cache=True,
        logits_to_keep=keep if isinstance(keep, int) else torch.tensor(keep, device=positions.device),
        visibility=visibility,
    )
    logits: torch.Tensor = output.logits[0]
    return logits


def head_size(model: Any) -> int | None:
    """How many numbers the head reads of a row; None where the model has no head as a module of its own."""
    head = model.get_output_embeddings()
    size: int | None = getattr(head, "in_features", None)
    return size


@contextmanager
def head_inputs(model: Any, *, wanted: bool) -> Iterator[list[torch.Tensor]]:
    """Collect what the head reads within a block, (rows, hidden) a pass; nothing unless it is `wanted`."""
    read: list[torch.Tensor] = []
    if not wanted:
        yield read
        return
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0][0]))
    try:
        yield read
    finally:
        hook.remove()
