"""The target's forward pass through llama.cpp, on a processor; its rounds are chains.

Its flash attention adds a row's terms in the order of the cells, one after the other, and passes over hidden ones; its
products take each row by itself. So most weight types give the same bits at every width, which the probe shows. Where
they do, a row costs nearly as much as the first, so side branches would not pay: there are no trees.
It does not know drafts, sampling or text.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from engine.forward.llama_cpp.binding import LlamaContext, LlamaModel
from engine.forward.slots import slots_for
from engine.forward.widths import MAX_WIDTH

_CHUNK = 64  # tokens of a prefill chunk: no slower than 256 on a processor, and progress and cancel come more often
_HEAD_BUDGET = 0.03  # of a prefill's other products, that logits of more rows than the last may cost
_FIRST_SLOTS = 2048  # llama.cpp touches all of a cache when it makes it, so a long one grows as it is needed


class LlamaCache:
    """Keys and values of one conversation in a llama.cpp context, which is made, and made larger, when it is needed."""

    def __init__(self, make: Callable[[int], LlamaContext], capacity: int) -> None:
        self._make = make
        self._context: LlamaContext | None = None
        self.capacity = capacity
        self.length = 0
        self._written = 0  # positions that the context holds

    def context(self, end: int) -> LlamaContext:
        """The context, with room up to position `end`, holding the committed tokens and nothing behind them."""
        if end > self.capacity:
            raise ValueError(f"The KV cache holds {self.capacity} tokens; {end} were asked for.")
        self._drop_rest()
        if self._context is None:
            self._context = self._make(min(self.capacity, max(_FIRST_SLOTS, slots_for(end))))
        elif end > self._context.slots:
            self._grow(min(self.capacity, max(2 * self._context.slots, slots_for(end))))
        return self._context

    def wrote(self, end: int) -> None:
        """Note that the context holds positions up to `end` now."""
        self._written = end

    def commit(self, offsets: Sequence[int]) -> None:
        """Make the first rows of the last round, a chain, the next tokens."""
        self.crop(self.length + offsets[-1] + 1)

    def crop(self, length: int) -> None:
        """Forget all tokens from `length` on, or count as committed what was written up to there; O(1)."""
        if not 0 <= length <= self._written:
            raise ValueError(f"The KV cache holds {self._written} tokens; it cannot be cropped to {length}.")
        self.length = length

    def clear(self) -> None:
        """Forget all tokens and release the memory."""
        self.length = self._written = 0
        if self._context is not None:
            self._context.close()
            self._context = None

    def save(self) -> tuple[int, Any]:
        """The number of committed tokens, and their keys and values."""
        self._drop_rest()
        return self.length, self._context.save() if self.length and self._context is not None else None

    def restore(self, saved: tuple[int, Any]) -> None:
        """Hold what `save` gave, and nothing else."""
        length, state = saved
        self.crop(0)
        if length:
            self.context(length).restore(state)
        self.length = self._written = length

    def copy(self, capacity: int) -> "LlamaCache":
        """Make a second cache with the same committed tokens."""
        twin = LlamaCache(self._make, capacity)
        if self.length:
            self._drop_rest()
            assert self._context is not None
            self._context.copy_to(twin.context(self.length))
            twin.length = twin._written = self.length
        return twin

    def _drop_rest(self) -> None:
        if self._written > self.length and self._context is not None:
            self._context.forget(self.length)
            self._written = self.length

    def _grow(self, slots: int) -> None:
        assert self._context is not None
        larger = self._make(slots)
        if self.length:
            self._context.copy_to(larger)
        self._context.close()
        self._context = larger


class LlamaCppTarget:
    """A causal language model of llama.cpp, for one sequence at a time."""

    row_independent = False
    trees = False
    rows_cost = True
    notes: tuple[str, ...] = ()
    stock_model = None
    hidden_size = None  # its library hands states over for all rows of a batch or for none
    states = None

    def __init__(
        self,
        model: LlamaModel,
        *,
        context_length: int,
        threads: int,
        numbers_per_row: int,
        head_share: float,
        flash: bool = True,
    ) -> None:
        """Compute with `threads`. `head_share` is what the head's product over a row costs, as a share of all others;
        without `flash` the attention is one whose rounding depends on the width, as the negative control wants."""
        self._model = model
        self._threads = threads
        self._flash = flash
        self.device = torch.device("cpu")
        self.vocab_size = model.vocab_size
        self.context_length = context_length
        self.numbers_per_row = numbers_per_row
        self.logit_rows_per_chunk = max(1, min(_CHUNK, int(_CHUNK * _HEAD_BUDGET / head_share)))

    @property
    def implementation(self) -> tuple[str, ...]:
        """See `Target`."""
        attention = "flash attention" if self._flash else "plain attention, keys float16"
        return (
            "llama.cpp",
            *self._model.library.build,
            attention,
            "keys bfloat16, values float16",
            f"chunks of {_CHUNK}",
        )

    @property
    def hands_every_state(self) -> bool:
        """It has none to hand over."""
        return False

    def hand_states(self, wanted: bool) -> None:
        """It has none to hand over."""

    def prepare_thread(self) -> None:
        """Keep torch, which only reads the logits, to one thread: its others would wait on llama.cpp's processors."""
        torch.set_num_threads(1)

    def prepare(self, cache: LlamaCache, widths: Iterable[int]) -> None:
        """Allocate the cache now."""
        cache.context(cache.length)

    def new_cache(self, capacity: int | None = None) -> LlamaCache:
        """An empty cache for `capacity` tokens (None: the whole context) and the rows of one round beyond them."""
        return LlamaCache(self._make_context, self.padded_capacity(capacity or self.context_length))

    @staticmethod
    def padded_capacity(tokens: int) -> int:
        """Slots to allocate so that any round of an answer of that many tokens fits, its padding rows included."""
        return slots_for(tokens + MAX_WIDTH)

    def _make_context(self, slots: int) -> LlamaContext:
        return LlamaContext(self._model, slots, _CHUNK, self._threads, flash=self._flash)

    def forward(
        self,
        cache: LlamaCache,
        token_ids: Sequence[int],
        *,
        parents: Sequence[int] = (),
        offsets: Sequence[int] = (),
        width: int | None = None,
        keep: int | Sequence[int] = 0,
    ) -> torch.Tensor:
        """See `Target`; rows must be a chain."""
        rows = len(token_ids)
        if (parents and list(parents) != [*range(-1, rows - 1)]) or (offsets and list(offsets) != [*range(rows)]):
            raise ValueError("llama.cpp verifies chains: a round of it has no side branches.")
        if width is not None and width > rows:
            token_ids = [*token_ids, *([token_ids[-1]] * (width - rows))]
        if keep == 0:  # the head takes padding too: its product has as many rows as all others
            return self._run(cache, token_ids, slice(None), rows)
        wanted = range(rows - keep, rows) if isinstance(keep, int) else keep
        return self._run(cache, token_ids, list(wanted), len(wanted))

    def prefill(
        self, cache: LlamaCache, token_ids: Sequence[int], rows: Callable[[Sequence[int]], Sequence[int]] | None = None
    ) -> Iterator[torch.Tensor]:
        """See `Target`."""
        while cache.length < len(token_ids):
            end = min(len(token_ids), (cache.length // _CHUNK + 1) * _CHUNK)
            chunk_ids = token_ids[cache.length : end]
            logits = self.forward(cache, chunk_ids, keep=rows(chunk_ids) if rows else 1)
            cache.crop(end)
            yield logits

    def fill(self, cache: LlamaCache, length: int) -> Iterator[None]:
        """See `Target`."""
        cache.crop(min(cache.length, length))
        for _ in self.prefill(cache, [1] * length):
            yield

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def _run(
        self, cache: LlamaCache, token_ids: Sequence[int], wanted: Sequence[int] | slice, kept: int
    ) -> torch.Tensor:
        """Compute rows behind the cache's tokens; returns the logits of the first `kept` that are `wanted`."""
        start, end = cache.length, cache.length + len(token_ids)
        try:
            context = cache.context(end)
            context.decode(token_ids, start, wanted)
        except (RuntimeError, MemoryError):
            cache.clear()  # what it holds now is not known
            raise
        cache.wrote(end)
        logits = torch.empty((kept, self.vocab_size), dtype=torch.float32)
        context.read_logits(logits.data_ptr(), kept)
        return logits
