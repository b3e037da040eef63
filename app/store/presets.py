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
        return self._read()[0]

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
        preset = Preset(name=name, system=clean_text(settings.system), sampling=replace(settings.sampling, seed=0))
        with self._store.transaction():
            others = [other for other in self.all() if other.name != name]
            if len(others) >= MOST:
                raise ValueError(f"There are {MOST} presets, which is as many as are kept: delete one first.")
            self._keep([*others, preset])
        return preset

    def delete(self, name: str) -> Preset:
        """Forget the preset, which is returned."""
        with self._store.transaction():
            preset = self.get(name)
            self._keep([other for other in self.all() if other.name != name])
        return preset

    def put_back(self, preset: Preset) -> None:
        """Undo `delete`; one that was saved under its name since stays."""
        with self._store.transaction():
            if all(other.name != preset.name for other in self.all()):
                self._keep([*self.all(), preset])

    def _read(self) -> tuple[list[Preset], list[object]]:
        """The presets, and what cannot be read as one."""
        data = self._store.get_setting(KEY, [])
        found, damaged = [], []
        for entry in data if isinstance(data, list) else []:
            try:
                preset = codec.load_settings(Preset, entry, KEY)
            except ValueError as exc:
                log.warning("A preset is damaged (%s) and left out.", exc)
                damaged.append(entry)
            else:
                if preset.name:
                    found.append(preset)
                else:
                    damaged.append(entry)
        return sorted(found, key=lambda preset: preset.name.casefold()), damaged

    def _keep(self, presets: list[Preset]) -> None:
        """Write these; what cannot be read stays as it is."""
        self._store.set_setting(KEY, [*(codec.dump(preset) for preset in presets), *self._read()[1]])
