"""Which conversations the engine is told of, and when it is told to forget them."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.chat import memory
from app.chat.memory import MemoryKeeper
from app.chat.services import Services
from app.exchange.own import export_json, import_json
from app.store.attachments import Attachments
from app.store.records import ConversationSettings, ConversationSummary
from app.store.store import Store
from tests.scripted import ScriptedEngine, loaded_engine

PATIENCE_S = 20.0  # for what takes milliseconds on an idle machine; reaching it is the failure


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


@pytest.fixture
def engine() -> ScriptedEngine:
    return loaded_engine()


@pytest.fixture
def services(tmp_path: Path, engine: ScriptedEngine, store: Store) -> Services:
    return Services(engine, store)


def conversation(store: Store, *texts: str, memory: bool = True) -> int:
    made = store.new_conversation(ConversationSettings(memory=memory), texts[0])
    parent = None
    for place, text in enumerate(texts):
        parent = store.add_message(made.id, parent, "assistant" if place % 2 else "user", text).id
    return made.id


def filled(engine: ScriptedEngine, store: Store, expected: set[str]) -> dict[str, tuple[str, ...]]:
    """What the engine knows after a filling that must come to know `expected`."""
    MemoryKeeper(engine, store).refill()
    return wait_for(engine, expected)


def wait_for(engine: ScriptedEngine, expected: set[str]) -> dict[str, tuple[str, ...]]:
    end = time.monotonic() + PATIENCE_S
    while set(engine.remembered) < expected and time.monotonic() < end:
        time.sleep(0.005)
    return engine.remembered


def test_a_fresh_engine_is_told_of_every_conversation_but_the_private_ones(
    engine: ScriptedEngine, store: Store
) -> None:
    private = conversation(store, "private", "indeed", memory=False)
    first = conversation(store, "a question", "an answer")
    second = conversation(store, "another", " ", "and more")
    known = filled(engine, store, {str(first), str(second)})
    assert known == {str(first): ("a question", "an answer"), str(second): ("another", "and more")}
    assert str(private) not in known


def test_conversations_from_a_file_are_told_of(engine: ScriptedEngine, store: Store, services: Services) -> None:
    conversation(store, "a question", "an answer")
    services.imported(import_json(store, export_json(store)))
    added = str(store.conversations()[0].id)
    assert wait_for(engine, {added}) == {added: ("a question", "an answer")}


def test_the_newest_are_told_where_not_all_have_room(
    engine: ScriptedEngine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LIMIT_CHARS", 25)
    old, *new = (conversation(store, "ten chars.") for _ in range(3))
    assert list(filled(engine, store, set(map(str, new)))) == [str(id) for id in new]  # the newest last
    assert str(old) not in engine.remembered


def test_a_deletion_during_a_filling_costs_that_conversation_only(
    engine: ScriptedEngine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted, *others = (conversation(store, f"question {number}") for number in range(3))
    listed = store.conversations()

    def list_then_delete() -> list[ConversationSummary]:
        store.delete(deleted)
        return listed

    monkeypatch.setattr(store, "conversations", list_then_delete)
    assert set(filled(engine, store, set(map(str, others)))) == set(map(str, others))


def test_deleting_forgets_and_undo_remembers(services: Services, engine: ScriptedEngine, store: Store) -> None:
    id = conversation(store, "one", "two")
    engine.remember(str(id), ["one", "two"])
    services.delete(id)
    assert engine.remembered == {}
    services.restore(id)
    assert engine.remembered == {str(id): ("one", "two")}


def test_the_switch_of_a_conversation_takes_it_out_and_brings_it_back(
    services: Services, engine: ScriptedEngine, store: Store
) -> None:
    id = conversation(store, "one", "two")
    settings = store.conversation(id).settings
    services.save_settings(id, replace(settings, max_tokens=7))
    assert engine.remembered == {}  # nothing about the memory has changed
    engine.remember(str(id), ["one", "two"])
    services.save_settings(id, replace(settings, memory=False))
    assert engine.remembered == {}
    services.save_settings(id, settings)
    assert engine.remembered == {str(id): ("one", "two")}


def test_an_answer_says_whose_it_is_and_whether_it_may_remember(
    services: Services, engine: ScriptedEngine, store: Store
) -> None:
    for remembers in (True, False):
        made = store.new_conversation(ConversationSettings(memory=remembers))
        services.chat.send(made.id, "hello").join()
        request = engine.requests[-1]
        assert (request.conversation, request.memory) == (str(made.id), remembers)


def test_what_is_attached_is_remembered_as_the_model_reads_it_up_to_a_limit(
    engine: ScriptedEngine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ATTACHED_CHARS", 20)
    made = conversation(store, "question", "answer")
    question = store.path(made)[0].id
    for name, text in (("a.txt", "fifteen letters"), ("b.txt", "ten letter"), ("c.txt", "five5")):
        Attachments(store).insert(made, question, name, "text", 9, text)
    said, answer = filled(engine, store, {str(made)})[str(made)]
    assert said.startswith('Attached text "a.txt":\n\nfifteen letters')
    assert said.endswith("\n\nquestion")
    assert "five5" in said
    assert "ten letter" not in said
    assert answer == "answer"
