"""A model answers at once, plain; it is certified while nobody asks, and drafts from then on."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.background import Background
from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message, Mode, ModelSpec, Sampling
from engine.engine import Engine
from engine.errors import NotCertified
from engine.events import Finished, Round
from engine.forward.widths import WIDTHS
from engine.probe.cost import CostCurve
from engine.probe.steps import Passes
from tests.asking import PROMPT, ask, load, take

TinyModel = Callable[..., Path]
PATIENCE_S = 120.0
CURVE = CostCurve({64: {width: 1 + width / 1000 for width in WIDTHS}}, {1: 0.0})


def quick_curve(*_: object) -> Generator[Passes, None, CostCurve]:
    for done in range(1, 4):
        yield Passes(done, 3)
    return CURVE


@pytest.fixture(autouse=True)
def curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """A curve on which drafting pays, in a moment: no bit depends on it."""
    monkeypatch.setattr("engine.probe.findings.measure_steps", quick_curve)
    monkeypatch.setattr("engine.probe.exactness._ROWS", (16, 64))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes on in the background but by `take`."""
    monkeypatch.setattr(Background, "start", lambda self: None)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def certified(engine: Engine) -> bool:
    return engine.info is not None and not engine.info.provisional


SAMPLINGS = (Sampling(), Sampling(temperature=0.8, seed=3))


def two_turns(
    engine: InstrumentedEngine, mode: Mode, sampling: Sampling, between: Callable[[], None]
) -> list[Finished]:
    """A conversation whose second prompt begins with the first one and its answer."""
    options: dict[str, Any] = {"mode": mode, "sampling": sampling, "ignore_eos": True, "max_tokens": 40}
    first = ask(engine, **options)
    between()
    messages = (Message.of("user", PROMPT), Message.of("assistant", first.text), Message.of("user", PROMPT))
    *_, second = engine.generate(GenerationRequest(messages=messages, **options))
    assert isinstance(second, Finished)
    return [first, second]


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("before", "between"), [(0, 0), (0, 25), (25, 0), (0, None), (25, None), (None, 0)])
def test_plain_and_adaptive_are_equal_before_while_and_after_the_certificate_comes(
    tiny_model: TinyModel, sampling: Sampling, before: int | None, between: int | None
) -> None:
    ids = []
    for mode in ("plain", "adaptive"):
        engine = load(tiny_model("llama"), dtype="bf16", certify="background")
        take(engine, before)
        answers = two_turns(engine, mode, sampling, lambda engine=engine: take(engine, between))
        ids.append([answer.token_ids for answer in answers])
        provisional = [answer.certificate.provisional for answer in answers]
        assert provisional == [before is not None, before is not None and between is not None]
        if before is not None:
            assert [answer.stats.drafted for answer in answers][: sum(provisional)] == [0] * sum(provisional)
            reused = answers[1].stats.num_reused_tokens
            assert 20 < reused <= answers[0].stats.num_prompt_tokens, "rows that no certificate speaks of"
        elif mode == "adaptive":
            assert sum(answer.stats.drafted for answer in answers) > 0
        engine.close()
    assert ids[0] == ids[1]


@pytest.mark.usefixtures("held")
def test_the_certificate_is_that_of_a_load_that_waits_for_it(tiny_model: TinyModel) -> None:
    at_once = load(tiny_model("mistral"), dtype="bf16", certify="background")
    assert at_once.info is not None
    assert (at_once.info.provisional, at_once.info.exact, at_once.info.cost_curve) == (True, None, None)
    while not certified(at_once):
        take(at_once, 7)
        ask(at_once, max_tokens=3)
    waited = load(tiny_model("mistral"), dtype="bf16")
    assert waited.info is not None
    assert at_once.info.exact == waited.info.exact is not None
    assert at_once.info.cost_curve == waited.info.cost_curve
    assert at_once.progress is None


@pytest.mark.usefixtures("held")
def test_fast_answers_are_plain_too_until_then(tiny_model: TinyModel) -> None:
    engine = load(tiny_model("llama"), dtype="fp32", certify="background")
    answer = ask(engine, exactness="fast", ignore_eos=True)
    assert answer.certificate.provisional
    assert (answer.certificate.setting, answer.stats.drafted) == ("fast", 0)
    take(engine)
    answer = ask(engine, exactness="fast", ignore_eos=True)
    assert not answer.certificate.provisional
    assert answer.stats.drafted > 0


