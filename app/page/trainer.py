"""The line on the trained drafter under the model picker: train one, pause, cancel, load again."""

from collections.abc import Iterator

import gradio as gr

from app.chat.services import Services
from app.page.events import Refused, bind, event_text
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Tab
from app.texts import tr


class TrainerHandlers:
    def __init__(self, services: Services, parts: Parts, presenter: Presenter) -> None:
        self._services = services
        self._line = parts.picker.trainer
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        parts = self._parts
        bind(self._line.select, self.act, inputs=[parts.tab], outputs=parts.drawn())
        bind(self._line.change, self.look, inputs=[parts.tab], outputs=[self._line], trigger_mode="always_last")

    def look(self, tab: Tab) -> Shown:
        """How far the training is; the line asks while it runs."""
        return {self._line: self._presenter.trainer(tab)}

    def act(self, tab: Tab, event: gr.EventData) -> Iterator[Shown]:
        """Do what one of the line's buttons says."""
        trainer, action = self._services.trainer, event_text(event, "action")
        if trainer is None or action not in ("train", "pause", "resume", "cancel", "load"):
            raise Refused(tr("refused.line"))
        if action == "train":
            self._services.train_drafter()
        elif action == "pause":
            trainer.pause()
        elif action == "resume":
            trainer.resume()
        elif action == "cancel":
            trainer.cancel()
        else:
            self._services.load_again()
            yield from self._presenter.follow(tab)
        yield self.look(tab)
