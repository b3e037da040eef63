"""A server as an engine: `EngineAPI` over HTTP. It loads by asking the server what it is."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol

from engine.api import Running, Work
from engine.config import GenerationRequest, ModelSpec
from engine.errors import EngineBusy, EngineError, NetworkUnavailable, NoModelLoaded, NotConfirmed
from engine.events import Certificate, Event, LoadProgress, ModelInfo, ServerInfo
from engine.remote.address import Address, parse
from engine.remote.answer import answer
from engine.remote.http import Contact, Exchange, Patience
from engine.remote.probing import SWITCH_ON, Server, probe
from engine.remote.requests import body_of
from engine.remote.talk import Afterwards, Item, talk

log = logging.getLogger(__name__)


class Trust(Protocol):
    """What a person has said about servers."""

    def confirmed(self, address: Address) -> bool:
        """Whether words may go there."""

    def key(self, address: Address) -> str:
        """The key for it; empty: none was given."""


class RemoteEngine:
    """One server at a time. It compares nothing, remembers nothing, and has neither a process nor a background here."""

    def __init__(self, trust: Trust, patience: Patience | None = None) -> None:
        self._trust = trust
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._there: tuple[Contact, Server] | None = None
        self._info: ModelInfo | None = None

    @property
    def info(self) -> ModelInfo | None:
        return self._info

    @property
    def compares(self) -> None:
        return None

    @property
    def memory(self) -> None:
        return None

    @property
    def process(self) -> None:
        return None

    @property
    def background(self) -> None:
        return None

    @property
    def counts(self) -> None:
        return None

    def load(self, spec: ModelSpec) -> Running[LoadProgress]:
        """Turn to the server whose address the model's name is; raises `NotConfirmed` before anything is sent. The
        present server stays until that one has answered."""
        stop = threading.Event()
        exchange: list[Exchange[str | Server]] = []

        def cancel() -> None:
            stop.set()
            for each in exchange:
                each.cancel()

        return Work(self._load(spec, stop, exchange), cancel)

    def _load(
        self, spec: ModelSpec, stop: threading.Event, running: list[Exchange[str | Server]]
    ) -> Generator[LoadProgress, None, None]:
        with self._exclusive():
            address, started = parse(spec.model), time.monotonic()
            if spec.offline and not address.is_here:
                raise NetworkUnavailable(f"Offline mode is on: start without --offline to ask {address.url}.")
            contact = self._contact(address)
            yield LoadProgress(stage="find", message=f"Asking {address.url} what it is")
            found: Server | None = None

            async def work(put: Callable[[str | Server], None]) -> None:
                put(await probe(contact, put))

            exchange = Exchange(work)
            running.append(exchange)
            try:
                if stop.is_set():
                    exchange.cancel()
                for step in exchange:
                    if isinstance(step, Server):
                        found = step
                    else:
                        yield LoadProgress(stage="find", message=step)
            finally:
                exchange.close()
            if found is None or stop.is_set():
                raise EngineError(f"Asking {address.url} was cancelled: load it again to go on.")
            self._there = contact, found
            self._info = info_of(address, found, time.monotonic() - started)
            yield LoadProgress(stage="ready", message=f"{self._info.name} is ready", done=1, total=1)

    def generate(self, request: GenerationRequest) -> Running[Event]:
        """Ask the server for one answer."""
        stop = threading.Event()
        exchange: list[Exchange[Item]] = []

        def cancel() -> None:
            stop.set()
            for each in exchange:
                each.cancel()

        return Work(self._generate(request, stop, exchange), cancel)

    def _generate(
        self, request: GenerationRequest, stop: threading.Event, running: list[Exchange[Item]]
    ) -> Generator[Event, None, None]:
        with self._exclusive():
            if self._there is None:
                raise NoModelLoaded("No model is loaded: choose one first.")
            contact, server = self._there
            contact = self._contact(contact.address)  # the key may be another one by now
            exchange = Exchange(partial(talk, contact, server, *body_of(request, server)))
            running.append(exchange)
            if stop.is_set():
                exchange.cancel()
            yield from answer(server, request, exchange, stop.is_set, self._learn)

    def _learn(self, afterwards: Afterwards) -> None:
        """The server has said how it drafts, as llama-server does once it has answered."""
        if self._there is None or self._info is None or self._info.server is None or afterwards.drafts is None:
            return
        speculation, method = afterwards.drafts
        contact, server = self._there
        self._there = (
            contact,
            replace(server, speculation=speculation, method=method, counts=server.counts or speculation == "on"),
        )
        self._info = replace(self._info, server=replace(self._info.server, speculation=speculation, method=method))

    def unload(self) -> None:
        with self._exclusive():
            self._forget()

    def close(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._there = self._info = None

    def _contact(self, address: Address) -> Contact:
        if not address.is_here and not self._trust.confirmed(address):
            raise NotConfirmed(
                f"Nothing has been sent to {address.url}: confirm under “Another server” that your words may go there, "
                "or add --confirm-engine to the command."
            )
        return Contact(address=address, key=self._trust.key(address), patience=self._patience)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise EngineBusy("The server is busy with another answer: wait for it, or stop it.")
        try:
            yield
        finally:
            self._lock.release()


def info_of(address: Address, server: Server, load_s: float) -> ModelInfo:
    """The model at a server, as far as it is known here."""
    notes = []
    if len(server.models) > 1 and not address.model:
        notes.append(f"The server offers {len(server.models)} models: choose another one under “Another server”.")
    return ModelInfo(
        name=server.model.rpartition("/")[2].removesuffix(".gguf") if "/" in server.model else server.model,
        path=address.with_model(server.model).name,
        architecture=server.kind,
        num_parameters=0,
        weights_bytes=0,
        dtype="",
        quant="none",
        device="server",
        device_name=address.authority,
        threads=0,
        context_length=server.context_length,
        has_chat_template=True,
        has_thinking_switch=server.kind != "OpenAI-compatible",
        default_sampling=server.sampling,
        exact=None,
        fast=Certificate(setting="fast", tier="C", widths=()),
        cost_curve=None,
        exact_cost=None,
        load_s=load_s,
        notes=tuple(notes),
        server=ServerInfo(
            kind=server.kind,
            address=address.url,
            is_here=address.is_here,
            speculation=server.speculation,
            method=server.method,
            switch_on=SWITCH_ON.get(server.kind, ""),
            switches=server.kind == "Slipstream",
            continues=server.kind != "OpenAI-compatible",
            models=server.models,
        ),
    )
