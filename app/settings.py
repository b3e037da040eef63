"""What is remembered over all conversations: the model, the look, and what a new conversation starts with.

A value that is damaged, or that this version does not know, falls back to its default with a line in the log: it
must never keep the application from starting.
"""

import logging
from dataclasses import replace
from typing import Literal, TypeVar, get_args

from app import typed_json
from app.records import ConversationSettings
from app.store import Store
from engine.config import ModelSpec
from engine.events import ModelInfo

log = logging.getLogger(__name__)

Theme = Literal["system", "light", "dark"]

T = TypeVar("T")


class AppSettings:
    """Reads and writes through the store at every call; keeps nothing itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def model(self) -> ModelSpec:
        """The model that was used last, the starter model at first."""
        return self._read("model", ModelSpec, ModelSpec())

    def remember_model(self, spec: ModelSpec) -> None:
        """Keep the model for the next start; being offline is a matter of this start alone."""
        self._store.set_setting("model", replace(spec, offline=False).to_json())

    @property
    def theme(self) -> Theme:
        value = self._store.get_setting("theme", "system")
        if value in get_args(Theme):
            return value  # type: ignore[no-any-return]
        log.warning("The setting theme is %r, which is none of %s; it is reset.", value, ", ".join(get_args(Theme)))
        return "system"

    def set_theme(self, theme: Theme) -> None:
        if theme not in get_args(Theme):
            raise ValueError(f"The theme must be one of {', '.join(get_args(Theme))}; got {theme!r}.")
        self._store.set_setting("theme", theme)

    def conversation_defaults(self, info: ModelInfo | None = None) -> ConversationSettings:
        """What a new conversation starts with: what was saved, else the sampling that the model's makers advise."""
        fallback = ConversationSettings(sampling=info.default_sampling) if info else ConversationSettings()
        return self._read("conversation_defaults", ConversationSettings, fallback)

    def save_conversation_defaults(self, settings: ConversationSettings) -> None:
        self._store.set_setting("conversation_defaults", settings.to_json())

    def forget_conversation_defaults(self) -> None:
        """Go back to what the model's makers advise."""
        self._store.set_setting("conversation_defaults", None)

    def _read(self, key: str, cls: type[T], default: T) -> T:
        data = self._store.get_setting(key)
        if data is None:
            return default
        try:
            return typed_json.load(cls, data, key)
        except ValueError as exc:
            log.warning("The setting %s is damaged (%s) and its default is used.", key, exc)
            return default
