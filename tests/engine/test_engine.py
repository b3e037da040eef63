"""The engine end to end on tiny random models: lossless in every setting, and sound however an answer ends."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from engine.api import Running
from engine.bench.instrumented import InstrumentedEngine
from engine.config import DrafterName, GenerationRequest, Message, ModelSpec, Sampling
from engine.drafting.drafter import Draft, NoDrafter
from engine.drafting.drafter import chain as chain_of
from engine.drafting.registry import DRAFTER_NAMES
from engine.engine import Engine
from engine.errors import DownloadCancelled, EngineBusy, EngineError, NoModelLoaded, NotEnoughMemory
from engine.events import Event, Finished, LaneEvent, LoadProgress, PrefillProgress, Round, TextDelta, Verdict
from engine.models.hardware import Device

PROMPT = "The quick brown fox jumps over the lazy dog; the quick brown fox sleeps. " * 6


class Scripted(NoDrafter):
    """Drafts from the ids that plain decoding gave: `right` of every `right + wrong` tokens as they are."""

    def __init__(self, prompt_length: int, answer: Sequence[int], right: int, wrong: int) -> None:
        self._start, self._answer = prompt_length, list(answer)
        self._right, self._period = right, right + wrong
        self._length = 0

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        self._length = len(token_ids)

    def draft(self, max_size: int, *, chain: bool = False, min_chance: object = None) -> Draft:
        place = self._length - self._start
        proposed = [
            token if (place + i) % self._period < self._right else (token + 1) % 250
            for i, token in enumerate(self._answer[place : place + max_size])
        ]
        return chain_of(proposed, "scripted", chance=0.95)

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        self._length += len(token_ids)


def load(folder: Path, **options: object) -> InstrumentedEngine:
    engine = InstrumentedEngine()
    *_, last = engine.load(ModelSpec(**{"model": str(folder), **options}))
    assert last.stage == "ready"
    engine.draft_every_round()  # a load forgets it
    return engine


def ask(
    engine: InstrumentedEngine, text: str = PROMPT, *, drafter: Scripted | None = None, **options: object
) -> Finished:
    request = GenerationRequest(messages=(Message("user", text),), **{"max_tokens": 96, **options})
    *_, last = engine.generate(request, drafter=drafter)
    assert isinstance(last, Finished)
    return last


@pytest.fixture(scope="module")
def engine(tiny_model: Callable[..., Path]) -> Iterator[InstrumentedEngine]:
    built = load(tiny_model("llama"), dtype="fp32")
    yield built
    built.close()


SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0.8, seed=3),
    Sampling(temperature=0.8, seed=4, repetition_penalty=1.2, top_p=0.95),
    Sampling(repetition_penalty=1.3),
)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "mistral"])
def test_adaptive_equals_plain(tiny_model: Callable[..., Path], family: str, dtype: str) -> None:
    """Greedy and seeded, with drafts that are right, wrong and both, and the drafter's own; two turns each."""
    engine = load(tiny_model(family), dtype=dtype)
    accepted = rejected = rounds = 0
    for sampling in SAMPLINGS:
        engine.reset_cache()
        options = {"sampling": sampling, "ignore_eos": True, "max_tokens": 80}
        plain = ask(engine, mode="plain", **options)
        again = ask(engine, PROMPT + "And then?", mode="plain", **options)
        assert again.stats.num_reused_tokens > 20
        for right, wrong in ((1, 0), (0, 1), (3, 1)):
            engine.reset_cache()
            for reference, text in ((plain, PROMPT), (again, PROMPT + "And then?")):
                length = reference.stats.num_prompt_tokens
                drafter = Scripted(length, reference.token_ids, right, wrong)
                answer = ask(engine, text, drafter=drafter, **options)
                assert answer.token_ids == reference.token_ids
                assert answer.text == reference.text
                rounds += answer.stats.rounds
                pairs = list(zip(answer.stats.draft_sizes, answer.stats.accepted_lengths, strict=True))
                accepted += sum(a > 0 for _, a in pairs)
                rejected += sum(a < d for d, a in pairs)
        engine.reset_cache()
        assert ask(engine, **options).token_ids == plain.token_ids  # the adaptive drafter's own drafts
    assert accepted >= 0.2 * rounds
    assert rejected >= 0.2 * rounds
    assert engine.info is not None
    assert engine.info.exact.tier in ("A", "B")


