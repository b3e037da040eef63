"""The web server on the loopback address: health and a splash at once, the page as soon as it is built. What is opened
to other machines answers on a further address.

Importing gradio takes seconds, so the page is built in the background; until then `/` answers with a splash that
polls `/healthz`.
"""

import asyncio
import errno
import ipaddress
import logging
import secrets
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.assets import ASSETS, bare_page
from app.texts import filled, tr
from app.web.entry import ByToken
from app.web.guards import KeptHere, LocalOnly
from app.web.other_sites import AllowOrigins
from app.web.page_token import PageToken
from app.web.patience import PatientProtocol

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
DEFAULT_PORT = 7860
PORTS_TO_TRY = 10

PageBuilder = Callable[[], ASGIApp]


class PortInUse(Exception):
    """The port that was asked for belongs to another program; `str()` of it is one sentence."""


class UnknownHost(Exception):
    """The address to listen on does not belong to this machine; `str()` of it is one sentence."""


class Front:
    """What `/` answers: the splash, then the page, or one sentence where it could not be built."""

    def __init__(self, build: PageBuilder) -> None:
        self._build = build
        self._page: ASGIApp | None = None
        self._closing = asyncio.Event()
        self.failure: str | None = None

    @property
    def status(self) -> str:
        if self.failure is not None:
            return "failed"
        return "starting" if self._page is None else "ready"

    async def run(self) -> None:
        """Build the page in a thread and keep it open until `close`."""
        try:
            page = await asyncio.to_thread(self._build)
        except Exception:
            log.exception("the page could not be built")
            self.failure = tr("page.not_built")
            return
        async with page.router.lifespan_context(page):  # type: ignore[attr-defined]
            self._page = page
            await self._closing.wait()

    def close(self) -> None:
        self._closing.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._page is not None:
            await self._page(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})
        elif scope["path"] != "/":  # of a page that an earlier process made, and that reads the answer as JSON
            starting = JSONResponse({"detail": "Slipstream is starting."}, 503, headers={"Retry-After": "1"})
            await starting(scope, receive, send)
        else:
            splash = HTMLResponse(filled(bare_page("splash.html")), headers={"Cache-Control": "no-store"})
            await splash(scope, receive, send)


def create_app(
    build: PageBuilder,
    routes: Sequence[APIRouter] = (),
    page_version: Callable[[], object] = lambda: None,
    *,
    token: PageToken | None = None,
    is_keyed: Callable[[str], bool] = lambda _: False,
    is_open: Callable[[str], bool] | None = None,
    names: Collection[str] = (),
    origins: Collection[str] = (),
) -> FastAPI:
    """The whole application for an ASGI server; `build` makes the page and may take seconds.

    `token`: what a request must show (None: every account of this machine is served), but for paths that `is_keyed`
    says have a key of their own; pages of other `origins` may ask for those. `is_open` and `names`: what other machines
    may ask for, and under which names; see `LocalOnly`.

    `routes` answer from the beginning, before the page stands. A page that polls `/healthz` and finds another
    `page_version` than before must be drawn again.
    """
    front: Front

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(front.run())
        try:
            yield
        finally:
            front.close()
            await running

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    front = Front(build)
    instance = secrets.token_hex(8)  # by which an open page sees that another process answers now

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        """Answer at once, whether the page stands already or not."""
        answer = {
            "app": "slipstream",
            "status": front.status,
            "message": front.failure,
            "instance": instance,
            "page_version": f"{hash(page_version()):x}",
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    @app.get("/favicon.svg")
    @app.get("/favicon.ico")
    async def favicon() -> Response:
        return FileResponse(ASSETS / "icons" / "favicon.svg", media_type="image/svg+xml")

    @app.get("/manifest.json")
    async def manifest() -> Response:
        """What a browser needs to install the page as an app."""
        return FileResponse(ASSETS / "manifest.json", media_type="application/manifest+json")

    for router in routes:
        app.include_router(router)
    app.mount("/", front)
    if token is not None:
        app.add_middleware(ByToken, token=token, needs_none=is_keyed)
    app.add_middleware(KeptHere)
    if origins:
        app.add_middleware(AllowOrigins, origins=origins, is_shared=is_keyed)
    app.add_middleware(LocalOnly, is_open=is_open, names=names, origins=origins, is_shared=is_keyed)
    return app


def listen(port: int | None, host: str | None = None) -> list[socket.socket]:
    """Sockets on the loopback address and on `host`, with one port. Raises `PortInUse` and `UnknownHost`."""
    if host in (None, "localhost") or str(_address_of(host)) == HOST:
        return [bind(port)]
    if is_every_address(host):
        first, further = bind(port, host), HOST
        if first.family == socket.AF_INET or not first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            return [first]  # else the system keeps the two kinds of addresses apart
    else:
        first, further = bind(port), host
    try:
        return [first, bind(first.getsockname()[1], further)]
    except Exception:
        first.close()
        raise


def is_every_address(host: str) -> bool:
    """Whether all addresses of this machine are meant, as by 0.0.0.0."""
    return _address_of(host).is_unspecified


def own_address() -> str:
    """Under which other machines probably reach this one: its address on the way out, else its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        try:
            unused.connect(("192.0.2.1", 9))  # an address of nobody; nothing is sent
            return str(unused.getsockname()[0])
        except OSError:  # no network
            return socket.gethostname()


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return ipaddress.ip_address(found[0][4][0])
    except (OSError, ValueError) as exc:
        raise UnknownHost(f"{host} is no address of this machine: choose another with --host.") from exc


def bind(port: int | None, host: str = HOST) -> socket.socket:
    """A listening socket on an address: on `port`, or on the first free one where none was asked for.

    Raises `PortInUse`.
    """
    address = _address_of(host)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    wanted = [port] if port is not None else [*range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TO_TRY), 0]
    for number in wanted:
        listener = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":  # there it would let two programs share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6 and address.is_unspecified:
            with suppress(OSError):  # of IPv4, too, which is not every system's default
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listener.bind((str(address), number))
            listener.listen(128)
        except OSError as exc:
            listener.close()
            if exc.errno == errno.EADDRNOTAVAIL:
                raise UnknownHost(f"{host} is no address of this machine: choose another with --host.") from exc
            continue
        return listener
    raise PortInUse(
        f"Port {port} is in use by another program, or not allowed: choose another with --port, or leave it out."
    )


def settings(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves: it waits for nobody."""
    return uvicorn.Config(
        app, http=PatientProtocol, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none"
    )


def run(app: FastAPI, listeners: list[socket.socket]) -> None:
    """Answer requests until Ctrl-C or SIGTERM."""
    logging.getLogger("uvicorn.error").addFilter(_no_alarm_over_open_pages)
    with _terminated_as_interrupted():
        try:
            uvicorn.Server(settings(app)).run(sockets=listeners)
        except KeyboardInterrupt:  # uvicorn has shut down and raises the signal again
            log.info("ended by a signal")


def _no_alarm_over_open_pages(record: logging.LogRecord) -> bool:
    """Whether uvicorn's record is worth keeping. At the end it cuts the streams of open pages, which is no error."""
    cut = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cut and not str(record.msg).startswith("Cancel %s running task")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, so that `finally` runs and the engine's process ends with us."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
