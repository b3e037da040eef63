"""What the handlers of the chat do with the services, over a scripted engine."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.chat.queue import Asker
from app.chat.services import Services
from app.page import settings
from app.page.chat import ChatHandlers
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.listing import ListHandlers
from app.page.pace import Pacer
from app.page.page import build_blocks
from app.page.parts import Parts
from app.page.presenter import Presenter
from app.page.tab import Tab
from app.store.records import ConversationSettings
from app.store.store import Store
from engine.config import ModelSpec
from tests.scripted import ScriptedEngine
from tests.turns import WAIT_S, PlainEngine


@dataclass
class OpenPage:
    """The handlers of a page that nobody draws."""

    services: Services
    engine: ScriptedEngine
    handlers: ChatHandlers
    listing: ListHandlers
    parts: Parts

    def controls(self, said: ConversationSettings) -> list[Any]:
        shown = settings.show(self.parts.settings, said)
        return [shown[control] for control in self.parts.settings.all()]

    def end_of_turn(self) -> None:
        turn = self.services.chat.running
        if turn is not None:
            turn.join(WAIT_S)


@pytest.mark.parametrize("compares", [True, False])
def test_a_comparison_is_offered_only_where_the_engine_can_compare(tmp_path: Path, compares: bool) -> None:
    engine = ScriptedEngine(loaded=True) if compares else PlainEngine(loaded=True)
    store = Store(tmp_path / "slipstream.db")
    blocks = build_blocks(Services(engine, store), Pacer())
    (button,) = [block for block in blocks.blocks.values() if getattr(block, "elem_id", None) == "compare"]
    assert button.visible is compares
    store.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[OpenPage]:
    engine = ScriptedEngine(loaded=True)
    store = Store(tmp_path / "slipstream.db")
    services = Services(engine, store)
    with Page():
        parts = build_parts([])
    presenter = Presenter(services, parts, Pacer())
    handlers, listing = ChatHandlers(services, parts, presenter), ListHandlers(services, parts, presenter)
    yield OpenPage(services, engine, handlers, listing, parts)
    services.close()
    store.close()


def test_memory_that_is_switched_off_is_forgotten_although_send_comes_before_the_settings(page: OpenPage) -> None:
    """The event of the settings and that of Send overtake each other: both carry the controls as they stand."""
    said = ConversationSettings()
    conversation_id = page.services.store.new_conversation(said).id
    list(page.handlers.send(Tab(conversation_id=conversation_id), "remember this", *page.controls(said)))
    page.end_of_turn()
    page.engine.remember(str(conversation_id), ["remember this"])
    off = page.controls(replace(said, memory=False))
    list(page.handlers.send(Tab(conversation_id=conversation_id), "and now forget", *off))
    page.end_of_turn()
    assert page.services.store.conversation(conversation_id).settings.memory is False
    assert str(conversation_id) not in page.engine.remembered


def test_a_message_in_an_archived_chat_says_that_it_is_back_in_the_list_and_undo_archives_it(page: OpenPage) -> None:
    said, store = ConversationSettings(), page.services.store
    tab = Tab(conversation_id=store.new_conversation(said, "Jam").id)
    assert tab.conversation_id is not None
    page.services.organising.flag([tab.conversation_id], "archived", True)
    list(page.handlers.send(tab, "And plums?", *page.controls(said)))
    page.end_of_turn()
    assert not store.conversation(tab.conversation_id).archived
    assert tab.deleted[-1].said == "“Jam” was put back into the list"
    next(page.listing.undo_last(tab))
    assert store.conversation(tab.conversation_id).archived
    asked = page.services.store.path(tab.conversation_id)[-1].id
    again = gr.EventData(None, {"id": asked, "plain": True})
    list(page.handlers.again(tab, again, *page.controls(said)))  # another answer leaves it where it is
    page.end_of_turn()
    assert store.conversation(tab.conversation_id).archived


def texts(shown: dict[Any, Any], parts: Parts) -> list[str]:
    return [message["content"][0]["text"] for message in shown[parts.chat]]


@pytest.mark.parametrize("opened", [True, False])
def test_an_answer_that_ends_while_another_event_draws_the_page_is_shown(page: OpenPage, opened: bool) -> None:
    """As where a message is sent in the instant in which the page appears, and answered before the page is drawn."""
    page.engine.hold_after = 3
    tab = Tab(opened=True)
    sending = page.handlers.send(tab, "instantly", *page.controls(ConversationSettings()))
    next(sending)
    if not opened:
        tab.interrupt()  # as where another event has just ended
    drawing = page.listing.opened(tab, "") if opened else page.listing.catch_up(tab)
    shown = next(drawing)
    page.engine.release()
    page.end_of_turn()
    for step in drawing:
        shown |= step if isinstance(step, dict) and page.parts.live in step else {}
    question, answer = texts(shown, page.parts)
    assert "instantly" in question
    assert "all there is to say" in answer
    assert tab.seen == page.services.page_version()
    assert all(page.parts.chat not in step for step in sending)


def test_a_new_chat_takes_the_models_own_sampling_also_where_it_was_still_being_loaded(page: OpenPage) -> None:
    page.engine.unload()
    tab, temperature = Tab(), page.parts.settings.temperature
    opening = page.listing.opened(tab, "")
    shown = next(opening)
    assert shown[temperature] == 0
    list(page.engine.load(ModelSpec()))
    for step in opening:
        shown |= step
    info = page.engine.info
    assert info is not None
    assert shown[temperature] == tab.settings.sampling.temperature == info.default_sampling.temperature


def test_a_second_window_shows_an_answer_that_it_missed(page: OpenPage) -> None:
    conversation_id = page.services.store.new_conversation(ConversationSettings()).id
    tabs = [Tab(conversation_id=conversation_id, opened=True) for _ in range(2)]
    list(page.listing.catch_up(tabs[1]))
    list(page.handlers.send(tabs[0], "a short turn", *page.controls(ConversationSettings())))
    page.end_of_turn()
    shown = next(page.listing.catch_up(tabs[1]))
    assert len(texts(shown, page.parts)) == 2


def test_of_a_long_chat_the_newest_messages_are_drawn_and_earlier_ones_on_request(page: OpenPage) -> None:
    store = page.services.store
    conversation_id, parent, ids = store.new_conversation(ConversationSettings()).id, None, []
    with store.transaction():
        for number in range(400):
            role = "assistant" if number % 2 else "user"
            parent = store.add_message(conversation_id, parent, role, f"line {number}").id  # type: ignore[arg-type]
            ids.append(parent)
    tab, presenter, parts = Tab(conversation_id=conversation_id, opened=True), page.handlers._presenter, page.parts
    first = 400 - len(presenter.chat(tab)[parts.chat])
    assert 200 < first < 300
    assert presenter.chat(tab)[parts.notes][0]["earlier"] == first
    assert presenter.chat(tab)[parts.notes][0]["id"] == ids[first]
    presenter.show_earlier(tab)
    earlier = first - (400 - len(presenter.chat(tab)[parts.chat]))
    assert 200 < earlier <= first
    presenter.show_earlier(tab, ids[2])
    assert len(presenter.chat(tab)[parts.chat]) == 400
    assert "earlier" not in presenter.chat(tab)[parts.notes][0]
    other = Tab(conversation_id=conversation_id, opened=True)
    shown = next(page.listing.open(other, gr.EventData(None, {"id": conversation_id, "message": ids[50]})))
    assert any("line 50<" in text for text in texts(shown, parts))


def test_a_switch_of_the_memory_that_was_set_elsewhere_is_shown(page: OpenPage) -> None:
    conversation_id = page.services.store.new_conversation(ConversationSettings()).id
    tab = Tab(conversation_id=conversation_id, opened=True)
    switch = page.parts.settings.memory
    assert switch not in next(page.listing.catch_up(tab))
    page.services.remembered.forget(str(conversation_id))
    assert next(page.listing.catch_up(tab))[switch] is False
    page.services.remembered.undo()
    assert next(page.listing.catch_up(tab))[switch] is True
    page.services.save_settings(conversation_id, ConversationSettings(memory=False))
    assert next(page.listing.catch_up(tab))[switch] is False


def test_an_edited_answer_is_drafted_from_at_once_and_is_never_empty(page: OpenPage) -> None:
    conversation = page.services.store.new_conversation(ConversationSettings())
    answer = page.services.store.add_message(conversation.id, None, "assistant", "<think>so</think>\n\nNo.")
    tab, controls = Tab(conversation_id=conversation.id), page.controls(ConversationSettings())
    event = gr.EventData(None, {"id": answer.id, "text": " \n"})
    with pytest.raises(ValueError, match="The message is empty"):
        list(page.handlers.edit(tab, event, *controls))
    assert len(page.services.store.all_messages(conversation.id)) == 1
    list(page.handlers.edit(tab, gr.EventData(None, {"id": answer.id, "text": "Yes."}), *controls))
    assert page.engine.remembered[str(conversation.id)] == ("<think>so</think>\n\nYes.",)


def test_the_page_says_who_is_answered(page: OpenPage) -> None:
    """Another program first, then a conversation of another tab; both by the poll that draws the page again."""
    presenter, services = page.handlers._presenter, page.services
    tab = Tab(opened=True)
    before = services.page_version()
    with services.queue.join(Asker(kind="api", name="key")):
        assert services.page_version() != before
        assert presenter.idle(tab)["sentence"] == "an answer is being written for another program"
        other_id = services.store.new_conversation(ConversationSettings()).id
        turn = services.chat.send(other_id, "x")
        assert presenter.idle(tab)["sentence"] == "an answer is being written in another conversation"
        assert (
            "another program is being answered"
            in next(presenter.follow(Tab(conversation_id=other_id)))[page.parts.live]["sentence"]
        )
    turn.join(WAIT_S)
    assert turn.done
