"""One answer of a server, as it comes: tried again before its first word, read to its end, its figures looked up."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from engine.errors import EngineError, ServerLost
from engine.metrics import Speculation
from engine.remote.chunks import Piece, SaidFailure, read_chunk
from engine.remote.figures import between, counters_of
from engine.remote.http import EVENT_LIMIT, Contact, TryAgain, look, read_some, refuse, trying, unreachable
from engine.remote.probing import Server, Speculates, drafts_of_slots
from engine.remote.values import text

ANSWER_LIMIT = 2_000_000  # characters: more than nearly every context holds
_DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Waits:
    """The server cannot answer yet; why, as a sentence."""

    note: str


@dataclass(frozen=True, slots=True)
class Afterwards:
    """What the server says when the answer is over: of all its drafts meanwhile, and whether it drafts at all."""

    meanwhile: Speculation | None
    drafts: tuple[Speculates, str] | None = None


Item = Piece | Waits | Afterwards
Put = Callable[[Item], None]


async def talk(contact: Contact, server: Server, path: str, body: dict[str, Any], put: Put) -> None:
    """Send the request and hand over what comes. Raises an `EngineError`; `ServerLost` once words have come."""
    async with contact.client() as client:

        def waits(exc: TryAgain, pause: float) -> None:
            put(Waits(f"{exc.why}: asking again in {pause:.0f} s" if pause >= 1 else f"{exc.why}: asking again"))

        before = counters_of(await look(client, contact, "/metrics")) if server.counts else None
        await trying(contact.patience, lambda: _Attempt(client, contact, put).run(path, body), waits)
        after = counters_of(await look(client, contact, "/metrics")) if server.counts else None
        drafts = await _drafts(client, contact, server)
        put(Afterwards(between(before, after), drafts))


async def _drafts(client: httpx2.AsyncClient, contact: Contact, server: Server) -> tuple[Speculates, str] | None:
    """Whether the server drafts, now that it has answered: it may have been started anew. None: it does not say."""
    if server.kind == "llama-server":
        said = await drafts_of_slots(client, contact)
        return None if said[0] == "unknown" else said
    if server.kind == "vLLM" and "vllm:" in text(metrics := await look(client, contact, "/metrics")):
        return ("off", "") if counters_of(metrics) is None else ("on", server.method)
    return None


class _Attempt:
    """One try: what goes wrong before the first word may be tried again, what goes wrong later is the end."""

    def __init__(self, client: httpx2.AsyncClient, contact: Contact, put: Put) -> None:
        self._client = client
        self._contact = contact
        self._put = put
        self._began = False  # a word has come
        self._length = 0  # characters that have come
        self._ended = False  # the server has said why the answer ended
        self._done = False  # the stream ended as streams do

    async def run(self, path: str, body: dict[str, Any]) -> None:
        url = self._contact.address.url + path
        try:
            async with self._client.stream("POST", url, json=body) as response:
                if response.status_code != 200:
                    refuse(self._contact, response, await read_some(response))
                async for piece in self._pieces(response):
                    self._measure(piece)
                    self._ended |= piece.stop_reason is not None
                    self._put(piece)
        except httpx2.SSEError as exc:  # an event without end: another try would read as much again
            raise self._lost("brought what is no answer") from exc
        except (httpx2.HTTPError, TimeoutError) as exc:
            if self._ended:
                return  # what is missing are figures
            if not self._began:
                raise unreachable(self._contact, exc) from exc
            slow = isinstance(exc, TimeoutError | httpx2.TimeoutException)
            raise self._lost("went silent" if slow else "was lost") from exc
        except SaidFailure as exc:
            said = self._contact.quoted(str(exc))
            kept = " The answer so far is kept." if self._began else ""
            raise EngineError(f"The server gave up: {said.rstrip('.')}.{kept}") from exc
        if not self._ended and not self._done:
            raise self._lost("ended")

    def _measure(self, piece: Piece) -> None:
        """Note how much has come; raises `EngineError` where a piece is too much."""
        self._length += len(piece.text) + len(piece.reasoning)
        if self._length > ANSWER_LIMIT:
            kept = "The answer so far is kept." if self._began else "Nothing of it is kept."
            raise EngineError(
                f"The server's answer is longer than {ANSWER_LIMIT:,} characters, so reading ended: see whether the "
                f"server heeds max_tokens. {kept}"
            )
        self._began |= self._length > 0

    def _lost(self, how: str) -> ServerLost:
        kept = "the answer so far is kept" if self._began else "no word came"
        return ServerLost(f"The connection to {self._contact.address.url} {how} in the middle: {kept}. Press Retry.")

    async def _pieces(self, response: httpx2.Response) -> AsyncIterator[Piece]:
        if "text/event-stream" not in response.headers.get("content-type", ""):
            yield self._read((await read_some(response)).decode("utf-8", "replace"))  # it knows no streams
            self._done = True
            return
        response.encoding = "utf-8"  # whatever the header says
        events = aiter(httpx2.EventSource(response, EVENT_LIMIT))
        while True:
            limit_s = self._contact.patience.silence_s if self._began else self._contact.patience.first_s
            try:
                async with asyncio.timeout(limit_s):
                    event = await anext(events)
            except StopAsyncIteration:
                return
            if event.data.strip() == _DONE:
                self._done = True
                return
            if event.data.strip():  # else it is there to keep the line open
                yield self._read(event.data)

    def _read(self, data: str) -> Piece:
        try:
            return read_chunk(json.loads(data))
        except (ValueError, TypeError, ArithmeticError, RecursionError) as exc:
            raise self._lost("brought what is no answer") from exc
