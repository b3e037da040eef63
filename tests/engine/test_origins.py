"""What a round says of where its tokens came from: true to the text, and nothing where nothing is drafted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message
from engine.drafting.adaptive import AdaptiveDrafter
from engine.drafting.allowance import Allowance
from engine.drafting.conversation_memory import ConversationMemory
from engine.drafting.drafter import NO_PLACE, chain
from engine.events import Event, Finished, PrefillProgress, Round, TextDelta
from engine.forward.widths import WIDTHS
from engine.probe.cost import CostCurve
from tests.asking import PROMPT, load, steps_to


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tiny_model: Callable[..., Path]) -> Iterator[InstrumentedEngine]:
    flat = CostCurve({64: {width: 1 + width / 1000 for width in WIDTHS}}, {1: 0.0})  # drafting pays on any machine
    monkeypatch.setattr("engine.probe.findings.measure_steps", lambda *_: steps_to(flat))
    built = load(tiny_model("llama"), dtype="fp32")
    yield built
    built.close()


def answer(engine: InstrumentedEngine, *texts: str, **options: object) -> list[Event]:
    messages = tuple(Message.of(("user", "assistant")[at % 2], text) for at, text in enumerate(texts))
    request = GenerationRequest(
        messages=messages, conversation="1", **{"max_tokens": 120, "ignore_eos": True, **options}
    )
    return list(engine.generate(request))


def test_the_lengths_of_all_tokens_make_the_text(engine: InstrumentedEngine) -> None:
    """But for what is held back until a later round, or the end."""
    events = answer(engine, PROMPT)
    drafted = [event for event in events if isinstance(event, Round) and event.origins]
    assert len(drafted) > 5
    for at, event in enumerate(events):
        if isinstance(event, Round):
            delta = events[at + 1]
            added = len(delta.text) if isinstance(delta, TextDelta) and at + 2 < len(events) else 0
            if event.origins is None:
                assert event.draft_size == 0
                continue
            assert len(event.origins.lengths) == len(event.token_ids)
            assert len(event.origins.places) == len(event.origins.chances) == event.accepted
            assert all(0 < chance <= 1 for chance in event.origins.chances)
            assert sum(event.origins.lengths) == added or at + 2 >= len(events) - 1


def test_places_tell_the_newest_message_from_what_was_said_before(engine: InstrumentedEngine) -> None:
    *_, first = answer(engine, PROMPT)
    assert isinstance(first, Finished)
    kinds = {
        place
        for event in answer(engine, PROMPT, first.text, PROMPT)
        if isinstance(event, Round) and event.origins
        for place in event.origins.places
    }
    assert kinds <= {"answer", "prompt", "chat", ""}
    assert "answer" in kinds


def test_what_another_conversation_said_is_named_by_its_key(engine: InstrumentedEngine) -> None:
    *_, first = answer(engine, PROMPT)
    assert isinstance(first, Finished)
    engine.forget("1")
    engine.remember("17", [first.text])
    engine._drafters.adaptive.forget_recycled()
    events = answer(engine, PROMPT)
    places = [place for e in events if isinstance(e, Round) and e.origins for place in e.origins.places]
    assert places.count("chat 17") > 5
    retried = answer(engine, PROMPT, elsewhere=(first.text,), memory=False)
    assert "chat" in {place for e in retried if isinstance(e, Round) and e.origins for place in e.origins.places}


def test_a_refused_draft_is_spelled_beside_the_token_that_came(engine: InstrumentedEngine) -> None:
    rounds = [event for event in answer(engine, PROMPT) if isinstance(event, Round)]
    refused = [event for event in rounds if event.origins and event.origins.refused]
    assert refused
    for event in refused:
        assert event.origins is not None
        assert event.origins.refused_source in event.sources[event.accepted :]
        assert event.origins.refused_chance is not None
    assert all(e.origins is None or not e.origins.refused for e in rounds if e.draft_size == e.accepted)


def test_nothing_is_told_where_drafting_is_off(engine: InstrumentedEngine) -> None:
    rounds = [event for event in answer(engine, PROMPT, mode="plain") if isinstance(event, Round)]
    assert rounds
    assert all(event.origins is None and event.undrafted == "" for event in rounds)


class Resting(Allowance):
    drafts = False  # for as long as the answer takes, however fast this machine is


def test_a_round_without_a_draft_says_why(engine: InstrumentedEngine) -> None:
    whys = {e.undrafted for e in answer(engine, "Say something new.") if isinstance(e, Round) and not e.draft_size}
    assert "unsure" in whys
    engine._drafters.adaptive.allowance = Resting()
    whys = {e.undrafted for e in answer(engine, "Say something new.") if isinstance(e, Round) and not e.draft_size}
    assert whys <= {"resting", ""}
    assert "resting" in whys


def test_a_draft_that_is_an_end_alone_is_not_called_unsure(
    engine: InstrumentedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = engine._session.model
    end = min(ready.loaded.eos_ids)
    monkeypatch.setattr(AdaptiveDrafter, "draft", lambda *_, **__: chain([end], "recycled", chance=0.9))
    rounds = [e for e in answer(engine, PROMPT, ignore_eos=False) if isinstance(e, Round)]
    assert {(e.draft_size, e.undrafted) for e in rounds} == {(0, "")}


def test_the_first_token_belongs_to_no_round(engine: InstrumentedEngine) -> None:
    events = answer(engine, PROMPT)
    first = [event for event in events if isinstance(event, PrefillProgress)][-1]
    finished = events[-1]
    assert isinstance(finished, Finished)
    ids = [first.first_token_id, *(i for e in events if isinstance(e, Round) for i in e.token_ids)]
    assert ids == list(finished.token_ids)


def test_every_source_says_where_it_read() -> None:
    memory = ConversationMemory(1000)
    memory.absorb("5", [50, 51, 52, 53])
    memory.absorb("7", [60, 61, 62, 63])
    drafter = AdaptiveDrafter(memory)
    drafter.begin([1, 2, 3, 4, 9, 1, 2, 3])
    draft = drafter.draft(1, chain=True)
    assert (draft.token_ids, draft.places) == ((4,), (3,))
    drafter.begin([60, 61])
    draft = drafter.draft(8)
    assert dict(zip(draft.token_ids, draft.places, strict=True))[62] == "7"
    memory.forget("5")
    drafter.begin([1, 60, 61])
    draft = drafter.draft(8)
    assert dict(zip(draft.token_ids, draft.places, strict=True))[62] == "7"
    assert draft.before({62}).places == ()
    assert draft.up_to({62}).places == draft.places[:1]
    drafter.begin([8])
    assert all(place == NO_PLACE or isinstance(place, str | int) for place in drafter.draft(8).places)
