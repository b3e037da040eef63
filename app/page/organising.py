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
from app.view.listing import LISTED, NEW_CHAT, chats


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
            raise Refused("The request names no valid label: load the page again.")
        tab.label, tab.archive, tab.trash = label, archive, False
        return self._listed(tab)

    def apply(self, tab: Tab, event: gr.EventData) -> Shown:
        """Do one thing with all chats that are chosen; one Undo takes it back."""
        ids, act = _ids(event_data(event).get("ids")), event_text(event, "act")
        organising = self._services.organising
        if act == "delete":
            return self._delete(tab, ids)
        if act in ("pin", "unpin"):
            undo, done = organising.flag(ids, "pinned", act == "pin"), f"{act}ned"
        elif act in ("archive", "unarchive"):
            undo = organising.flag(ids, "archived", act == "archive")
            done = "archived" if act == "archive" else "put back into the list"
        elif act in ("label", "unlabel"):
            name = event_text(event, "label")
            undo = organising.label(ids, name, act == "label")
            done = f"labelled “{name.strip()}”" if act == "label" else f"rid of the label “{name.strip()}”"
        else:
            raise Refused("There is no such thing to do with chats: load the page again.")
        tab.deleted.append(Deletion("", undo, done=self._said(ids, done)))
        return self._listed(tab)

    def _delete(self, tab: Tab, ids: list[int]) -> Shown:
        self._services.organising.require(ids)
        running = next((one for one in ids if self._services.chat.running_in(one)), None)
        if running is not None:
            title = self._services.store.conversation(running).title or NEW_CHAT
            raise Refused(f"An answer is being written in “{title}”: stop it first, then delete.")
        said = self._said(ids, "deleted")
        self._services.delete_all(ids)
        opened = tab.conversation_id if tab.conversation_id in ids else None
        tab.deleted.append(Deletion("", functools.partial(self._services.restore_all, ids), opened, said))
        if opened is not None:
            self._presenter.turn_to(tab, None)
            return self._show(tab)
        return self._listed(tab)

    def _said(self, ids: list[int], done: str) -> str:
        if len(ids) > 1:
            return f"{chats(len(ids))} were {done}"
        return f"“{self._services.store.conversation(ids[0]).title or NEW_CHAT}” was {done}"

    def _listed(self, tab: Tab) -> Shown:
        return {self._parts.conversations: self._presenter.listing(tab)}


def _ids(value: Any) -> list[int]:
    """The chats that were chosen; raises `Refused`."""
    right = isinstance(value, list) and 0 < len(value) <= LISTED
    if not right or any(type(one) is not int or not 0 < one < 2**53 for one in value):
        raise Refused(f"Choose between 1 and {LISTED} chats: load the page again.")
    return list(dict.fromkeys(value))
