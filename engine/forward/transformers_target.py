"""The target's forward pass: a transformers model with our KV cache, our attention and, where we know its structure,
our order of operations; on CUDA, rounds in kernels of our own.

What is swapped, and why: `past_key_values` is a window on a `KVCache` (to crop is to set a number), the attention
function is `attention.attend` (masks from positions, no repeated keys). The usual decoder families run through
`body.Body`: fewer calls, and weights in the order that the processor reads; any other model runs as transformers builds
it. Where Triton runs, a round of such a family goes through `cuda.graphs.RecordedRounds`, and the prefill alone through
torch.
It does not know drafts, sampling or text.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from engine.forward import transformers_seam
from engine.forward.attention import MIN_ROWS, Visibility
from engine.forward.body import Body, agrees, build_body
from engine.forward.cpu.fused_layers import Hidden, fuse_layers
from engine.forward.cuda import kernels
from engine.forward.int8.product import layer_weights
from engine.forward.kv_cache import KVCache
from engine.forward.slots import chunk_for, slots_for
from engine.forward.widths import MAX_WIDTH

if TYPE_CHECKING:  # where there is no Triton it cannot be imported
    from engine.forward.cuda.graphs import RecordedRounds

log = logging.getLogger(__name__)

_HEAD_BUDGET = 0.03  # of a prefill's other products, that logits of more rows than the last may cost
_TRIED_CONTEXT = 600  # tokens: attention in more than two parts
_TRIED_WIDTHS = (64, 32, 16)  # four tiles of a product's rows, two, and one


class TransformersTarget:
    """A causal language model of transformers, for one sequence at a time."""

    trees = True
    rows_cost = False

    def __init__(
        self,
        model: Any,
        device: torch.device,
        dtype: torch.dtype,
        context_length: int,
        *,
        threads: int | None = None,
        stock_layers: bool = False,
    ) -> None:
        """Compute with `threads` on a processor (None: as torch is set). With `stock_layers` the layers run as
        transformers has them, whatever the family."""
        self._threads = threads
        self.prepare_thread()
        self._model = model
        self.device = device
        self.context_length = context_length
        self._dtype = dtype
        self.vocab_size: int = model.config.vocab_size
        self.numbers_per_row = model.config.hidden_size * model.config.num_hidden_layers
        self._chunk_size = chunk_for(device.type)
        self._stock_attention = transformers_seam.use_attention(model)
        self._model_is_intact = True  # the transformers model still has all its weights
        self._body: Body | None = None
        self._hidden: Hidden | None = None
        self._rounds: RecordedRounds | None = None
        self.hidden_size: int | None = transformers_seam.head_size(model)
        self.states: torch.Tensor | None = None
        self._hands_states = False
        self._no_kernels: str | None = "The model runs through transformers' own layers."
        if not stock_layers:
            self._body = self._checked_body(model)
        self._slow_int8 = any(layer_weights(module) is not None for module in model.modules())

    def _checked_body(self, model: Any) -> Body | None:
        """Build a `Body`; None unless it computes the same logits of a few tokens as the model's own code."""
        body = build_body(model)
        if body is None:
            return None
        token_ids = [index * 7 % self.vocab_size for index in range(1, 17)]
        theirs = self.forward(self.new_cache(len(token_ids)), token_ids)
        self._body, self._hidden = body, body.hidden
        if not agrees(self.forward(self.new_cache(len(token_ids)), token_ids), theirs):
            return None
        self._no_kernels = kernels.available(self.device)
        self._model_is_intact = not body.pack(lay_out=self._no_kernels is not None)
        if self._no_kernels is None:
            self._try_kernels(body, token_ids, theirs)
        if body.is_int8:  # compared with float64 by itself; bitsandbytes rounds rows to 8 bits, too few for some models
            theirs = self.forward(self.new_cache(len(token_ids)), token_ids)
        compiled = fuse_layers(body, self._dtype, self.device)
        if compiled is not None:
            self._hidden = compiled
            if not agrees(self.forward(self.new_cache(len(token_ids)), token_ids), theirs):
                self._hidden = body.hidden
        return body

    def _try_kernels(self, body: Body, token_ids: list[int], theirs: torch.Tensor) -> None:
        """Let rounds run through the kernels if these compute the same logits of a few tokens as the model's own code,
        at every number of tiles; else `_no_kernels` says why not."""
        try:
            from engine.forward.cuda.graphs import RecordedRounds
            from engine.forward.cuda.kernel_round import KernelRound

            self._rounds = RecordedRounds(KernelRound(body, self._dtype, self.device), self.device)
            for width in _TRIED_WIDTHS[-1:] if kernels.interpreted() else _TRIED_WIDTHS:
                if not agrees(self.forward(self.new_cache(len(token_ids)), token_ids, width=width), theirs):
                    self._no_kernels = f"The kernels' logits differ from the model's own at {width} rows."
            if not self._kernels_agree_behind(_TRIED_CONTEXT, token_ids):
                self._no_kernels = f"The kernels' logits differ from the model's own behind {_TRIED_CONTEXT} tokens."
        except kernels.CannotRun as exc:
            self._no_kernels = str(exc)
        except torch.OutOfMemoryError:
            raise
        except Exception as exc:  # Triton's compiler and drivers fail in ways of their own
            log.exception("The kernels do not run")
            said = str(exc).strip().rpartition("\n")[2]  # a compiler's excerpt of the source comes first
            self._no_kernels = f"The kernels could not be compiled or run ({type(exc).__name__}: {said})."
        if self._no_kernels is not None:
            self._rounds = None

    def _kernels_agree_behind(self, context: int, token_ids: list[int]) -> bool:
        """Whether kernels and torch give the same logits where attention has several parts."""
        context = min(context, self.context_length - len(token_ids))
        cache = self.new_cache(context + len(token_ids))
        before = [index * 11 % self.vocab_size for index in range(context)]
        self._through_torch(cache, before, range(-1, context - 1), range(context), context, 1)
        cache.crop(context)
        rows = len(token_ids)
        theirs = self._through_torch(cache, token_ids, range(-1, rows - 1), range(rows), rows, 0)
        return agrees(self.forward(cache, token_ids), theirs)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence where rounds do not run as fast as they could."""
        if self._slow_int8:
            return ("The 8-bit weights run through bitsandbytes, which is slow without a GPU.",)
        if self.device.type != "cuda":
            return ()
        reason = self._no_kernels if self._rounds is None else self._rounds.note
        if reason is None:
            return ()
        return (f"Rounds run through PyTorch's own kernels: {reason}" if self._rounds is None else reason,)

    @property
    def implementation(self) -> tuple[str, ...]:
        """See `Target`."""
        if self._body is None:
            return ("transformers",)
        layers = "body" if self._hidden == self._body.hidden else "compiled"
        if self._rounds is not None:
            return layers, "kernels"
        return (layers, "int8") if self._body.is_int8 else (layers,)

    @property
    def row_independent(self) -> bool:
        """Our own code computes row by row; torch's and a library's may not."""
        return self.implementation[0] == "compiled" or self.runs_kernels

    @property
    def runs_kernels(self) -> bool:
        """Whether rounds go through the kernels of `engine.forward.cuda.kernels`."""
        return self._rounds is not None

    @property
    def hands_every_state(self) -> bool:
        """See `Target`: transformers' own code drops the others before the final norm."""
        return self.runs_body

    def hand_states(self, wanted: bool) -> None:
        """See `Target`."""
        self._hands_states = wanted
        self.states = None

    def prepare_thread(self) -> None:
        """Set torch's number of threads, which OpenMP keeps for each calling thread."""
        if self._threads is not None:
            torch.set_num_threads(self._threads)

    def prepare(self, cache: KVCache, widths: Iterable[int]) -> None:
        """Allocate the cache and record rounds of these widths over it now, where rounds are recorded."""
        if self._rounds is not None:
            self._rounds.prepare(cache, widths)

    @property
    def runs_body(self) -> bool:
        """Whether the model runs through `Body`, and not through transformers' modules."""
        return self._body is not None

    def new_cache(self, capacity: int | None = None) -> KVCache:
        """An empty cache for `capacity` tokens (None: the whole context) and the rows of one round beyond them."""
        cache = KVCache(self.padded_capacity(capacity or self.context_length))
        if self._rounds is not None:
            self._rounds.reserve(cache)
        return cache

    @staticmethod
    def padded_capacity(tokens: int) -> int:
        """Slots to allocate so that any round of an answer of that many tokens fits, its padding rows included."""
        return slots_for(tokens + MAX_WIDTH)

    @torch.inference_mode()
    def forward(
        self,
        cache: KVCache,
        token_ids: Sequence[int],
        *,
        parents: Sequence[int] = (),
        offsets: Sequence[int] = (),
        width: int | None = None,
        keep: int | Sequence[int] = 0,
    ) -> torch.Tensor:
        """Logits (len(token_ids), vocab) of tokens that follow the cache's.

        Row i follows row `parents[i]`, which comes before it (-1: what the cache holds), and its keys and values are
        written `offsets[i]` slots behind `cache.length`; without, the rows are a chain. With `width` the pass has
        exactly that many rows, the rest padding. `keep`: the logits of the last so many rows alone, or of these rows;
        (kept, vocab). A prefill keeps some rows' alone; what keeps all is a round, through the kernels where they run.

        `cache.length` stays: `cache.commit` or `cache.crop` moves it. Does not synchronise with the device.
        """
        rows = width or len(token_ids)
        parents = parents or range(-1, len(token_ids) - 1)
        offsets = offsets or range(len(token_ids))
        if self._rounds is not None and keep == 0 and rows <= MAX_WIDTH:
            cache.require(slots_for(cache.length + max(offsets)))
            logits, states = self._rounds(cache, token_ids, parents, offsets, rows)
            self.states = states[: len(token_ids)].clone() if self._hands_states else None
            return logits[: len(token_ids)].clone()  # the next round writes where these stand
        return self._through_torch(cache, token_ids, parents, offsets, rows, keep)

    @torch.inference_mode()
    def _through_torch(
        self,
        cache: KVCache,
        token_ids: Sequence[int],
        parents: Sequence[int],
        offsets: Sequence[int],
        rows: int,
        keep: int | Sequence[int],
    ) -> torch.Tensor:
        """`forward` with masks and torch's products."""
        if self._rounds is not None:  # a cache that was cleared gets its one allocation again
            self._rounds.reserve(cache)
        padded = [*token_ids, *([token_ids[-1]] * (rows - len(token_ids)))]
        slots = slots_for(cache.length + max(offsets))
        visibility = Visibility(cache.length, parents, offsets, rows, slots, self._dtype, self.device)
        window = cache.window(slots, visibility.written)
        # Padding may reach beyond the context, where RoPE that depends on the largest position would change all rows.
        positions = visibility.positions.clamp(max=self.context_length - 1)
        if self._body is not None and self._hidden is not None:
            hidden = self._hidden(torch.tensor(padded, device=self.device), positions, window, visibility)
            self.states = hidden[: len(token_ids)] if self._hands_states else None
            if isinstance(keep, int):
                hidden = hidden[-keep:] if keep else hidden[: len(token_ids)]
            else:
                hidden = hidden[torch.tensor(keep, device=self.device)]
            return self._body.logits(hidden)
        with transformers_seam.head_inputs(self._model, wanted=self._hands_states) as read:
            logits = transformers_seam.run(self._model, padded, positions, window, visibility, keep)
        real = slice(None) if keep else slice(len(token_ids))
        self.states = read[-1][real] if read else None
        return logits[real]

    def prefill(
        self, cache: KVCache, token_ids: Sequence[int], rows: Callable[[Sequence[int]], Sequence[int]] | None = None
    ) -> Iterator[torch.Tensor]:
        """Run `token_ids[cache.length:]` chunk by chunk and commit them; yields the last row's logits (1, vocab)
        after each chunk, so that a caller can report progress or stop between two. `rows` says of which rows of a
        chunk, given its tokens, the logits are wanted instead.

        Attention takes rows in blocks, and padding leaves at least `MIN_ROWS` for the last one.
        """
        while cache.length < len(token_ids):
            end = min(len(token_ids), (cache.length // self._chunk_size + 1) * self._chunk_size)
            chunk_ids = token_ids[cache.length : end]
            width = -(-len(chunk_ids) // MIN_ROWS) * MIN_ROWS
            kept = rows(chunk_ids) if rows else (len(chunk_ids) - 1,)
            logits = self.forward(cache, chunk_ids, width=width, keep=kept)
            cache.crop(end)
            yield logits

    @staticmethod
    def fill(cache: KVCache, length: int) -> Iterator[None]:
        """See `Target`: zeros will do."""
        cache.crop(length)
        yield

    @property
    def logit_rows_per_chunk(self) -> int:
        """See `Target`."""
        return max(1, int(self._chunk_size * _HEAD_BUDGET / self._head_share()))

    def _head_share(self) -> float:
        """What the head's product over a row costs, as a share of all other layers' products over it."""
        head = self._model.get_output_embeddings()
        others = sum(
            layer.in_features * layer.out_features
            for layer in self._model.modules()
            if isinstance(layer, torch.nn.Linear) and layer is not head
        )
        return float(head.in_features * head.out_features / others)

    @property
    def stock_model(self) -> Callable[[], AbstractContextManager[Any]] | None:
        """The model with transformers' own attention, unless its weights were packed for `Body` alone."""
        if not self._model_is_intact:
            return None
        return partial(transformers_seam.stock_attention, self._model, self._stock_attention)

    def synchronize(self) -> None:
        """Wait for the device; for clocks only."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
