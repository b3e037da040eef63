"""The decode loop: draft, choose, verify, commit, learn, round after round. It knows token ids and no text.

Plain decoding is the same loop with a drafter that proposes nothing. `exact` and `fast` differ only in the round
widths that are allowed and in the cache slots of a tree's nodes.
"""

import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from engine.decoding.choose import Prices, Rows, choose_rows, walk
from engine.decoding.likelihood import Scored, scored
from engine.decoding.one_row import NO_TOKEN
from engine.decoding.sampling import NodeSampler
from engine.drafting.drafter import EMPTY_DRAFT, ROOT, Draft, Drafter, NoDrafter
from engine.errors import EngineError
from engine.events import Undrafted
from engine.forward.slots import slots_for
from engine.forward.target import Cache, Target
from engine.forward.top_tokens import TopTokens, read_top_tokens
from engine.probe.cost import CostCurve, RoundCost

# After so many rounds in a row that asked the drafter, for more than this share of a plain round, and drafted nothing,
# every other one does not ask. Asking takes 2 % with SmolLM2 on a processor: recorded answers of its gained or stayed.
_IN_VAIN, _DEAR = 3, 0.01


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What one round verified and committed; seconds of wall clock."""

    draft_size: int
    accepted: int
    token_ids: tuple[int, ...]
    sources: tuple[str, ...]  # of the verified nodes, accepted ones first
    draft_s: float
    plain_s: float  # what a plain-fast round would have taken, from the measured T(1) / T(width)
    scored: tuple[Scored, ...] = ()  # the tokens, where that is asked for
    draft: Draft = EMPTY_DRAFT  # of which nodes were verified,
    accepted_nodes: tuple[int, ...] = ()  # these were right,
    refused_nodes: tuple[int, ...] = ()  # and these the likeliest path in place of the last token
    undrafted: Undrafted = ""


@lru_cache(maxsize=256)  # shared by answers: making them costs a tenth of a small model's round
def _prices(widths: tuple[int, ...], cost: RoundCost) -> Prices:
    return Prices(widths, cost)


def _sorted_nodes(rows: Rows, path: Sequence[int]) -> tuple[list[int], list[int]]:
    """The verified nodes on the accepted path, and the others, the likeliest first."""
    accepted = [rows.nodes[row - 1] for row in path[1:]]
    return accepted, sorted({*rows.nodes} - {*accepted})


def _likeliest_path(draft: Draft, nodes: Sequence[int], behind: int) -> tuple[int, ...]:
    """The likeliest path of these nodes, the likeliest first, behind one of the draft."""
    path = []
    for node in nodes:
        if draft.parents[node] == behind:
            path.append(node)
            behind = node
    return tuple(path)


class Decoder:
    """The rounds of one answer, over a cache that holds all committed tokens but the last.

    `widths` are the round widths that may be used, ascending. With `aligned`, a round stays within the block of cache
    slots that it starts in, and each node of a tree has a slot where its sums are those of a chain. A row's bits then
    depend on its position and its path alone, which certified widths rely on. Without `trees`, drafts are chains.
    With one of `end_ids` the answer ends, so neither it nor what stands behind it is verified.
    """

    def __init__(
        self,
        target: Target[Any],
        cache: Cache,
        *,
        drafter: Drafter,
        sampler: NodeSampler,
        cost: CostCurve,
        widths: tuple[int, ...],
        aligned: bool,
        trees: bool,
        num_likeliest: int | None = None,
        end_ids: Set[int] = frozenset(),
    ) -> None:
        self._target = target
        self._cache = cache
        self._drafter = drafter
        self._sampler = sampler
        self._cost = cost
        self._widths = widths
        self._aligned = aligned
        self._trees = trees
        self._num_likeliest = num_likeliest
        self._end_ids = end_ids
        self._priced: tuple[RoundCost, Prices] | None = None
        self.first_scored: tuple[Scored, ...] = ()  # the first token, where that is asked for
        self._before_last = 0  # the token before the last committed one
        self._asked = False  # the last round
        self._in_vain = 0  # of the last rounds that asked
        self._pending: list[int] = []  # committed in rounds that did not ask the drafter, which has yet to learn them

    @property
    def widths(self) -> tuple[int, ...]:
        """The round widths that may be used, ascending."""
        return self._widths

    @property
    def length(self) -> int:
        """Tokens in the cache: all that were committed but the last."""
        return self._cache.length

    def start(
        self,
        logits: torch.Tensor,
        prompt_ids: Sequence[int],
        prefilled: Sequence[TopTokens] = (),
        states: torch.Tensor | None = None,
    ) -> int:
        """Pick the first token from the prefill's last row (1, vocab), and give the drafter what is known so far;
        `states` are the last hidden states of the last rows."""
        first = self._sampler.pick_one(logits[0], (), len(prompt_ids))
        self._require_number(first)
        self._sampler.commit([first])
        self._before_last = prompt_ids[-1]
        self.first_scored = self._scored(logits, [0], [first])
        self._drafter.begin([*prompt_ids, first], self._sampler.temperature)
        for rows in prefilled if self._drafter.num_top else ():
            self._drafter.recycle(rows.contexts, rows.top_ids, rows.top_chances)
        if self._drafter.num_states and states is not None:
            self._drafter.see(states)
        return first

    def draft_with(self, drafter: Drafter, widths: tuple[int, ...], token_ids: Sequence[int]) -> None:
        """Ask this drafter from the next round on, in rounds of these widths; `token_ids`: all up to the last one."""
        self._drafter, self._widths = drafter, widths
        self._priced = None
        self._in_vain = 0
        self._pending.clear()
        self._target.hand_states(drafter.num_states > 0)
        drafter.begin(token_ids, self._sampler.temperature)

    def round(self, last_id: int, limit: int) -> RoundResult:
        """Verify one draft behind `last_id` and commit at most `limit` tokens (at least one).

        The cache then holds everything but the last of them. Synchronises with the device once, and once more where
        the drafter learns the likeliest tokens.
        """
        started = time.perf_counter()
        context = self._cache.length
        cost = self._cost.at(context, tops=self._drafter.num_top > 0)
        prices = self._prices_of(cost)
        room = self._room(limit)
        asks = self._asks()
        whole = self._draft(room, prices) if asks else EMPTY_DRAFT
        draft = whole.before(self._end_ids)
        start = context if self._aligned else None
        rows, width = choose_rows(draft, room, prices, start=start, trees=self._trees)
        token_ids = [last_id, *(draft.token_ids[node] for node in rows.nodes)]
        drafted = time.perf_counter()

        logits, path, bonus, sampled_s = self._verify(rows, token_ids, width)
        committed = (*(token_ids[row] for row in path[1:]), bonus)
        self._cache.commit([rows.offsets[row] for row in path])
        states = self._target.states
        verified = time.perf_counter()

        self._learn(whole if asks else None, rows, token_ids, logits, committed)
        draft_s = (drafted - started) + (time.perf_counter() - verified)
        forward_s = verified - drafted - sampled_s
        plain_s = forward_s * cost.plain_share(width) + sampled_s / len(committed)
        accepted, others = _sorted_nodes(rows, path)
        sources = tuple([draft.sources[node] for node in (*accepted, *others)])
        spent = draft_s / plain_s if asks else 0.0
        if self._drafter.num_states:
            extra = cost.rounds[width] / self._undrafted(cost) - 1
            spent -= self._drafter.charge(plain_s=plain_s, extra=extra, sources=sources, accepted=len(path) - 1)
            if states is not None:
                seen = path[-self._drafter.num_states :]
                self._drafter.see(states[seen] if len(seen) > 1 else states[seen[0]][None])
        self._account(cost, width, len(committed), spent)
        self._asked = asks
        if asks:
            self._in_vain = self._in_vain + 1 if spent > _DEAR and not rows.nodes else 0
        return RoundResult(
            scored=self._scored(logits, path, committed),
            draft_size=len(rows.nodes),
            accepted=len(path) - 1,
            token_ids=committed,
            sources=sources,
            draft_s=draft_s,
            plain_s=plain_s,
            draft=draft,
            accepted_nodes=tuple(accepted),
            refused_nodes=_likeliest_path(draft, others, accepted[-1] if accepted else ROOT),
            undrafted=self._why_undrafted(asks, room, whole, draft) if not rows.nodes else "",
        )

    def _why_undrafted(self, asks: bool, room: int, whole: Draft, draft: Draft) -> Undrafted:
        if isinstance(self._drafter, NoDrafter) or room < 1 or (whole and not draft):  # the end alone was drafted
            return ""
        return "unsure" if asks else "resting"

    def take_back(self, num_tokens: int) -> None:
        """Drop the last tokens that a round committed: the answer ended before them."""
        self._cache.crop(self._cache.length - num_tokens)

    def _scored(self, logits: torch.Tensor, rows: list[int], token_ids: Sequence[int]) -> tuple[Scored, ...]:
        """The tokens that were picked from these rows, scored where that is asked for."""
        return scored(logits[rows], token_ids, self._num_likeliest) if self._num_likeliest is not None else ()

    # The steps of a round

    def _asks(self) -> bool:
        """Whether the round that begins now asks the drafter."""
        allowance = self._drafter.allowance
        if allowance is None:
            return True
        return allowance.drafts and not (self._asked and self._in_vain >= _IN_VAIN)

    def _room(self, limit: int) -> int:
        """How deep a draft may be, so that a round neither passes the limit nor its block of slots."""
        room = limit - 1
        if self._aligned:
            context = self._cache.length
            room = min(room, slots_for(context) - context - 1)
        return room

    def _prices_of(self, cost: RoundCost) -> Prices:
        """Its prices of the allowed widths; many rounds share one cost."""
        if self._priced is None or self._priced[0] is not cost:
            self._priced = cost, _prices(self._widths, cost)
        return self._priced[1]

    def _draft(self, room: int, prices: Prices) -> Draft:
        """Ask the drafter, once it has learned what is pending."""
        if self._pending:
            self._drafter.commit(EMPTY_DRAFT, self._pending)
            self._pending.clear()
        widest = self._widths[-1] - 1
        size = widest if self._trees and room else min(room, widest)
        return self._drafter.draft(size, chain=not self._trees, min_chance=prices.min_chance)

    def _verify(self, rows: Rows, token_ids: Sequence[int], width: int) -> tuple[torch.Tensor, list[int], int, float]:
        """Run the rows, and walk along the target's picks.

        Returns the logits, the rows of the accepted path (row 0 first), the bonus token, and the seconds of sampling,
        or 0 where they cannot be measured apart from the device's.
        """
        first_position = self._cache.length + 1
        logits = self._target.forward(self._cache, token_ids, parents=rows.parents, offsets=rows.offsets, width=width)
        if self._sampler.lazy:
            computed = time.perf_counter()
            path, bonus = walk(rows, token_ids, self._pick_on_the_way(logits, token_ids, first_position))
            sampled_s = time.perf_counter() - computed
        else:
            picks = self._pick_all(logits, rows, token_ids, first_position)
            path, bonus = walk(rows, token_ids, lambda row, path: picks[row])
            sampled_s = 0.0
        self._require_number(bonus)
        return logits, path, bonus, sampled_s

    def _pick_on_the_way(
        self, logits: torch.Tensor, token_ids: Sequence[int], first_position: int
    ) -> Callable[[int, Sequence[int]], int]:
        """A function that picks the target's token behind a row, given the path to it, when the walk comes there."""

        def pick(row: int, path: Sequence[int]) -> int:
            return self._sampler.pick_one(
                logits[row], [token_ids[above] for above in path[1:]], first_position + len(path) - 1
            )

        return pick

    def _pick_all(self, logits: torch.Tensor, rows: Rows, token_ids: Sequence[int], first_position: int) -> list[int]:
        """The target's token behind every row; the one behind row 0 has position `first_position`."""
        paths: list[tuple[int, ...]] = [()]
        for row, parent in enumerate(rows.parents[1:], start=1):
            paths.append((*paths[parent], token_ids[row]))
        return self._sampler.pick(logits, paths, [first_position + len(path) for path in paths])

    def _learn(
        self,
        draft: Draft | None,
        rows: Rows,
        token_ids: Sequence[int],
        logits: torch.Tensor,
        committed: tuple[int, ...],
    ) -> None:
        """Let sampler and drafter learn what one round found out; `draft` is None where the drafter was not asked."""
        before = [self._before_last, *(token_ids[parent] for parent in rows.parents[1:])]
        self._before_last = (token_ids[0], *committed)[-2]
        self._sampler.commit(committed)
        if draft is None:
            self._pending.extend(committed)
            return
        self._drafter.commit(draft, committed)
        if self._drafter.num_top:  # after the commit: else the drafter would seem to have known what it was just given
            tops = read_top_tokens(logits, before, token_ids, self._drafter.num_top)
            self._drafter.recycle(tops.contexts, tops.top_ids, tops.top_chances)

    def _account(self, cost: RoundCost, width: int, num_committed: int, spent: float) -> None:
        """Charge a round to the drafter's allowance, in rounds without a draft."""
        if self._drafter.allowance is not None:
            gained = num_committed - cost.rounds[width] / self._undrafted(cost)
            self._drafter.allowance.note(spent=spent, gained=gained)

    def _undrafted(self, cost: RoundCost) -> float:
        """What a round without a draft takes."""
        return min(cost.rounds[each] for each in self._widths)

    def _require_number(self, token_id: int) -> None:
        """Raise where the target picked no token. The cache is cleared: a NaN spreads even from a masked slot."""
        if token_id == NO_TOKEN:
            self._cache.clear()
            raise EngineError(
                "The model's output is not a number (NaN or infinity), as happens when activations overflow float16. "
                "Load it with dtype bfloat16 or float32; where it was, download the model again."
            )
