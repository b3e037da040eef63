"""Handlers of the list for many chats at once: labels, archive, pins, deletion, and what the list is narrowed to."""

import functools
from collections.abc import Callable
from typing import Any

import gradio as gr

from app.chat.services import Services
from app.page.events import Refused, bind, event_text
from app.page.gradio_internals import event_data
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Deletion, Tab
from app.texts import tr
from app.view.listing import LISTED, done_words


class OrganisingHandlers:
    """`show` draws the page for a tab that has turned to another conversation."""

    def __init__(self, services: Services, parts: Parts, presenter: Presenter, show: Callable[[Tab], Shown]) -> None:
        self._services = services
        self._parts = parts
        self._presenter = presenter
        self._show = show

    def wire(self) -> None:
        parts = self._parts
        whole = [*parts.drawn(), parts.box, *parts.settings.all()]
        bind(parts.conversations.option_select, self.narrow, inputs=[parts.tab], outputs=[parts.conversations])
        bind(parts.conversations.apply, self.apply, inputs=[parts.tab], outputs=whole)

    def narrow(self, tab: Tab, event: gr.EventData) -> Shown:
        """List what has one label, or what is archived; without either, all that is not archived."""
        label, archive = event_data(event).get("label"), event_data(event).get("archive") is True
        if label is not None and not isinstance(label, str):
            raise Refused(tr("refused.label"))
        tab.label, tab.archive, tab.trash = label, archive, False
        return self._listed(tab)

    def apply(self, tab: Tab, event: gr.EventData) -> Shown:
        """Do one thing with all chats that are chosen; one Undo takes it back."""
        ids, act, label = _ids(event_data(event).get("ids")), event_text(event, "act"), ""
        organising = self._services.organising
        if act == "delete":
            return self._delete(tab, ids)
        with self._presenter.own_change(tab):
            if act in ("pin", "unpin"):
                undo = organising.flag(ids, "pinned", act == "pin")
            elif act in ("archive", "unarchive"):
                undo = organising.flag(ids, "archived", act == "archive")
            elif act in ("label", "unlabel"):
                label = event_text(event, "label")
                undo = organising.label(ids, label, act == "label")
            else:
                raise Refused(tr("refused.act"))
        tab.deleted.append(Deletion("", undo, done=self._said(ids, act, label)))
        return self._listed(tab)

    def _delete(self, tab: Tab, ids: list[int]) -> Shown:
        self._services.organising.require(ids)
        running = next((one for one in ids if self._services.chat.running_in(one)), None)
        if running is not None:
            title = self._services.store.conversation(running).title or tr("common.new_chat")
            raise Refused(tr("refused.delete_running_in", title=title))
        said = self._said(ids, "delete")
        with self._presenter.own_change(tab):
            self._services.delete_all(ids)
        opened = tab.conversation_id if tab.conversation_id in ids else None
        tab.deleted.append(Deletion("", functools.partial(self._services.restore_all, ids), opened, said))
        if opened is not None:
            self._presenter.turn_to(tab, None)
            return self._show(tab)
        return self._listed(tab)

    def _said(self, ids: list[int], act: str, label: str = "") -> str:
        return done_words(act, len(ids), self._services.store.conversation(ids[0]).title, label.strip())

    def _listed(self, tab: Tab) -> Shown:
        return {self._parts.conversations: self._presenter.listing(tab)}


def _ids(value: Any) -> list[int]:
    """The chats that were chosen; raises `Refused`."""
    right = isinstance(value, list) and 0 < len(value) <= LISTED
    if not right or any(type(one) is not int or not 0 < one < 2**53 for one in value):
        raise Refused(tr("refused.choose_chats", limit=LISTED))
    return list(dict.fromkeys(value))
