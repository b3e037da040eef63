"""The figures of `bench speed`: of one prompt, and of a group of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from engine.batch import PromptLine
from engine.bench.arms.arm import ArmRun
from engine.bench.harness import repeated_share
from engine.bench.plans import ABLATIONS, BASELINES, LOOPING_SHARE
from engine.bench.runs.spread import spread
from engine.metrics import ratio

RATIOS = (
    ("adaptive", "plain-exact"),
    ("adaptive", "plain-fast"),
    ("adaptive", "transformers"),
    ("adaptive", "transformers-lookup"),
    ("adaptive", "llama-cpp"),
    ("adaptive", "llama-cpp-lookup"),
    ("adaptive", "xllamacpp-ngram-mod"),
    *(("adaptive", name) for name in (*BASELINES, *ABLATIONS)),
    ("adaptive-fast", "plain-fast"),
    ("adaptive-fast", "transformers"),
    ("adaptive-fast", "transformers-lookup"),
    *((name, "plain-exact") for name in (*BASELINES, *ABLATIONS)),
    ("plain-exact", "plain-fast"),
    ("plain-exact", "llama-cpp"),
    ("llama-cpp-lookup", "llama-cpp"),
    ("xllamacpp", "llama-cpp"),
    ("xllamacpp-ngram-mod", "xllamacpp"),
    ("plain-fast", "transformers"),
    ("transformers-lookup", "transformers"),
)
SAME_TOKENS = (
    ("llama-cpp-lookup", "llama-cpp"),
    ("plain-exact", "llama-cpp"),
    ("adaptive", "plain-exact"),
    *((name, "plain-exact") for name in (*BASELINES, *ABLATIONS)),
    ("adaptive-fast", "plain-fast"),
    ("plain-fast", "transformers"),
    ("transformers-lookup", "transformers"),
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
