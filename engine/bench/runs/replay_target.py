"""`bench replay --target`: recorded answers through a model's real forward passes, their tokens forced.

Each round is the engine's own: the drafter drafts, the model computes that many rows, greedy picks are taken; but what
counts as picked is the transcript's token. So time and acceptance are both real, though the model, which may have
random weights, would say something else. Of each turn the prompt is prefilled once, then plain-fast and every drafter
decode the answer, one after the other, in rotating order. The size of drafts follows the cost measured at the start.
Recycled logits have no part in it: they would be another model's.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from engine.bench.arms.contestants import make_contestant
from engine.bench.arms.targets import LEAST_CONTEXT, BenchTarget, load_target
from engine.bench.harness import machine
from engine.bench.inputs.transcripts import Transcript
from engine.bench.plans import ABLATIONS, ALL, Memory, ReplayPlan
from engine.bench.runs.replay import groups_of
from engine.bench.runs.spread import spread
from engine.config import MEMORY_TOKENS, Sampling
from engine.decoding import choose
from engine.decoding.loop import Decoder
from engine.decoding.one_row import NO_TOKEN
from engine.decoding.sampling import NodeSampler
from engine.drafting import adaptive
from engine.drafting.conversation_memory import ConversationMemory
from engine.drafting.drafter import Drafter, NoDrafter
from engine.events import Certificate, LoadProgress
from engine.forward.kv_cache import KVCache
from engine.forward.widths import MAX_WIDTH, WIDTHS
from engine.metrics import ratio
from engine.models.out_of_memory import out_of_memory_in_words
from engine.probe.cost import CostCurve, measure
from engine.probe.exactness import FAST

PLAIN = "plain-fast"


class ForcedSampler(NodeSampler):
    """Picks greedily, at a real round's cost, and then returns the transcript's token at that position.

    So do rows off the transcript's path; no walk ever reaches them.
    """

    def __init__(self, text: Sequence[int], vocab_size: int, device: torch.device) -> None:
        super().__init__(Sampling(), (), vocab_size, device)
        self._text = text

    def pick(self, logits: torch.Tensor, paths: Sequence[Sequence[int]], positions: Sequence[int]) -> list[int]:
        """As `NodeSampler.pick`; `positions` are those of the transcript."""
        picks = super().pick(logits, paths, positions)
        return [
            NO_TOKEN if picked == NO_TOKEN else self._text[position]
            for picked, position in zip(picks, positions, strict=True)
        ]


@dataclass(slots=True)
class Clocked:
    """What some rounds came to, in tokens and in seconds."""

    tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    decode_s: float = 0.0
    sizes: Counter[int] = field(default_factory=Counter)  # rounds by draft size
    draft_s: list[float] = field(default_factory=list)  # by round: the drafter's own time

    def add(self, other: "Clocked") -> None:
        self.tokens += other.tokens
        self.drafted += other.drafted
        self.accepted += other.accepted
        self.decode_s += other.decode_s
        self.sizes += other.sizes
        self.draft_s += other.draft_s

    @property
    def tokens_per_s(self) -> float | None:
        return ratio(self.tokens, self.decode_s)

    def to_json(self) -> dict[str, Any]:
        return {
            "tokens": self.tokens,
            "rounds": self.sizes.total(),
            "drafted": self.drafted,
            "accepted": self.accepted,
            "decode_s": self.decode_s,
            "draft_size_histogram": {str(size): self.sizes[size] for size in sorted(self.sizes)},
            "tokens_per_round": ratio(self.tokens, self.sizes.total()),
            "acceptance_rate": ratio(self.accepted, self.drafted),
            "tokens_per_s": self.tokens_per_s,
            "drafter_share": ratio(sum(self.draft_s), self.decode_s),
            "draft_us": {
                "median": float(np.median(self.draft_s)) * 1e6 if self.draft_s else None,
                "p99": float(np.percentile(self.draft_s, 99)) * 1e6 if self.draft_s else None,
            },
        }


class Arm:
    """One way of decoding a file's conversations; it keeps what it learns from one to the next."""

    def __init__(
        self,
        name: str,
        memory: Memory,
        drafter: Drafter,
        certificate: Certificate,
        remembered: ConversationMemory | None = None,
    ) -> None:
        self.name = name
        self.memory = memory
        self.drafter = drafter
        self.certificate = certificate
        self.remembered = remembered


def _arms(plan: ReplayPlan, bench: BenchTarget) -> list[Arm]:
    """Plain decoding at width 1, then the drafters at exact widths of at most `max_nodes` drafted tokens."""
    exact = bench.certificate
    widths = tuple(width for width in exact.widths if width <= plan.max_nodes + 1) or exact.widths[:1]
    arms = [Arm(PLAIN, "cold", NoDrafter(), replace(FAST, widths=(1,)))]
    for name in plan.drafters:
        for memory in plan.memories if name in ("adaptive", *ABLATIONS) else ("cold",):
            remembered = ConversationMemory(MEMORY_TOKENS if memory == "warm" else 0)
            drafter = make_contestant(name, widths[-1] - 1, whole=False, memory=remembered)
            drafter.num_top = 0
            arms.append(Arm(name, memory, drafter, replace(exact, widths=widths), remembered))
    return arms