@pytest.mark.usefixtures("held")
def test_progress_says_how_much_is_left(tiny_model: TinyModel) -> None:
    engine = load(tiny_model("llama"), dtype="fp32", certify="background")
    changes = []
    engine.on_change(lambda: changes.append(engine.progress))
    take(engine)
    *steps, last = changes
    assert last is None
    done = [step.done / step.total for step in steps]
    assert done == sorted(done)
    assert (done[-1], steps[-1].seconds_left) == (1.0, 0.0)
    assert {step.stage for step in steps} >= {"certify", "measure"}


@pytest.mark.usefixtures("held")
def test_a_comparison_is_refused_until_then(tiny_model: TinyModel) -> None:
    engine = load(tiny_model("llama"), dtype="fp32", certify="background")
    take(engine, 1)
    request = GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=5)
    with pytest.raises(NotCertified, match="still getting ready to draft"):
        list(engine.compare(request))
    take(engine)
    *_, verdict = engine.compare(request)
    assert verdict.identical  # type: ignore[union-attr]


@pytest.mark.usefixtures("held")
def test_conversations_are_remembered_once_drafting_is_on(tiny_model: TinyModel) -> None:
    engine = load(tiny_model("llama"), dtype="fp32", certify="background")
    engine.remember("a", [PROMPT])
    engine.remember("b", [PROMPT])
    engine.forget("b")
    ask(engine, conversation="c", max_tokens=5)
    ask(engine, conversation="d", max_tokens=5)
    assert engine._drafters.memory.num_tokens == 0
    take(engine)
    assert {*engine._drafters.memory._spans} == {"a", "c"}


def test_an_answer_that_began_before_ends_under_its_rule(tiny_model: TinyModel) -> None:
    """With the background's own thread, which takes no step while an answer runs."""
    engine = load(tiny_model("llama"), dtype="fp32", certify="background")
    request = GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=60, ignore_eos=True)
    events = engine.generate(request)
    while not isinstance(next(events), Round):
        pass
    progress = engine.progress
    rest = [event for event in events if engine.progress == progress]
    end = rest[-1]
    assert isinstance(end, Finished), "a step was taken in the middle of an answer"
    assert end.certificate.provisional
    assert end.stats.drafted == 0
    wait_until(lambda: certified(engine))
    engine.draft_every_round()
    *_, later = engine.generate(request)
    assert isinstance(later, Finished)
    assert not later.certificate.provisional
    assert later.stats.drafted > 0
    engine.close()


@pytest.mark.parametrize("end", ["unload", "close", "load"])
def test_the_background_work_ends_with_its_model(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    closed = threading.Event()
    begun = threading.Event()

    def endless(_: object) -> Generator[Passes, None, None]:
        try:
            while True:
                begun.set()
                yield Passes(1, 2)
        finally:
            closed.set()

    monkeypatch.setattr("engine.probe.findings.certify_steps", endless)
    engine = load(tiny_model("llama"), dtype="fp32", certify="background")
    assert begun.wait(PATIENCE_S)
    assert ask(engine, max_tokens=5).token_ids
    if end == "load":
        list(engine.load(ModelSpec(model=str(tiny_model("qwen3")), dtype="fp32", certify="background")))
    else:
        getattr(engine, end)()
    assert closed.is_set()
    engine.close()
    assert engine.progress is None
    assert not [thread for thread in threading.enumerate() if thread.name == "background"]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "ran out of memory"),
        (RuntimeError("some fault"), "RuntimeError: some fault"),
    ],
)
def test_a_failure_in_the_probe_leaves_a_model_that_answers(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch, failure: Exception, said: str
) -> None:
    def fails(_: object) -> Iterator[Passes]:
        yield Passes(1, 2)
        raise failure

    monkeypatch.setattr("engine.probe.findings.certify_steps", fails)
    engine = load(tiny_model("llama"), dtype="fp32", certify="background")
    wait_until(lambda: engine.info is not None and any("check of this model failed" in n for n in engine.info.notes))
    assert engine.info is not None
    assert said in engine.info.notes[-1]
    assert (engine.info.provisional, engine.progress) == (True, None)
    plain, adaptive = (ask(engine, mode=mode, ignore_eos=True) for mode in ("plain", "adaptive"))
    assert plain.token_ids == adaptive.token_ids
    with pytest.raises(NotCertified, match="could not be checked"):
        list(engine.compare(GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=5)))


def test_what_is_known_is_there_at_once(tiny_model: TinyModel, tmp_path: Path) -> None:
    spec = ModelSpec(model=str(tiny_model("llama")), dtype="fp32", device="cpu", certify="background")
    engine = Engine(tmp_path)
    list(engine.load(spec))
    wait_until(lambda: certified(engine))
    exact = engine.info.exact  # type: ignore[union-attr]
    list(engine.load(spec))
    assert certified(engine)
    assert engine.info.exact == exact  # type: ignore[union-attr]
    engine.close()
