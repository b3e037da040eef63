"""`bench speed`: what is counted, how arms take turns, what the ratios are made of. No real clock."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from engine.batch import Options, PromptLine
from engine.bench.arms.arm import Arm, ArmRun
from engine.bench.arms.engine_arms import EngineArm, engine_arms
from engine.bench.harness import repeated_share
from engine.bench.plans import SpeedPlan
from engine.bench.reports.plot import draw, speed_panels
from engine.bench.reports.report import number, percent, speed_text, table
from engine.bench.runs import speed
from engine.bench.runs.speed_figures import PromptResult, summary
from engine.bench.runs.spread import spread
from engine.drafting.drafter import Draft, NoDrafter
from tests.bench_engine import DraftingEngine


def line(name: str, category: str = "copying", **options: Any) -> PromptLine:
    return PromptLine(
        number=1, options=Options.of(max_tokens=30, **options), turns=("Hello",), name=name, category=category
    )


def arm_run(tokens_per_s: float, answer: tuple[int, ...] = (1, 2, 3, 4, 5)) -> ArmRun:
    return ArmRun(
        answers=(answer,),
        committed=100,
        decode_s=100 / tokens_per_s,
        ttft_s=0.1,
        rounds=50,
        drafted=80,
        accepted=50,
    )


@dataclass
class FixedArm:
    """Answers at given speeds, in turn, and notes when it was asked."""

    name: str
    speeds: list[float]
    calls: list[str]
    needs_greedy: bool = False
    asked: list[PromptLine] = field(default_factory=list)

    def run(self, line: PromptLine) -> ArmRun:
        self.calls.append(self.name)
        self.asked.append(line)
        return arm_run(self.speeds[(len(self.asked) - 1) % len(self.speeds)])


def arms(calls: list[str], **speeds: list[float]) -> list[Arm]:
    return [FixedArm(name.replace("_", "-"), values, calls) for name, values in speeds.items()]


def test_arms_take_turns_in_rotating_order() -> None:
    calls: list[str] = []
    three = arms(calls, plain_fast=[10], plain_exact=[10], adaptive=[20])
    lines = (line("a"), line("b"))
    speed.run(DraftingEngine(), three, lines, SpeedPlan(repeats=2))
    a, b, c = "plain-fast", "plain-exact", "adaptive"
    warm_up, *orders = [tuple(calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert warm_up == (a, b, c)
    assert orders == [(a, b, c), (b, c, a), (b, c, a), (c, a, b)]


def test_the_warm_up_is_short_and_counts_nowhere() -> None:
    calls: list[str] = []
    (arm,) = arms(calls, adaptive=[1.0, 20.0])
    data = speed.run(DraftingEngine(), [arm], (line("a"),), SpeedPlan(repeats=1))
    assert isinstance(arm, FixedArm)
    assert arm.asked[0].options.template.max_tokens == speed.WARM_UP_TOKENS
    assert data["groups"]["copying"]["arms"]["adaptive"]["tokens_per_s"]["median"] == pytest.approx(20)


def result(name: str = "a", category: str = "copying", **runs: list[ArmRun]) -> PromptResult:
    by_arm = {arm.replace("_", "-"): tuple(each) for arm, each in runs.items()}
    return PromptResult(line=line(name, category), runs=by_arm)


def test_a_ratio_pairs_runs_of_one_repeat() -> None:
    # The machine slows to a tenth in the last repeat; paired ratios do not notice.
    paired = result(
        adaptive=[arm_run(20), arm_run(22), arm_run(2)],
        plain_exact=[arm_run(10), arm_run(10), arm_run(1)],
    )
    assert paired.ratio("adaptive", "plain-exact") == pytest.approx(2.0)
    assert paired.ratio("adaptive", "transformers") is None
    assert paired.speed("adaptive") == pytest.approx(20)


def test_the_total_ratio_is_tokens_over_time() -> None:
    results = [
        result("a", adaptive=[arm_run(100)], plain_exact=[arm_run(10)]),
        result("b", adaptive=[arm_run(10)], plain_exact=[arm_run(10)]),
    ]
    ratios = summary(results, ["adaptive", "plain-exact"])["ratios"]["adaptive/plain-exact"]
    assert ratios["median"] == pytest.approx(5.5)
    assert ratios["total"] == pytest.approx((200 / (1 + 10)) / (200 / 20))


def test_looping_answers_are_counted_apart() -> None:
    looping = (7,) * 20
    assert repeated_share(looping) > 0.9
    assert repeated_share(range(50)) == 0
    assert repeated_share([1, 2, 3]) == 0
    assert result(adaptive=[arm_run(1, looping)], plain_exact=[arm_run(1)]).looping
    assert not result(adaptive=[arm_run(1)]).looping
    engine = DraftingEngine(loops=True)
    data = speed.run(engine, engine_arms(engine), (line("a"),), SpeedPlan(repeats=1))
    assert data["groups"] == {}
    assert data["looping"]["prompts"] == 1
    assert "loop" in speed_text(data)


def test_turns_that_repeat_one_another_do_not_loop() -> None:
    turn = arm_run(1, tuple(range(30)))
    assert not result(adaptive=[ArmRun.of_turns([turn, turn])]).looping


def test_a_conversation_s_turns_are_summed() -> None:
    both = ArmRun.of_turns([arm_run(10), replace(arm_run(40), ttft_s=0.5)])
    assert (both.committed, both.rounds, both.drafted, both.accepted) == (200, 100, 160, 100)
    assert both.tokens_per_s == pytest.approx(200 / 12.5)
    assert both.ttft_s == 0.1
    assert ArmRun.of_turns([arm_run(10), replace(arm_run(10), drafted=None)]).drafted is None


def test_the_engine_s_arms_set_mode_and_exactness() -> None:
    engine = DraftingEngine()
    asked = [line("a", "copying"), line("b", "prose")]
    data = speed.run(engine, engine_arms(engine), asked, SpeedPlan(repeats=2))
    seen = {(request.mode, request.exactness) for request in engine.requests}
    assert seen == {("plain", "fast"), ("plain", "exact"), ("adaptive", "exact"), ("adaptive", "fast")}
    prompt = data["prompts"][0]
    assert prompt["same_tokens"]["adaptive/plain-exact"] is True
    assert prompt["arms"]["plain-fast"]["tokens_per_round"] == 1
    assert prompt["arms"]["plain-fast"]["drafted"] == 0
    assert len(prompt["arms"]["adaptive"]["repeats"]) == 2
    assert prompt["arms"]["adaptive"]["tokens_per_s"]["median"] == pytest.approx(
        50 * prompt["arms"]["adaptive"]["tokens_per_round"]
    )
    json.dumps(data, allow_nan=False)


def test_a_repeat_starts_from_what_the_drafter_knew_before_the_prompt() -> None:
    arm = EngineArm("adaptive", DraftingEngine(), "exact", Recycler())
    asked = line("a", ignore_eos=True)
    first, again = (arm.run(asked) for _ in range(2))
    assert (first.rounds, first.accepted) == (again.rounds, again.accepted)
    other = arm.run(line("b", category="prose", ignore_eos=True))
    assert other.accepted > first.accepted  # from one prompt to the next it goes on learning


class Recycler(NoDrafter):
    """Knows the answers that it has seen before, from their first token on."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}
        self.last = 0

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        self.last = token_ids[-1]

    def draft(self, max_size: int, *, chain: bool = False, min_chance: object = None) -> Draft:
        token_id = self.known.get(self.last)
        return Draft((), (), (), ()) if token_id is None or max_size < 1 else Draft((token_id,), (-1,), (), ("",))

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        for token_id in token_ids:
            self.known[self.last] = self.last = token_id


