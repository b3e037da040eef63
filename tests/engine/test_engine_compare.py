"""Compare: two answers from one prefill, and a verdict that says whether and where they diverge."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message
from engine.errors import NotEnoughMemory
from engine.events import Finished, LaneEvent, Verdict
from engine.models.hardware import Device
from tests.asking import PROMPT, ask, load


@pytest.fixture(scope="module")
def engine(tiny_model: Callable[..., Path]) -> Iterator[InstrumentedEngine]:
    built = load(tiny_model("llama"), dtype="fp32")
    yield built
    built.close()


def test_compare_ends_in_a_verdict(engine: InstrumentedEngine) -> None:
    for exactness in ("exact", "fast"):
        request = GenerationRequest(
            messages=(Message.of("user", PROMPT),), max_tokens=80, ignore_eos=True, exactness=exactness
        )
        events = list(engine.compare(request))
        verdict = events[-1]
        assert isinstance(verdict, Verdict)
        assert verdict.complete
        lanes = {e.lane: e.event for e in events if isinstance(e, LaneEvent) and isinstance(e.event, Finished)}
        assert set(lanes) == {"plain", "adaptive"}
        assert verdict.plain.tokens_per_round == 1
        assert verdict.speedup == pytest.approx(verdict.adaptive.tokens_per_s / verdict.plain.tokens_per_s)
        if exactness == "exact":
            assert verdict.identical
            assert lanes["plain"].token_ids == lanes["adaptive"].token_ids
    assert ask(engine, ignore_eos=True, max_tokens=80).token_ids == lanes["plain"].token_ids


def test_a_stopped_comparison_is_compared_as_far_as_it_came(engine: InstrumentedEngine) -> None:
    request = GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=400, ignore_eos=True)
    events = []
    running = engine.compare(request)
    for event in running:
        events.append(event)
        if len(events) == 20:
            running.cancel()
    assert isinstance(events[-1], Verdict)
    assert not events[-1].complete
    assert events[-1].identical


def test_the_margin_at_a_divergence_is_the_top_two_difference(engine: InstrumentedEngine) -> None:
    token_ids = list(range(3, 40))
    with engine.stock_model() as model, torch.inference_mode():
        first, second = model(torch.tensor([token_ids])).logits[0, -1].topk(2).values.tolist()
    assert engine.top_two_margin(token_ids) == pytest.approx(first - second, abs=1e-3)


def test_a_comparison_that_does_not_fit_is_refused_and_costs_nothing(
    engine: InstrumentedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = ask(engine, ignore_eos=True)
    request = GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=96, ignore_eos=True)
    with monkeypatch.context() as patch:
        full = Device(torch.device("cpu"), "Some CPU", 1000)
        patch.setattr("engine.models.out_of_memory.choose_device", lambda _: full)
        with pytest.raises(NotEnoughMemory, match=r"second answer's cache takes .* and 0 MB are free on Some CPU"):
            list(engine.compare(request))
    assert len(engine._session.cached_ids) == answered.stats.num_prompt_tokens + 95, "the cache is as it was"
    assert ask(engine, ignore_eos=True).token_ids == answered.token_ids
    *_, verdict = engine.compare(request)
    assert isinstance(verdict, Verdict)
