"""The settings' controls against a conversation's settings: values read and checked, settings shown."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.records import ConversationSettings
from app.ui.desk import Desk
from app.ui.events import bind
from app.ui.parts import Parts, Settings
from app.ui.presenter import Presenter
from app.ui.refused import Refused
from app.ui.tab import Tab
from engine.config import Sampling

_THINKING = {"default": None, "on": True, "off": False}
_THINKING_NAMES = {None: "default", True: "on", False: "off"}


def read(values: Sequence[Any]) -> ConversationSettings:
    """The settings that the controls say, in the order of `Settings`; raises `Refused` naming what does not fit."""
    names = list(Settings.__dataclass_fields__)
    if len(values) != len(names):
        raise Refused("The settings are incomplete: load the page again.")
    said = dict(zip(names, values, strict=True))
    if not isinstance(said["drafting"], bool):
        raise Refused("Drafting is either on or off.")
    if not isinstance(said["memory"], bool):
        raise Refused("Drafting from other conversations is either on or off.")
    if said["thinking"] not in _THINKING:
        raise Refused("Thinking is the model's own, on or off.")
    try:
        sampling = Sampling(
            temperature=said["temperature"],
            top_k=_whole("Top k", said["top_k"]),
            top_p=said["top_p"],
            min_p=said["min_p"],
            repetition_penalty=said["repetition_penalty"],
        )
        return ConversationSettings(
            system=said["system"] or "",
            sampling=sampling,
            max_tokens=_whole("New tokens at most", said["max_tokens"]),
            mode="adaptive" if said["drafting"] else "plain",
            exactness=said["exactness"],
            thinking=_THINKING[said["thinking"]],
            seed=_seed(said["seed"]),
            memory=said["memory"],
        )
    except (ValueError, TypeError) as exc:
        raise Refused(str(exc)) from exc


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise Refused(f"{name} must be a whole number.")
    return int(value)


def _seed(text: Any) -> int | None:
    text = str(text if text is not None else "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 19:
        raise Refused("The seed must be a whole number, or empty for a new one each time.")
    return int(text)


def show(parts: Settings, settings: ConversationSettings) -> dict[Any, Any]:
    """Put a conversation's settings into the controls."""
    sampling = settings.sampling
    return {
        parts.drafting: settings.mode == "adaptive",
        parts.temperature: sampling.temperature,
        parts.top_k: sampling.top_k,
        parts.top_p: sampling.top_p,
        parts.min_p: sampling.min_p,
        parts.repetition_penalty: sampling.repetition_penalty,
        parts.seed: "" if settings.seed is None else str(settings.seed),
        parts.max_tokens: settings.max_tokens,
        parts.system: settings.system,
        parts.exactness: settings.exactness,
        parts.thinking: _THINKING_NAMES[settings.thinking],
        parts.memory: settings.memory,
    }


class SettingsHandlers:
    """Keeps what a person changes; it holds from the next answer on."""

    def __init__(self, desk: Desk, parts: Parts, presenter: Presenter) -> None:
        self._desk = desk
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        controls = self._parts.settings
        for control in controls.all():
            listen = control.release if isinstance(control, gr.Slider) else control.input
            if isinstance(control, gr.Textbox | gr.Number):
                listen = control.blur
            bind(
                listen,
                self.changed,
                inputs=[self._parts.tab, *controls.all()],
                outputs=[self._parts.header, self._parts.live],
            )

    def changed(self, tab: Tab, *values: Any) -> dict[Any, Any]:
        """Save the settings of the conversation on the page; a new one takes them with its first message."""
        settings = read(values)
        if tab.conversation_id is not None:
            self._desk.save_settings(tab.conversation_id, settings)
        tab.settings = settings
        shown = {self._parts.header: self._presenter.header(tab)}
        if not tab.following:
            shown[self._parts.live] = self._presenter.idle(tab)
        return shown
