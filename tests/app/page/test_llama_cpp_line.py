"""The button of the line on llama.cpp: what it does, and what a page may not ask of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.chat.llama_cpp import LlamaCpp
from app.chat.services import Services
from app.page.events import Refused
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.llama_cpp import LlamaCppHandlers
from app.page.pace import Pacer
from app.page.presenter import Presenter
from app.page.tab import Tab
from app.setup.environment import Environment
from app.setup.llama_cpp.binding import Binding
from app.store.store import Store
from tests.scripted import ScriptedEngine


class FakeLlamaCpp(LlamaCpp):
    """Notes what it is asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(Environment(root), Binding("no-such-binding", "1"), {})
        self.asked: list[object] = []

    def start(self, load_sequence: int) -> None:
        self.asked.append(load_sequence)

    def cancel(self) -> None:
        self.asked.append("cancel")


@pytest.fixture
def service(tmp_path: Path) -> FakeLlamaCpp:
    return FakeLlamaCpp(tmp_path)


@pytest.fixture
def handlers(tmp_path: Path, service: FakeLlamaCpp) -> Iterator[LlamaCppHandlers]:
    store = Store(tmp_path / "slipstream.db")
    services = Services(ScriptedEngine(loaded=True), store, llama_cpp=service)
    with Page():
        parts = build_parts([])
    yield LlamaCppHandlers(services, parts, Presenter(services, parts, Pacer()))
    services.close()
    store.close()


def press(handlers: LlamaCppHandlers, action: Any) -> list[Any]:
    return list(handlers.act(Tab(), gr.EventData(None, {"action": action})))


def test_it_installs_cancels_and_loads_again(handlers: LlamaCppHandlers, service: FakeLlamaCpp) -> None:
    press(handlers, "install")
    press(handlers, "cancel")
    assert service.asked == [0, "cancel"]
    assert press(handlers, "load")[-1] == handlers.look(), "no model was asked for: there is nothing to load again"
    (line,) = handlers.look().values()
    assert "llama.cpp is not installed" in line["sentence"]


@pytest.mark.parametrize("action", ["", "remove", 3, None])
def test_anything_else_is_refused(handlers: LlamaCppHandlers, service: FakeLlamaCpp, action: Any) -> None:
    with pytest.raises(Refused, match="load the page again"):
        press(handlers, action)
    assert service.asked == []
