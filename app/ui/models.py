"""The model picker: load another model, watch it load, give its memory back."""

from collections.abc import Iterator
from typing import Any

from app.ui.desk import Desk
from app.ui.events import bind
from app.ui.parts import Parts
from app.ui.presenter import Presenter, Shown
from app.ui.refused import Refused
from app.ui.tab import Tab
from engine.config import STARTER, ModelSpec

LAST_MODEL = "model"
RECENT_MODELS = "recent_models"
NUM_RECENT = 8
NAME_LIMIT = 1000


def recent_models(desk: Desk) -> list[str]:
    """The models loaded before, the last one first."""
    names = desk.store.get_setting(RECENT_MODELS, [])
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def choices(desk: Desk) -> list[tuple[str, str]]:
    """What the picker offers: the starter, then what was loaded before."""
    return [("Starter (small demonstration)", STARTER)] + [(n, n) for n in recent_models(desk) if n != STARTER]


class ModelHandlers:
    def __init__(self, desk: Desk, parts: Parts, presenter: Presenter) -> None:
        self._desk = desk
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        parts, picker = self._parts, self._parts.picker
        shown = [parts.live, parts.header, picker.progress, parts.chat, parts.notes, parts.conversations, parts.lanes]
        bind(
            picker.load.click,
            self.load,
            inputs=[parts.tab, picker.name, picker.quant, picker.dtype],
            outputs=shown,
        )
        bind(picker.unload.click, self.unload, inputs=[parts.tab], outputs=shown)

    def load(self, tab: Tab, name: Any, quant: Any, dtype: Any) -> Iterator[Shown]:
        """Load a model in place of the present one and show how far it is."""
        if not isinstance(name, str) or not name.strip() or len(name) > NAME_LIMIT:
            raise Refused("Name a model first: starter, a folder, or a Hub id such as Qwen/Qwen3-0.6B.")
        self._require_rest()
        try:
            spec = ModelSpec(model=name.strip(), quant=quant, dtype=dtype)
        except (ValueError, TypeError) as exc:
            raise Refused(str(exc)) from exc
        self._desk.loader.load(spec)
        self._remember(spec)
        yield from self._presenter.follow(tab)

    def unload(self, tab: Tab) -> Shown:
        """Give the model's memory back."""
        self._require_rest()
        self._desk.loader.unload()
        return self._presenter.loading(tab)

    def _require_rest(self) -> None:
        if self._desk.chat.running:
            raise Refused("An answer is being written: stop it first, then change the model.")

    def _remember(self, spec: ModelSpec) -> None:
        names = [spec.model, *(name for name in recent_models(self._desk) if name != spec.model)]
        self._desk.store.set_setting(RECENT_MODELS, names[:NUM_RECENT])
        self._desk.store.set_setting(LAST_MODEL, spec.to_json())
