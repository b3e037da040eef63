"""Private chats: begun by a button, forgotten by the page that leaves them, or by the server when the page is gone."""

import threading
from collections import deque
from collections.abc import Callable

import gradio as gr

from app.chat.services import Services
from app.page.events import Refused, bind
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Tab
from app.texts import tr

_CLOSED_KEPT = 1000  # pages


class PrivateHandlers:
    """`show` draws the page for a tab that has turned to another conversation."""

    def __init__(self, services: Services, parts: Parts, presenter: Presenter, show: Callable[[Tab], Shown]) -> None:
        self._services = services
        self._parts = parts
        self._presenter = presenter
        self._show = show
        self._lock = threading.Lock()
        self._shown: dict[str, int] = {}  # Gradio's name of a page -> its private chat
        self._closed: deque[str] = deque(maxlen=_CLOSED_KEPT)  # pages that cannot be heard to go any more

    def wire(self, page: gr.Blocks) -> None:
        parts = self._parts
        whole = [*parts.drawn(), parts.box, *parts.settings.all()]
        bind(parts.private_chat.click, self.begin, inputs=[parts.tab], outputs=whole)
        page.unload(self.closed)

    def begin(self, tab: Tab, request: gr.Request) -> Shown:
        """Leave what is shown for an empty private chat."""
        name = request.session_hash or ""
        with self._lock:
            if name in self._closed:
                raise Refused(tr("refused.unheard"))
            private = self._shown[name] = self._services.new_private()
        self._presenter.turn_to(tab, private)
        return self._show(tab)

    def closed(self, request: gr.Request) -> None:
        """A page was closed, or its browser is gone."""
        name = request.session_hash or ""
        with self._lock:
            private = self._shown.pop(name, None)
            self._closed.append(name)
        if private is not None:
            self._services.leave(private)
