"""Named presets of a system prompt and sampling, kept for all chats."""

import logging
from dataclasses import dataclass, field, replace

from app.store.records import ConversationSettings
from app.store.store import Store
from app.store.text import clean_text, clean_title
from engine import codec
from engine.config import Sampling

log = logging.getLogger(__name__)

KEY = "presets"
MOST = 100
NAME_LIMIT = 60  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset(codec.Settings):
    name: str = ""
    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)

    def applied_to(self, settings: ConversationSettings) -> ConversationSettings:
        """The settings with this preset's system prompt and sampling."""
        return replace(settings, system=self.system, sampling=self.sampling)


class Presets:
    """Reads and writes through the store at every call; in the order of their names."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Preset]:
        data = self._store.get_setting(KEY, [])
        found = []
        for entry in data if isinstance(data, list) else []:
            try:
                found.append(codec.load_settings(Preset, entry, KEY))
            except ValueError as exc:
                log.warning("A preset is damaged (%s) and left out.", exc)
        return sorted((preset for preset in found if preset.name), key=lambda preset: preset.name.casefold())

    def get(self, name: str) -> Preset:
        """Raises `ValueError` where there is none of that name."""
        for preset in self.all():
            if preset.name == name:
                return preset
        raise ValueError("There is no preset of that name: choose one of the list, or save one first.")

    def save(self, name: str, settings: ConversationSettings) -> Preset:
        """Keep system prompt and sampling under the name, in place of what it stood for."""
        name = clean_title(name)
        if not name:
            raise ValueError("The preset has no name: type one first.")
        if len(name) > NAME_LIMIT:
            raise ValueError(f"The name has {len(name)} characters; at most {NAME_LIMIT} fit. Shorten it.")
        others = [preset for preset in self.all() if preset.name != name]
        if len(others) >= MOST:
            raise ValueError(f"There are {MOST} presets, which is as many as are kept: delete one first.")
        preset = Preset(name=name, system=clean_text(settings.system), sampling=replace(settings.sampling, seed=0))
        self._keep([*others, preset])
        return preset

    def delete(self, name: str) -> Preset:
        """Forget the preset, which is returned."""
        preset = self.get(name)
        self._keep([other for other in self.all() if other.name != name])
        return preset

    def put_back(self, preset: Preset) -> None:
        """Undo `delete`; one that was saved under its name since stays."""
        if all(other.name != preset.name for other in self.all()):
            self._keep([*self.all(), preset])

    def _keep(self, presets: list[Preset]) -> None:
        self._store.set_setting(KEY, [codec.dump(preset) for preset in presets])
