"""The section for servers: connect to one, confirm that words may go there, give its key, choose its model."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.chat.services import Services
from app.page.events import Refused, bind
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Tab
from app.servers import Servers
from app.texts import tr
from app.view.servers import ask_sentence, forgotten_sentence, key_sentence
from engine.remote.address import Address, is_address, parse


class ServerHandlers:
    def __init__(self, services: Services, parts: Parts, presenter: Presenter) -> None:
        self._services = services
        self._parts = parts
        self._own = parts.servers
        self._presenter = presenter

    def wire(self, page: gr.Blocks) -> None:
        own, tab = self._own, self._parts.tab
        fields = [own.address, own.key, own.confirm, own.model, own.said]
        shown = [*self._parts.drawn(), *fields]
        bind(page.load, self.look, inputs=[], outputs=fields)
        given = [tab, own.address, own.key]
        bind([own.connect.click, own.address.submit, own.key.submit], self.connect, inputs=given, outputs=shown)
        bind(own.confirm.click, self.confirm, inputs=[tab, own.address], outputs=shown)
        bind(own.forget.click, self.forget, inputs=[own.address], outputs=fields)
        bind(own.model.input, self.choose, inputs=[tab, own.address, own.model], outputs=shown)

    def look(self) -> Shown:
        """How it stands, for a page that is opened: the server that answers, or that waits to be confirmed."""
        spec = self._services.loader.state().spec
        if spec is None or not is_address(spec.model):
            return {self._own.said: ""}
        return {self._own.address: parse(spec.model).url} | self._asked(parse(spec.model)) | self._models()

    def connect(self, tab: Tab, text: Any, key: Any) -> Iterator[Shown]:
        """Keep the key, and ask the server what it is; nothing goes to another machine before it is confirmed."""
        if self._services.loader.forget_notice():
            yield {self._parts.header: self._presenter.header(tab)}
        address, said = _address(text), ""
        if isinstance(key, str) and key.strip():
            said = key_sentence(self._servers.keep_key(address, key))
        if not self._servers.confirmed(address):
            yield {self._own.key: ""} | self._asked(address)
            return
        yield {self._own.key: "", self._own.said: said, self._own.confirm: gr.update(visible=False)}
        yield from self._load(tab, address)

    def confirm(self, tab: Tab, text: Any) -> Iterator[Shown]:
        """Words may go to this address from now on."""
        address = _address(text)
        self._servers.confirm(address)
        yield {self._own.said: "", self._own.confirm: gr.update(visible=False)}
        yield from self._load(tab, address)

    def choose(self, tab: Tab, text: Any, model: Any) -> Iterator[Shown]:
        """Let another model of the server answer."""
        if not isinstance(model, str) or not model:
            raise Refused(tr("server.choose_model"))
        yield from self._load(tab, _address(text).with_model(model))

    def forget(self, text: Any) -> Shown:
        """Take the confirmation and the key of the address away."""
        address = _address(text)
        self._servers.forget(address)
        return {self._own.said: forgotten_sentence(address), self._own.confirm: gr.update(visible=False)}

    def _load(self, tab: Tab, address: Address) -> Iterator[Shown]:
        if self._services.chat.answering:
            raise Refused(tr("refused.model_running"))
        self._services.load_server(address)
        yield from self._presenter.follow(tab)
        yield self._models()

    def _asked(self, address: Address) -> Shown:
        """The question whether words may go there; nothing where that is known."""
        if self._servers.confirmed(address):
            return {self._own.said: "", self._own.confirm: gr.update(visible=False)}
        return {self._own.said: ask_sentence(address), self._own.confirm: gr.update(visible=True)}

    def _models(self) -> Shown:
        """The models of the server that answers, where it has several."""
        info = self._services.engine.info
        server = info.server if info is not None else None
        if info is None or server is None or len(server.models) < 2:
            return {self._own.model: gr.update(visible=False)}
        return {self._own.model: gr.update(choices=list(server.models), value=parse(info.path).model, visible=True)}

    @property
    def _servers(self) -> Servers:
        if self._services.servers is None:
            raise Refused(tr("server.none_here"))
        return self._services.servers


def _address(text: Any) -> Address:
    if not isinstance(text, str) or not text.strip():
        raise Refused(tr("server.address_first"))
    return parse(text)
