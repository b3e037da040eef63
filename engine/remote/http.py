"""Requests to a server, from a thread of their own: what goes there, what comes back, what goes wrong. Knows no model.

Streams are read by httpx2's client of server-sent events, which comes with Gradio. `openai`'s was tried on the same
recorded streams (`tests/engine/remote/test_streams.py`): it fails at an event that is empty behind an id, and refuses
fields that it does not know only to those who look for them elsewhere. Both pass over the line `error: ...` by which
some builds of llama-server end a stream; `MendedTransport` makes it an event.

No redirect is followed, no proxy and no password file of the environment is used, and a key goes nowhere but to the
address that it was given for. What a server says is quoted without the key.
"""

import asyncio
import json
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx2

from engine.errors import ContextOverflow, EngineError, KeyRefused, ModelNotFound, ServerUnavailable
from engine.remote.address import Address
from engine.remote.values import mapping

T = TypeVar("T")

SAID_LIMIT = 300  # characters of what a server says
API_OFF = "api_off"  # the code of what another Slipstream says then
BODY_LIMIT = 8 * 2**20  # bytes of what a server says of itself
EVENT_LIMIT = 16 * 2**20  # bytes of one event
JOIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a server may take, in seconds. `backoff_s`: the pauses between two tries before the first token."""

    connect_s: float = 5.0
    look_s: float = 5.0  # what a server says of itself
    first_s: float = 900.0  # the first token, behind a long prompt on a slow machine
    silence_s: float = 90.0  # between two tokens
    backoff_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    loading_s: float = 300.0  # a server that says that it loads its model


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Where to ask, with which key, and how patiently."""

    address: Address
    key: str = field(default="", repr=False)
    patience: Patience = Patience()

    def client(self) -> httpx2.AsyncClient:
        """A client for this address alone."""
        patience = self.patience
        timeout = httpx2.Timeout(patience.first_s, connect=patience.connect_s, write=patience.silence_s)
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        encrypted = self.address.scheme == "https"  # else certificates, which take a while to read, are not needed
        return httpx2.AsyncClient(
            headers=headers,
            timeout=timeout,
            trust_env=False,
            follow_redirects=False,
            transport=MendedTransport(httpx2.AsyncHTTPTransport(verify=encrypted, trust_env=False)),
        )

    def quoted(self, text: str) -> str:
        """What a server says, on one line, short, without signs that steer a terminal, and without the key."""
        text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
        text = text.replace(self.key, "…") if self.key else text
        return text if len(text) <= SAID_LIMIT else text[:SAID_LIMIT] + "…"


class TryAgain(Exception):
    """The server cannot answer now; `after_s` where it says when. `loading`: it says that it loads its model. `there`:
    something has answered."""

    def __init__(
        self, failure: EngineError, after_s: float | None = None, *, loading: bool = False, there: bool = True
    ) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.after_s = after_s
        self.loading = loading
        self.there = there

    @property
    def why(self) -> str:
        """Why it is asked again, in a few words."""
        if not self.there:
            return "no server answers there yet"
        return "the server loads its model" if self.loading else "the server cannot answer yet"


async def look(client: httpx2.AsyncClient, contact: Contact, path: str) -> Any:
    """What the server says of itself at `path`: JSON, or text; None where it says nothing there."""
    try:
        async with asyncio.timeout(contact.patience.look_s):
            response, body = await _get(client, contact.address.url + path)
    except (httpx2.HTTPError, TimeoutError):
        return None
    return _value(response, body) if response.status_code == 200 else None


async def require(client: httpx2.AsyncClient, contact: Contact, path: str) -> Any:
    """As `look`; raises an `EngineError` or `TryAgain` where there is no answer. None: it does not know the path."""
    try:
        async with asyncio.timeout(contact.patience.look_s + contact.patience.connect_s):
            response, body = await _get(client, contact.address.url + path)
    except (httpx2.HTTPError, TimeoutError) as exc:
        raise unreachable(contact, exc) from exc
    if response.status_code in (404, 405, 501):
        if mapping(mapping(_value(response, body)).get("error")).get("code") == API_OFF:
            raise ServerUnavailable(
                f"{contact.address.url} is a Slipstream whose API is off: switch it on there under Other programs, or "
                "start it with --api."
            )
        return None
    refuse(contact, response, body)
    return _value(response, body)


async def _get(client: httpx2.AsyncClient, url: str) -> tuple[httpx2.Response, bytes]:
    async with client.stream("GET", url) as response:
        return response, await read_some(response)


