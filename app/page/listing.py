"""Handlers of the list on the left: new, open, search, rename, delete, undo; and what a tab shows when it is opened."""

import functools
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from app.chat.services import Services
from app.page import settings
from app.page.downloads import listed
from app.page.events import Refused, bind, event_id, event_text
from app.page.gradio_internals import event_data
from app.page.models import choices
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.presets import preset_names
from app.page.tab import Deletion, Tab
from app.store.errors import NotFound, StoreError
from app.store.private import is_private
from app.texts import tr

QUERY_LIMIT = 200
ADDRESS = re.compile(r"#c(\d{1,15})\Z")


class ListHandlers:
    """What a person does with conversations as wholes."""

    def __init__(self, services: Services, parts: Parts, presenter: Presenter) -> None:
        self._services = services
        self._parts = parts
        self._presenter = presenter

    def wire(self, page: gr.Blocks) -> None:
        parts = self._parts
        whole = [*parts.drawn(), parts.box, *parts.settings.all()]
        picker = parts.picker
        picked = [picker.name, picker.quant, picker.dtype, picker.context, parts.get.name, parts.get.facts]
        kept = [parts.presets.name, parts.presets.titles]
        bind(
            page.load,
            self.opened,
            inputs=[parts.tab, parts.address],
            outputs=[*whole, *picked, *kept],
            js="(t, p) => [t, location.hash]",
        )
        bind(parts.poll.change, self.catch_up, inputs=[parts.tab], outputs=whole, trigger_mode="always_last")
        bind(parts.poll.input, self.nothing, inputs=[], outputs=[parts.poll])
        bind(parts.new_chat.click, self.new, inputs=[parts.tab], outputs=whole)
        bind(parts.conversations.select, self.open, inputs=[parts.tab], outputs=whole)
        bind(parts.conversations.edit, self.rename, inputs=[parts.tab], outputs=whole)
        bind(parts.conversations.delete, self.delete, inputs=[parts.tab], outputs=whole)
        bind(parts.conversations.undo, self.undo, inputs=[parts.tab], outputs=[*whole, parts.presets.name])
        for listener, handler in (
            (parts.conversations.expand, self.show_trash),
            (parts.conversations.collapse, self.leave_trash),
            (parts.conversations.clear, self.delete_for_good),
        ):
            bind(listener, handler, inputs=[parts.tab], outputs=[parts.conversations])
        bind(parts.files.change, self.refresh, inputs=[parts.tab], outputs=[parts.conversations])
        bind(
            parts.search.change,
            self.search,
            inputs=[parts.tab, parts.search],
            outputs=[parts.conversations],
            trigger_mode="always_last",
            queue=False,  # a key is answered at once
        )

    def opened(self, tab: Tab, address: Any) -> Iterator[Shown]:
        """Show what the address names, or the answer that is being written, and attach to it."""
        tab.opened, tab.opened_at = True, self._services.loader.state().sequence
        found = ADDRESS.match(address) if isinstance(address, str) else None
        running = self._services.chat.running
        if found is not None and not is_private(int(found[1])):
            tab.conversation_id = int(found[1])
        elif running is not None and not is_private(running.conversation_id):
            tab.conversation_id = running.conversation_id
        titles = {self._parts.presets.titles: self._services.settings.titles}
        yield self.whole_page(tab) | self._picked() | self._presets() | titles
        begun = tab.settings
        yield from self._presenter.follow(tab)
        fresh = self._services.fresh_settings()
        if tab.conversation_id is None and tab.settings is begun and fresh != begun:  # the model was still being loaded
            tab.settings = fresh
            yield settings.show(self._parts.settings, fresh)

    def open(self, tab: Tab, event: gr.EventData) -> Iterator[Shown]:
        """Show a conversation, and its answer where one is being written."""
        conversation_id = self._services.store.conversation(event_id(event)).id
        if "message" in event_data(event):
            self._show_message(conversation_id, event_id(event, "message"))
        self._presenter.turn_to(tab, conversation_id)
        if "message" in event_data(event):
            self._presenter.show_earlier(tab, event_id(event, "message"))
        yield self.whole_page(tab)
        yield from self._presenter.follow(tab)

    def _show_message(self, conversation_id: int, message_id: int) -> None:
        """Turn to the branch of the message that was found, where nothing is being written."""
        store = self._services.store
        shown = {message.id for message in store.path(conversation_id)}
        if message_id in shown or self._services.chat.running_in(conversation_id) is not None:
            return
        if store.message(message_id).conversation_id == conversation_id:
            store.select(message_id)

    def new(self, tab: Tab) -> Shown:
        """An empty chat; it becomes a conversation with its first message."""
        self._presenter.turn_to(tab, None)
        return self.whole_page(tab)

    def rename(self, tab: Tab, event: gr.EventData) -> Shown:
        with self._presenter.own_change(tab):
            self._services.rename(event_id(event), event_text(event, "title"))
        return {
            self._parts.conversations: self._presenter.listing(tab),
            self._parts.header: self._presenter.header(tab),
        }

    def delete(self, tab: Tab, event: gr.EventData) -> Shown:
        """Put a conversation into the trash; "Undo" brings it back at once."""
        return self.delete_one(tab, event_id(event))

    def delete_one(self, tab: Tab, conversation_id: int) -> Shown:
        conversation = self._services.store.conversation(conversation_id)
        if self._services.chat.running_in(conversation.id):
            raise Refused(tr("refused.delete_running"))
        with self._presenter.own_change(tab):
            self._services.delete(conversation.id)
        restore = functools.partial(self._services.restore, conversation.id)
        tab.deleted.append(Deletion(conversation.title or tr("common.new_chat"), restore, conversation.id))
        if tab.conversation_id == conversation.id:
            return self.new(tab)
        return {self._parts.conversations: self._presenter.listing(tab)}

    def undo(self, tab: Tab, event: gr.EventData) -> Iterator[Shown]:
        """Bring back what was deleted last, or this conversation out of the trash, and open it."""
        if "id" in event_data(event):
            yield from self.undo_one(tab, event_id(event))
        else:
            yield from self.undo_last(tab)

    def undo_last(self, tab: Tab) -> Iterator[Shown]:
        if not tab.deleted:
            raise Refused(tr("refused.nothing_to_undo"))
        deletion = tab.deleted[-1]
        try:
            num_gone = deletion.undo()
        except StoreError as exc:
            if isinstance(exc, NotFound):  # it is gone for good: the next Undo is for the one before
                tab.deleted.remove(deletion)
            raise
        tab.deleted.remove(deletion)
        self._presenter.turn_to(tab, deletion.conversation_id or tab.conversation_id)
        yield from self._brought_back(tab, num_gone or 0)

    def undo_one(self, tab: Tab, conversation_id: int) -> Iterator[Shown]:
        self._services.restore(conversation_id)
        tab.deleted = [deletion for deletion in tab.deleted if deletion.conversation_id != conversation_id]
        self._presenter.turn_to(tab, conversation_id)
        yield from self._brought_back(tab)

    def show_trash(self, tab: Tab) -> Shown:
        """List what was deleted, in place of the conversations."""
        tab.trash = True
        return {self._parts.conversations: self._presenter.listing(tab)}

    def leave_trash(self, tab: Tab) -> Shown:
        tab.trash = False
        return {self._parts.conversations: self._presenter.listing(tab)}

    def delete_for_good(self, tab: Tab, event: gr.EventData) -> Shown:
        """Remove one conversation of the trash, or all of them, from every file."""
        gone = event_id(event) if "id" in event_data(event) else None
        self._services.store.empty_trash(gone)
        tab.deleted = [
            deletion
            for deletion in tab.deleted
            if deletion.conversation_id is None or (gone is not None and deletion.conversation_id != gone)
        ]
        return {self._parts.conversations: self._presenter.listing(tab)}

    def _brought_back(self, tab: Tab, num_gone: int = 0) -> Iterator[Shown]:
        tab.trash = False
        tab.interrupt()
        shown = self.whole_page(tab) | self._presets()
        if num_gone:
            shown[self._parts.live] |= {"sentence": tr("undo.some_gone", count=num_gone)}
        yield shown
        yield from self._presenter.follow(tab)

    def search(self, tab: Tab, query: Any) -> Shown:
        """List the conversations whose title or messages hold the words."""
        if not isinstance(query, str):
            raise Refused(tr("refused.query"))
        tab.query = query[:QUERY_LIMIT].strip()
        tab.trash = False
        return {self._parts.conversations: self._presenter.listing(tab)}

    def refresh(self, tab: Tab) -> Shown:
        """List again, after an import."""
        return {self._parts.conversations: self._presenter.listing(tab)}

    def catch_up(self, tab: Tab) -> Iterator[Shown]:
        """Show what happened elsewhere, in another tab or in the engine."""
        if tab.following or not tab.opened:
            yield {self._parts.live: gr.skip()}
            return
        running = self._services.chat.running_in(tab.conversation_id)
        if tab.seen == self._services.page_version():
            yield {self._parts.live: gr.skip()}
            return
        if running is not None:
            tab.seen = self._services.page_version()
            yield self._presenter.chat(tab) | self._presenter.download() | self._memory(tab)
        else:
            yield self._presenter.at_rest(tab) | self._memory(tab)
        yield from self._presenter.follow(tab)

    def _memory(self, tab: Tab) -> Shown:
        """The switch of the conversation's memory, where it was set elsewhere."""
        conversation = self._presenter.conversation(tab)
        if conversation is None or conversation.settings.memory == tab.settings.memory:
            return {}
        tab.settings = replace(tab.settings, memory=conversation.settings.memory)
        return {self._parts.settings.memory: tab.settings.memory}

    def nothing(self) -> Shown:
        """Change nothing: the request alone opens the stream of answers again."""
        return {self._parts.poll: gr.skip()}

    def _picked(self) -> Shown:
        """The picker as it should stand when a page is opened: it shows the model that was asked for last."""
        picker, spec = self._parts.picker, self._services.loader.state().spec
        offered, downloads = choices(self._services), listed(self._parts, self._services)
        if spec is None:
            return downloads | {picker.name: gr.update(choices=offered)}
        return downloads | {
            picker.name: gr.update(choices=offered, value=spec.model),
            picker.quant: spec.quant,
            picker.dtype: spec.dtype,
            picker.context: "" if spec.max_context is None else str(spec.max_context),
        }

    def _presets(self) -> Shown:
        return {self._parts.presets.name: gr.update(choices=preset_names(self._services))}

    def whole_page(self, tab: Tab) -> Shown:
        """Everything, for the tab's conversation."""
        tab.seen = self._services.page_version()
        conversation = self._presenter.conversation(tab)
        tab.settings = conversation.settings if conversation else self._services.fresh_settings()
        box = {self._parts.box: self._services.draft(tab.conversation_id)}
        return self._presenter.everything(tab) | box | settings.show(self._parts.settings, tab.settings)
