"""`bench lossless`: plain and adaptive decoding of the same requests, compared token by token.

Every prompt is asked greedily and with a temperature and a seed; each arm runs the whole conversation by itself,
from an empty cache on. What is compared are token ids; nothing is called equal that was not compared.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

from engine import codec
from engine.batch import PromptLine
from engine.bench.arms.drafters import MixedDrafter, OracleDrafter, WrongDrafter
from engine.bench.harness import Answer, BenchEngine, converse, machine, plain, progress
from engine.bench.plans import Drafters, LosslessPlan
from engine.config import GenerationRequest
from engine.drafting.drafter import Drafter
from engine.errors import EngineError
from engine.events import Divergence
from engine.metrics import ratio
from engine.prompt.context import build_prompt

SamplingArm = Literal["greedy", "seeded"]
Control = Callable[[GenerationRequest], float | None]  # a temperature at which rounding shows
Margin = Callable[[GenerationRequest, Sequence[int]], float]  # top-two logit difference after prompt and these ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One turn, answered both ways."""

    turn: int
    plain: Answer
    adaptive: Answer
    divergence: Divergence | None

    @property
    def same_prompt(self) -> bool:
        """False after a turn that differed: what then differs follows from that."""
        return self.plain.request.messages == self.adaptive.request.messages

    def to_json(self) -> dict[str, Any]:
        stats = self.adaptive.stats
        return {
            "turn": self.turn,
            "identical": self.divergence is None,
            "same_prompt": self.same_prompt,
            "divergence": asdict(self.divergence) if self.divergence else None,
            "num_prompt_tokens": stats.num_prompt_tokens,
            "num_reused_tokens": stats.num_reused_tokens,
            "stop_reason": {"plain": self.plain.stop_reason, "adaptive": self.adaptive.stop_reason},
            "plain_ids": list(self.plain.token_ids),
            "adaptive_ids": list(self.adaptive.token_ids),
            "rounds": stats.rounds,
            "drafted": stats.drafted,
            "accepted": stats.accepted,
            "draft_sizes": list(stats.draft_sizes),
            "accepted_lengths": list(stats.accepted_lengths),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One conversation in one arm, or why it could not be run."""

    line: PromptLine
    sampling: SamplingArm
    drafter: Drafters
    seed: int
    temperature: float
    pairs: tuple[Pair, ...] = ()
    error: str | None = None

    @property
    def identical(self) -> bool:
        return self.error is None and all(pair.divergence is None for pair in self.pairs)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.line.name,
            "line": self.line.number,
            "category": self.line.category,
            "sampling": self.sampling,
            "temperature": self.temperature,
            "seed": self.seed,
            "drafter": self.drafter,
            "identical": self.identical,
            "error": self.error,
            "turns": [pair.to_json() for pair in self.pairs],
        }


def first_divergence(ours: Answer, theirs: Answer, margin: Margin | None) -> Divergence | None:
    """Where two answers diverge, or None; answers that only ended for different reasons diverge at their end."""
    a, b = ours.committed, theirs.committed
    position = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    if position == len(a) == len(b) and ours.token_ids == theirs.token_ids and ours.stop_reason == theirs.stop_reason:
        return None
    return Divergence(
        position=position,
        plain_id=a[position] if position < len(a) else None,
        adaptive_id=b[position] if position < len(b) else None,
        margin=margin(ours.request, a[:position]) if margin else None,
    )


def engine_margin(engine: BenchEngine) -> Margin:
    """How close the two likeliest tokens were, as the engine's own prefill sees it: of raw logits; 0 is a tie."""

    def margin(request: GenerationRequest, answer_ids: Sequence[int]) -> float:
        loaded = engine.loaded
        prompt = build_prompt(loaded.tokenizer, request, loaded.context_length, loaded.vocab_size)
        return engine.top_two_margin((*prompt.token_ids, *answer_ids))

    return margin


def _drafter(name: Drafters, known_answers: Sequence[Answer], seed: int, turn: int) -> Drafter | None:
    """The drafter of one turn's answer; None is the engine's own."""
    known = known_answers[turn]
    match name:
        case "oracle":
            return OracleDrafter(known.committed, seed)
        case "wrong":
            return WrongDrafter(known.committed, seed)
        case "mixed":
            return MixedDrafter(known.committed, seed)
        case "adaptive":
            return None


def run_line(
    engine: BenchEngine,
    line: PromptLine,
    sampling: SamplingArm,
    plan: LosslessPlan,
    margin: Margin | None,
    control: Control | None = None,
) -> list[Run]:
    """One conversation plain, and once more with each of the plan's drafters; with `control`, the seeded arm at a
    temperature at which rounding shows, where there is one."""
    temperature = 0.0 if sampling == "greedy" else (line.options.template.sampling.temperature or plan.temperature)
    seed = line.options.template.sampling.seed + line.number
    if control is not None and sampling == "seeded":
        request = line.request()
        temperature = control(replace(request, sampling=replace(request.sampling, seed=seed))) or temperature

    def edit(request: GenerationRequest) -> GenerationRequest:
        exactness = "fast" if plan.negative_control else request.exactness
        changed = replace(request.sampling, temperature=temperature, seed=seed)
        return replace(request, sampling=changed, exactness=exactness, mode="adaptive", drafter="adaptive")

    blank = Run(line=line, sampling=sampling, drafter="adaptive", seed=seed, temperature=temperature)
    runs = []
    try:
        ours = converse(engine, line, lambda request: plain(edit(request)), lambda _: None)
        for name in plan.drafters:
            theirs = converse(engine, line, edit, partial(_drafter, name, ours, seed))
            pairs = tuple(
                Pair(turn=turn, plain=a, adaptive=b, divergence=first_divergence(a, b, margin))
                for turn, (a, b) in enumerate(zip(ours, theirs, strict=True))
            )
            runs.append(replace(blank, drafter=name, pairs=pairs))
    except (EngineError, ValueError) as exc:
        runs += [replace(blank, drafter=name, error=str(exc)) for name in plan.drafters[len(runs) :]]
    return runs


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Counts over some runs; the shares are of rounds."""
    pairs = [pair for run in runs for pair in run.pairs]
    rounds = [
        (drafted, accepted)
        for pair in pairs
        for drafted, accepted in zip(pair.adaptive.stats.draft_sizes, pair.adaptive.stats.accepted_lengths, strict=True)
    ]
    with_accepted = sum(accepted > 0 for _, accepted in rounds)
    with_rejected = sum(accepted < drafted for drafted, accepted in rounds)
    return {
        "conversations": len(runs),
        "answers": len(pairs),
        "tokens_compared": sum(min(len(pair.plain.committed), len(pair.adaptive.committed)) for pair in pairs),
        "differing_answers": sum(pair.divergence is not None and pair.same_prompt for pair in pairs),
        "differing_conversations": sum(not run.identical and run.error is None for run in runs),
        "errors": sum(run.error is not None for run in runs),
        "multi_turn": sum(len(run.line.turns) > 1 for run in runs),
        "reused_tokens": sum(pair.adaptive.stats.num_reused_tokens for pair in pairs),
        "rounds": len(rounds),
        "drafted": sum(drafted for drafted, _ in rounds),
        "accepted": sum(accepted for _, accepted in rounds),
        "rounds_with_accepted": with_accepted,
        "rounds_with_rejected": with_rejected,
        "share_with_accepted": ratio(with_accepted, len(rounds)),
        "share_with_rejected": ratio(with_rejected, len(rounds)),
        "stop_reasons": dict(Counter(pair.adaptive.stop_reason for pair in pairs)),
    }


def run(
    engine: BenchEngine,
    lines: Sequence[PromptLine],
    plan: LosslessPlan,
    margin: Margin | None = None,
    control: Control | None = None,
) -> dict[str, Any]:
    """The whole benchmark as JSON-able data; `passed` says whether it showed what it had to.

    An interrupt ends it with what it has, which is then not `complete`.
    """
    engine.draft_every_round()
    runs: list[Run] = []
    arms: tuple[SamplingArm, ...] = ("greedy", "seeded")
    conversations = [(line, sampling) for line in lines for sampling in arms]
    complete = False
    with suppress(KeyboardInterrupt), progress(conversations, "conversation") as bar:
        for line, sampling in bar:
            runs += run_line(engine, line, sampling, plan, margin, control)
            bar.set_postfix_str(f"{sum(not each.identical for each in runs)} of {len(runs)} differ", refresh=False)
        complete = True
    total = summary(runs)
    differs = total["differing_answers"] > 0
    passed = complete and total["errors"] == 0 and differs == plan.negative_control
    info = engine.info
    return {
        "benchmark": "lossless",
        "complete": complete,
        "passed": passed,
        "negative_control": plan.negative_control,
        "machine": machine(engine.info),
        "model": codec.dump(info) if info else None,
        "plan": asdict(plan),
        "summary": total,
        "arms": [
            {"sampling": sampling, "drafter": name}
            | summary([each for each in runs if each.sampling == sampling and each.drafter == name])
            for sampling in arms
            for name in plan.drafters
        ],
        "runs": [each.to_json() for each in runs],
    }
