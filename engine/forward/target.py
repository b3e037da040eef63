"""What an engine needs of a model: the seam that every target fulfils. Imports no model library.

A *target* computes logits behind tokens that it keeps in a *cache* of its own making. Decoding, probe and benchmarks
know it by this file alone, so that another library can take the place of transformers. A target promises that the same
calls give the same bits again; which round widths give the same bits as each other is measured (`engine.probe`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self, TypeVar

import torch


class Cache(Protocol):
    """The keys and values of one conversation. Made by a target, and used with that target alone.

    `length` tokens are committed. A round's rows are kept behind them until the next round; what is not committed by
    then is gone. No method synchronises with the device.
    """

    @property
    def length(self) -> int: ...

    def crop(self, length: int) -> None:
        """Forget all tokens from `length` on, or count as committed what a prefill or a chain wrote up to there."""

    def commit(self, offsets: Sequence[int]) -> None:
        """Make rows of the last round the next tokens: a path from row 0 on, named by the offsets that
        `Target.forward` was given for them, ascending."""

    def clear(self) -> None:
        """Forget all tokens and release the memory; the next forward pass allocates it again."""

    def save(self) -> Any:
        """The committed tokens' keys and values, copied into main memory, for `restore`; synchronises."""

    def restore(self, saved: Any) -> None:
        """Hold what was saved, bit by bit, and nothing else."""

    def copy(self, capacity: int) -> Self:
        """Make a second cache for `capacity` tokens, with the same committed tokens."""


C = TypeVar("C", bound=Cache)


class Target(Protocol[C]):
    """One model for one sequence at a time, over caches of type `C`. Used by one thread at a time."""

    @property
    def device(self) -> torch.device:
        """Where logits are."""

    @property
    def vocab_size(self) -> int:
        """Logits a row; token ids are below it."""

    @property
    def context_length(self) -> int:
        """Tokens that a conversation may have. Padding rows may reach beyond it and must do no harm."""

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for people about each thing that does not run as fast as it could."""

    # What decides bits

    @property
    def implementation(self) -> tuple[str, ...]:
        """Names of the code that prefill and rounds run through. Part of the key under which a certificate is kept:
        another implementation may round differently."""

    @property
    def numbers_per_row(self) -> int:
        """How many intermediate numbers a row consists of (layers x hidden size): how much evidence a probed row is."""

    @property
    def row_independent(self) -> bool:
        """Whether a round's code computes every row by itself. Else the probe wants more evidence for a single row."""

    @property
    def trees(self) -> bool:
        """Whether a round may have side branches; else its rows are a chain."""

    @property
    def rows_cost(self) -> bool:
        """Whether every further row takes about as long as the first: then width 1 matters more than many widths."""

    # Last hidden states, for drafters that read them

    @property
    def hidden_size(self) -> int | None:
        """Numbers of a last hidden state: what the head reads, after the final norm. None: it hands over none."""

    @property
    def states(self) -> torch.Tensor | None:
        """The last hidden states (rows, hidden_size) behind rows of the last `forward`, padding left out; None unless
        they were asked for. They belong to the caller."""

    @property
    def hands_every_state(self) -> bool:
        """Whether `states` are behind all rows of a pass, and not only behind those whose logits it returned."""

    def hand_states(self, wanted: bool) -> None:
        """Keep states from the next forward pass on, or no longer. That changes no bits, and costs nothing while they
        are not wanted."""

    # Caches and threads

    def new_cache(self, capacity: int | None = None) -> C:
        """Make an empty cache for `capacity` tokens (None: the whole context) and a round's rows beyond them."""

    def padded_capacity(self, tokens: int) -> int:
        """How many slots such a cache needs, for `Cache.copy`."""

    def prepare(self, cache: C, widths: Iterable[int]) -> None:
        """Do now what the first round of each width would otherwise wait for; may do nothing."""

    def prepare_thread(self) -> None:
        """Prepare the calling thread to compute, as it must be before a forward pass on it; may do nothing."""

    # Forward passes

    def forward(
        self,
        cache: C,
        token_ids: Sequence[int],
        *,
        parents: Sequence[int] = (),
        offsets: Sequence[int] = (),
        width: int | None = None,
        keep: int | Sequence[int] = 0,
    ) -> torch.Tensor:
        """Compute the logits (len(token_ids), vocab) of a round: tokens that follow the cache's.

        Row i follows row `parents[i]`, which comes before it (-1: what the cache holds); without, the rows are a chain.
        Row i's keys and values go `offsets[i]` slots behind `cache.length`; a target without slots uses the offset as
        the row's name for `Cache.commit`. With `width` the pass has exactly that many rows, the rest padding. With
        `keep`, the logits of the last so many rows alone, or of these rows, (kept, vocab).

        `cache.length` stays. The tensor is on `device`, in any floating-point format, and belongs to the caller. Need
        not synchronise. Raises `ValueError` where the cache has no room.
        """

    def prefill(
        self, cache: C, token_ids: Sequence[int], rows: Callable[[Sequence[int]], Sequence[int]] | None = None
    ) -> Iterator[torch.Tensor]:
        """Run `token_ids[cache.length:]` in chunks and commit each; yield after each chunk its last row's logits
        (1, vocab), or those of the rows that `rows` names when it is given the chunk's tokens.

        Chunks start at absolute multiples of a fixed size, whatever the cache held before.
        """

    def fill(self, cache: C, length: int) -> Iterator[None]:
        """Make the cache hold `length` tokens, in steps that take no longer than a chunk of a prefill. Which tokens is
        all the same: it is for clocks alone."""

    @property
    def logit_rows_per_chunk(self) -> int:
        """How many rows `rows` may name without making a prefill noticeably longer; at least 1."""

    def synchronize(self) -> None:
        """Wait for the device; for clocks only."""

    # What only some targets have

    @property
    def stock_model(self) -> Callable[[], AbstractContextManager[Any]] | None:
        """Lend the transformers model with its own attention to a benchmark; None where no such model can run."""