async def read_some(response: httpx2.Response) -> bytes:
    """The body, no more of it than `BODY_LIMIT`."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > BODY_LIMIT:
            break
    return bytes(body)


def _value(response: httpx2.Response, body: bytes) -> Any:
    text = body.decode("utf-8", "replace")
    if "json" not in response.headers.get("content-type", ""):
        return text
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return None


def unreachable(contact: Contact, exc: Exception) -> TryAgain:
    """Nobody answers at the address, or nobody in time."""
    where = contact.address.url
    if isinstance(exc, httpx2.TimeoutException | TimeoutError):
        what = f"{where} does not answer in time"
    elif "CERTIFICATE" in str(exc).upper():
        what = f"The certificate of {where} cannot be trusted here"
    elif isinstance(exc, httpx2.ConnectError):
        what = f"Nobody answers at {where}"
    else:
        what = f"The connection to {where} failed"
    return TryAgain(ServerUnavailable(f"{what}: see whether the server runs there, then try again."), there=False)


def refuse(contact: Contact, response: httpx2.Response, body: bytes) -> None:
    """Raise what an answer other than 200 means: `TryAgain` where a later try may help, else an `EngineError`."""
    status, where = response.status_code, contact.address.url
    if status == 200:
        return
    if 300 <= status < 400:
        raise EngineError(
            f"{where} sends its visitors elsewhere, and nothing was sent there: give the address at which the "
            "server itself answers."
        )
    said = contact.quoted(message_of(body.decode("utf-8", "replace")))
    says = f" It says: {said.rstrip('.')}." if said else ""
    if status in (401, 403):
        how = "does not take this key" if contact.key else "wants a key"
        raise KeyRefused(f"{where} {how}: give its key under “Another server”, or by --engine-key.{says}")
    if status in (408, 429, 502, 503, 504):
        loading = status == 503 and "loading" in said.lower()
        failure = ServerUnavailable(f"{where} cannot answer now ({status}): try again in a moment.{says}")
        raise TryAgain(failure, _retry_after(response.headers), loading=loading)
    if status == 404:
        raise ModelNotFound(f"{where} does not know what was asked for ({status}): choose another model there.{says}")
    if "context" in said.lower() and any(word in said.lower() for word in ("exceed", "length", "longer", "large")):
        raise ContextOverflow(f"The conversation does not fit into the server's context: shorten it.{says}")
    raise EngineError(f"{where} refuses the request ({status}).{says}")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return min(max(0.0, float(headers.get("retry-after", ""))), 60.0)
    except ValueError:
        return None


def message_of(text: str) -> str:
    """What a failure says, in whichever of the usual formats.

    >>> message_of('{"error": {"message": "a"}}'), message_of('{"object": "error", "message": "b"}'), message_of("c")
    ('a', 'b', 'c')
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "" if "<html" in text.lower() else text
    for name in ("error", "message", "detail", "msg"):
        if isinstance(value, dict) and name in value:
            value = value[name]
            if isinstance(value, list) and value:  # FastAPI's
                value = value[0]
    return value if isinstance(value, str) else "" if value is None or value == {} else json.dumps(value)


class MendedTransport(httpx2.AsyncBaseTransport):
    """Makes a line that begins with `error:` an event: it is how some servers end a stream, and no field of one."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if "text/event-stream" in response.headers.get("content-type", "") and isinstance(
            response.stream, httpx2.AsyncByteStream
        ):
            response.stream = _Mended(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Mended(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest, begins = b"", True  # what may be the beginning of such a line; whether a line begins behind it
        async for chunk in self._inner:
            mended, rest, begins = mend(rest + chunk, begins)
            if mended:
                yield mended
        yield rest + b"\n\n"  # a last event without the empty line behind it is one, too

    async def aclose(self) -> None:
        await self._inner.aclose()


def mend(data: bytes, begins: bool) -> tuple[bytes, bytes, bool]:
    """(what can be passed on, what is held back, whether a line begins behind the first).

    >>> mend(b'data: 1\\nerror: {}\\nerr', True)
    (b'data: 1\\ndata: {}\\n', b'err', True)
    """
    mark = b"error:"
    lines = data.splitlines(keepends=True)
    passed = bytearray()
    for number, line in enumerate(lines):
        if begins and number == len(lines) - 1 and len(line) < len(mark) and mark.startswith(line):
            return bytes(passed), line, True
        passed += b"data:" + line[len(mark) :] if begins and line.startswith(mark) else line
        begins = line.endswith((b"\n", b"\r"))
    return bytes(passed), b"", begins


class Exchange(Generic[T]):
    """Coroutine work in a thread with an event loop of its own, read as an iterator; any thread may cancel it.

    The work is given a function that hands over an item. What it raises is raised to whoever iterates.
    """

    def __init__(self, work: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._items: queue.SimpleQueue[tuple[T] | Exception | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards what follows
        self._cancel_task: Callable[[], None] | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as exc:
            raise EngineError("The system has no room for another thread: try again in a moment.") from exc

    def __iter__(self) -> Iterator[T]:
        while (item := self._items.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item[0]

    def cancel(self) -> None:
        """End it soon: the connection is closed, and the iterator ends."""
        with self._lock:
            self._cancelled = True
            if self._cancel_task is not None:
                self._cancel_task()

    def close(self) -> None:
        """Cancel, and wait until the connection is closed."""
        self.cancel()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
            self._items.put(None)
        except Exception as exc:  # the thread's outermost frame: whoever iterates must be told
            self._items.put(exc)

    async def _main(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(self._work(self._put))

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(task.cancel)

        with self._lock:
            self._cancel_task = cancel
            if self._cancelled:
                task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def _put(self, item: T) -> None:
        self._items.put((item,))


async def trying(
    patience: Patience, attempt: Callable[[], Awaitable[T]], waits: Callable[[TryAgain, float], None]
) -> T:
    """`attempt` until it does not raise `TryAgain`, with longer and longer pauses, which `waits` is told of."""
    pauses = iter(patience.backoff_s)
    loading_until: float | None = None
    loop = asyncio.get_running_loop()
    while True:
        try:
            return await attempt()
        except TryAgain as exc:
            if exc.loading:
                loading_until = loading_until or loop.time() + patience.loading_s
                pause = None if loop.time() > loading_until else min(1.0, max(patience.backoff_s, default=1.0))
            else:
                pause = next(pauses, None)
            if pause is None:
                raise exc.failure from exc
            pause = max(pause, exc.after_s or 0.0)
            waits(exc, pause)
            await asyncio.sleep(pause)
