"""Rounds through the kernels: each width recorded once over a cache as a CUDA graph, then played.

An eager round of a large model waits for Python longer than for memory: hundreds of launches, each some microseconds.
A graph is one launch. It belongs to a width and to the memory of a cache; all graphs work in one pool of memory, one at
a time. On a processor, under Triton's interpreter, the same round runs over the same buffers, unrecorded.
"""

import logging
from collections.abc import Iterable, Sequence
from weakref import WeakKeyDictionary

import torch

from engine.forward.cuda.kernel_round import KernelRound, RoundInputs
from engine.forward.kv_cache import Allocation, KVCache

log = logging.getLogger(__name__)

Outputs = tuple[torch.Tensor, torch.Tensor]  # logits and last hidden states
Recorded = dict[int, tuple[torch.cuda.CUDAGraph, Outputs]]  # by width


class RecordedRounds:
    """Runs rounds of at most 64 rows. `note` says in a sentence why rounds are not recorded, where they are not."""

    def __init__(self, kernel_round: KernelRound, device: torch.device) -> None:
        self._round = kernel_round
        self._inputs = RoundInputs(device)
        self._device = device
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._recorded: WeakKeyDictionary[Allocation, Recorded] = WeakKeyDictionary()
        self.note = None if device.type == "cuda" else "CUDA graphs need a CUDA device."

    def reserve(self, cache: KVCache) -> None:
        """Allocate the cache's memory now."""
        self._round.reserve(cache)

    def recorded(self, cache: KVCache) -> Recorded:
        """The rounds that are recorded over the memory that `cache` has now."""
        return self._recorded.setdefault(cache.allocation, {})

    def __call__(
        self, cache: KVCache, token_ids: Sequence[int], parents: Sequence[int], offsets: Sequence[int], width: int
    ) -> Outputs:
        """Logits (width, vocab) as `TransformersTarget.forward` has them, and states, valid until the next round."""
        self._round.reserve(cache)
        self._inputs.fill(cache.length, token_ids, parents, offsets)
        recorded = self.recorded(cache)
        if self.note is None and width not in recorded:
            self._record(cache, width)
        if width not in recorded:
            return self._round(self._inputs, width, cache)
        graph, outputs = recorded[width]
        graph.replay()
        return outputs

    @torch.inference_mode()
    def prepare(self, cache: KVCache, widths: Iterable[int]) -> None:
        """Record these widths over `cache` now, so that no answer waits or runs out of memory for it later."""
        self._round.reserve(cache)
        for width in sorted(widths, reverse=True):  # the others fit into the widest one's memory
            if self.note is None and width not in self.recorded(cache):
                self._inputs.fill(cache.length, [0], [-1], [0])
                self._record(cache, width)

    def _record(self, cache: KVCache, width: int) -> None:
        """Run the round once, so that every kernel is compiled and loaded, and then again to record it.

        Both runs write the rows in `_inputs` behind the cache's length, where the round itself will write them.
        """
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            self._round(self._inputs, width, cache)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        failure = None
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                outputs = self._round(self._inputs, width, cache)
        except RuntimeError as exc:  # out of memory too
            failure = str(exc).partition("\n")[0]
        if failure is None:
            self.recorded(cache)[width] = (graph, outputs)
            return
        del graph
        torch.cuda.empty_cache()
        self.note = f"A round of {width} rows could not be recorded ({failure}), so rounds run unrecorded, slower."
        log.warning(self.note)
