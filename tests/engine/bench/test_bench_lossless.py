"""`bench lossless` on a scripted target that verifies drafts: equal where it is sound, found out where it is not."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.main import main
from engine.batch import Options, PromptLine
from engine.bench.arms.drafters import MixedDrafter, OracleDrafter, WrongDrafter
from engine.bench.harness import Answer, answer
from engine.bench.plans import DRAFTERS, LosslessPlan
from engine.bench.reports.report import lossless_text
from engine.bench.runs import lossless
from engine.bench.runs.lossless import first_divergence
from engine.drafting.drafter import ROOT, Draft
from tests.bench_engine import END, DraftingEngine

LINES = (
    PromptLine(number=1, options=Options.of(max_tokens=60), turns=("Say this again: one two three",), name="one"),
    PromptLine(number=2, options=Options.of(max_tokens=40), turns=("Tell me more", "And more", "Go on"), name="two"),
    PromptLine(number=3, options=Options.of(max_tokens=40, ignore_eos=True), turns=("To the end",), name="three"),
)


def run(engine: DraftingEngine, **plan: Any) -> dict[str, Any]:
    data = lossless.run(engine, LINES, LosslessPlan(**plan), lambda request, ids: 0.25)
    json.dumps(data, allow_nan=False)
    assert lossless_text(data)
    return data


def test_a_sound_engine_passes_with_every_drafter() -> None:
    data = run(DraftingEngine(), drafters=DRAFTERS)
    assert data["passed"]
    assert data["summary"]["differing_answers"] == 0
    assert data["summary"]["answers"] == 2 * len(DRAFTERS) * 5  # greedy and seeded, five turns
    assert data["summary"]["multi_turn"] == 2 * len(DRAFTERS)
    assert data["summary"]["reused_tokens"] > 0
    shares = {(arm["sampling"], arm["drafter"]): arm for arm in data["arms"]}
    for sampling in ("greedy", "seeded"):
        assert shares[sampling, "wrong"]["accepted"] == 0
        assert shares[sampling, "wrong"]["share_with_rejected"] > 0.9
        assert shares[sampling, "oracle"]["share_with_accepted"] > 0.8
        assert shares[sampling, "mixed"]["share_with_accepted"] >= 0.2
        assert shares[sampling, "mixed"]["share_with_rejected"] >= 0.2
    assert "All ids are equal" in lossless_text(data)


def test_a_log_says_how_much_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    run(DraftingEngine())
    first, *between, last = capsys.readouterr().err.splitlines()
    assert len(between) < len(LINES), "a line for every conversation"
    assert "0/6" in first
    assert "6/6" in last
    assert "0 of 6 differ" in last


def test_the_figures_of_a_turn_add_up() -> None:
    for each in run(DraftingEngine(), drafters=("mixed",))["runs"]:
        for turn in each["turns"]:
            assert turn["plain_ids"] == turn["adaptive_ids"]
            assert turn["rounds"] == len(turn["accepted_lengths"]) == len(turn["draft_sizes"])
            assert turn["accepted"] == sum(turn["accepted_lengths"])
            assert turn["drafted"] == sum(turn["draft_sizes"])


def test_both_arms_start_from_an_empty_cache() -> None:
    engine = DraftingEngine()
    data = run(engine, drafters=("oracle", "wrong"))
    assert engine.resets == len(LINES) * 2 * 3
    assert all(each["turns"][0]["num_reused_tokens"] == 0 for each in data["runs"])


def test_a_faulty_engine_is_found_out() -> None:
    data = run(DraftingEngine(faulty=True), drafters=("wrong",))
    assert not data["passed"]
    assert data["summary"]["differing_conversations"] == len(LINES) * 2
    first = data["runs"][0]["turns"][0]
    position = first["divergence"]["position"]
    assert first["plain_ids"][:position] == first["adaptive_ids"][:position]
    assert first["plain_ids"][position] == first["divergence"]["plain_id"]
    assert first["adaptive_ids"][position] == first["divergence"]["adaptive_id"]
    assert first["divergence"]["margin"] == 0.25
    text = lossless_text(data)
    assert "FAILED" in text
    assert "0.250000" in text


def test_what_follows_from_a_difference_is_not_counted_again() -> None:
    data = run(DraftingEngine(faulty=True), drafters=("wrong",))
    talk = next(each for each in data["runs"] if each["id"] == "two")
    assert [turn["same_prompt"] for turn in talk["turns"]] == [True, False, False]
    assert data["summary"]["differing_answers"] == data["summary"]["differing_conversations"]


def test_the_seeded_arm_samples_with_the_line_s_own_seed_and_temperature() -> None:
    engine = DraftingEngine()
    lines = (
        replace(LINES[0], options=Options.of(max_tokens=5, temperature=0.3, seed=100)),
        replace(LINES[0], number=8),
    )
    lossless.run(engine, lines, LosslessPlan(temperature=0.7), None)
    seen = {(request.sampling.temperature, request.sampling.seed) for request in engine.requests}
    assert seen == {(0.0, 101), (0.3, 101), (0.0, 8), (0.7, 8)}
    assert {request.mode for request in engine.requests} == {"plain", "adaptive"}


def test_the_negative_control_must_differ() -> None:
    sound, faulty = DraftingEngine(), DraftingEngine(faulty=True)
    seen = run(faulty, drafters=("mixed",), negative_control=True)
    assert seen["passed"]
    assert "as it must" in lossless_text(seen)
    assert {request.exactness for request in faulty.requests} == {"fast"}
    unseen = run(sound, drafters=("mixed",), negative_control=True)
    assert not unseen["passed"]
    assert "proves nothing" in lossless_text(unseen)


def test_a_prompt_that_cannot_be_run_fails_the_benchmark() -> None:
    engine = DraftingEngine()
    engine.load_error = None

    class Refusing(DraftingEngine):
        def generate(self, request: Any, *, drafter: Any = None) -> Any:
            raise ValueError("The prompt is too long.")

    data = run(Refusing())
    assert not data["passed"]
    assert data["summary"]["errors"] == 2 * len(LINES)
    assert "too long" in lossless_text(data)


def plain_answer(**options: Any) -> Answer:
    request = Options.of(mode="plain", max_tokens=30, **options).request_for("Hello there, how are you?")
    return answer(DraftingEngine(), request)


def test_answers_that_end_differently_differ() -> None:
    ours = plain_answer(ignore_eos=True)
    shorter = replace(ours, committed=ours.committed[:-1], token_ids=ours.token_ids[:-1])
    ended = replace(ours, committed=(*ours.committed, END), stop_reason="eos")
    stopped = replace(ours, stop_reason="context")
    assert first_divergence(ours, ours, None) is None
    cut = first_divergence(ours, shorter, None)
    assert cut is not None
    assert (cut.position, cut.plain_id, cut.adaptive_id) == (29, ours.token_ids[-1], None)
    more = first_divergence(ours, ended, None)
    assert more is not None
    assert (more.position, more.plain_id, more.adaptive_id) == (30, None, END)
    assert first_divergence(ours, stopped, None) is not None


def right_path(draft: Draft, following: Sequence[int]) -> list[int]:
    """The nodes that agree with `following`, from the root on."""
    path: list[int] = []
    for token_id in following:
        above = path[-1] if path else ROOT
        nodes = [i for i in range(len(draft)) if (draft.parents[i], draft.token_ids[i]) == (above, token_id)]
        if not nodes:
            break
        path += nodes
    return path


def assert_sound(draft: Draft, size: int) -> None:
    assert len(draft) <= size
    assert all(ROOT <= parent < node for node, parent in enumerate(draft.parents))
    assert len(set(zip(draft.parents, draft.token_ids, strict=True))) == len(draft)
    assert list(draft.chances) == sorted(draft.chances, reverse=True)
    assert all(token_id >= 0 for token_id in draft.token_ids)


def is_chain(draft: Draft) -> bool:
    return draft.parents == tuple(range(-1, len(draft) - 1))


@pytest.mark.parametrize("drafter_type", [OracleDrafter, WrongDrafter])
def test_knowing_drafters_keep_their_position(drafter_type: type[OracleDrafter]) -> None:
    committed = (5, 6, 0, 7, 8, 5, 6, 9, 1, 3)
    side_branches = chains = trees = 0
    for seed in range(80):
        drafter = drafter_type(committed, seed)
        drafter.begin([1, 2, 5])
        for position in range(1, len(committed)):
            draft = drafter.draft(6)
            assert_sound(draft, 6)
            path = right_path(draft, committed[position:])
            if drafter_type is WrongDrafter:
                assert path == []
            else:
                assert len(path) >= min((len(draft) + 1) // 2, len(committed) - position)
                side_branches += any(draft.parents.index(draft.parents[node]) != node for node in path)
            chains += is_chain(draft) and len(draft) > 1
            trees += not is_chain(draft)
            drafter.commit(draft, committed[position : position + 1])
        assert len(drafter.draft(0)) == 0
        assert is_chain(drafter.draft(6, chain=True))
    assert min(chains, trees) > 60  # of 720
    assert side_branches > 50 or drafter_type is WrongDrafter


def test_the_mixed_drafter_is_right_and_then_wrong() -> None:
    committed = tuple(range(10, 40))
    kinds = set()
    drafter = MixedDrafter(committed, seed=3)
    drafter.begin([1, 10])
    for _ in range(400):
        draft = drafter.draft(12)
        assert_sound(draft, 12)
        path = right_path(draft, committed[1:])
        kinds.add((bool(path), len(path) == len(draft), is_chain(draft)))
    wanted = {(True, True, True), (True, False, True), (False, False, True), (True, False, False)}
    assert kinds >= {*wanted, (False, False, False), (False, True, True)}  # the last: an empty draft


def test_the_control_s_temperature_is_the_seeded_arm_s() -> None:
    engine = DraftingEngine(faulty=True)
    asked = []

    def control(request: Any) -> float | None:
        asked.append(request.sampling.seed)
        return 0.123 if len(asked) == 1 else None

    data = lossless.run(engine, LINES[:2], LosslessPlan(temperature=0.7, negative_control=True), None, control)
    assert asked == [1, 2]
    assert [each["temperature"] for each in data["runs"]] == [0, 0.123, 0, 0.7]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.bench.arms.control.telling_temperature", lambda engine, request: None)
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "new" / "out.json"
    prompts.write_text('{"prompt": "hello there"}\n{"turns": ["a", "b"]}\n', encoding="utf-8")
    argv = ["bench", "lossless", "--prompts", str(prompts), "--drafter", "mixed", "--max-tokens", "20"]
    assert main([*argv, "--json", str(out)], make_engine=DraftingEngine) == 0
    assert "All ids are equal" in capsys.readouterr().out
    assert json.loads(out.read_text())["summary"]["conversations"] == 4
    assert main([*argv, "--json", "-", "--negative-control"], make_engine=DraftingEngine) == 1
    assert not json.loads(capsys.readouterr().out)["passed"]
    assert main([*argv, "--prompts", str(tmp_path / "none")], make_engine=DraftingEngine) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_an_interrupt_keeps_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(DraftingEngine):
        def reset_cache(self) -> None:
            super().reset_cache()
            if self.resets > 5:
                raise KeyboardInterrupt

    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "a"}\n{"prompt": "b"}\n', encoding="utf-8")
    argv = ["bench", "lossless", "--prompts", str(prompts), "--json", "-"]
    assert main(argv, make_engine=Interrupted) == 130
    data = json.loads(capsys.readouterr().out)
    assert (data["complete"], data["passed"]) == (False, False)
    assert data["summary"]["conversations"] == 2
    assert "INTERRUPTED" in lossless_text(data)
