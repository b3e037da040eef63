"""Get a model: choose one of the catalogue, download it while the chat goes on, then load it."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.chat.offers import Downloadable
from app.chat.services import Services
from app.page.events import Refused, bind
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Tab
from app.texts import tr
from app.view.downloads import downloadable_facts, downloadable_label


def catalogue(services: Services) -> tuple[list[tuple[str, str]], str, str]:
    """The list's entries, the one that is chosen at first, and what is said of it."""
    offered = services.catalogue()
    first = next((offer for offer in offered if offer.best), offered[0])
    entries = [(downloadable_label(offer), offer.chat_model.name) for offer in offered]
    return entries, first.chat_model.name, downloadable_facts(first)


class DownloadHandlers:
    def __init__(self, services: Services, parts: Parts, presenter: Presenter) -> None:
        self._services = services
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        parts, get = self._parts, self._parts.get
        shown = parts.drawn()
        bind(get.name.change, self.choose, inputs=[get.name], outputs=[get.facts])
        bind(get.download.click, self.begin, inputs=[parts.tab, get.name], outputs=shown)
        bind(get.best.click, self.begin_best, inputs=[parts.tab], outputs=[*shown, get.name])
        bind(get.pause.click, self.pause, inputs=[parts.tab], outputs=shown)
        bind(get.resume.click, self.resume, inputs=[parts.tab], outputs=shown)
        bind(get.cancel.click, self.cancel, inputs=[parts.tab], outputs=shown)
        bind(get.load.click, self.load, inputs=[parts.tab], outputs=shown)
        bind(get.tick.tick, self.tick, inputs=[], outputs=[get.card, get.tick])

    def choose(self, name: Any) -> Shown:
        """Say what is known of the model that was chosen."""
        return {self._parts.get.facts: downloadable_facts(self._offer(name))}

    def begin(self, tab: Tab, name: Any) -> Shown:
        """Download the model that was chosen, or go on with it."""
        offer = self._offer(name)
        if offer.here:
            raise Refused(tr("refused.on_disk", name=offer.chat_model.name))
        self._services.download(offer.chat_model)
        return self._all(tab)

    def begin_best(self, tab: Tab) -> Shown:
        """Download the model that the empty chat offers."""
        best = self._services.best
        if best is None:
            raise Refused(tr("refused.nothing_to_get"))
        self._services.download(best.chat_model)
        return self._all(tab) | {self._parts.get.name: best.chat_model.name}

    def pause(self, tab: Tab) -> Shown:
        self._services.downloads.pause()
        return self._all(tab)

    def resume(self, tab: Tab) -> Shown:
        state = self._services.downloads.state
        if state is not None and state.status != "done":
            self._services.download(state.model)
        return self._all(tab)

    def cancel(self, tab: Tab) -> Shown:
        self._services.downloads.cancel()
        return self._all(tab)

    def load(self, tab: Tab) -> Iterator[Shown]:
        """Load the model that was downloaded, in place of the present one."""
        if self._services.chat.running:
            raise Refused(tr("refused.load_running"))
        self._services.load_downloaded()
        yield self._all(tab)
        yield from self._presenter.follow(tab)

    def tick(self) -> Shown:
        """How far the download is; the clock stops with it."""
        return self._presenter.download()

    def _all(self, tab: Tab) -> Shown:
        """The download, and the header, which offers the best model while there is none."""
        return self._presenter.download() | {self._parts.header: self._presenter.header(tab)}

    def _offer(self, name: Any) -> Downloadable:
        found = next((offer for offer in self._services.catalogue() if offer.chat_model.name == name), None)
        if found is None:
            raise Refused(tr("refused.not_listed"))
        return found


def listed(parts: Parts, services: Services) -> Shown:
    """The list as it should stand when a page is opened."""
    entries, first, facts = catalogue(services)
    download = services.downloads.state
    if download is not None and download.status != "done":
        first = download.model.name
        facts = next(downloadable_facts(o) for o in services.catalogue() if o.chat_model.name == first)
    return {parts.get.name: gr.update(choices=entries, value=first), parts.get.facts: facts}
