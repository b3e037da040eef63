"""Rounds through the kernels: each width recorded once over a cache as a CUDA graph, then played.

An eager round of a large model waits for Python longer than for memory: hundreds of launches, each some microseconds.
A graph is one. It belongs to the cache whose memory it reads and to a width; all of them work in one pool of memory,
one at a time. On a processor, under Triton's interpreter, the same step runs over the same buffers, unrecorded.
"""

import logging
from collections.abc import Iterable, Sequence

import torch

from engine.forward.cuda.kernel_round import KernelRound, RoundInputs
from engine.forward.kv_cache import KVCache

log = logging.getLogger(__name__)


class RecordedRounds:
    """Runs rounds of at most 64 rows. `note` says in a sentence why rounds are not recorded, where they are not."""

    def __init__(self, step: KernelRound, device: torch.device) -> None:
        self._step = step
        self._inputs = RoundInputs(device)
        self._device = device
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self.note = None if device.type == "cuda" else "CUDA graphs need a CUDA device."

    def reserve(self, cache: KVCache) -> None:
        """Allocate the cache's memory now."""
        self._step.reserve(cache)

    def __call__(
        self, cache: KVCache, token_ids: Sequence[int], parents: Sequence[int], offsets: Sequence[int], width: int
    ) -> torch.Tensor:
        """Logits (width, vocab) as `TransformersTarget.forward` has them, valid until the next round."""
        self._step.reserve(cache)
        self._inputs.fill(cache.length, token_ids, parents, offsets)
        if self.note is None and width not in cache.recorded:
            self._record(cache, width)
        if width not in cache.recorded:
            return self._step(self._inputs, width, cache)
        graph, logits = cache.recorded[width]
        graph.replay()
        played: torch.Tensor = logits
        return played

    @torch.inference_mode()
    def prepare(self, cache: KVCache, widths: Iterable[int]) -> None:
        """Record these widths over `cache` now, so that no answer waits or runs out of memory for it later."""
        self._step.reserve(cache)
        for width in sorted(widths, reverse=True):  # the widest first: the others fit into its memory
            if self.note is None and width not in cache.recorded:
                self._inputs.fill(cache.length, [0], [-1], [0])
                self._record(cache, width)

    def _record(self, cache: KVCache, width: int) -> None:
        """Run the step once, so that every kernel is compiled and loaded, and then again to record it.

        Both write the rows that `inputs` has, behind the cache's length, where the round itself will write them.
        """
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            self._step(self._inputs, width, cache)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        failure = None
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                logits = self._step(self._inputs, width, cache)
        except RuntimeError as exc:  # out of memory too
            failure = str(exc).partition("\n")[0]
        if failure is None:
            cache.recorded[width] = (graph, logits)
            return
        del graph
        torch.cuda.empty_cache()
        self.note = f"A round of {width} rows could not be recorded ({failure}), so rounds run unrecorded, slower."
        log.warning(self.note)