def test_all_drafters_at_one_size() -> None:
    engine = DraftingEngine()
    plan = SpeedPlan(repeats=1, max_nodes=3, arms=("plain-exact", "adaptive", "anpd", "suffix", "prompt-lookup"))
    data = speed.run(engine, engine_arms(engine, 3), (line("a", ignore_eos=True), line("b", "prose")), plan)
    arms = data["prompts"][0]["arms"]
    assert set(arms) == set(plan.arms)
    assert all(arm["drafted"] <= 3 * arm["rounds"] for arm in arms.values())
    assert data["overall"]["prompts"] == 2
    assert {counts["same"] for counts in data["overall"]["same_tokens"].values()} == {2}
    assert "up to 3 tokens" in speed_text(data)
    (panel,) = speed_panels(data)
    assert panel.groups == ("overall\n2 prompts", "copying\n1 prompts", "prose\n1 prompts")
    assert panel.series["plain-exact"] == (1.0, 1.0, 1.0)


def test_the_chart_of_own_sizes(tmp_path: Path) -> None:
    data = speed.run(DraftingEngine(), arms([], plain_exact=[10], adaptive=[20]), (line("a"),), SpeedPlan(repeats=1))
    fast, per_round = speed_panels(data)
    assert fast.series["adaptive"][0] == pytest.approx(20)
    assert per_round.series["adaptive"][0] == pytest.approx(2)
    draw("Speed", [fast, per_round], tmp_path / "new" / "speed.png")
    assert (tmp_path / "new" / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_answers_that_differ_are_said() -> None:
    differing = result(adaptive=[arm_run(1, (1, 2))], plain_exact=[arm_run(1, (1, 3))])
    assert differing.same_tokens("adaptive", "plain-exact") is False
    assert differing.same_tokens("adaptive", "transformers") is None


def test_arms_that_cannot_sample_sit_out() -> None:
    calls: list[str] = []
    stock = FixedArm("transformers", [10], calls, needs_greedy=True)
    own = FixedArm("adaptive", [10], calls)
    sampled = speed.run_line([own, stock], line("a", temperature=0.8), 2, 0)
    assert list(sampled.runs) == ["adaptive"]
    assert set(speed.run_line([own, stock], line("a"), 1, 0).runs) == {"adaptive", "transformers"}


def test_a_prompt_that_cannot_be_run_is_reported() -> None:
    class Refusing(FixedArm):
        def run(self, line: PromptLine) -> ArmRun:
            if line.name == "b":
                raise ValueError("The prompt is too long.")
            return super().run(line)

    data = speed.run(DraftingEngine(), [Refusing("adaptive", [10], [])], (line("a"), line("b")), SpeedPlan(repeats=1))
    assert not data["passed"]
    assert data["errors"] == [{"id": "b", "message": "The prompt is too long."}]
    assert "too long" in speed_text(data)


def test_figures_in_words() -> None:
    assert spread([]) == {"n": 0, "median": None, "q1": None, "q3": None, "min": None, "max": None}
    assert spread([5.0])["q1"] == 5.0
    assert (number(None), percent(None), percent(0.2)) == ("-", "-", "20.0 %")
    assert table(("a", "b"), [("long name", "1")]).splitlines() == ["a          b", "long name  1"]


def test_an_interrupt_keeps_what_there_is() -> None:
    class Interrupted(FixedArm):
        def run(self, line: PromptLine) -> ArmRun:
            if line.name == "b":
                raise KeyboardInterrupt
            return super().run(line)

    data = speed.run(DraftingEngine(), [Interrupted("adaptive", [10], [])], (line("a"), line("b")), SpeedPlan())
    assert (data["complete"], data["passed"]) == (False, False)
    assert data["groups"]["copying"]["prompts"] == 1
    assert "INTERRUPTED: after 1 prompts" in speed_text(data)
