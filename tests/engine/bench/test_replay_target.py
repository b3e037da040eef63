"""`bench replay --target`: real rounds commit the transcript, and accept what a replay without a model accepts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.main import main
from engine.bench.arms import targets
from engine.bench.inputs.curves import Curve
from engine.bench.inputs.transcripts import Transcript, Turn
from engine.bench.plans import ReplayPlan
from engine.bench.reports.report_target import target_panels, target_text
from engine.bench.runs import replay, replay_target
from engine.bench.runs.replay_target import PLAIN, Arm, ForcedSampler, Player
from engine.config import ModelSpec
from engine.drafting.allowance import Allowance
from engine.drafting.drafter import Draft, NoDrafter
from engine.errors import EngineError
from engine.events import Certificate
from engine.forward.widths import WIDTHS
from engine.models.shapes import SHAPES
from engine.probe.cost import CostCurve

SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300,
}  # fmt: skip
CERTIFICATE = Certificate(setting="exact", tier="A", widths=WIDTHS, trees=True)
FLAT = CostCurve({64: {1: 1.0, 64: 1.0}})
COPIED = tuple(range(1000, 1020))  # beyond the target's vocabulary
COPY = Transcript("copy", "s", "copying", (Turn((7, *COPIED, 8), (*COPIED, 2)), Turn((9, 8), (*COPIED[5:], 3, 2))))
TALK = Transcript("talk", "s", "talk", (Turn((5, 6), (11, 12, 13, 14, 2)),))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "small", SHAPES["qwen3-0.6b"] | SMALL | {"head_dim": 16})
    monkeypatch.setattr(targets, "certify", lambda *_: CERTIFICATE)
    monkeypatch.setattr(replay_target, "measure", lambda _: FLAT)
    monkeypatch.setattr(Allowance, "drafts", True)  # so small a model's rounds would rest, by what a clock says


def planned(**options: Any) -> ReplayPlan:
    target = ModelSpec(model="random:small", dtype="float32", device="cpu")
    return ReplayPlan(files=(Path("f"),), tokenizers=Path("t"), **{"curves": (), "target": target} | options)


def run(*transcripts: Transcript, **options: Any) -> dict[str, Any]:
    data = replay_target.run([transcripts], planned(**options), lambda _: None)
    json.dumps(data, allow_nan=False)
    assert target_text(data)
    return data


def row(data: dict[str, Any], **wanted: str) -> dict[str, Any]:
    (found,) = [row for row in data["results"] if all(row[key] == value for key, value in wanted.items())]
    return dict(found)


@pytest.mark.parametrize("drafter", ["prompt-lookup", "anpd", "suffix"])
def test_acceptance_is_that_of_a_replay_without_a_model(drafter: Any) -> None:
    plan = planned(drafters=(drafter,))
    data = run(COPY, TALK, drafters=(drafter,))
    # Such a drafter's drafts are verified whole; up to the end of an answer both verify the same.
    bare = replay.run([[COPY, TALK]], ReplayPlan(
        files=plan.files, tokenizers=plan.tokenizers, drafters=plan.drafters, curves=(Curve("c", ((1, 1.0),)),)
    ))  # fmt: skip
    for category in ("all", "copying", "talk"):
        ours, theirs = (row(each, category=category, drafter=drafter) for each in (data, bare))
        assert (ours["tokens"], ours["rounds"]) == (theirs["tokens"], theirs["rounds"])
        assert ours["tokens_per_round"] == theirs["tokens_per_round"]
    assert row(data, category="copying", drafter=drafter)["tokens_per_round"] > 2


def test_plain_decoding_is_one_token_a_round_and_the_base_of_every_ratio() -> None:
    data = run(COPY, TALK, drafters=("adaptive", "prompt-lookup"))
    plain = row(data, category="all", drafter=PLAIN)
    assert (plain["tokens"], plain["rounds"], plain["drafted"]) == (40, 40, 0)
    assert plain["draft_size_histogram"] == {"0": 40}
    assert plain["speedup"]["median"] == plain["speedup"]["total"] == 1
    for name in ("adaptive", "prompt-lookup"):
        ours = row(data, category="all", drafter=name)
        assert ours["speedup"]["total"] == pytest.approx(ours["tokens_per_s"] / plain["tokens_per_s"])
        assert ours["tokens_per_s"] == pytest.approx(ours["tokens"] / ours["decode_s"])
        assert 0 < ours["drafter_share"] < 1
        assert ours["speedup"]["n"] == 2
    assert data["forced_tokens"]
    assert "FORCED TOKENS: every round is a real forward pass of random:small (random weights)" in target_text(data)


def test_a_warm_memory_serves_the_second_conversation() -> None:
    twin = Transcript("twin", "s", "twin", COPY.turns[:1])
    short = Transcript("short", "s", "twin", (Turn((30, 31), COPY.turns[0].answer_ids),))
    data = run(twin, short, drafters=("adaptive", "suffix"), memories=("cold", "warm"))
    rounds = {
        memory: row(data, category="all", drafter="adaptive", memory=memory)["rounds"] for memory in ("cold", "warm")
    }
    assert rounds["warm"] < rounds["cold"]
    assert row(data, category="all", drafter="suffix")["memory"] == "cold"


class Tree(NoDrafter):
    """Proposes a wrong spine, and beside it what comes next; sees whether side branches are asked for."""

    def __init__(self, text: tuple[int, ...]) -> None:
        self.text = text
        self.place = 0
        self.asked_for_chains: set[bool] = set()

    def begin(self, token_ids: Any, temperature: float = 0.0) -> None:
        self.place = len(token_ids)

    def draft(self, max_size: int, *, chain: bool = False, min_chance: object = None) -> Draft:
        self.asked_for_chains.add(chain)
        right = self.text[self.place : self.place + 3]
        ids = (999, *right)[:max_size]
        return Draft(ids, (-1, -1, 1, 2)[: len(ids)], (), ("",) * len(ids))

    def commit(self, draft: Draft, token_ids: Any) -> None:
        self.place += len(token_ids)


@pytest.mark.parametrize("trees", [True, False])
def test_trees_are_verified_where_the_certificate_allows_them(trees: bool) -> None:
    bench = targets.load_target(ModelSpec(model="random:small", device="cpu", max_context=512), lambda _: None)
    drafter = Tree(COPY.token_ids)
    certificate = Certificate(setting="exact", tier="A", widths=WIDTHS, trees=trees)
    arm = Arm("tree", "cold", drafter, certificate)
    played = Player(bench, FLAT, bench.target.new_cache(200)).play(COPY, [arm])[arm]
    assert drafter.asked_for_chains == {not trees}
    assert (played.accepted > 0) == trees  # the chain is the wrong branch
    assert played.tokens == sum(len(turn.answer_ids) - 1 for turn in COPY.turns)


def test_every_arm_starts_each_answer_from_the_same_prefill() -> None:
    bench = targets.load_target(ModelSpec(model="random:small", device="cpu", max_context=512), lambda _: None)
    cache = bench.target.new_cache(200)
    arms = [Arm(name, "cold", NoDrafter(), CERTIFICATE) for name in ("a", "b", "c")]
    starts: list[tuple[int, bool]] = []
    player = Player(bench, FLAT, cache)
    decode = player._decode

    def watched(arm: Arm, logits: torch.Tensor, text: Any, num_prompt: int) -> Any:
        fresh = bench.target.new_cache(200)
        *_, wanted = bench.target.prefill(fresh, list(text[:num_prompt]))
        starts.append((cache.length, torch.allclose(wanted, logits, atol=1e-4)))
        return decode(arm, logits, text, num_prompt)

    player._decode = watched  # type: ignore[method-assign]
    played = player.play(COPY, arms)
    assert starts == [(22, True)] * 3 + [(45, True)] * 3
    assert len({each.tokens for each in played.values()}) == 1


def test_what_is_not_a_number_stays_an_error() -> None:
    sampler = ForcedSampler([4, 5, 6], 300, torch.device("cpu"))
    logits = torch.zeros(2, 300)
    assert sampler.pick(logits, [(), (1,)], [1, 2]) == [5, 6]
    logits[1] = float("nan")
    assert sampler.pick(logits, [(), (1,)], [1, 2]) == [5, -1]
    bench = targets.load_target(ModelSpec(model="random:small", device="cpu", max_context=512), lambda _: None)
    bench.loaded.model.model.embed_tokens.weight.fill_(float("nan"))
    with pytest.raises(EngineError, match="not a number"):
        Player(bench, FLAT, bench.target.new_cache(200)).play(TALK, [Arm("a", "cold", NoDrafter(), CERTIFICATE)])


def test_max_nodes_bounds_the_rounds() -> None:
    ours = row(run(COPY, drafters=("suffix",), max_nodes=3), category="all", drafter="suffix")
    assert max(map(int, ours["draft_size_histogram"])) == 3


def test_conversations_beyond_the_context_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "small", SHAPES["small"] | {"max_position_embeddings": 100})
    long = Transcript("long", "s", "talk", (Turn((5,) * 40, (6,) * 40),))
    data = run(long, TALK, drafters=("suffix",))
    assert data["left_out"] == ["long"]
    assert row(data, category="all", drafter="suffix")["tokens"] == 4
    assert "Left out, as they are longer than the context of 100 tokens: long" in target_text(data)


def test_an_interrupt_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Player.play

    def interrupted(self: Player, transcript: Transcript, arms: Any) -> Any:
        if transcript is TALK:
            raise KeyboardInterrupt
        return play(self, transcript, arms)

    monkeypatch.setattr(Player, "play", interrupted)
    data = run(COPY, TALK, drafters=("suffix",))
    assert not data["complete"]
    assert {row["category"] for row in data["results"]} == {"all", "copying"}
    assert "INTERRUPTED" in target_text(data)


@pytest.fixture
def recorded(tmp_path: Path) -> list[str]:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    words = {word: index for index, word in enumerate(["<unk>", "USER:", "</s>", "ASSISTANT:", *"abcdefgh"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    (tmp_path / "tokenizers" / "tiny").mkdir(parents=True)
    tokenizer.save(str(tmp_path / "tokenizers" / "tiny" / "tokenizer.json"))
    messages = [{"role": "user", "content": "a b c d"}, {"role": "assistant", "content": "a b c d e"}]
    line = {"id": "1", "suite": "tiny", "category": "copying", "tokenizer": "tiny", "messages": messages}
    (tmp_path / "f.jsonl").write_text(json.dumps(line), encoding="utf-8")
    return ["bench", "replay", str(tmp_path / "f.jsonl"), "--tokenizers", str(tmp_path / "tokenizers")]


def test_the_command(recorded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "out.json", tmp_path / "plot.png"
    more = ["--target", "random:small", "--device", "cpu", "--drafters", "adaptive", "--json", str(out)]
    assert main([*recorded, *more, "--plot", str(plot)]) == 0
    assert "tiny, all, 1 conversations, 5 tokens" in capsys.readouterr().out
    data = json.loads(out.read_text())
    assert data["plan"]["target"]["model"] == "random:small"
    assert data["plan"]["curves"] == []
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert [panel.groups for panel in target_panels(data)] == [("tiny\nall",)] * 2


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--target", "random:small", "--curve", "cpu"], 2, "--curve or --target, not both"),
        (["--quant", "nf4"], 2, "--quant says how a model is loaded"),
        (["--target", "random:small", "--drafters", "racer"], 2, "racer cannot draft without a model"),
        (["--target", "random:gpt"], 1, "There is no random:gpt"),
        (["--target", "random:small", "--quant", "int2"], 2, "int2"),
    ],
)
def test_bad_arguments_are_one_sentence(
    more: list[str], code: int, said: str, recorded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*recorded, *more]) == code
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed
