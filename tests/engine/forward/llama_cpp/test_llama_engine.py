"""Chats through llama.cpp: adaptive ids are plain ids, turn after turn, whatever was drafted or cancelled."""

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.bench.arms.drafters import MixedDrafter, OracleDrafter, WrongDrafter
from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message, Mode, ModelSpec, Sampling
from engine.drafting.drafter import Drafter
from engine.errors import BrokenModel, NotEnoughMemory
from engine.events import Finished, Verdict
from engine.forward.llama_cpp import binding
from tests.gguf_files import write_gguf

pytestmark = pytest.mark.usefixtures("llama_cpp")

TinyModel = Callable[..., Path]
PROMPT = "The quick brown fox jumps over the lazy dog; the quick brown fox sleeps. " * 4


def request_of(messages: tuple[Message, ...], sampling: Sampling, mode: Mode) -> GenerationRequest:
    return GenerationRequest(messages=messages, sampling=sampling, max_tokens=64, mode=mode, ignore_eos=True)


def answer(
    engine: InstrumentedEngine,
    messages: tuple[Message, ...],
    sampling: Sampling,
    mode: Mode,
    drafter: Drafter | None = None,
) -> Finished:
    *_, last = engine.generate(request_of(messages, sampling, mode), drafter=drafter)
    assert isinstance(last, Finished)
    return last


def loaded(file: Path, **options: object) -> InstrumentedEngine:
    engine = InstrumentedEngine()
    *_, last = engine.load(ModelSpec(model=str(file), device="cpu", **options))  # type: ignore[arg-type]
    assert last.stage == "ready"
    engine.draft_every_round()
    return engine


@pytest.fixture
def file(tiny_model: TinyModel, tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), "F16")


@pytest.mark.parametrize(
    ("family", "kind"), [("llama", "Q4_K"), ("qwen3", "Q8_0"), ("gemma3", "F16"), ("phi3", "Q4_0"), ("gemma2", "Q4_1")]
)
def test_adaptive_ids_are_plain_ids(tiny_model: TinyModel, tmp_path: Path, family: str, kind: str) -> None:
    folder = tiny_model(family, hidden_size=256, intermediate_size=256)
    engine = loaded(write_gguf(tmp_path / "tiny.gguf", folder, kind))
    assert engine.info is not None
    assert engine.info.backend == "llama-cpp"
    assert not engine.info.fast.trees
    drafted = 0
    for sampling in (Sampling(), Sampling(temperature=0.8, seed=3), Sampling(repetition_penalty=1.3)):
        messages: tuple[Message, ...] = (Message.of("user", PROMPT),)
        for question in ("And the cat?", "Again."):
            plain = answer(engine, messages, sampling, "plain")
            known = plain.token_ids
            for drafter in (None, OracleDrafter(known, 1), WrongDrafter(known, 2), MixedDrafter(known, 3)):
                adaptive = answer(engine, messages, sampling, "adaptive", drafter)
                assert adaptive.token_ids == plain.token_ids
                drafted += adaptive.stats.drafted
            messages += (Message.of("assistant", plain.text), Message.of("user", question))
        assert plain.stats.num_reused_tokens > 0
    assert drafted > 0
    engine.close()


def test_a_comparison_from_one_prefill_is_identical(file: Path) -> None:
    engine = loaded(file)
    *_, verdict = engine.compare(request_of((Message.of("user", PROMPT),), Sampling(), "adaptive"))
    assert isinstance(verdict, Verdict)
    assert verdict.identical
    assert verdict.complete
    assert verdict.num_compared == 64


def test_a_cancelled_answer_leaves_what_was_said(file: Path) -> None:
    engine = loaded(file)
    messages = (Message.of("user", PROMPT),)
    whole = answer(engine, messages, Sampling(), "adaptive")
    engine.reset_cache()
    running = engine.generate(request_of(messages, Sampling(), "adaptive"))
    for _ in range(6):
        next(running)
    running.cancel()
    *_, last = running
    assert isinstance(last, Finished)
    assert last.stop_reason == "cancelled"
    assert answer(engine, messages, Sampling(), "plain").token_ids == whole.token_ids


def test_memory_that_runs_out_while_answering_is_said_with_what_to_do(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded(file)
    messages = (Message.of("user", PROMPT),)
    whole = answer(engine, messages, Sampling(), "plain")

    def no_memory(*_: object) -> None:
        raise MemoryError("llama.cpp cannot allocate memory for a pass")

    with monkeypatch.context() as patched:
        patched.setattr(binding.LlamaContext, "decode", no_memory)
        with pytest.raises(NotEnoughMemory, match="ran out of memory while tiny answered"):
            list(engine.generate(request_of(messages, Sampling(), "plain")))
    assert answer(engine, messages, Sampling(), "plain").token_ids == whole.token_ids


def test_what_llama_cpp_cannot_read_is_said_and_auto_takes_torch(tiny_model: TinyModel, tmp_path: Path) -> None:
    broad = tiny_model("qwen2", hidden_size=256, intermediate_size=256)  # llama.cpp wants heads as wide as the stream
    file = write_gguf(tmp_path / "tiny.gguf", broad, "F16")
    with pytest.raises(BrokenModel, match=r"llama.cpp cannot read it \(error loading model: .*attn_q.*wrong shape"):
        loaded(file, backend="llama-cpp")
    engine = loaded(file)
    assert engine.info is not None
    assert engine.info.backend == "torch"
    assert "llama.cpp cannot read it" in engine.info.backend_reason


def test_unloading_gives_every_context_and_the_model_back(file: Path) -> None:
    engine = loaded(file)
    answer(engine, (Message.of("user", PROMPT),), Sampling(), "adaptive")
    engine.unload()
    gc.collect()
    ours = (binding.LlamaContext, binding.LlamaModel)
    assert not [each for each in gc.get_objects() if type(each) in ours]
