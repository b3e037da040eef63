"""Chats with GGUF models: adaptive ids are plain ids, turn after turn, with the cache that earlier turns left."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message, Mode, ModelSpec, Sampling
from engine.events import Finished
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
