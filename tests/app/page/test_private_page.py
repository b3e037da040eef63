"""A page of a private chat that the server has forgotten: nothing of it is kept, and the page says so."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.chat.services import Services
from app.page import settings
from app.page.chat import ChatHandlers
from app.page.events import Refused, on_its_chat
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.listing import ListHandlers
from app.page.pace import Pacer
from app.page.parts import Parts
from app.page.presenter import Presenter
from app.page.private import PrivateHandlers
from app.page.settings import SettingsHandlers
from app.page.tab import Deletion, Tab
from app.store.errors import NotFound
from app.store.private import is_private
from app.store.store import Store
from tests.scripted import ScriptedEngine
from tests.turns import WAIT_S

REQUEST = gr.Request(session_hash="page")


@dataclass
class OpenPage:
    services: Services
    parts: Parts
    presenter: Presenter
    chat: ChatHandlers
    settings: SettingsHandlers
    private: PrivateHandlers

    def controls(self) -> list[Any]:
        shown = settings.show(self.parts.settings, self.services.fresh_settings())
        return [shown[control] for control in self.parts.settings.all()]

    def send(self, tab: Tab, text: str, shows_private: str) -> None:
        list(on_its_chat(self.chat.send)(tab, text, *self.controls(), shows_private))
        turn = self.services.chat.running
        if turn is not None:
            turn.join(WAIT_S)

    def change(self, tab: Tab, shows_private: str) -> str:
        """The sentence in the speed line after a control was moved."""
        shown = self.settings.changed_on_page(tab, *self.controls(), shows_private)
        return str(shown[self.parts.live]["sentence"])


@pytest.fixture
def page(tmp_path: Path) -> Iterator[OpenPage]:
    store = Store(tmp_path / "slipstream.db")
    services = Services(ScriptedEngine(loaded=True), store)
    with Page():
        parts = build_parts([])
    presenter = Presenter(services, parts, Pacer())
    listing = ListHandlers(services, parts, presenter)
    yield OpenPage(
        services,
        parts,
        presenter,
        ChatHandlers(services, parts, presenter),
        SettingsHandlers(services, parts, presenter),
        PrivateHandlers(services, parts, presenter, listing.whole_page),
    )
    services.close()
    store.close()


@pytest.mark.parametrize("why", ["another start", "the page was away"])
def test_nothing_is_kept_of_what_a_forgotten_private_chats_page_sends(page: OpenPage, why: str) -> None:
    tab = Tab(opened=True)
    page.private.begin(tab, REQUEST)
    page.send(tab, "quixotic", "yes")
    if why == "another start":
        tab = Tab()  # what Gradio makes for a page that it does not know
    else:
        page.private.closed(REQUEST)
        page.presenter.at_rest(tab)
        page.presenter.trainer(tab)
        assert "forgotten" in page.presenter.header(tab)["private"]
    for _ in range(2):
        with pytest.raises((Refused, NotFound), match="forgotten"):
            page.send(tab, "quixotic", "yes")
        assert "forgotten" in page.change(tab, "yes")
    assert page.services.store.conversations() == []
    assert page.services.settings.begun(page.services.fresh_settings().sampling) is None


def test_a_chat_that_is_deleted_elsewhere_leaves_its_page_with_a_new_one(page: OpenPage) -> None:
    tab = Tab(conversation_id=page.services.new_conversation(page.services.fresh_settings()))
    page.services.delete(tab.conversation_id or 0)
    page.send(tab, "Hello", "no")
    assert [chat.title for chat in page.services.store.conversations()] == ["Hello"]


def test_words_that_were_drawn_go_with_their_private_chat_however_it_is_left(page: OpenPage) -> None:
    tab = Tab(opened=True)
    page.private.begin(tab, REQUEST)
    page.send(tab, "quixotic", "yes")
    page.presenter.chat(tab)
    assert page.presenter._markdown.said.cache_info().currsize > 0
    forgotten = threading.Event()
    page.services.when_forgotten(forgotten.set)
    page.services.leave(tab.conversation_id or 0)  # as by the page that says it is closed
    assert forgotten.wait(WAIT_S)
    assert page.presenter._markdown.said.cache_info().currsize == 0


def test_a_page_that_has_gone_begins_no_private_chat(page: OpenPage) -> None:
    page.private.closed(REQUEST)
    with pytest.raises(Refused, match="load it again"):
        page.private.begin(Tab(), REQUEST)
    assert page.services.stores._private == {}


def test_an_undo_asks_whether_to_leave_a_private_chat_only_where_it_leaves(page: OpenPage) -> None:
    tab = Tab()
    page.private.begin(tab, REQUEST)
    assert is_private(tab.conversation_id)
    for opens, leaves in ((None, False), (tab.conversation_id, False), (1, True)):
        tab.deleted = [Deletion("A talk", lambda: None, opens)]
        assert page.presenter.listing(tab)["undo_leaves"] is leaves
