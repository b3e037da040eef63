"""The page's switch for other programs, and the key that it shows once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import pytest

from app.chat.services import Services
from app.page.events import Refused
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.programs import ProgramHandlers
from app.store.access import PREFIX
from app.store.store import Store
from app.view.programs import programs_sentence
from tests.scripted import loaded_engine


@dataclass
class Request:
    """As much of a browser's request as the handlers read."""

    headers: dict[str, str]


ASKED = Request({"host": "127.0.0.1:7860"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def handlers(store: Store, *, api: bool = False) -> ProgramHandlers:
    with Page():
        parts = build_parts([])
    return ProgramHandlers(Services(loaded_engine(), store, api=api), parts.programs)


def test_switching_on_shows_the_first_key_once(store: Store) -> None:
    page = handlers(store)
    parts, access = page._parts, page._access
    assert page.look(ASKED)[parts.said].startswith("Off. ")
    shown = page.switch(True, ASKED)
    key = shown[parts.key]["value"]
    assert key.startswith(PREFIX)
    assert access.admits(key)
    assert shown[parts.key]["visible"]
    assert shown[parts.said] == programs_sentence(True, "127.0.0.1:7860", key[-4:])
    assert page.look(ASKED)[parts.key] == gr.update(value="", visible=False)
    off = page.switch(False, ASKED)
    assert (off[parts.on], off[parts.renew]) == (False, gr.update(visible=False))
    assert page.switch(True, ASKED)[parts.key]["value"] == ""  # it has one already
    assert access.admits(key)


def test_a_new_key_voids_the_one_before(store: Store) -> None:
    page = handlers(store)
    first = page.switch(True, ASKED)[page._parts.key]["value"]
    second = page.renew(ASKED)[page._parts.key]["value"]
    assert (page._access.admits(first), page._access.admits(second)) == (False, True)


def test_what_cannot_be_switched_is_a_sentence(store: Store) -> None:
    with pytest.raises(Refused, match="on or off"):
        handlers(store).switch("perhaps", ASKED)
    with pytest.raises(Refused, match="switch it on first"):
        handlers(store).renew(ASKED)
    with pytest.raises(Refused, match="start without --api"):
        handlers(store, api=True).switch(False, ASKED)


def test_a_strange_host_is_not_repeated() -> None:
    assert "<b>" not in programs_sentence(True, "<b>", "abcd")
