"""What the list's handlers do with several chats, and that one Undo takes it back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.chat.services import Services
from app.page.events import Refused
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.listing import ListHandlers
from app.page.messages import MessageHandlers
from app.page.organising import OrganisingHandlers
from app.page.pace import Pacer
from app.page.presenter import Presenter
from app.page.tab import Tab
from app.store.errors import NotFound
from app.store.store import Store
from tests.scripted import ScriptedEngine

Act = Callable[..., dict[str, Any]]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    store = Store(tmp_path / "slipstream.db")
    services = Services(ScriptedEngine(loaded=True), store)
    yield services
    services.close()
    store.close()


@pytest.fixture
def tab() -> Tab:
    return Tab()


@pytest.fixture
def listing(services: Services) -> ListHandlers:
    with Page():
        parts = build_parts([])
    return ListHandlers(services, parts, Presenter(services, parts, Pacer()))


@pytest.fixture
def act(services: Services, listing: ListHandlers, tab: Tab) -> Act:
    handlers = OrganisingHandlers(services, listing._parts, listing._presenter, listing.whole_page)

    def act(**data: Any) -> dict[str, Any]:
        method = handlers.apply if "act" in data else handlers.narrow
        return method(tab, gr.EventData(None, data))[listing._parts.conversations]  # type: ignore[no-any-return]

    return act


@pytest.fixture
def chats(services: Services) -> list[int]:
    return [services.store.new_conversation(services.fresh_settings(), title).id for title in ("Jam", "Trains", "Bank")]


def titles(listed: dict[str, Any]) -> set[str]:
    return {item["title"] for group in listed["groups"] for item in group["items"]}


def test_several_are_deleted_and_one_undo_brings_all_back(
    act: Act, listing: ListHandlers, tab: Tab, chats: list[int], services: Services
) -> None:
    tab.conversation_id = chats[0]
    listed = act(act="delete", ids=chats[:2])
    assert (titles(listed), listed["undo"]) == ({"Bank"}, "2 chats were deleted.")
    assert tab.conversation_id is None
    next(listing.undo_last(tab))
    assert tab.conversation_id == chats[0]
    assert len(services.store.conversations()) == 3
    assert tab.deleted == []


def test_an_undo_says_how_many_are_gone_for_good(
    act: Act, listing: ListHandlers, tab: Tab, chats: list[int], services: Services
) -> None:
    act(act="delete", ids=chats)
    services.store.empty_trash(chats[0])
    services.store.empty_trash(chats[2])
    said = next(listing.undo_last(tab))[listing._parts.live]["sentence"]
    assert said == "2 of them are gone for good and could not be brought back"
    assert [chat.id for chat in services.store.conversations()] == [chats[1]]


def test_whatever_changes_the_list_is_seen_by_other_pages(
    act: Act, listing: ListHandlers, tab: Tab, chats: list[int], services: Services
) -> None:
    tab.conversation_id, rename = chats[0], gr.EventData(None, {"id": chats[0], "title": "Tea"})
    services.store.add_message(chats[0], None, "user", "Plums?")
    messages = MessageHandlers(services, listing._parts, listing._presenter, listing.whole_page)
    cut = gr.EventData(None, {"id": services.store.path(chats[0])[0].id})
    changes: list[Callable[[], object]] = [
        lambda: act(act="label", ids=chats, label="home"),
        lambda: act(act="unlabel", ids=chats[:1], label="home"),
        lambda: next(listing.undo_last(tab)),
        lambda: act(act="pin", ids=chats),
        lambda: next(listing.undo_last(tab)),
        lambda: act(act="delete", ids=chats[1:]),
        lambda: next(listing.undo_last(tab)),
        lambda: listing.rename(tab, rename),
        lambda: messages.delete(tab, cut),
        lambda: next(listing.undo_last(tab)),
        lambda: listing.delete_one(tab, chats[0]),
        lambda: next(listing.undo_last(tab)),
    ]
    for change in changes:
        before = tab.seen = services.page_version()
        change()
        assert services.page_version() != before
        assert tab.seen == services.page_version()  # its own page shows it already


def test_what_is_archived_is_listed_apart_and_found_by_search(
    act: Act, listing: ListHandlers, tab: Tab, chats: list[int]
) -> None:
    listed = act(act="archive", ids=chats[:1])
    assert (titles(listed), listed["undo"]) == ({"Trains", "Bank"}, "“Jam” was archived.")
    assert listed["shelves"]["archived"] == 1
    assert titles(act(archive=True)) == {"Jam"}
    assert titles(listing.search(tab, "a")[listing._parts.conversations]) == {"Jam", "Trains", "Bank"}
    assert titles(act(archive=False)) == {"Jam", "Trains", "Bank"}  # the search stands
    listing.search(tab, "")
    assert titles(act(archive=False)) == {"Trains", "Bank"}


def test_an_archive_that_an_undo_empties_is_left(act: Act, listing: ListHandlers, tab: Tab, chats: list[int]) -> None:
    act(act="archive", ids=chats[:1])
    assert titles(act(archive=True)) == {"Jam"}
    listed = next(listing.undo_last(tab))[listing._parts.conversations]
    assert titles(listed) == {"Jam", "Trains", "Bank"}
    assert not listed["shelves"]["in_archive"]


def test_a_label_that_nothing_has_any_more_narrows_nothing(act: Act, tab: Tab, chats: list[int]) -> None:
    act(act="label", ids=chats[:1], label="home")
    assert titles(act(label="home")) == {"Jam"}
    act(act="archive", ids=chats[:1])
    assert titles(act(label="home")) == {"Jam"}  # as its count says
    act(act="unarchive", ids=chats[:1])
    listed = act(act="unlabel", ids=chats[:1], label="home")
    assert titles(listed) == {"Jam", "Trains", "Bank"}
    assert tab.label is None


@pytest.mark.parametrize(
    "data",
    [
        {"ids": [], "act": "pin"},
        {"ids": ["1"], "act": "pin"},
        {"ids": [True], "act": "pin"},
        {"ids": [1] * 1000, "act": "pin"},
        {"ids": [1], "act": "explode"},
        {"ids": [1], "act": "label"},
        {"label": 7},
    ],
)
def test_what_does_not_fit_is_refused(act: Act, chats: list[int], data: dict[str, Any]) -> None:
    with pytest.raises((Refused, NotFound)):
        act(**data)


def test_no_chat_is_deleted_while_one_of_them_is_answered(act: Act, chats: list[int], services: Services) -> None:
    engine = services.engine
    assert isinstance(engine, ScriptedEngine)
    engine.hold_after = 2
    turn = services.chat.send(chats[1], "Hello")
    with pytest.raises(Refused, match="“Trains”"):
        act(act="delete", ids=chats)
    engine.release()
    turn.join(20)
    assert len(services.store.conversations()) == 3
