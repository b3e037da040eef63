"""The engine end to end on tiny random models: lossless in every setting, and sound however an answer ends."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Running
from engine.bench.instrumented import InstrumentedEngine
from engine.config import DrafterName, GenerationRequest, Message, Mode, Sampling
from engine.drafting.drafter import Draft, NoDrafter
from engine.drafting.drafter import chain as chain_of
from engine.drafting.registry import DRAFTER_NAMES
from engine.errors import EngineBusy, NoModelLoaded
from engine.events import Event, Finished, PrefillProgress, Round, TextDelta, TokenLikelihood
from engine.metrics import Loop
from tests.asking import PROMPT, ask, ask_all, load


class Scripted(NoDrafter):
    """Drafts from the ids that plain decoding gave: `right` of every `right + wrong` tokens as they are."""

    def __init__(self, prompt_length: int, answer: Sequence[int], right: int, wrong: int) -> None:
        self._start, self._answer = prompt_length, list(answer)
        self._right, self._period = right, right + wrong
        self._length = 0

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        self._length = len(token_ids)

    def draft(self, max_size: int, *, chain: bool = False, min_chance: object = None) -> Draft:
        position = self._length - self._start
        proposed = [
            token if (position + i) % self._period < self._right else (token + 1) % 250
            for i, token in enumerate(self._answer[position : position + max_size])
        ]
        return chain_of(proposed, "scripted", chance=0.95)

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        self._length += len(token_ids)


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
    request = GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=64, ignore_eos=True)
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


def test_an_answer_that_continues_a_loop_says_so_in_its_rounds_and_at_its_end(engine: InstrumentedEngine) -> None:
    request = GenerationRequest(
        messages=(Message.of("user", PROMPT), Message.of("assistant", "so it goes")),
        continue_final=True,
        continued_ids=(5, 6, 7) * 80,
        max_tokens=8,
        ignore_eos=True,
    )
    events = list(engine.generate(request))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.stats.loop == Loop(start=0, period=3)
    assert {event.loop for event in events if isinstance(event, Round)} == {finished.stats.loop}
    assert ask(engine, ignore_eos=True).stats.loop is None


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_likelihoods_are_those_of_plain_decoding_and_change_no_token(
    engine: InstrumentedEngine, sampling: Sampling
) -> None:
    options = {"sampling": sampling, "ignore_eos": True, "max_tokens": 40}
    found: dict[Mode, list[TokenLikelihood]] = {}
    for mode in ("plain", "adaptive"):
        engine.reset_cache()
        unasked = ask(engine, mode=mode, **options)
        engine.reset_cache()
        events = ask_all(engine, mode=mode, num_likeliest=3, **options)
        end = events[-1]
        assert isinstance(end, Finished)
        assert end.token_ids == unasked.token_ids
        told = [event for event in events if isinstance(event, PrefillProgress | Round)]
        found[mode] = [each for event in told for each in event.likelihoods]
        assert [each.chosen.token_id for each in found[mode]] == list(end.token_ids)
    assert found["plain"] == found["adaptive"]
    for each in found["plain"]:
        logprobs = [other.logprob for other in each.likeliest]
        assert logprobs == sorted(logprobs, reverse=True)
        assert sum(map(math.exp, logprobs)) <= 1.0001
        if sampling == Sampling():
            assert each.chosen == each.likeliest[0]


def test_an_end_token_has_no_likelihood(engine: InstrumentedEngine) -> None:
    events = ask_all(engine, num_likeliest=0, max_tokens=400)
    end = events[-1]
    assert isinstance(end, Finished)
    told = [each for event in events if isinstance(event, PrefillProgress | Round) for each in event.likelihoods]
    assert [each.chosen.token_id for each in told] == list(end.token_ids)
    assert all(each.likeliest == () for each in told)


@pytest.mark.parametrize("drafter", DRAFTER_NAMES)
def test_every_drafter_gives_the_ids_of_plain_decoding(engine: InstrumentedEngine, drafter: DrafterName) -> None:
    plain = ask(engine, mode="plain", ignore_eos=True)
    request = GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=96, ignore_eos=True)
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
    assert drafted.stats.draft_sizes == drafted.stats.accepted_lengths
    assert sum(drafted.stats.draft_sizes) + drafted.stats.rounds == drafted.stats.num_committed  # nor the end token
    assert ask(engine, PROMPT + "x").token_ids == ask(engine, PROMPT + "x", mode="plain").token_ids


def test_max_tokens_and_context_end_an_answer(tiny_model: Callable[..., Path]) -> None:
    engine = load(tiny_model("llama"), dtype="fp32", max_context=256)
    assert len(ask(engine, "Hello", max_tokens=1, ignore_eos=True).token_ids) == 1
    for mode in ("plain", "adaptive"):
        full = ask(engine, "Hello there", max_tokens=5000, ignore_eos=True, mode=mode)
        assert full.stop_reason == "context"
        assert full.stats.num_prompt_tokens + full.stats.num_tokens == 256


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
        history = (Message.of("user", PROMPT), Message.of("assistant", first.text), Message.of("user", "And then?"))
        events = engine.generate(GenerationRequest(messages=history, exactness="fast"))
        reused = next(events).reused
        events.close()
        if reused > first.stats.num_prompt_tokens:
            break
    assert reused > first.stats.num_prompt_tokens  # rows of the fast answer are in use
    assert engine._session.num_certified == first.stats.num_prompt_tokens


def test_one_piece_of_work_at_a_time(engine: InstrumentedEngine) -> None:
    events = engine.generate(GenerationRequest(messages=(Message.of("user", "Hello"),)))
    next(events)
    with pytest.raises(EngineBusy, match="busy with another answer"):
        ask(engine)
    events.close()
    assert ask(engine).stats.num_tokens > 0


def test_without_a_model() -> None:
    with pytest.raises(NoModelLoaded, match="choose one first"):
        ask(InstrumentedEngine())


@pytest.mark.parametrize("begins", ["plain", "adaptive"])
@pytest.mark.parametrize("sampling", SAMPLINGS[:3])
def test_drafting_is_switched_in_mid_answer_and_changes_no_token(
    engine: InstrumentedEngine, sampling: Sampling, begins: Mode
) -> None:
    plain = ask(engine, mode="plain", sampling=sampling, ignore_eos=True)
    request = GenerationRequest(
        messages=(Message.of("user", PROMPT),), mode=begins, sampling=sampling, max_tokens=96, ignore_eos=True
    )
    running = engine.generate(request)
    drafting = begins == "adaptive"
    drafted: dict[bool, int] = {True: 0, False: 0}
    *_, end = _switched(running, drafting, drafted)
    assert isinstance(end, Finished)
    assert end.token_ids == plain.token_ids
    assert drafted[False] == 0
    assert drafted[True] > 0


def _switched(running: Running[Event], drafting: bool, drafted: dict[bool, int]) -> Iterator[Event]:
    """The events of an answer whose drafts are switched after every third round."""
    for event in running:
        if isinstance(event, Round):
            drafted[drafting] += event.draft_size
            if event.index % 3 == 2:
                drafting = not drafting
                running.draft(drafting)
        yield event
