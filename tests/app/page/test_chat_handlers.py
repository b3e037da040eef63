"""What the handlers of the chat do with the services, over a scripted engine."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from app.chat.services import Services
from app.page import settings
from app.page.chat import ChatHandlers
from app.page.gradio_internals import Page
from app.page.pace import Pacer
from app.page.page import build_blocks
from app.page.parts import Parts, build_parts
from app.page.presenter import Presenter
from app.page.tab import Tab
from app.store.records import ConversationSettings
from app.store.store import Store
from tests.scripted import ScriptedEngine
from tests.turns import WAIT_S, PlainEngine


@dataclass
class OpenPage:
    """The handlers of a page that nobody draws."""

    services: Services
    engine: ScriptedEngine
    handlers: ChatHandlers
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
    handlers = ChatHandlers(services, parts, Presenter(services, parts, Pacer()))
    yield OpenPage(services, engine, handlers, parts)
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
