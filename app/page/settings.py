"""The controls of a conversation's settings: their values read and checked, settings shown, changes kept."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import gradio as gr

from app.chat.services import Services
from app.page.events import Refused, bind
from app.page.parts import Parts, Settings
from app.page.presenter import Presenter
from app.page.tab import SAYS_PRIVATE, Tab
from app.store.errors import StoreError
from app.store.private import FORGOTTEN
from app.store.records import ConversationSettings
from app.texts import tr
from engine.config import Sampling

_CONTROLS = tuple(Settings.__dataclass_fields__)
# Sampling options and their defaults, all but the seed, which may be empty: their controls have the same names.
_SAMPLING = {
    f.name: f.default for f in fields(Sampling) if f.name in Settings.__dataclass_fields__ and f.name != "seed"
}
_THINKING = {"default": None, "on": True, "off": False}
_THINKING_NAMES = {None: "default", True: "on", False: "off"}


def read(values: Sequence[Any]) -> ConversationSettings:
    """The settings that the controls say, in the order of `Settings`; raises `Refused` naming what does not fit."""
    if len(values) != len(_CONTROLS):
        raise Refused(tr("refused.incomplete_settings"))
    said = dict(zip(_CONTROLS, values, strict=True))
    if not isinstance(said["drafting"], bool):
        raise Refused(tr("refused.drafting"))
    if not isinstance(said["memory"], bool):
        raise Refused(tr("refused.memory"))
    if said["thinking"] not in tuple(_THINKING):  # which compares, and so takes whatever it is
        raise Refused(tr("refused.thinking"))
    try:
        return ConversationSettings(
            system=said["system"] or "",
            sampling=_sampling(said),
            max_tokens=_whole_number(tr("answer.max_tokens"), said["max_tokens"]),
            mode="adaptive" if said["drafting"] else "plain",
            exactness=said["exactness"],
            thinking=_THINKING[said["thinking"]],
            seed=_seed(said["seed"]),
            memory=said["memory"],
            drafter=said["drafter"],
        )
    except (ValueError, TypeError) as exc:
        raise Refused(str(exc)) from exc


def _sampling(said: dict[str, Any]) -> Sampling:
    options: dict[str, Any] = {name: said[name] for name in _SAMPLING}
    for name, default in _SAMPLING.items():
        if type(default) is int:
            options[name] = _whole_number(tr("sampling.top_k_name"), options[name])
    return Sampling(**options)


def _whole_number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise Refused(tr("refused.whole_number", name=name))
    return int(value)


def _seed(text: Any) -> int | None:
    text = str(text if text is not None else "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 19:
        raise Refused(tr("refused.seed"))
    return int(text)


def show(parts: Settings, settings: ConversationSettings) -> dict[Any, Any]:
    """Put a conversation's settings into the controls."""
    sampled = {getattr(parts, name): getattr(settings.sampling, name) for name in _SAMPLING}
    return sampled | {
        parts.drafting: settings.mode == "adaptive",
        parts.seed: "" if settings.seed is None else str(settings.seed),
        parts.max_tokens: settings.max_tokens,
        parts.system: settings.system,
        parts.exactness: settings.exactness,
        parts.thinking: _THINKING_NAMES[settings.thinking],
        parts.memory: settings.memory,
        parts.drafter: settings.drafter,
    }


def keep(services: Services, tab: Tab, settings: ConversationSettings) -> None:
    """Save the settings of the chat on the page; those of a chat that has not begun wait for it.

    A switch of the memory that stands where it stood says nothing: the chat may have been forgotten in another tab.
    """
    if tab.conversation_id is None:
        services.keep_for_next(settings)
    else:
        unchanged = settings.memory == tab.settings.memory
        services.save_settings(tab.conversation_id, settings, keep_memory=unchanged)
    tab.settings = settings


class SettingsHandlers:
    """Keeps what a person changes; it holds from the next answer on."""

    def __init__(self, services: Services, parts: Parts, presenter: Presenter) -> None:
        self._services = services
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        """One event for all controls, the newest state last; outside the queue, which a closed page leaves."""
        controls = self._parts.settings
        bind(
            [listener for control in controls.all() for listener in self._listeners(control)],
            self.changed_on_page,
            inputs=[self._parts.tab, *controls.all(), self._parts.address],
            outputs=[self._parts.header, self._parts.live],
            trigger_mode="always_last",
            queue=False,
            js=SAYS_PRIVATE,
        )

    def _listeners(self, control: gr.components.Component) -> list[Any]:
        """The events that end a change: of a number or a seed when it is complete, of all others at once."""
        if isinstance(control, gr.Slider):
            return [control.release]
        if control in (self._parts.settings.top_k, self._parts.settings.max_tokens, self._parts.settings.seed):
            return [control.blur, control.submit]
        return [control.input]

    def changed_on_page(self, tab: Tab, *given: Any) -> dict[Any, Any]:
        """`changed`, unless the page shows a private chat that is forgotten; inputs end as `SAYS_PRIVATE` says."""
        *values, shows_private = given
        if tab.is_behind(shows_private):
            return {self._parts.live: self._presenter.problem(tab, FORGOTTEN)}
        return self.changed(tab, *values)

    def changed(self, tab: Tab, *values: Any) -> dict[Any, Any]:
        """Save the settings of the conversation on the page; a new one takes them with its first message.

        A refusal is shown in the speed line: outside the queue Gradio shows no error.
        """
        try:
            keep(self._services, tab, read(values))
        except (Refused, StoreError) as exc:
            return {self._parts.live: self._presenter.problem(tab, str(exc))}
        shown = {self._parts.header: self._presenter.header(tab)}
        if not tab.following:
            tab.seen = None  # the speed line is newer now than the rest of the page
            shown[self._parts.live] = self._presenter.idle(tab)
        return shown
