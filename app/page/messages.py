"""Handlers of what is done with messages of a chat and begins no answer: delete with all that follows, branch."""

import functools
from collections.abc import Callable

import gradio as gr

from app.chat.services import Services
from app.page.events import Refused, bind, event_id
from app.page.gradio_internals import event_data
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Deletion, Tab
from app.texts import tr
from app.view.window import ALL, MORE


class MessageHandlers:
    """Cuts and copies; `show` draws the page for a tab whose conversation has changed."""

    def __init__(self, services: Services, parts: Parts, presenter: Presenter, show: Callable[[Tab], Shown]) -> None:
        self._services = services
        self._parts = parts
        self._presenter = presenter
        self._show = show

    def wire(self) -> None:
        parts = self._parts
        bind(parts.notes.delete, self.delete, inputs=[parts.tab], outputs=parts.drawn())
        bind(parts.notes.expand, self.earlier, inputs=[parts.tab], outputs=[parts.chat, parts.notes])
        whole = [*parts.drawn(), parts.box, *parts.settings.all()]
        bind(parts.notes.copy, self.branch, inputs=[parts.tab], outputs=whole)

    def delete(self, tab: Tab, event: gr.EventData) -> Shown:
        """Put a message and all that follows it into the trash; "Undo" brings it back at once."""
        with self._presenter.own_change(tab):
            part = self._services.cut(self._open(tab), event_id(event))
        restore = functools.partial(self._services.put_back, part)
        tab.deleted.append(
            Deletion(tr("undo.end_of", title=part.title or tr("common.new_chat")), restore, part.conversation_id)
        )
        live = self._presenter.idle(tab) | {"sentence": tr("undo.cut")}
        return self._presenter.changed(tab) | {self._parts.live: live}

    def earlier(self, tab: Tab, event: gr.EventData) -> Shown:
        """Draw earlier messages of a long chat, too; for the browser's search `all`, as far as a page can bear it."""
        self._open(tab)
        self._presenter.show_earlier(tab, more=ALL if event_data(event).get("all") is True else MORE)
        return self._presenter.chat(tab)

    def branch(self, tab: Tab, event: gr.EventData) -> Shown:
        """Open a copy of the conversation that ends with this message."""
        self._presenter.turn_to(tab, self._services.branch(self._open(tab), event_id(event)))
        return self._show(tab)

    def _open(self, tab: Tab) -> int:
        if self._presenter.conversation(tab) is None or tab.conversation_id is None:
            raise Refused(tr("refused.no_conversation_here"))
        return tab.conversation_id
