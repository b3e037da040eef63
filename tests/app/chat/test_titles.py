"""Titles that the model writes: in idle time alone, giving way to everybody, and never over a person's."""

import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.chat import titles
from app.chat.queue import Asker, Queue
from app.chat.services import Services
from app.chat.titles import ORDER, TitleWriter
from app.store.figures import kept_runs
from app.store.store import Store
from engine.api import Work
from engine.config import GenerationRequest
from engine.errors import EngineError
from tests.scripted import ScriptedEngine
from tests.turns import WAIT_S, wait_until

TITLE = "Marmalade That Sets"


def said(request: GenerationRequest) -> str:
    return TITLE if request.messages[-1].text == ORDER else "Boil it longer."


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Services]]:
    made: list[Services] = []

    def make(answer: Any = said, **script: Any) -> Services:
        store = Store(tmp_path / "slipstream.db")
        made.append(Services(ScriptedEngine((answer,), loaded=True, **script), store))
        made[0].settings.set_titles("always")
        return made[0]

    yield make
    for services in made:
        services.close()
        services.store.close()


def converse(services: Services, text: str = "how do i make marmalade") -> int:
    conversation_id = services.new_conversation(services.fresh_settings())
    services.chat.send(conversation_id, text).join(WAIT_S)
    return conversation_id


def title(services: Services, conversation_id: int) -> str:
    return services.store.conversation(conversation_id).title


def test_a_new_chat_gets_a_title_and_nothing_else_of_it_is_kept(make: Callable[..., Services]) -> None:
    services = make()
    before = services.page_version()
    chat = converse(services)
    assert title(services, chat) == "how do i make marmalade"
    services.titles.write()
    assert title(services, chat) == TITLE
    assert services.page_version() != before
    assert len(kept_runs(services.store)[0]) == 1
    assert len(services.store.path(chat)) == 2
    engine = services.engine
    assert isinstance(engine, ScriptedEngine)
    request = engine.requests[-1]
    assert [message.text for message in request.messages[:2]] == ["how do i make marmalade", "Boil it longer."]
    assert (request.conversation, request.memory, request.mode) == (None, False, "plain")
    services.titles.write()
    assert len(engine.requests) == 2  # once for each chat


@pytest.mark.parametrize(
    "answer",
    [
        "Marmalade",
        "Sure! Here is\na title",
        "A title of two to six words",
        "one two three four five six seven eight nine",
    ],
)
def test_what_is_no_title_leaves_the_first_words(make: Callable[..., Services], answer: str) -> None:
    services = make(lambda request: answer if request.messages[-1].text == ORDER else "Boil it longer.")
    chat = converse(services)
    services.titles.write()
    assert title(services, chat) == "how do i make marmalade"
    assert not services.store.has_first_words(chat)  # it is not tried again


def test_no_title_is_written_over_a_persons_nor_for_a_private_chat_nor_where_it_is_off(
    make: Callable[..., Services],
) -> None:
    services = make()
    engine = services.engine
    assert isinstance(engine, ScriptedEngine)
    chat = converse(services)
    services.store.rename(chat, "Mine")
    services.titles.write()
    converse(services)
    for choice in ("never", "auto"):  # the scripted model has 12 million parameters
        services.settings.set_titles(choice)
        services.titles.write()
    services.settings.set_titles("always")
    services.chat.send(services.new_private(), "secret").join(WAIT_S)
    services.titles.write()
    assert title(services, chat) == "Mine"
    assert all(request.messages[-1].text != ORDER for request in engine.requests)


def test_an_answer_does_not_wait_for_a_title_and_the_title_is_written_later(make: Callable[..., Services]) -> None:
    services = make()
    engine = services.engine
    assert isinstance(engine, ScriptedEngine)
    chat = converse(services)
    engine.hold_after = 1
    writing = threading.Thread(target=services.titles.write)
    writing.start()
    wait_until(lambda: services.queue.serving == Asker(kind="idle", name=""))
    wait_until(lambda: len(engine.requests) == 2)
    engine.hold_after = None
    services.chat.send(chat, "and then").join(WAIT_S)  # would hang where the title did not give way
    writing.join(WAIT_S)
    assert title(services, chat) == "how do i make marmalade"
    assert services.store.has_first_words(chat)
    services.titles.write()
    assert title(services, chat) == TITLE


