"""Named presets, and what a new chat begins with."""

from dataclasses import replace
from typing import Any

import gradio as gr

from app.chat.services import Services
from app.page import settings
from app.page.events import Refused, bind
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Deletion, Tab
from app.store.records import ConversationSettings
from app.texts import tr


class PresetHandlers:
    def __init__(self, services: Services, parts: Parts, presenter: Presenter) -> None:
        self._services = services
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        parts, presets = self._parts, self._parts.presets
        controls = parts.settings.all()
        changed = [parts.header, parts.live, presets.said, *controls]
        listed = [presets.name, presets.said]
        bind(presets.keep.click, self.keep, inputs=[parts.tab, *controls], outputs=[presets.said])
        bind(presets.reset.click, self.reset, inputs=[parts.tab], outputs=changed)
        bind(presets.use.click, self.use, inputs=[parts.tab, presets.name, *controls], outputs=changed)
        bind(presets.save.click, self.save, inputs=[presets.name, *controls], outputs=listed)
        bind(
            presets.delete.click, self.delete, inputs=[parts.tab, presets.name], outputs=[*listed, parts.conversations]
        )

    def keep(self, tab: Tab, *controls: Any) -> Shown:
        """Let new chats begin with what the page says now."""
        self._services.settings.set_defaults(settings.read(controls))
        return {self._parts.presets.said: tr("presets.kept")}

    def reset(self, tab: Tab) -> Shown:
        """Back to what the model's maker recommends, here and in new chats; whether drafts may use this chat stays."""
        self._services.settings.set_defaults(None)
        self._services.settings.set_begun(None)
        fresh = replace(self._services.fresh_settings(), memory=tab.settings.memory)
        return self._apply(tab, fresh) | {self._parts.presets.said: tr("presets.reset_done")}

    def use(self, tab: Tab, name: Any, *controls: Any) -> Shown:
        """Put a preset's system prompt and sampling into the chat on the page."""
        preset = self._services.presets.get(_name(name))
        shown = self._apply(tab, preset.applied_to(settings.read(controls)))
        return shown | {self._parts.presets.said: tr("presets.used", name=preset.name)}

    def save(self, name: Any, *controls: Any) -> Shown:
        preset = self._services.presets.save(_name(name), settings.read(controls))
        return self._listed(preset.name) | {self._parts.presets.said: tr("presets.saved", name=preset.name)}

    def delete(self, tab: Tab, name: Any) -> Shown:
        """Forget a preset; "Undo" brings it back."""
        preset = self._services.presets.delete(_name(name))
        tab.deleted.append(Deletion(preset.name, lambda: self._services.presets.put_back(preset)))
        return self._listed(None) | {
            self._parts.presets.said: "",
            self._parts.conversations: self._presenter.listing(tab),
        }

    def _apply(self, tab: Tab, said: ConversationSettings) -> Shown:
        """Let the settings hold for the chat on the page, and show them."""
        settings.keep(self._services, tab, said)
        shown = settings.show(self._parts.settings, said) | {self._parts.header: self._presenter.header(tab)}
        return shown if tab.following else shown | {self._parts.live: self._presenter.idle(tab)}

    def _listed(self, name: str | None) -> Shown:
        return {self._parts.presets.name: gr.update(choices=preset_names(self._services), value=name)}


def preset_names(services: Services) -> list[str]:
    return [preset.name for preset in services.presets.all()]


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refused(tr("presets.nameless"))
    return " ".join(value.split())
