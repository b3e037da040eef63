"""The target's forward pass: a transformers model with our KV cache, our attention and, where we know its structure,
our order of work.

What is swapped, and why: `past_key_values` is a `KVCache` (crop is setting a number), the attention function is
`attention.attend` (masks from positions, no repeated keys). The usual decoder families run through `body.Body`: fewer
calls, and weights in the order that the processor reads; any other model runs as transformers builds it.
It does not know drafts, sampling or text.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from engine.target.attention import NAME, Visibility
from engine.target.body import Body, agrees, build_body
from engine.target.kv_cache import KVCache

MAX_WIDTH = 32  # rows of a round at most
SLOT_STEP = 256  # attention reads a multiple of this many slots


def slots_for(position: int) -> int:
    """How many cache slots the row at `position` reads: a function of its position alone, hence the same in every
    round that might compute it.

    >>> slots_for(0), slots_for(255), slots_for(256)
    (256, 256, 512)
    """
    return (position // SLOT_STEP + 1) * SLOT_STEP


class TransformersTarget:
    """A causal language model of transformers, for one sequence at a time."""

    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype, context_length: int) -> None:
        self._model = model
        self.device = device
        self.context_length = context_length
        self._dtype = dtype
        self._stock = model.config._attn_implementation
        self.vocab_size: int = model.config.vocab_size
        self.numbers_per_row = model.config.hidden_size * model.config.num_hidden_layers
        # Prefill chunks start at absolute multiples of this; a chunk's scores are chunk x context floats a head.
        self.chunk = 512 if device.type == "cuda" else SLOT_STEP
        model.set_attn_implementation(NAME)
        self.runs_alone = True  # whether the transformers model still has its weights for itself
        self._body: Body | None = None
        self._body = self._checked_body(model)

    def _checked_body(self, model: Any) -> Body | None:
        """Our order of work for this model, once it has answered a few tokens like the model's own code."""
        body = build_body(model)
        if body is None:
            return None
        token_ids = [index * 7 % self.vocab_size for index in range(1, 17)]
        theirs = self.forward(self.new_cache(len(token_ids)), token_ids)
        self._body = body
        if not agrees(self.forward(self.new_cache(len(token_ids)), token_ids), theirs):
            return None
        self.runs_alone = not body.pack()
        return body

    @property
    def runs_our_way(self) -> bool:
        """Whether the model runs through `Body`, and not through transformers' modules."""
        return self._body is not None

    def new_cache(self, capacity: int | None = None) -> KVCache:
        """An empty cache for `capacity` tokens (None: the whole context) and the rows of one round beyond them."""
        return KVCache(self.padded_capacity(capacity or self.context_length))

    @staticmethod
    def padded_capacity(tokens: int) -> int:
        """Slots to allocate so that any round of an answer of that many tokens fits, its padding rows included."""
        return slots_for(tokens + MAX_WIDTH)

    @torch.inference_mode()
    def forward(
        self, cache: KVCache, token_ids: Sequence[int], *, width: int | None = None, last_only: bool = False
    ) -> torch.Tensor:
        """Logits (len(token_ids), vocab) of tokens that follow the cache's; (1, vocab) with `last_only`.

        The keys and values are written behind `cache.length`, which stays: commit by setting it. With `width` the
        pass has exactly that many rows, the rest padding. Does not synchronise with the device.
        """
        rows = width or len(token_ids)
        padded = [*token_ids, *([token_ids[-1]] * (rows - len(token_ids)))]
        slots = slots_for(cache.length + len(token_ids) - 1)
        cache.show(slots)
        visibility = Visibility(cache.length, rows, slots, self._dtype, self.device)
        if self._body is not None:
            ids = torch.tensor(padded, device=self.device)
            positions = visibility.positions.clamp(max=self.context_length - 1)
            hidden = self._body.hidden(ids, positions, cache, visibility)
            return self._body.logits(hidden[-1:] if last_only else hidden[: len(token_ids)])
        output = self._model(
            input_ids=torch.tensor([padded], device=self.device),
            # Padding may reach beyond the context, where RoPE that goes by the largest position would change all rows.
            position_ids=visibility.positions.clamp(max=self.context_length - 1)[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1 if last_only else 0,
            visibility=visibility,
        )
        logits: torch.Tensor = output.logits[0]
        return logits if last_only else logits[: len(token_ids)]

    def prefill(self, cache: KVCache, token_ids: Sequence[int]) -> Iterator[torch.Tensor]:
        """Run `token_ids[cache.length:]` chunk by chunk and commit them; yields the last row's logits (1, vocab)
        after each chunk, so that a caller can report progress or stop between two.
        """
        while cache.length < len(token_ids):
            end = min(len(token_ids), (cache.length // self.chunk + 1) * self.chunk)
            logits = self.forward(cache, token_ids[cache.length : end], last_only=True)
            cache.crop(end)
            yield logits

    @contextmanager
    def stock_attention(self) -> Iterator[Any]:
        """The model with transformers' own attention, for `model.generate` beside us in a benchmark.

        Only where it `runs_alone`.
        """
        self._model.set_attn_implementation(self._stock)
        try:
            yield self._model
        finally:
            self._model.set_attn_implementation(NAME)

    def synchronize(self) -> None:
        """Wait for the device; for clocks only."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