class Player:
    """Plays transcripts to all arms at once, in one KV cache."""

    def __init__(self, bench: BenchTarget, cost: CostCurve, cache: KVCache) -> None:
        self._bench = bench
        self._cost = cost
        self._cache = cache
        self._turns = 0
        bench.target.prepare(cache, WIDTHS)

    def play(self, transcript: Transcript, arms: Sequence[Arm]) -> dict[Arm, Clocked]:
        """What each arm's rounds came to, over all answers of a conversation."""
        played = {arm: Clocked() for arm in arms}
        self._cache.crop(0)
        text: list[int] = []
        for turn in transcript.turns:
            text += turn.prompt_ids
            *_, logits = self._bench.target.prefill(self._cache, text)
            num_prompt = len(text)
            text += turn.answer_ids
            first = self._turns % len(arms)
            for arm in (*arms[first:], *arms[:first]):
                played[arm].add(self._decode(arm, logits, text, num_prompt))
                self._cache.crop(num_prompt)
            self._turns += 1
        return played

    def _decode(self, arm: Arm, logits: torch.Tensor, text: Sequence[int], num_prompt: int) -> Clocked:
        """The rounds of one answer, text[num_prompt:], by one arm; the first token comes from the prefill."""
        bench, cache = self._bench, self._cache
        decoder = Decoder(
            bench.target,
            cache,
            drafter=arm.drafter,
            sampler=ForcedSampler(text, bench.target.vocab_size, bench.loaded.device),
            cost=self._cost,
            widths=arm.certificate.widths,
            aligned=arm.certificate.setting == "exact",
            trees=arm.certificate.trees,
        )
        clocked = Clocked()
        last = decoder.start(logits, text[:num_prompt])
        started = perf_counter()
        while cache.length < len(text) - 1:
            result = decoder.round(last, len(text) - 1 - cache.length)
            last = result.token_ids[-1]
            clocked.tokens += len(result.token_ids)
            clocked.drafted += result.draft_size
            clocked.accepted += result.accepted
            clocked.sizes[result.draft_size] += 1
            clocked.draft_s.append(result.draft_s)
        clocked.decode_s = perf_counter() - started
        assert clocked.tokens == len(text) - num_prompt - 1, "all of the answer but its first token comes from rounds"
        return clocked


Results = list[tuple[Transcript, dict[Arm, Clocked]]]


def _rows(results: Results) -> Iterator[dict[str, Any]]:
    """One row for each suite and category, arm and memory."""
    groups = {group: None for transcript, _ in results for group in groups_of(transcript)}
    keys = dict.fromkeys((arm.name, arm.memory) for _, played in results for arm in played)
    for group in sorted(groups, key=lambda group: (group[0], group[1] != ALL, group[1])):
        here = [_by_key(played) for transcript, played in results if group in groups_of(transcript)]
        totals = {key: Clocked() for key in keys}
        for each in here:
            for key, clocked in each.items():
                totals[key].add(clocked)
        plain = next(total for (name, _), total in totals.items() if name == PLAIN)
        for (name, memory), total in totals.items():
            ratios = [_over_plain(each, (name, memory)) for each in here]
            fast, slow = total.tokens_per_s, plain.tokens_per_s
            yield {
                "suite": group[0],
                "category": group[1],
                "drafter": name,
                "memory": memory,
                "conversations": len(here),
                **total.to_json(),
                "speedup": spread([each for each in ratios if each is not None])
                | {"total": fast / slow if fast and slow else None},
            }


def _by_key(played: dict[Arm, Clocked]) -> dict[tuple[str, Memory], Clocked]:
    return {(arm.name, arm.memory): clocked for arm, clocked in played.items()}


def _over_plain(played: dict[tuple[str, Memory], Clocked], key: tuple[str, Memory]) -> float | None:
    """One conversation's tokens per second over those of plain decoding."""
    plain = next(clocked for (name, _), clocked in played.items() if name == PLAIN).tokens_per_s
    ours = played[key].tokens_per_s
    return ours / plain if ours and plain else None


@out_of_memory_in_words()
def run(
    files: Sequence[Sequence[Transcript]], plan: ReplayPlan, report: Callable[[LoadProgress], None]
) -> dict[str, Any]:
    """The whole benchmark as JSON-able data. An interrupt ends it with the conversations it has finished.

    Raises what loading the target raises. Conversations that its context does not hold are left out and named.
    """
    assert plan.target is not None
    longest = max(len(transcript.token_ids) for transcripts in files for transcript in transcripts)
    spec = replace(plan.target, max_context=max(longest + MAX_WIDTH, LEAST_CONTEXT))
    bench = load_target(spec, report)
    report(LoadProgress(stage="measure", message="Measuring what a round costs on this machine"))
    bench.target.prepare_thread()
    cost = measure(bench.target)
    adaptive.warm_up()
    choose.warm_up()
    before = machine(bench.loaded)
    room = bench.loaded.context_length - MAX_WIDTH
    fitting = [[each for each in transcripts if len(each.token_ids) <= room] for transcripts in files]
    total = sum(map(len, fitting))
    results: Results = []
    player = Player(bench, cost, bench.target.new_cache(min(longest, room)))
    with suppress(KeyboardInterrupt), tqdm(total=total, unit="conversation", disable=None) as bar:
        for transcripts in fitting:
            arms = _arms(plan, bench)
            for number, transcript in enumerate(transcripts):
                results.append((transcript, player.play(transcript, arms)))
                for arm in arms:
                    if arm.remembered is not None:
                        arm.remembered.absorb(f"{number}", transcript.token_ids)
                bar.update()
    complete = len(results) == total
    return {
        "benchmark": "replay",
        "complete": complete,
        "passed": complete and total > 0,
        "machine": before,
        "load_average_after": machine()["load_average"],
        "model": bench.to_json(),
        "forced_tokens": True,
        "cost_curve": [list(point) for point in cost.points],
        "plan": plan.to_json(),
        "left_out": [each.name for each in _left_out(files, room)],
        "results": list(_rows(results)),
    }


def _left_out(files: Sequence[Sequence[Transcript]], room: int) -> list[Transcript]:
    return [each for transcripts in files for each in transcripts if len(each.token_ids) > room]
