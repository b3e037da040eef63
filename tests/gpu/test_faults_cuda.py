"""What a CUDA device adds to the faults of tests/engine/process: a process that dies in a round, and no memory left."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from engine.config import GenerationRequest, Message, ModelSpec
from engine.errors import EngineCrashed, EngineError
from engine.events import Finished, Round
from engine.process.client import EngineProcess

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]

REQUEST = GenerationRequest(
    messages=(Message.of("user", "The quick brown fox jumps over the lazy dog. " * 8),),
    max_tokens=200,
    ignore_eos=True,
)


@pytest.fixture
def engine() -> Iterator[EngineProcess]:
    with closing(EngineProcess()) as engine:
        yield engine


def load(engine: EngineProcess, folder: Path) -> None:
    list(engine.load(ModelSpec(model=str(folder), device="cuda")))


def answer(engine: EngineProcess) -> tuple[int, ...]:
    *_, last = engine.generate(REQUEST)
    assert isinstance(last, Finished)
    return last.token_ids


def test_a_process_that_is_killed_in_a_round_costs_that_answer_only(
    tiny_model: Callable[..., Path], engine: EngineProcess
) -> None:
    load(engine, tiny_model("llama"))
    before = answer(engine)
    events = engine.generate(REQUEST)
    assert isinstance(next(event for event in events if isinstance(event, Round)), Round)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineCrashed, match="the model is being loaded again"):
        list(events)
    assert answer(engine) == before


def test_a_device_without_memory_is_a_sentence_and_is_used_again_when_it_has_some(
    tiny_model: Callable[..., Path], engine: EngineProcess
) -> None:
    free, _ = torch.cuda.mem_get_info()
    hoard = torch.empty(free - (64 << 20), dtype=torch.uint8, device="cuda")
    with pytest.raises(EngineError, match="memory"):
        load(engine, tiny_model("llama"))
    del hoard
    torch.cuda.empty_cache()
    load(engine, tiny_model("llama"))
    assert len(answer(engine)) == 200
