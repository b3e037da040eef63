"""`bench speed`: drafting against plain decoding, other drafters and transformers, interleaved in one process.

For each prompt all arms run one after the other, several times, in rotating order, so that a machine that slows
down or warms up slows all arms alike. Tokens per second are tokens after the first over the seconds after the
first, in every arm; the prefill is in none. A ratio compares two runs of the same repeat; a prompt's ratio is the
median of its repeats, a group's the median of its prompts; beside it stands the ratio of all tokens over all time.
"""

from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Protocol

from tqdm import tqdm

from engine.batch import PromptLine
from engine.bench.arms.contestants import make_contestant
from engine.bench.harness import BenchEngine, converse, machine, repeated_share
from engine.bench.plans import ABLATIONS, BASELINES, LOOPING_SHARE, Contestant, SpeedPlan
from engine.config import Exactness, GenerationRequest, Mode
from engine.drafting.drafter import Drafter
from engine.errors import EngineError
from engine.forward.widths import MAX_WIDTH
from engine.metrics import ratio

WARM_UP_TOKENS = 16
RATIOS = (
    ("adaptive", "plain-exact"),
    ("adaptive", "plain-fast"),
    ("adaptive", "transformers"),
    ("adaptive", "transformers-lookup"),
    *(("adaptive", name) for name in (*BASELINES, *ABLATIONS)),
    ("adaptive-fast", "plain-fast"),
    ("adaptive-fast", "transformers"),
    ("adaptive-fast", "transformers-lookup"),
    *((name, "plain-exact") for name in (*BASELINES, *ABLATIONS)),
    ("plain-exact", "plain-fast"),
    ("plain-fast", "transformers"),
    ("transformers-lookup", "transformers"),
)
SAME_TOKENS = (
    ("adaptive", "plain-exact"),
    *((name, "plain-exact") for name in (*BASELINES, *ABLATIONS)),
    ("adaptive-fast", "plain-fast"),
    ("plain-fast", "transformers"),
    ("transformers-lookup", "transformers"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRun:
    """One arm's answer to a prompt, over all of its turns. `drafted` None: the arm does not tell."""

    answers: tuple[tuple[int, ...], ...]  # the ids of each turn's answer
    committed: int  # tokens after the first of each answer
    decode_s: float
    ttft_s: float  # of the first turn
    rounds: int
    drafted: int | None
    accepted: int

    @property
    def tokens_per_s(self) -> float | None:
        return ratio(self.committed, self.decode_s)

    @classmethod
    def of_turns(cls, turns: Sequence["ArmRun"]) -> "ArmRun":
        """The turns of a conversation as one run."""
        drafted = [turn.drafted for turn in turns if turn.drafted is not None]
        return cls(
            answers=tuple(answer for turn in turns for answer in turn.answers),
            committed=sum(turn.committed for turn in turns),
            decode_s=sum(turn.decode_s for turn in turns),
            ttft_s=turns[0].ttft_s,
            rounds=sum(turn.rounds for turn in turns),
            drafted=sum(drafted) if len(drafted) == len(turns) else None,
            accepted=sum(turn.accepted for turn in turns),
        )


class Arm(Protocol):
    """One way of answering. `needs_greedy`: it cannot sample with our seeds."""

    name: str
    needs_greedy: bool

    def run(self, line: PromptLine) -> ArmRun:
        """Answer all turns of a line, from an empty cache on."""


class EngineArm:
    """Our engine in one exactness, with a drafter or plain.

    The drafter goes on learning from prompt to prompt, but a repeat starts from what it knew before the prompt: what
    a drafter keeps of an answer must not help it with the same answer.
    """

    needs_greedy = False

    def __init__(self, name: str, engine: BenchEngine, exactness: Exactness, drafter: Drafter | None) -> None:
        self.name = name
        self._engine = engine
        self._mode: Mode = "adaptive" if drafter else "plain"
        self._exactness = exactness
        self._drafter = drafter  # after the last run
        self._before = drafter  # before the prompt of the last run
        self._prompt: tuple[str, int] | None = None  # that of the last run; the warm-up's is the first one, cut short

    def run(self, line: PromptLine) -> ArmRun:
        def edit(request: GenerationRequest) -> GenerationRequest:
            return replace(request, mode=self._mode, exactness=self._exactness)

        prompt = (line.category, line.number)
        if prompt != self._prompt:
            self._prompt, self._before = prompt, self._drafter
        self._drafter = deepcopy(self._before)
        turns = []
        for answer in converse(self._engine, line, edit, lambda _: self._drafter):
            stats = answer.stats
            turns.append(
                ArmRun(
                    answers=(answer.token_ids,),
                    committed=stats.num_committed,
                    decode_s=stats.decode_s,
                    ttft_s=stats.ttft_s,
                    rounds=stats.rounds,
                    drafted=stats.drafted,
                    accepted=stats.accepted,
                )
            )
        return ArmRun.of_turns(turns)


def engine_arms(engine: BenchEngine, max_nodes: int | None = None) -> tuple[Arm, ...]:
    """Ours, by name; each drafting one with a drafter of its own."""

    def drafter(name: Contestant) -> Drafter:
        return make_contestant(name, max_nodes or MAX_WIDTH - 1, whole=max_nodes is not None)

    return (
        EngineArm("plain-fast", engine, "fast", None),
        EngineArm("plain-exact", engine, "exact", None),
        EngineArm("adaptive", engine, "exact", drafter("adaptive")),
        EngineArm("adaptive-fast", engine, "fast", drafter("adaptive")),
        *(EngineArm(name, engine, "exact", drafter(name)) for name in (*BASELINES, *ABLATIONS)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptResult:
    """All runs of one prompt: `runs[arm]` has one for each repeat, in the same order for all arms."""

    line: PromptLine
    runs: dict[str, tuple[ArmRun, ...]]
    error: str | None = None

    @property
    def looping_share(self) -> float:
        """The largest of any arm's answers: the share of its own 4-grams that it repeats."""
        answers = [answer for runs in self.runs.values() for answer in runs[0].answers]
        return max(map(repeated_share, answers), default=0.0)

    @property
    def looping(self) -> bool:
        return self.looping_share > LOOPING_SHARE

    def speed(self, arm: str) -> float | None:
        """Median tokens per second of the repeats."""
        speeds = [speed for run in self.runs.get(arm, ()) if (speed := run.tokens_per_s) is not None]
        return median(speeds) if speeds else None

    def ratio(self, arm: str, base: str) -> float | None:
        """Median over the repeats of one arm's speed over another's in the same repeat."""
        pairs = zip(self.runs.get(arm, ()), self.runs.get(base, ()), strict=False)
        ratios = [a.tokens_per_s / b.tokens_per_s for a, b in pairs if a.tokens_per_s and b.tokens_per_s]
        return median(ratios) if ratios else None

    def same_tokens(self, arm: str, base: str) -> bool | None:
        """Whether all repeats of both arms gave the same ids; None where one of them was not run."""
        if not (self.runs.get(arm) and self.runs.get(base)):
            return None
        return len({run.answers for name in (arm, base) for run in self.runs[name]}) == 1

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.line.name,
            "line": self.line.number,
            "category": self.line.category,
            "error": self.error,
            "looping": self.looping,
            "repeated_4grams": self.looping_share,
            "arms": {name: _arm_json(self, name) for name in self.runs},
            "ratios": {f"{arm}/{base}": self.ratio(arm, base) for arm, base in RATIOS},
            "same_tokens": {f"{arm}/{base}": self.same_tokens(arm, base) for arm, base in SAME_TOKENS},
        }


def _arm_json(result: PromptResult, name: str) -> dict[str, Any]:
    runs = result.runs[name]
    first = runs[0]
    return {
        "token_ids": [list(answer) for answer in first.answers] if len(first.answers) > 1 else list(first.answers[0]),
        "num_tokens": sum(map(len, first.answers)),
        "rounds": first.rounds,
        "drafted": first.drafted,
        "accepted": first.accepted,
        "tokens_per_round": ratio(first.committed, first.rounds),
        "tokens_per_s": spread([speed for run in runs if (speed := run.tokens_per_s) is not None]),
        "ttft_s": spread([run.ttft_s for run in runs]),
        "repeats": [
            {
                "tokens_per_s": run.tokens_per_s,
                "decode_s": run.decode_s,
                "committed": run.committed,
                "rounds": run.rounds,
            }
            for run in runs
        ],
    }


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Median and quartiles (linear between neighbours), smallest and largest.

    >>> spread([3.0, 1.0, 2.0, 4.0])
    {'n': 4, 'median': 2.5, 'q1': 1.75, 'q3': 3.25, 'min': 1.0, 'max': 4.0}
    """
    if not values:
        return {"n": 0, "median": None, "q1": None, "q3": None, "min": None, "max": None}
    ordered = sorted(values)

    def quantile(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return {
        "n": len(ordered),
        "median": median(ordered),
        "q1": quantile(0.25),
        "q3": quantile(0.75),
        "min": ordered[0],
        "max": ordered[-1],
    }


def summary(results: Sequence[PromptResult], arms: Sequence[str]) -> dict[str, Any]:
    """The figures of a group of prompts."""
    return {
        "prompts": len(results),
        "arms": {arm: _arm_summary(results, arm) for arm in arms},
        "ratios": {
            f"{arm}/{base}": spread([value for result in results if (value := result.ratio(arm, base)) is not None])
            | {"total": _total_ratio(results, arm, base)}
            for arm, base in RATIOS
            if arm in arms and base in arms
        },
        "same_tokens": {
            f"{arm}/{base}": {
                "same": sum(result.same_tokens(arm, base) is True for result in results),
                "of": sum(result.same_tokens(arm, base) is not None for result in results),
            }
            for arm, base in SAME_TOKENS
            if arm in arms and base in arms
        },
    }


def _arm_summary(results: Sequence[PromptResult], arm: str) -> dict[str, Any]:
    runs = [result.runs[arm] for result in results if result.runs.get(arm)]
    committed = sum(repeats[0].committed for repeats in runs)
    rounds = sum(repeats[0].rounds for repeats in runs)
    drafted = [repeats[0].drafted for repeats in runs]
    accepted = sum(repeats[0].accepted for repeats in runs)
    total_drafted = None if None in drafted else sum(count or 0 for count in drafted)
    return {
        "prompts": len(runs),
        "tokens_per_s": spread([speed for result in results if (speed := result.speed(arm)) is not None]),
        "ttft_s": spread([median(run.ttft_s for run in repeats) for repeats in runs]),
        "committed": committed,
        "rounds": rounds,
        "tokens_per_round": ratio(committed, rounds),
        "drafted": total_drafted,
        "accepted": accepted,
        "acceptance_rate": ratio(accepted, total_drafted) if total_drafted else None,
    }


def _total_ratio(results: Sequence[PromptResult], arm: str, base: str) -> float | None:
    """All tokens over all decode seconds of one arm, over the same of the other, on prompts that both ran."""
    both = [result for result in results if result.runs.get(arm) and result.runs.get(base)]

    def speed(name: str) -> float | None:
        committed = sum(run.committed for result in both for run in result.runs[name])
        return ratio(committed, sum(run.decode_s for result in both for run in result.runs[name]))

    fast, slow = speed(arm), speed(base)
    return fast / slow if fast and slow else None


def _shortened(line: PromptLine) -> PromptLine:
    options = line.options.updated({"max_tokens": min(WARM_UP_TOKENS, line.options.template.max_tokens)})
    return replace(line, options=options, turns=line.turns[:1])


def run_line(arms: Sequence[Arm], line: PromptLine, repeats: int, offset: int) -> PromptResult:
    """All arms on one prompt, `repeats` times, the order turned by one each time."""
    arms = [arm for arm in arms if line.options.template.sampling.temperature == 0 or not arm.needs_greedy]
    runs: dict[str, list[ArmRun]] = {arm.name: [] for arm in arms}
    try:
        for repeat in range(repeats):
            turn = (offset + repeat) % len(arms)
            for arm in (*arms[turn:], *arms[:turn]):
                runs[arm.name].append(arm.run(line))
    except (EngineError, ValueError) as exc:
        return PromptResult(line=line, runs={}, error=str(exc))
    return PromptResult(line=line, runs={name: tuple(each) for name, each in runs.items()})


def run(engine: BenchEngine, arms: Sequence[Arm], lines: Sequence[PromptLine], plan: SpeedPlan) -> dict[str, Any]:
    """The whole benchmark as JSON-able data. An interrupt ends it with what it has, which is then not `complete`."""
    arms = [arm for arm in arms if arm.name in plan.arms]
    before = machine(engine.info)
    run_line(arms, _shortened(lines[0]), 1, 0)  # warm-up
    results: list[PromptResult] = []
    with suppress(KeyboardInterrupt), tqdm(lines, unit="prompt", disable=None) as bar:
        for line in bar:
            results.append(run_line(arms, line, plan.repeats, len(results)))
    info = engine.info
    names = [arm.name for arm in arms]
    good = [result for result in results if result.error is None]
    steady = [result for result in good if not result.looping]
    return {
        "benchmark": "speed",
        "complete": len(results) == len(lines),
        "passed": len(good) == len(lines),
        "machine": before,
        "load_average_after": machine(engine.info)["load_average"],
        "model": info.to_json() if info else None,
        "plan": asdict(plan),
        "errors": [{"id": result.line.name, "message": result.error} for result in results if result.error],
        "groups": {
            category: summary([result for result in steady if result.line.category == category], names)
            for category in dict.fromkeys(result.line.category for result in steady)
        },
        "overall": summary(steady, names),
        "looping": summary([result for result in good if result.looping], names),
        "prompts": [result.to_json() for result in results],
    }