def test_events_add_up(engine: InstrumentedEngine) -> None:
    request = GenerationRequest(messages=(Message("user", PROMPT),), max_tokens=64, ignore_eos=True)
    events = list(engine.generate(request))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert sum(isinstance(e, Finished) for e in events) == 1
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == finished.text
    rounds = [e for e in events if isinstance(e, Round)]
    first = [e.first_token_id for e in events if isinstance(e, PrefillProgress)][-1]
    assert finished.token_ids == (first, *(i for r in rounds for i in r.token_ids))
    assert [r.index for r in rounds] == list(range(finished.stats.rounds))
    assert [r.accepted for r in rounds] == list(finished.stats.accepted_lengths)
    assert all(len(r.sources) == r.draft_size >= r.accepted for r in rounds)
    assert finished.stats.num_committed == finished.stats.num_tokens - 1 == sum(len(r.token_ids) for r in rounds)
    assert finished.stats.decode_s == rounds[-1].decode_s >= finished.stats.draft_s


@pytest.mark.parametrize("drafter", DRAFTER_NAMES)
def test_whoever_drafts_the_words_are_plains(engine: InstrumentedEngine, drafter: DrafterName) -> None:
    plain = ask(engine, mode="plain", ignore_eos=True)
    request = GenerationRequest(messages=(Message("user", PROMPT),), max_tokens=96, ignore_eos=True)
    rounds = [e for e in engine.generate(replace(request, drafter=drafter)) if isinstance(e, Round)]
    committed = [token_id for one in rounds for token_id in one.token_ids]
    assert committed == list(plain.token_ids[1:])
    sources = {source for one in rounds for source in one.sources}
    assert not sources & set(DRAFTER_NAMES) if drafter == "adaptive" else sources == {drafter}


def test_plain_commits_one_token_a_round(engine: InstrumentedEngine) -> None:
    answer = ask(engine, mode="plain", ignore_eos=True)
    assert answer.stats.tokens_per_round == 1
    assert answer.stats.drafted == 0
    assert answer.stop_reason == "length"


