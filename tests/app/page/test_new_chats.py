"""What a new chat begins with, and that nothing which was set or typed for it is lost."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from app.chat.services import Services
from app.page import settings
from app.page.chat import ChatHandlers
from app.page.events import Refused
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.listing import ListHandlers
from app.page.pace import Pacer
from app.page.parts import Parts
from app.page.presenter import Presenter
from app.page.presets import PresetHandlers
from app.page.settings import SettingsHandlers
from app.page.tab import Tab
from app.store.records import ConversationSettings
from app.store.store import Store
from engine.config import ModelSpec, Sampling
from tests.scripted import ScriptedEngine
from tests.turns import WAIT_S

MINE = ConversationSettings(system="Be brief.", sampling=Sampling(temperature=1.1), max_tokens=99)


@dataclass
class OpenPage:
    services: Services
    parts: Parts
    chat: ChatHandlers
    listing: ListHandlers
    settings: SettingsHandlers
    presets: PresetHandlers

    def controls(self, said: ConversationSettings) -> list[Any]:
        shown = settings.show(self.parts.settings, said)
        return [shown[control] for control in self.parts.settings.all()]

    def shown(self, step: dict[Any, Any]) -> ConversationSettings:
        return settings.read([step[control] for control in self.parts.settings.all()])

    def open(self) -> tuple[Tab, dict[Any, Any]]:
        tab = Tab()
        return tab, next(self.listing.opened(tab, ""))

    def send(self, tab: Tab, text: str, said: ConversationSettings) -> None:
        list(self.chat.send(tab, text, *self.controls(said)))
        turn = self.services.chat.running
        if turn is not None:
            turn.join(WAIT_S)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[OpenPage]:
    store = Store(tmp_path / "slipstream.db")
    services = Services(ScriptedEngine(loaded=True), store)
    with Page():
        parts = build_parts([])
    all_of_it = services, parts, Presenter(services, parts, Pacer())
    handlers = (ChatHandlers, ListHandlers, SettingsHandlers, PresetHandlers)
    yield OpenPage(services, parts, *(handler(*all_of_it) for handler in handlers))  # type: ignore[arg-type]
    services.close()
    store.close()


def test_what_was_set_for_a_new_chat_outlives_another_chat_and_a_reload_until_it_begins(page: OpenPage) -> None:
    tab, _ = page.open()
    page.settings.changed(tab, *page.controls(MINE))
    assert page.shown(page.listing.new(tab)) == MINE
    other, reloaded = page.open()
    assert page.shown(reloaded) == MINE
    page.send(other, "Hello", MINE)
    assert page.shown(page.listing.new(other)) == page.services.fresh_settings() != MINE


def test_what_was_set_before_the_model_was_there_leaves_the_sampling_to_it(page: OpenPage) -> None:
    page.services.engine.unload()
    tab, at_first = page.open()
    page.settings.changed(tab, *page.controls(replace(page.shown(at_first), system="Be brief.")))
    assert not page.services.settings.chose_sampling
    list(page.services.engine.load(ModelSpec()))
    fresh = page.services.fresh_settings()
    info = page.services.engine.info
    assert info is not None
    assert (fresh.system, fresh.sampling) == ("Be brief.", replace(info.default_sampling, seed=0))
    page.settings.changed(tab, *page.controls(replace(fresh, sampling=Sampling())))
    assert page.services.settings.chose_sampling
    assert page.services.fresh_settings().sampling == Sampling()


def test_a_new_chat_begins_with_what_a_person_kept_until_it_is_reset(page: OpenPage) -> None:
    tab, at_first = page.open()
    page.send(tab, "Hello", MINE)
    assert page.shown(page.listing.new(tab)) == page.shown(at_first)
    page.presets.keep(tab, *page.controls(MINE))
    assert page.shown(page.listing.new(tab)) == MINE
    assert page.shown(page.presets.reset(tab)) == page.shown(at_first)
    assert page.shown(page.listing.new(tab)) == page.shown(at_first)


def test_a_reset_opens_no_chat_to_drafts(page: OpenPage) -> None:
    tab, _ = page.open()
    page.send(tab, "Hello", replace(MINE, memory=False))
    said = page.shown(page.presets.reset(tab))
    assert (said.system, said.memory) == ("", False)


def test_a_chat_that_is_forgotten_stays_so_in_a_tab_whose_switch_still_stands_on(page: OpenPage) -> None:
    tab, first = page.open()
    on = page.shown(first)
    page.send(tab, "Hello", on)
    kept = tab.conversation_id
    assert kept is not None

    def memory() -> bool:
        return page.services.store.conversation(kept).settings.memory

    page.services.remembered.forget(str(kept))
    page.send(tab, "Hello again", on)
    assert not memory()
    page.settings.changed(tab, *page.controls(replace(on, max_tokens=7)))
    assert not memory()
    assert page.services.store.conversation(kept).settings.max_tokens == 7
    page.presets.reset(tab)
    assert not memory()
    page.settings.changed(tab, *page.controls(replace(on, memory=False)))
    page.settings.changed(tab, *page.controls(on))  # switched on by hand
    assert memory()
    page.send(tab, "Hello once more", replace(on, memory=False))
    assert not memory()


def test_a_preset_holds_for_the_chat_on_the_page_alone(page: OpenPage) -> None:
    tab, first = page.open()
    page.presets.save("brief", *page.controls(MINE))
    page.send(tab, "Hello", page.shown(first))
    mine = page.controls(replace(page.shown(first), max_tokens=7))
    used = page.shown(page.presets.use(tab, "brief", *mine))
    assert (used.system, used.sampling, used.max_tokens) == (MINE.system, MINE.sampling, 7)
    assert tab.conversation_id is not None
    assert page.services.store.conversation(tab.conversation_id).settings == used
    assert page.shown(page.listing.new(tab)) == page.shown(first)
    with pytest.raises(Refused, match="type a name"):
        page.presets.use(tab, None, *mine)


def test_a_half_written_message_is_kept_for_each_chat_until_it_is_sent(page: OpenPage) -> None:
    tab, at_first = page.open()
    assert at_first[page.parts.box] == ""
    page.services.save_draft(None, "half of")
    assert page.open()[1][page.parts.box] == "half of"
    page.send(tab, "half of a message", MINE)
    page.services.save_draft(tab.conversation_id, "and then")
    assert page.listing.new(tab)[page.parts.box] == ""
    found = page.services.store.conversations()
    _, reloaded = Tab(), next(page.listing.opened(Tab(), f"#c{found[0].id}"))
    assert reloaded[page.parts.box] == "and then"


def test_a_message_that_was_sent_is_no_draft_however_late_the_page_posts_it(page: OpenPage) -> None:
    tab, _ = page.open()
    page.services.save_draft(None, "a message", sent=True)  # not accepted yet: it may be refused
    assert page.services.draft(None) == "a message"
    page.send(tab, "a message", MINE)
    page.services.save_draft(None, "a message", sent=True)
    page.services.save_draft(tab.conversation_id, "a message", sent=True)
    assert (page.services.draft(None), page.services.draft(tab.conversation_id)) == ("", "")
    page.services.save_draft(None, "a message")  # typed once more
    assert page.services.draft(None) == "a message"


def test_comparing_once_more_keeps_what_was_written_for_the_next_chat(page: OpenPage) -> None:
    tab, _ = page.open()
    page.send(tab, "Hello", MINE)
    page.services.save_draft(None, "half of")
    list(page.chat.compare(tab, "", *page.controls(MINE)))
    assert page.services.draft(None) == "half of"


def test_deletions_are_undone_in_order(page: OpenPage) -> None:
    tab, _ = page.open()
    page.presets.save("brief", *page.controls(MINE))
    page.send(tab, "First", MINE)
    first = tab.conversation_id
    page.listing.new(tab)
    page.send(tab, "Second", MINE)
    second = tab.conversation_id
    for deleted in (first, second):
        page.listing.delete_one(tab, deleted)
    listed = page.presets.delete(tab, "brief")[page.parts.conversations]
    assert listed["undo"] == "“brief” was deleted (2 more can be undone)."
    assert page.services.presets.all() == []
    next(page.listing.undo_last(tab))
    assert [preset.name for preset in page.services.presets.all()] == ["brief"]
    next(page.listing.undo_last(tab))
    assert tab.conversation_id == second
    next(page.listing.undo_last(tab))
    assert tab.conversation_id == first
    assert len(page.services.store.conversations()) == 2
    with pytest.raises(Refused, match="nothing to bring back"):
        next(page.listing.undo_last(tab))
