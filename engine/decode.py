"""The decode loop: draft, verify, commit, round after round. It knows token ids; text is the next layer's.

Two ways share every line of it: plain decoding is the loop with a drafter that proposes nothing. What differs
between `exact` and `fast` is only which round widths are allowed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.drafting.drafter import Drafter
from engine.drafting.size import choose_size
from engine.errors import EngineError
from engine.sampling import NO_TOKEN, NodeSampler, accepted_length
from engine.target.cost import CostCurve
from engine.target.kv_cache import KVCache
from engine.target.transformers_target import TransformersTarget, slots_for


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What one round verified and committed; seconds of wall clock."""

    draft_size: int
    accepted: int
    token_ids: tuple[int, ...]
    sources: tuple[str, ...]
    draft_s: float
    plain_s: float  # what a plain-fast round would have taken, from the measured T(1) / T(width)


class Decoder:
    """One answer in the making: a cache that holds all committed tokens but the last, and who drafts and samples.

    `widths` are the round widths that may be used, ascending. With `aligned`, a round never reaches beyond the block
    of cache slots that it starts in: then how many slots a row reads depends on its position alone, as certified
    widths need.
    """

    def __init__(
        self,
        target: TransformersTarget,
        cache: KVCache,
        *,
        drafter: Drafter,
        sampler: NodeSampler,
        cost: CostCurve,
        widths: tuple[int, ...],
        aligned: bool,
    ) -> None:
        self._target = target
        self.cache = cache
        self._drafter = drafter
        self._sampler = sampler
        self._cost = cost
        self._widths = widths
        self._aligned = aligned

    def start(self, logits: torch.Tensor, prompt_ids: Sequence[int]) -> int:
        """Pick the first token from the prefill's last row (1, vocab), and tell the drafter what there is."""
        first = self._sampler.pick(logits, (), len(prompt_ids))[0]
        self._require_number(first)
        self._sampler.commit([first])
        self._drafter.begin([*prompt_ids, first])
        return first

    def round(self, last_id: int, limit: int) -> RoundResult:
        """Verify one draft behind `last_id` and commit at most `limit` tokens (at least one).

        The cache then holds everything but the last of them. Synchronises with the device once.
        """
        started = time.perf_counter()
        context = self.cache.length
        cost = self._cost.at(context)
        room = limit - 1
        if self._aligned:
            room = min(room, slots_for(context) - context - 1)
        proposal = self._drafter.draft(min(room, self._widths[-1] - 1))
        size, width = choose_size(proposal.chances, self._widths, cost)
        draft_ids = proposal.token_ids[:size]
        drafted = time.perf_counter()

        logits = self._target.forward(self.cache, [last_id, *draft_ids], width=width)
        picks = self._sampler.pick(logits, draft_ids, context + 1)
        accepted = accepted_length(draft_ids, picks)
        self._require_number(picks[accepted])
        committed = tuple(picks[: accepted + 1])
        self.cache.crop(context + len(committed))

        verified = time.perf_counter()
        self._sampler.commit(committed)
        self._drafter.commit(proposal, committed)
        ended = time.perf_counter()
        return RoundResult(
            draft_size=size,
            accepted=accepted,
            token_ids=committed,
            sources=proposal.sources[:size],
            draft_s=(drafted - started) + (ended - verified),
            plain_s=(verified - drafted) * cost(1) / cost(width),
        )

    def _require_number(self, token_id: int) -> None:
        """Refuse what is no token. The cache goes with it: even a masked slot would hand its NaN on."""
        if token_id == NO_TOKEN:
            self.cache.clear()
            raise EngineError(
                "The model's output is not a number (NaN or infinity), as happens when activations overflow float16. "
                "Load it with dtype bfloat16 or float32; where it was, download the model again."
            )
