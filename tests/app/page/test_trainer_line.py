"""The buttons of the line on the trained drafter: what they do, and what a page may not ask of them."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.chat.services import Services
from app.chat.trainer import Trainer
from app.chat.training_note import Order
from app.page.events import Refused
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.pace import Pacer
from app.page.presenter import Presenter
from app.page.tab import Tab
from app.page.trainer import TrainerHandlers
from app.store.store import Store
from engine.config import ModelSpec
from engine.errors import ModelNotFound
from tests.scripted import ScriptedEngine


class FakeTrainer(Trainer):
    """Notes what it is asked for."""

    def __init__(self, packs: Path) -> None:
        super().__init__(packs, os.environ)
        self.asked: list[object] = []

    def begin(self, order: Order) -> None:
        self.asked.append(order.arguments)

    def pause(self) -> None:
        self.asked.append("pause")

    def resume(self) -> None:
        self.asked.append("resume")

    def cancel(self) -> None:
        self.asked.append("cancel")


@pytest.fixture
def trainer(tmp_path: Path) -> FakeTrainer:
    return FakeTrainer(tmp_path)


@pytest.fixture
def handlers(tmp_path: Path, trainer: FakeTrainer) -> Iterator[TrainerHandlers]:
    store = Store(tmp_path / "slipstream.db")
    services = Services(ScriptedEngine(loaded=True), store, trainer=trainer)
    with Page():
        parts = build_parts([])
    yield TrainerHandlers(services, parts, Presenter(services, parts, Pacer()))
    services.close()
    store.close()


def press(handlers: TrainerHandlers, action: Any) -> list[Any]:
    return list(handlers.act(Tab(), gr.EventData(None, {"action": action})))


def test_it_trains_pauses_goes_on_and_cancels(handlers: TrainerHandlers, trainer: FakeTrainer) -> None:
    with pytest.raises(ModelNotFound, match="No model is loaded"):
        press(handlers, "train")
    handlers._services.loader.load(replace(ModelSpec(), model="mine"))
    while handlers._services.loader.state().running:
        handlers._services.loader.wait(handlers._services.loader.state().sequence, 1)
    for action in ("train", "pause", "resume", "cancel"):
        press(handlers, action)
    assert trainer.asked == [("--model", "mine", "--offline"), "pause", "resume", "cancel"]
    assert press(handlers, "load")[-1] == handlers.look(Tab())


@pytest.mark.parametrize("action", ["", "remove", 3, None])
def test_anything_else_is_refused(handlers: TrainerHandlers, trainer: FakeTrainer, action: Any) -> None:
    with pytest.raises(Refused, match="load the page again"):
        press(handlers, action)
    assert trainer.asked == []
