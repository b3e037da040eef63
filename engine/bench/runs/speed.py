"""`bench speed`: drafting against plain decoding, other drafters and transformers, interleaved in one process.

For each prompt all arms run one after the other, several times, in rotating order, so that a machine that slows
down or warms up slows all arms alike. Tokens per second are tokens after the first over the seconds after the
first, in every arm; the prefill is in none. A ratio compares two runs of the same repeat; a prompt's ratio is the
median of its repeats, a group's the median of its prompts; beside it stands the ratio of all tokens over all time.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from engine import codec
from engine.batch import PromptLine
from engine.bench.arms.arm import Arm, ArmRun
from engine.bench.harness import BenchEngine, machine, progress
from engine.bench.plans import SpeedPlan
from engine.bench.runs.speed_figures import PromptResult, summary
from engine.errors import EngineError

WARM_UP_TOKENS = 16


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
    with suppress(KeyboardInterrupt), progress(lines, "prompt") as bar:
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
        "model": codec.dump(info) if info else None,
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
