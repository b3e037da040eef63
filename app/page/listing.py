"""Handlers of the list on the left: new, open, search, rename, delete, undo; and what a tab shows when it is opened."""

import functools
import re
from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.chat.services import Services
from app.page import settings
from app.page.downloads import listed
from app.page.events import Refused, bind, event_id, event_text
from app.page.models import choices
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.presets import preset_names
from app.page.tab import Deletion, Tab
from app.view.listing import NEW_CHAT

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
        picked = [parts.picker.name, parts.picker.quant, parts.picker.dtype, parts.get.name, parts.get.facts]
        bind(
            page.load,
            self.opened,
            inputs=[parts.tab, parts.address],
            outputs=[*whole, *picked, parts.presets.name],
            js="(t, p) => [t, location.hash]",
        )
        bind(parts.poll.change, self.catch_up, inputs=[parts.tab], outputs=whole, trigger_mode="always_last")
        bind(parts.poll.input, self.nothing, inputs=[], outputs=[parts.poll])
        bind(parts.new_chat.click, self.new, inputs=[parts.tab], outputs=whole)
        bind(parts.conversations.select, self.open, inputs=[parts.tab], outputs=whole)
        bind(parts.conversations.edit, self.rename, inputs=[parts.tab], outputs=whole)
        bind(parts.conversations.delete, self.delete, inputs=[parts.tab], outputs=whole)
        bind(parts.conversations.undo, self.undo, inputs=[parts.tab], outputs=[*whole, parts.presets.name])
        bind(parts.files.change, self.refresh, inputs=[parts.tab], outputs=[parts.conversations])
        bind(
            parts.search.change,
            self.search,
            inputs=[parts.tab, parts.search],
            outputs=[parts.conversations],
            trigger_mode="always_last",
        )

    def opened(self, tab: Tab, address: Any) -> Iterator[Shown]:
        """Show what the address names, or the answer that is being written, and attach to it."""
        tab.opened = True
        found = ADDRESS.match(address) if isinstance(address, str) else None
        running = self._services.chat.running
        if found is not None:
            tab.conversation_id = int(found[1])
        elif running is not None:
            tab.conversation_id = running.conversation_id
        yield self._whole_page(tab) | self._picked() | self._presets()
        begun = tab.settings
        yield from self._presenter.follow(tab)
        fresh = self._services.fresh_settings()
        if tab.conversation_id is None and tab.settings is begun and fresh != begun:  # the model was still being loaded
            tab.settings = fresh
            yield settings.show(self._parts.settings, fresh)

    def open(self, tab: Tab, event: gr.EventData) -> Iterator[Shown]:
        """Show a conversation, and its answer where one is being written."""
        tab.conversation_id = self._services.store.conversation(event_id(event)).id
        tab.interrupt()
        yield self._whole_page(tab)
        yield from self._presenter.follow(tab)

    def new(self, tab: Tab) -> Shown:
        """An empty chat; it becomes a conversation with its first message."""
        tab.conversation_id = None
        tab.interrupt()
        return self._whole_page(tab)

    def rename(self, tab: Tab, event: gr.EventData) -> Shown:
        self._services.store.rename(event_id(event), event_text(event, "title"))
        return {
            self._parts.conversations: self._presenter.listing(tab),
            self._parts.header: self._presenter.header(tab),
        }

    def delete(self, tab: Tab, event: gr.EventData) -> Shown:
        """Hide a conversation; "Undo" brings it back until the application ends."""
        return self.delete_one(tab, event_id(event))

    def delete_one(self, tab: Tab, conversation_id: int) -> Shown:
        conversation = self._services.store.conversation(conversation_id)
        if self._services.chat.running_in(conversation.id):
            raise Refused("An answer is being written in this conversation: stop it first, then delete.")
        self._services.delete(conversation.id)
        restore = functools.partial(self._services.restore, conversation.id)
        tab.deleted.append(Deletion(conversation.title or NEW_CHAT, restore, conversation.id))
        if tab.conversation_id == conversation.id:
            return self.new(tab)
        return {self._parts.conversations: self._presenter.listing(tab)}

    def undo(self, tab: Tab) -> Iterator[Shown]:
        """Bring back what was deleted last, and open the conversation that it belongs to."""
        if not tab.deleted:
            raise Refused("There is nothing to bring back here any more: look into the trash.")
        deletion = tab.deleted.pop()
        deletion.undo()
        tab.conversation_id = deletion.conversation_id or tab.conversation_id
        tab.interrupt()
        yield self._whole_page(tab) | self._presets()
        yield from self._presenter.follow(tab)

    def search(self, tab: Tab, query: Any) -> Shown:
        """List the conversations whose title or messages hold the words."""
        if not isinstance(query, str):
            raise Refused("Type the words to search for.")
        tab.query = query[:QUERY_LIMIT].strip()
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
            yield self._presenter.chat(tab) | self._presenter.download()
        else:
            yield self._presenter.at_rest(tab)
        yield from self._presenter.follow(tab)

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
        }

    def _presets(self) -> Shown:
        return {self._parts.presets.name: gr.update(choices=preset_names(self._services))}

    def _whole_page(self, tab: Tab) -> Shown:
        tab.seen = self._services.page_version()
        conversation = self._presenter.conversation(tab)
        tab.settings = conversation.settings if conversation else self._services.fresh_settings()
        box = {self._parts.box: self._services.draft(tab.conversation_id)}
        return self._presenter.everything(tab) | box | settings.show(self._parts.settings, tab.settings)