def test_a_stop_string_inside_an_accepted_path(engine: InstrumentedEngine) -> None:
    whole = ask(engine, mode="plain", ignore_eos=True)
    stop = whole.text[len(whole.text) // 2 :][:3]
    plain = ask(engine, mode="plain", ignore_eos=True, stop=(stop,))
    oracle = Scripted(whole.stats.num_prompt_tokens, whole.token_ids, 1, 0)
    drafted = ask(engine, drafter=oracle, ignore_eos=True, stop=(stop,))
    assert drafted.stop_reason == plain.stop_reason == "stop"
    assert drafted.text == plain.text == whole.text[: whole.text.index(stop)]
    assert drafted.token_ids == plain.token_ids == whole.token_ids[: len(plain.token_ids)]
    assert ask(engine, mode="plain", ignore_eos=True).token_ids == whole.token_ids  # nothing was left behind


def test_an_end_token_inside_an_accepted_path(tiny_model: Callable[..., Path]) -> None:
    engine = load(tiny_model("llama"), dtype="fp32")
    whole = ask(engine, mode="plain", ignore_eos=True)
    end = whole.token_ids[40]
    ready = engine._session.model
    engine._session.model = replace(ready, loaded=replace(ready.loaded, eos_ids=frozenset({end})))
    plain = ask(engine, mode="plain")
    oracle = Scripted(whole.stats.num_prompt_tokens, whole.token_ids, 1, 0)
    drafted = ask(engine, drafter=oracle)
    assert drafted.stop_reason == plain.stop_reason == "eos"
    assert end not in drafted.token_ids
    assert drafted.token_ids == plain.token_ids == whole.token_ids[: whole.token_ids.index(end)]
    assert drafted.stats.num_committed == drafted.stats.num_tokens  # the first is no round's, the end token is
    assert ask(engine, PROMPT + "x").token_ids == ask(engine, PROMPT + "x", mode="plain").token_ids


def test_max_tokens_and_context_end_an_answer(tiny_model: Callable[..., Path]) -> None:
    engine = load(tiny_model("llama"), dtype="fp32", max_context=256)
    assert len(ask(engine, "Hello", max_tokens=1, ignore_eos=True).token_ids) == 1
    for mode in ("plain", "adaptive"):
        full = ask(engine, "Hello there", max_tokens=5000, ignore_eos=True, mode=mode)
        assert full.stop_reason == "context"
        assert full.stats.num_prompt_tokens + full.stats.num_tokens == 256


def test_cancelling_at_every_event_leaves_a_sound_engine(engine: InstrumentedEngine) -> None:
    request = GenerationRequest(messages=(Message("user", PROMPT),), max_tokens=24, ignore_eos=True)
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
    request = GenerationRequest(messages=(Message("user", PROMPT),), max_tokens=24, ignore_eos=True)
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
    request = GenerationRequest(messages=(Message("user", PROMPT),), max_tokens=24, ignore_eos=True)
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
    monkeypatch.setattr("engine.probe.findings.certify", lambda *_: certified.append(None))
    engine = Engine()
    events = engine.load(ModelSpec(model=str(tiny_model("llama")), dtype="fp32"))
    assert next(events).stage == "find"
    events.close()
    assert not certified
    assert engine.info is None


def test_closing_a_load_waits_for_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next load would begin while this one still takes memory."""
    ended = threading.Event()

    def load_model(spec: ModelSpec, report: Callable[[LoadProgress], None], cancelled: Callable[[], bool]) -> None:
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
def test_memory_that_runs_out_is_told(
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


def test_fast_rows_are_not_reused_by_exact(engine: InstrumentedEngine) -> None:
    ask(engine, exactness="fast", ignore_eos=True)
    cached = len(engine._session.cached_ids)
    prompt_tokens = ask(engine, exactness="exact", ignore_eos=True, max_tokens=1).stats.num_prompt_tokens
    assert cached > prompt_tokens >= engine._session.num_certified


def test_fast_rows_stay_uncertified_after_a_prefill_that_was_cut_short(engine: InstrumentedEngine) -> None:
    engine.reset_cache()
    for seed in range(50):  # until an answer whose text gives its first ids again
        sampling = Sampling(temperature=1.0, seed=seed)
        first = ask(engine, exactness="fast", ignore_eos=True, sampling=sampling, max_tokens=8)
        history = (Message("user", PROMPT), Message("assistant", first.text), Message("user", "And then?"))
        events = engine.generate(GenerationRequest(messages=history, exactness="fast"))
        reused = next(events).reused
        events.close()
        if reused > first.stats.num_prompt_tokens:
            break
    assert reused > first.stats.num_prompt_tokens  # rows of the fast answer are in use
    assert engine._session.num_certified == first.stats.num_prompt_tokens


def test_logits_that_are_not_numbers_are_told_and_leave_nothing_behind(tiny_model: Callable[..., Path]) -> None:
    engine = load(tiny_model("llama"), dtype="fp32")
    expected = ask(engine, ignore_eos=True).token_ids
    weight = engine.loaded.model.model.layers[0].input_layernorm.weight
    saved = weight[0].item()
    for mode in ("plain", "adaptive"):
        events = engine.generate(GenerationRequest(messages=(Message("user", PROMPT),), mode=mode, ignore_eos=True))
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
        list(engine.compare(GenerationRequest(messages=(Message("user", PROMPT),), ignore_eos=True)))
    with torch.inference_mode():
        weight[0] = saved
    assert ask(engine, ignore_eos=True).token_ids == expected


def test_compare_ends_in_a_verdict(engine: InstrumentedEngine) -> None:
    for exactness in ("exact", "fast"):
        request = GenerationRequest(
            messages=(Message("user", PROMPT),), max_tokens=80, ignore_eos=True, exactness=exactness
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
    request = GenerationRequest(messages=(Message("user", PROMPT),), max_tokens=400, ignore_eos=True)
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
    request = GenerationRequest(messages=(Message("user", PROMPT),), max_tokens=96, ignore_eos=True)
    with monkeypatch.context() as patch:
        full = Device(torch.device("cpu"), "Some CPU", 1000)
        patch.setattr("engine.models.out_of_memory.choose_device", lambda _: full)
        with pytest.raises(NotEnoughMemory, match=r"second answer's cache takes .* and 0 MB are free on Some CPU"):
            list(engine.compare(request))
    again = ask(engine, ignore_eos=True)
    assert again.token_ids == answered.token_ids
    assert again.stats.num_reused_tokens == answered.stats.num_prompt_tokens - 1
    *_, verdict = engine.compare(request)
    assert isinstance(verdict, Verdict)


def test_one_piece_of_work_at_a_time(engine: InstrumentedEngine) -> None:
    events = engine.generate(GenerationRequest(messages=(Message("user", "Hello"),)))
    next(events)
    with pytest.raises(EngineBusy, match="busy with another answer"):
        ask(engine)
    events.close()
    assert ask(engine).stats.num_tokens > 0


def test_without_a_model() -> None:
    with pytest.raises(NoModelLoaded, match="choose one first"):
        ask(InstrumentedEngine())
