"""What only a CUDA device can show: bit-equal answers there, 4 and 8 bits, and memory given back."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message, ModelSpec, Sampling
from engine.events import Finished

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]

PROMPT = "The quick brown fox jumps over the lazy dog; the quick brown fox sleeps. " * 6


def answers(engine: InstrumentedEngine, sampling: Sampling) -> dict[str, tuple[int, ...]]:
    by_mode = {}
    for mode in ("plain", "adaptive"):
        engine.reset_cache()
        request = GenerationRequest(
            messages=(Message.of("user", PROMPT),), mode=mode, sampling=sampling, max_tokens=128, ignore_eos=True
        )
        *_, last = engine.generate(request)
        assert isinstance(last, Finished)
        by_mode[mode] = last.token_ids
    return by_mode


@pytest.mark.parametrize("quant", ["none", "int8", "nf4"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma"])
def test_adaptive_equals_plain(tiny_model: Callable[..., Path], family: str, quant: str) -> None:
    engine = InstrumentedEngine()
    list(engine.load(ModelSpec(**{"model": str(tiny_model(family)), "device": "cuda", "quant": quant})))
    assert engine.info is not None
    assert engine.info.exact.tier in ("A", "B")
    for sampling in (Sampling(), Sampling(temperature=0.8, seed=5), Sampling(repetition_penalty=1.2)):
        by_mode = answers(engine, sampling)
        assert by_mode["plain"] == by_mode["adaptive"]


def test_unloading_gives_the_memory_back(tiny_model: Callable[..., Path]) -> None:
    before = torch.cuda.memory_allocated()
    engine = InstrumentedEngine()
    list(engine.load(ModelSpec(model=str(tiny_model("llama")), device="cuda")))
    assert torch.cuda.memory_allocated() > before
    engine.unload()
    assert torch.cuda.memory_allocated() == before
