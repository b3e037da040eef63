"""The model picker: load another model, watch it load, give its memory back."""

from collections.abc import Iterator
from typing import Any, TypeGuard

from app.chat.contexts import checked
from app.chat.offers import comes_along
from app.chat.services import Services
from app.page.events import Refused, bind
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Tab
from app.texts import tr
from app.view.model import context_words, offer_label
from engine.config import SMOLLM2, STARTER

NAME_LIMIT = 1000


def choices(services: Services) -> list[tuple[str, str]]:
    """What the picker offers: our own models, what was loaded before, and what other programs keep on this disk."""
    found = {offer.model: offer_label(offer) for offer in services.offers()}
    ours = {SMOLLM2: tr("model.smollm2")} if comes_along() else {}
    ours[STARTER] = tr("model.starter")
    recent = {name: name for name in services.settings.recent_models if name not in (SMOLLM2, STARTER)}
    return [(label, name) for name, label in (ours | recent | found).items()]


class ModelHandlers:
    def __init__(self, services: Services, parts: Parts, presenter: Presenter) -> None:
        self._services = services
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        parts, picker = self._parts, self._parts.picker
        shown = parts.drawn()
        chosen = [picker.name, picker.quant, picker.dtype, picker.context]
        bind(picker.load.click, self.load, inputs=[parts.tab, *chosen], outputs=shown)
        bind(
            [part.change for part in chosen],
            self.estimate,
            inputs=chosen,
            outputs=[picker.context_said],
            trigger_mode="always_last",
            queue=False,
        )
        bind(picker.unload.click, self.unload, inputs=[parts.tab], outputs=shown)

    def estimate(self, name: Any, quant: Any, dtype: Any, context: Any) -> Shown:
        """Say what the model that is chosen would take at this context; nothing where that is not known."""
        said = ""
        if _is_name(name):
            try:
                found = self._services.estimate(name, quant, dtype, checked(str(context or "")))
            except ValueError as exc:
                said = str(exc)
            else:
                said = context_words(found) if found is not None else ""
        return {self._parts.picker.context_said: said}

    def load(self, tab: Tab, name: Any, quant: Any, dtype: Any, context: Any) -> Iterator[Shown]:
        """Load a model in place of the present one and show its progress."""
        if not _is_name(name):
            raise Refused(tr("refused.name_model"))
        self._require_rest()
        self._services.load(name, quant, dtype, checked(str(context or "")))
        yield from self._presenter.follow(tab)

    def unload(self, tab: Tab) -> Shown:
        """Give the model's memory back."""
        self._require_rest()
        self._services.loader.unload()
        return self._presenter.loading(tab)

    def _require_rest(self) -> None:
        """Raise `Refused` while an answer is written; one that waits for a model may lose it."""
        if self._services.chat.answering:
            raise Refused(tr("refused.model_running"))


def _is_name(name: Any) -> TypeGuard[str]:
    return isinstance(name, str) and bool(name.strip()) and len(name) <= NAME_LIMIT
