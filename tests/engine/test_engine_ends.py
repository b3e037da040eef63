"""However a load or an answer ends, by cancelling, closing or failing, the engine is sound and ready for the next."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
import torch

from engine.api import Running
from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message, ModelSpec
from engine.engine import Engine
from engine.errors import DownloadCancelled, EngineError, NotEnoughMemory
from engine.events import Event, Finished, LoadProgress, Round, Verdict
from tests.asking import PROMPT, ask, load


@pytest.fixture(scope="module")
def engine(tiny_model: Callable[..., Path]) -> Iterator[InstrumentedEngine]:
    built = load(tiny_model("llama"), dtype="fp32")
    yield built
    built.close()


def test_cancelling_at_every_event_leaves_a_sound_engine(engine: InstrumentedEngine) -> None:
    request = GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=24, ignore_eos=True)
    expected = ask(engine, max_tokens=24, ignore_eos=True).token_ids
    count = len(list(engine.generate(request)))
    for stop_after in range(1, count):
        events = engine.generate(request)
        seen = list(islice(events, stop_after))  # the whole answer, where the drafter has learnt it by now
        if stop_after % 2:
            events.close()
        else:
            events.cancel()
            *_, last = [*seen, *events]
            assert isinstance(last, Finished)
            assert last.stop_reason in ("cancelled", "length")
            assert last.token_ids == expected[: len(last.token_ids)]
    engine.reset_cache()
    assert ask(engine, max_tokens=24, ignore_eos=True).token_ids == expected


def test_a_cancel_before_the_first_event_counts(engine: InstrumentedEngine) -> None:
    request = GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=24, ignore_eos=True)
    for work in (engine.generate, engine.compare):
        events = work(request)
        events.cancel()
        last = list(events)[-1]
        if isinstance(last, Verdict):
            assert not last.complete
        else:
            assert last.stop_reason == "cancelled"
    assert ask(engine, max_tokens=24, ignore_eos=True).stop_reason == "length"  # and not for what comes later


def test_many_threads_cancel_while_work_begins_and_each_ends_its_own_answer(engine: InstrumentedEngine) -> None:
    request = GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=24, ignore_eos=True)
    waiting = [engine.generate(request) for _ in range(400)]
    ended = ThreadPoolExecutor(8).map(lambda answer: answer.cancel(), waiting)
    begun = [engine.generate(request) for _ in range(2000)]
    assert list(ended) == [None] * len(waiting)
    assert [stop_reason(answer) for answer in (waiting[0], waiting[-1])] == ["cancelled", "cancelled"]
    assert [stop_reason(answer) for answer in (begun[0], begun[-1])] == ["length", "length"]


def stop_reason(answer: Running[Event]) -> str:
    *_, end = answer
    assert isinstance(end, Finished)
    return end.stop_reason


def test_a_load_that_is_closed_stops_reading(tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    certified: list[object] = []
    monkeypatch.setattr("engine.probe.findings.certify_steps", lambda *_: certified.append(None))
    engine = Engine()
    events = engine.load(ModelSpec(model=str(tiny_model("llama")), dtype="fp32"))
    assert next(events).stage == "find"
    events.close()
    assert not certified
    assert engine.info is None


def test_a_load_that_is_cancelled_at_any_stage_ends_in_an_error(tiny_model: Callable[..., Path]) -> None:
    engine = Engine()
    spec = ModelSpec(model=str(tiny_model("llama")), dtype="fp32")
    *stages, ready = dict.fromkeys(progress.stage for progress in engine.load(spec))
    assert ready == "ready"
    for stage in stages:
        with pytest.raises(DownloadCancelled, match="Load it again"):
            cancel_at(stage, engine.load(spec))
        assert engine.info is None


def cancel_at(stage: str, loading: Running[LoadProgress]) -> None:
    for progress in loading:
        if progress.stage == stage:
            loading.cancel()


def test_closing_a_load_waits_for_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next load would begin while this one still takes memory."""
    ended = threading.Event()

    def load_model(
        spec: ModelSpec, report: Callable[[LoadProgress], None], cancelled: Callable[[], bool], *_: object
    ) -> None:
        report(LoadProgress(stage="find", message="Looking"))
        while not cancelled():
            time.sleep(0.01)
        time.sleep(0.3)  # the end of a step that cannot be interrupted
        ended.set()
        raise DownloadCancelled("Cancelled.")

    monkeypatch.setattr("engine.ready.load_model", load_model)
    events = Engine().load(ModelSpec())
    next(events)
    events.close()
    assert ended.is_set()


@pytest.mark.parametrize(
    ("failure", "translated"),
    [
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            True,
        ),
        (MemoryError(), True),
        (RuntimeError("some other fault"), False),
    ],
)
def test_running_out_of_memory_is_one_sentence(
    engine: InstrumentedEngine, monkeypatch: pytest.MonkeyPatch, failure: Exception, translated: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(engine._session.model.target, "forward", fail)
        with pytest.raises(
            NotEnoughMemory if translated else RuntimeError,
            match=r"ran out of memory while tiny-.* answered|other fault",
        ):
            ask(engine, "Something new")
    assert ask(engine, "Something new").token_ids


def test_logits_that_are_not_numbers_raise_and_leave_nothing_behind(tiny_model: Callable[..., Path]) -> None:
    engine = load(tiny_model("llama"), dtype="fp32")
    expected = ask(engine, ignore_eos=True).token_ids
    weight = engine.loaded.model.model.layers[0].input_layernorm.weight
    saved = weight[0].item()
    for mode in ("plain", "adaptive"):
        events = engine.generate(GenerationRequest(messages=(Message.of("user", PROMPT),), mode=mode, ignore_eos=True))
        while not isinstance(next(events), Round):
            pass
        with torch.inference_mode():
            weight[0] = float("nan")
        with pytest.raises(EngineError, match="not a number"):
            list(events)
        with torch.inference_mode():
            weight[0] = saved
        assert ask(engine, ignore_eos=True).token_ids == expected
    engine.reset_cache()
    with torch.inference_mode():
        weight[0] = float("nan")
    with pytest.raises(EngineError, match="not a number"):  # in the prefill that both lanes share
        list(engine.compare(GenerationRequest(messages=(Message.of("user", PROMPT),), ignore_eos=True)))
    with torch.inference_mode():
        weight[0] = saved
    assert ask(engine, ignore_eos=True).token_ids == expected
