"""Looking into the memory: what it holds, where a phrase stands, and what an answer would then be drafted from."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import EngineAPI
from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message
from engine.errors import EngineBusy, NoModelLoaded, NotCertified
from engine.events import Finished
from tests.asking import load

STORY = "The quick brown fox jumps over the lazy dog, and the dog sleeps on in the warm afternoon sun."


@pytest.fixture
def engine(tiny_model: Callable[..., Path]) -> Iterator[InstrumentedEngine]:
    built = load(tiny_model("llama"), dtype="fp32")
    yield built
    built.close()


def test_it_says_what_it_holds_of_each_conversation(engine: InstrumentedEngine) -> None:
    assert engine.look().conversations == ()
    engine.remember("3", [STORY])
    engine.remember("5", [STORY, "And more."])
    view = engine.look()
    assert [each.conversation for each in view.conversations] == ["3", "5"]
    assert view.conversations[0].num_tokens < view.conversations[1].num_tokens
    assert view.num_bytes >= sum(each.num_tokens for each in view.conversations) * 4
    engine.forget("3")
    assert [each.conversation for each in engine.look().conversations] == ["5"]


def test_a_phrase_is_found_where_it_stands_with_what_would_follow(engine: InstrumentedEngine) -> None:
    engine.remember("3", [f"{STORY} {STORY}"])
    engine.remember("5", ["Something else."])
    for phrase in ("brown fox jumps", "quick brown fox jumps over the lazy"):
        view = engine.look(phrase)
        assert [(match.conversation, match.times) for match in view.matches] == [("3", 2)]
        assert phrase in view.matches[0].excerpt
    best = view.proposals[0]
    assert best.text.startswith(" dog")
    assert (best.source, best.place) == ("memory", "chat 3")
    assert 0 < best.chance <= 1
    assert [p.chance for p in view.proposals] == sorted((p.chance for p in view.proposals), reverse=True)
    assert engine.look("nowhere at all, zebra").matches == ()
    ready = engine._session.model
    end = ready.encode([" dog"])[0]
    engine._session.model = replace(ready, loaded=replace(ready.loaded, eos_ids=frozenset({end})))
    assert engine.look("quick brown fox jumps over the lazy").proposals[0].text == ready.spell([end])


def test_looking_changes_no_later_answer(engine: InstrumentedEngine) -> None:
    def ask(text: str) -> Finished:
        request = GenerationRequest(
            messages=(Message.of("user", text),), conversation="1", max_tokens=60, ignore_eos=True
        )
        *_, last = engine.generate(request)
        assert isinstance(last, Finished)
        return last

    first = ask(STORY)
    known = engine._drafters.adaptive._parts.sources.history.tokens.copy()
    assert engine.look("quick brown fox").joining == "1"
    assert (engine._drafters.adaptive._parts.sources.history.tokens == known).all()
    assert ask(STORY).token_ids == first.token_ids


def test_it_is_refused_where_it_cannot_be(engine: InstrumentedEngine) -> None:
    running = engine.generate(GenerationRequest(messages=(Message.of("user", STORY),)))
    next(iter(running))
    with pytest.raises(EngineBusy):
        engine.look()
    running.close()
    engine._drafters._asleep = True
    assert engine.look().conversations == ()
    with pytest.raises(NotCertified, match="look a phrase up when drafting is on"):
        engine.look("fox")
    engine.unload()
    with pytest.raises(NoModelLoaded):
        engine.look()


def test_the_face_has_it(engine: InstrumentedEngine) -> None:
    face: EngineAPI = engine
    assert face.memory is not None
    assert face.memory.look().cap_tokens > 0
