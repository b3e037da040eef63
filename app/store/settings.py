"""Settings of the whole application: the models, the theme, and what a new chat begins with.

A value that is damaged, or that this version does not know, falls back to its default with a line in the log, so that
it never keeps the application from starting.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from app.store.records import ConversationSettings
from app.store.store import Store
from app.store.text import clean_text
from engine import codec
from engine.config import SMOLLM2, ModelSpec, Sampling

log = logging.getLogger(__name__)

Theme = Literal["system", "light", "dark"]
Titles = Literal["auto", "always", "never"]  # written by the model: by those that can, whatever it is, not at all

NUM_RECENT = 8


class AppSettings:
    """Reads and writes through the store at every call; keeps nothing itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def model(self) -> ModelSpec:
        """The model that was loaded last; at first the one that comes along."""
        data = self._store.get_setting("model")
        if data is None:
            return ModelSpec(model=SMOLLM2)
        try:
            spec = codec.load_settings(ModelSpec, data, "model")
        except ValueError as exc:
            log.warning("The setting model is damaged (%s) and its default is used.", exc)
            return ModelSpec(model=SMOLLM2)
        known = spec.model == data.get("model")  # else it is missing or damaged, and the starter is the value's default
        return spec if known else replace(spec, model=SMOLLM2)

    @property
    def recent_models(self) -> list[str]:
        """The names of the models that were loaded, the last one first."""
        names = self._store.get_setting("recent_models", [])
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def remember_model(self, spec: ModelSpec) -> None:
        """Keep the model for the next start; device, threads and network are chosen at each start."""
        names = [spec.model, *(name for name in self.recent_models if name != spec.model)]
        adapter = str(Path(spec.adapter).expanduser().absolute()) if spec.adapter else ""
        kept = ModelSpec(
            model=spec.model,
            dtype=spec.dtype,
            quant=spec.quant,
            adapter=adapter,
            no_adapter=spec.no_adapter,
            max_context=spec.max_context,
        )
        with self._store.transaction():
            self._store.set_setting("recent_models", names[:NUM_RECENT])
            self._store.set_setting("model", codec.dump(kept))

    @property
    def theme(self) -> Theme:
        value = self._store.get_setting("theme", "system")
        if value in get_args(Theme):
            return value  # type: ignore[no-any-return]
        log.warning("The setting theme is %r, which is none of %s; it is reset.", value, ", ".join(get_args(Theme)))
        return "system"

    def set_theme(self, theme: str) -> None:
        """Keep the theme; raises `ValueError` if there is none of that name."""
        if theme not in get_args(Theme):
            raise ValueError(f"The theme must be one of {', '.join(get_args(Theme))}; got {theme!r}.")
        self._store.set_setting("theme", theme)

    @property
    def shows_origins(self) -> bool:
        """Whether answers are tinted by where their words came from."""
        return self._store.get_setting("shows_origins", False) is True

    def set_shows_origins(self, shown: bool) -> None:
        self._store.set_setting("shows_origins", shown)

    @property
    def titles(self) -> Titles:
        value = self._store.get_setting("titles", "auto")
        return value if value in get_args(Titles) else "auto"

    def set_titles(self, titles: str) -> None:
        """Keep who writes titles; raises `ValueError` where that is none of the choices."""
        if titles not in get_args(Titles):
            raise ValueError(f"Titles must be one of {', '.join(get_args(Titles))}; got {titles!r}.")
        self._store.set_setting("titles", titles)

    # New chats

    @property
    def defaults(self) -> ConversationSettings | None:
        """What a person saved for new chats; None: nothing, so that the model's own sampling holds."""
        return self._conversation_settings("defaults")

    def set_defaults(self, settings: ConversationSettings | None) -> None:
        self._store.set_setting("defaults", None if settings is None else codec.dump(settings))

    def begun(self, recommended: Sampling) -> ConversationSettings | None:
        """What was set for the next chat, which no message has begun yet; None: nothing.

        Sampling that nobody chose, because no model was there to recommend one, is what is `recommended` now.
        """
        settings = self._conversation_settings("begun")
        unchosen = settings is not None and "sampling" not in self._store.get_setting("begun")
        return replace(settings, sampling=recommended) if unchosen and settings is not None else settings

    def set_begun(self, settings: ConversationSettings | None, *, sampling: bool = True) -> None:
        """`sampling` False: nobody chose it."""
        if settings is None and self._store.get_setting("begun") is None:
            return
        data = None if settings is None else codec.dump(settings)
        if data is not None and not sampling:
            del data["sampling"]
        self._store.set_setting("begun", data)

    @property
    def chose_sampling(self) -> bool:
        """Whether a person chose the sampling that the next chat begins with."""
        begun = self._store.get_setting("begun")
        return self.defaults is not None or (isinstance(begun, dict) and "sampling" in begun)

    @property
    def draft(self) -> str:
        """What was written into the message box of the next chat and not sent."""
        value = self._store.get_setting("draft", "")
        return value if isinstance(value, str) else ""

    def set_draft(self, text: str) -> None:
        if text != self.draft:
            self._store.set_setting("draft", clean_text(text))

    def _conversation_settings(self, key: str) -> ConversationSettings | None:
        data = self._store.get_setting(key)
        if data is None:
            return None
        try:
            return codec.load_settings(ConversationSettings, data, key)
        except ValueError as exc:
            log.warning("The setting %s is damaged (%s) and left out.", key, exc)
            return None