def test_chats_that_were_left_without_a_title_get_one_too_the_newest_first(make: Callable[..., Services]) -> None:
    services = make()
    older, newer, private = converse(services, "first"), converse(services, "second"), services.new_private()
    services.chat.send(private, "secret").join(WAIT_S)
    assert not services.titles.write()
    last = converse(services, "third")
    services.store.rename(last, "Mine")
    assert services.titles.write()
    assert [title(services, chat) for chat in (older, newer)] == ["first", TITLE]
    assert services.titles.write()
    assert title(services, older) == TITLE
    assert not services.titles.write()


def test_a_title_that_fails_holds_up_no_other(make: Callable[..., Services]) -> None:
    services = make()
    engine = services.engine
    assert isinstance(engine, ScriptedEngine)
    older, newer = converse(services, "first"), converse(services, "second")
    engine.fail_after = 0
    with pytest.raises(EngineError):
        services.titles.write()
    engine.fail_after = None
    assert services.titles.write()
    assert [title(services, chat) for chat in (older, newer)] == [TITLE, "second"]


def test_a_chat_that_was_answered_before_the_model_was_ready_gets_its_title_then(make: Callable[..., Services]) -> None:
    services = make()
    engine = services.engine
    assert isinstance(engine, ScriptedEngine)
    ready = engine.info
    assert ready is not None
    engine._info = replace(ready, provisional=True)
    chat = converse(services)
    writer = TitleWriter(engine, services.store, services.chat, services.queue, services.settings, rest_s=0.01)
    services.titles = writer
    writer.start()
    engine._info = ready
    services._preparation_changed()
    wait_until(lambda: title(services, chat) == TITLE)


@pytest.mark.parametrize("obeys", [True, False])
def test_the_end_does_not_wait_for_an_engine_that_says_nothing(
    make: Callable[..., Services], monkeypatch: pytest.MonkeyPatch, obeys: bool
) -> None:
    services = make()
    engine, ends = services.engine, threading.Event()
    converse(services)

    def silent() -> Generator[Any, None, None]:
        ends.wait(WAIT_S)
        yield from ()

    monkeypatch.setattr(engine, "generate", lambda request: Work(silent(), ends.set if obeys else lambda: None))
    if not obeys:
        monkeypatch.setattr(titles, "STOP_S", 0.01)
    services.titles._rest_s = 0.01
    services.titles.start()
    services.titles.look_again()
    wait_until(lambda: services.queue.serving is not None)
    ending = threading.Thread(target=services.titles.stop, daemon=True)
    ending.start()
    ending.join(5)
    assert not ending.is_alive()
    ends.set()


def test_it_waits_for_rest_after_an_answer_and_ends_when_it_is_told(make: Callable[..., Services]) -> None:
    services = make()
    writer = TitleWriter(services.engine, services.store, services.chat, services.queue, services.settings, rest_s=0.01)
    writer.start()
    chat = converse(services)
    wait_until(lambda: title(services, chat) == TITLE)
    writer.stop()


def test_a_turn_that_is_over_before_the_rest_is_waited_for_counts_once() -> None:
    queue, over = Queue(), threading.Event()
    rests: list[None] = []
    with queue.join(Asker(kind="page", name="a")):
        pass

    def wait() -> None:
        while queue.wait_for_rest(0.0, over.is_set):
            rests.append(None)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    wait_until(lambda: bool(rests))
    over.set()
    queue.wake()
    waiting.join(WAIT_S)
    assert (waiting.is_alive(), len(rests)) == (False, 1)


def test_nobody_waits_in_idle_time_while_somebody_is_served() -> None:
    queue = Queue()
    gave_way: list[bool] = []
    with queue.join(Asker(kind="page", name="a")):
        assert queue.join_idle(lambda: gave_way.append(True)) is None
    idle = queue.join_idle(lambda: gave_way.append(True))
    assert idle is not None
    with idle:
        place = queue.join(Asker(kind="api", name="b"))
        assert (gave_way, place.ahead) == ([True], 1)
    assert place.ahead == 0
