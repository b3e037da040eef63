"""The decode loop: draft, verify, commit, round after round. It knows token ids; text is the next layer's.

Two ways share every line of it: plain decoding is the loop with a drafter that proposes nothing. What differs
between `exact` and `fast` is which round widths are allowed, and where a tree's nodes stand in the cache.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from engine.decoding.choose import Prices, Rows, choose_rows, walk
from engine.decoding.sampling import NO_TOKEN, NodeSampler
from engine.drafting.drafter import EMPTY_DRAFT, Draft, Drafter
from engine.errors import EngineError
from engine.forward.kv_cache import KVCache
from engine.forward.slots import slots_for
from engine.forward.top_tokens import TopTokens, read_top_tokens
from engine.forward.transformers_target import TransformersTarget
from engine.probe.cost import CostCurve, RoundCost


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What one round verified and committed; seconds of wall clock."""

    draft_size: int
    accepted: int
    token_ids: tuple[int, ...]
    sources: tuple[str, ...]  # of the verified nodes, accepted ones first
    draft_s: float
    plain_s: float  # what a plain-fast round would have taken, from the measured T(1) / T(width)


@lru_cache(maxsize=256)  # answers share them: for a short one they would cost a tenth of a small model's round
def _prices(widths: tuple[int, ...], cost: RoundCost) -> Prices:
    return Prices(widths, cost)


