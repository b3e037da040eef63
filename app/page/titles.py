"""The choice whether the model writes titles."""

from typing import Any

from app.chat.services import Services
from app.page.events import bind
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Tab


class TitleHandlers:
    """Keeps the choice, for all chats."""

    def __init__(self, services: Services, parts: Parts, presenter: Presenter) -> None:
        self._services = services
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        titles = self._parts.presets.titles
        bind(titles.input, self.choose, inputs=[self._parts.tab, titles], outputs=[self._parts.header])

    def choose(self, tab: Tab, choice: Any) -> Shown:
        """From the next idle moment on."""
        self._services.settings.set_titles(choice if isinstance(choice, str) else "")
        return {self._parts.header: self._presenter.header(tab)}
