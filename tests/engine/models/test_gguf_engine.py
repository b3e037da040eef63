"""Chats with GGUF models: adaptive ids are plain ids, turn after turn, with the cache that earlier turns left."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.background import Background
from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message, Mode, ModelSpec, Sampling
from engine.events import Finished
from engine.forward.widths import WIDTHS
from engine.probe.cost import CostCurve
from tests.asking import load, steps_to, take
from tests.gguf_files import write_gguf

TinyModel = Callable[..., Path]
PROMPT = "The quick brown fox jumps over the lazy dog; the quick brown fox sleeps. " * 4


def answer(engine: InstrumentedEngine, messages: tuple[Message, ...], sampling: Sampling, mode: Mode) -> Finished:
    request = GenerationRequest(messages=messages, sampling=sampling, max_tokens=64, mode=mode, ignore_eos=True)
    *_, last = engine.generate(request)
    assert isinstance(last, Finished)
    return last


@pytest.mark.parametrize(
    ("family", "kind"), [("llama", "Q4_K"), ("qwen3", "Q8_0"), ("gemma2", "F16"), ("phi3", "Q4_0")]
)
def test_adaptive_ids_are_plain_ids(tiny_model: TinyModel, tmp_path: Path, family: str, kind: str) -> None:
    folder = tiny_model(family, hidden_size=256, intermediate_size=256)
    file = write_gguf(tmp_path / "tiny.gguf", folder, kind)
    engine = InstrumentedEngine()
    *_, last = engine.load(ModelSpec(model=str(file), dtype="fp32", device="cpu"))
    assert last.stage == "ready"
    engine.draft_every_round()
    drafted = 0
    for sampling in (Sampling(), Sampling(temperature=0.8, seed=3)):
        messages: tuple[Message, ...] = (Message.of("user", PROMPT),)
        for question in ("And the cat?", "Again."):
            plain = answer(engine, messages, sampling, "plain")
            adaptive = answer(engine, messages, sampling, "adaptive")
            assert adaptive.token_ids == plain.token_ids
            drafted += adaptive.stats.drafted
            messages += (Message.of("assistant", plain.text), Message.of("user", question))
    assert drafted > 0
    engine.close()


@pytest.mark.parametrize(("family", "kind"), [("qwen3", "Q4_K"), ("gemma", "Q8_0")])
def test_adaptive_ids_are_plain_ids_before_while_and_after_the_certificate_comes(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, kind: str
) -> None:
    flat = CostCurve({64: {width: 1 + width / 1000 for width in WIDTHS}}, {1: 0.0})  # drafting pays
    monkeypatch.setattr("engine.probe.findings.measure_steps", lambda *_: steps_to(flat))
    monkeypatch.setattr("engine.probe.exactness._ROWS", (16, 64))
    monkeypatch.setattr(Background, "start", lambda self: None)
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model(family, hidden_size=256, intermediate_size=256), kind)
    engine = load(file, dtype="fp32", device="cpu", certify="background")
    seen = []
    for steps, provisional in ((0, True), (25, True), (None, False)):
        take(engine, steps)
        engine.draft_every_round()
        for sampling in (Sampling(), Sampling(temperature=0.8, seed=3)):
            ids: dict[Mode, list[tuple[int, ...]]] = {"plain": [], "adaptive": []}
            drafted = 0
            for mode, answers in ids.items():
                engine.reset_cache()
                messages: tuple[Message, ...] = (Message.of("user", PROMPT),)
                for question in ("And the cat?", "Again."):
                    end = answer(engine, messages, sampling, mode)
                    assert end.certificate.provisional == provisional
                    drafted += end.stats.drafted
                    answers.append(end.token_ids)
                    messages += (Message.of("assistant", end.text), Message.of("user", question))
            assert ids["adaptive"] == ids["plain"]
            assert (drafted > 0) != provisional
            seen.append(ids["plain"])
    assert engine.info is not None
    assert engine.info.exact is not None
    assert seen[:2] == seen[2:4]
    if 1 in engine.info.exact.widths:  # the width of all answers until then
        assert seen[:2] == seen[4:]
    engine.close()
