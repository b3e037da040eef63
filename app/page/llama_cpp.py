"""The line on llama.cpp under the model picker: install, cancel, load again."""

from collections.abc import Iterator

import gradio as gr

from app.chat.services import Services
from app.page.events import Refused, bind, event_text
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Tab
from app.texts import tr


class LlamaCppHandlers:
    def __init__(self, services: Services, parts: Parts, presenter: Presenter) -> None:
        self._services = services
        self._line = parts.picker.llama_cpp
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        bind(self._line.select, self.act, inputs=[self._parts.tab], outputs=self._parts.drawn())
        bind(self._line.change, self.look, inputs=[], outputs=[self._line], trigger_mode="always_last")

    def look(self) -> Shown:
        """How far the installation is; the line asks while it runs."""
        return {self._line: self._presenter.llama_cpp()}

    def act(self, tab: Tab, event: gr.EventData) -> Iterator[Shown]:
        """Do what the line's button says."""
        service, loader = self._services.llama_cpp, self._services.loader
        action = event_text(event, "action")
        if service is None or action not in ("install", "cancel", "load"):
            raise Refused(tr("refused.line"))
        if action == "install":
            service.start(loader.state().sequence)
        elif action == "cancel":
            service.cancel()
        else:
            self._services.load_again()
            yield from self._presenter.follow(tab)
        yield self.look()