class Decoder:
    """One answer in the making: a cache that holds all committed tokens but the last, and who drafts and samples.

    `widths` are the round widths that may be used, ascending. With `aligned`, a round never reaches beyond the block
    of cache slots that it starts in, and a tree's nodes stand where their sums come out as in a chain: then a row's
    bits depend on its position and its path alone, as certified widths need. Without `trees` only chains are asked for.
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
        trees: bool,
    ) -> None:
        self._target = target
        self.cache = cache
        self._drafter = drafter
        self._sampler = sampler
        self._cost = cost
        self._widths = widths
        self._aligned = aligned
        self._trees = trees
        self._priced: tuple[RoundCost, Prices] | None = None
        self._above = 0  # the token before the last committed one
        self._untold: list[int] = []  # committed in rounds that did not draft: the drafter learns them when it is asked

    @property
    def widths(self) -> tuple[int, ...]:
        """The round widths that may be used, ascending."""
        return self._widths

    def start(self, logits: torch.Tensor, prompt_ids: Sequence[int], prefilled: Sequence[TopTokens] = ()) -> int:
        """Pick the first token from the prefill's last row (1, vocab), and tell the drafter what there is."""
        first = self._sampler.pick_one(logits[0], (), len(prompt_ids))
        self._require_number(first)
        self._sampler.commit([first])
        self._above = prompt_ids[-1]
        self._drafter.begin([*prompt_ids, first], self._sampler.temperature)
        for rows in prefilled if self._drafter.num_top else ():
            self._drafter.recycle(rows.contexts, rows.top_ids, rows.top_chances)
        return first

    def round(self, last_id: int, limit: int) -> RoundResult:
        """Verify one draft behind `last_id` and commit at most `limit` tokens (at least one).

        The cache then holds everything but the last of them. Synchronises with the device once, and once more where
        the drafter is told of the likeliest tokens.
        """
        started = time.perf_counter()
        context = self.cache.length
        room = limit - 1
        if self._aligned:
            room = min(room, slots_for(context) - context - 1)
        cost = self._cost.at(context, tops=self._drafter.num_top > 0)
        allowance = self._drafter.allowance
        drafts = allowance is None or allowance.drafts
        prices = self._prices_of(cost)
        proposal = self._look(room, prices) if drafts else EMPTY_DRAFT
        start = context if self._aligned else None
        rows, width = choose_rows(proposal, room, prices, start=start, trees=self._trees)
        token_ids = [last_id, *(proposal.token_ids[node] for node in rows.nodes)]
        drafted = time.perf_counter()

        logits = self._target.forward(self.cache, token_ids, parents=rows.parents, offsets=rows.offsets, width=width)
        computed = time.perf_counter() if self._sampler.lazy else None
        path, bonus = walk(rows, token_ids, self._picker(logits, rows, token_ids, context + 1))
        self._require_number(bonus)
        self.cache.commit([rows.offsets[row] for row in path])
        verified = time.perf_counter()

        committed = (*(token_ids[row] for row in path[1:]), bonus)
        self._tell(proposal, rows, token_ids, logits, committed, drafted=drafts)
        ended = time.perf_counter()
        sampled_s = verified - computed if computed is not None else 0.0
        forward_s = verified - drafted - sampled_s
        draft_s = (drafted - started) + (ended - verified)
        plain_s = forward_s * cost.plain_share(width) + sampled_s / len(committed)
        if allowance is not None:
            floor = min(cost.rounds[each] for each in self._widths)  # of a round without a draft
            gained = len(committed) - cost.rounds[width] / floor
            allowance.note(spent=draft_s / plain_s if drafts else 0.0, gained=gained)
        accepted = [rows.nodes[row - 1] for row in path[1:]]
        return RoundResult(
            draft_size=len(rows.nodes),
            accepted=len(accepted),
            token_ids=committed,
            sources=tuple(proposal.sources[node] for node in (*accepted, *sorted({*rows.nodes} - {*accepted}))),
            draft_s=draft_s,
            plain_s=plain_s,
        )

    def _prices_of(self, cost: RoundCost) -> Prices:
        """Its prices of the allowed widths; many rounds share one cost."""
        if self._priced is None or self._priced[0] is not cost:
            self._priced = cost, _prices(self._widths, cost)
        return self._priced[1]

    def _look(self, room: int, prices: Prices) -> Draft:
        """What the drafter proposes, once it has learned what the rounds that did not draft committed."""
        if self._untold:
            self._drafter.commit(EMPTY_DRAFT, self._untold)
            self._untold.clear()
        widest = self._widths[-1] - 1
        size = widest if self._trees and room else min(room, widest)
        return self._drafter.draft(size, chain=not self._trees, min_chance=prices.min_chance)

    def _picker(
        self, logits: torch.Tensor, rows: Rows, token_ids: Sequence[int], position: int
    ) -> Callable[[int, Sequence[int]], int]:
        """The target's token behind a row, its path told; the first row's stands at `position`."""
        if self._sampler.lazy:
            return lambda row, path: self._sampler.pick_one(
                logits[row], [token_ids[r] for r in path[1:]], position + len(path) - 1
            )
        paths: list[tuple[int, ...]] = [()]
        for row, parent in enumerate(rows.parents[1:], start=1):
            paths.append((*paths[parent], token_ids[row]))
        picks = self._sampler.pick(logits, paths, [position + len(path) for path in paths])
        return lambda row, path: picks[row]

    def _tell(
        self,
        proposal: Draft,
        rows: Rows,
        token_ids: Sequence[int],
        logits: torch.Tensor,
        committed: tuple[int, ...],
        *,
        drafted: bool,
    ) -> None:
        """Let sampler and drafter learn what one round found out."""
        above = [self._above, *(token_ids[parent] for parent in rows.parents[1:])]
        self._above = (token_ids[0], *committed)[-2]
        self._sampler.commit(committed)
        if not drafted:
            self._untold.extend(committed)
            return
        self._drafter.commit(proposal, committed)
        if self._drafter.num_top:  # after what was committed: a drafter that saw both would learn that it knew
            told = read_top_tokens(logits, above, token_ids, self._drafter.num_top)
            self._drafter.recycle(told.contexts, told.top_ids, told.top_chances)

    def _require_number(self, token_id: int) -> None:
        """Refuse what is no token. The cache goes with it: even a masked slot would hand its NaN on."""
        if token_id == NO_TOKEN:
            self.cache.clear()
            raise EngineError(
                "The model's output is not a number (NaN or infinity), as happens when activations overflow float16. "
                "Load it with dtype bfloat16 or float32; where it was, download the model again."
            )
