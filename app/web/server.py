"""The web server on the loopback address: health and a splash at once, the page as soon as it is built.

Importing gradio takes seconds, so the page is built in the background; until then `/` answers with a splash that
polls `/healthz`. Only this machine is served: a foreign `Host` (DNS rebinding) and a foreign origin are refused.
"""

import asyncio
import logging
import secrets
import signal
import socket
import sys
import threading
import urllib.parse
import urllib.request
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from http import HTTPStatus

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.chat.services import Services
from app.home import AlreadyRunning, Home, InstanceLock
from app.store.store import Store, StoreError
from app.web.assets import ASSETS, asset_text
from app.web.files import file_routes
from app.web.pace import pace_routes
from app.web.theme import theme_routes
from engine.api import EngineAPI
from engine.config import ModelSpec

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
DEFAULT_PORT = 7860
PORTS_TO_TRY = 10
HOSTS = {"127.0.0.1", "localhost", "::1"}
NAVIGATION = {"navigate", "nested-navigate"}
KEPT_HERE = {
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'",  # Gradio needs these two
    "X-DNS-Prefetch-Control": "off",  # else a browser looks up the hosts of links before anybody presses them
    "Referrer-Policy": "no-referrer",
}

PageBuilder = Callable[[], ASGIApp]


class PortInUse(Exception):
    """The port that was asked for belongs to another program; `str()` of it is one sentence."""


class LocalOnly:
    """Refuse requests that another site's page made the browser send.

    A browser says where a request comes from: `Origin` must be this server, and `Sec-Fetch-Site` must not be
    another site, except where a link or the address bar opens the page itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._named(headers) and self._welcome(headers, scope):
            await self.app(scope, receive, send)
            return
        log.warning("refused a request of another host or site for %s", scope["path"])
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif not self._named(headers):
            sentence = "Slipstream answers under 127.0.0.1 and localhost only: open the address that it printed."
            await JSONResponse({"error": sentence}, HTTPStatus.BAD_REQUEST)(scope, receive, send)
        else:
            sentence = "Slipstream answers its own page only: this request came from another site."
            await JSONResponse({"error": sentence}, HTTPStatus.FORBIDDEN)(scope, receive, send)

    @staticmethod
    def _named(headers: Headers) -> bool:
        """Whether the request names this machine; another name means that a foreign one was pointed here."""
        host = headers.get("host", "")
        try:
            return "@" not in host and urllib.parse.urlsplit(f"//{host}").hostname in HOSTS
        except ValueError:
            return False

    @staticmethod
    def _welcome(headers: Headers, scope: Scope) -> bool:
        origin = headers.get("origin")
        if origin is not None and urllib.parse.urlsplit(origin).netloc != headers.get("host", ""):
            return False
        if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return True
        opens_page = headers.get("sec-fetch-mode") in NAVIGATION and headers.get("sec-fetch-dest") == "document"
        return opens_page and scope.get("method") == "GET"


class KeptHere:
    """Tell the browser to fetch nothing from another machine: what a model writes may name an image that lies there."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(KEPT_HERE)
            await send(message)

        await self.app(scope, receive, tell)


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
            self.failure = "The page could not be built; the log says why. Run `python launcher.py --repair`."
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
        else:
            splash = HTMLResponse(asset_text("splash.html"), headers={"Cache-Control": "no-store"})
            await splash(scope, receive, send)


def create_app(
    build: PageBuilder, routes: Sequence[APIRouter] = (), page_version: Callable[[], object] = lambda: None
) -> FastAPI:
    """The whole application for an ASGI server; `build` makes the page and may take seconds.

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

    for router in routes:
        app.include_router(router)
    app.mount("/", front)
    app.add_middleware(KeptHere)
    app.add_middleware(LocalOnly)
    return app


def bind(port: int | None) -> socket.socket:
    """A listening socket on the loopback address: on `port`, or on the first free one where none was asked for.

    Raises `PortInUse`.
    """
    wanted = [port] if port is not None else [*range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TO_TRY), 0]
    for number in wanted:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if sys.platform != "win32":  # there it would let two programs share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, number))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        return listener
    raise PortInUse(
        f"Port {port} is in use by another program, or not allowed: choose another with --port, or leave it out."
    )


def serve(
    home: Home,
    engine: EngineAPI,
    open_store: Callable[[], Store],
    *,
    port: int | None = None,
    open_browser: bool = True,
    flags: ModelSpec | None = None,
    named: bool = False,
    warning: str | None = None,
) -> int:
    """Serve the page until Ctrl-C or SIGTERM, then close engine and store; returns the exit status.

    `open_store` is called once this is the only instance on `home`: opening the store tidies what a killed one left.
    `port` None takes 7860 or the next free one. A model is loaded while the page is being built: that of `flags`
    where it was `named` on the command line, else the one of the last time. `warning` stands on the page.
    """
    try:
        with InstanceLock(home) as lock:
            listener = bind(port)
            number = listener.getsockname()[1]
            url = f"http://{HOST}:{number}/"
            with closing(open_store()) as store:
                services = Services(home, engine, store, flags, warning)
                try:
                    lock.announce(number, url)
                    services.load_first(named=named)
                    if open_browser:
                        threading.Thread(target=_open_when_healthy, args=(url,), daemon=True).start()
                    print(f"Slipstream is at {url} (Ctrl-C ends it)", flush=True)
                    routes = [
                        file_routes(store, services.imported),
                        theme_routes(services.settings),
                        pace_routes(services.pacer),
                    ]
                    _run(create_app(page_builder(services), routes, services.page_version), listener)
                finally:
                    services.close()
    except AlreadyRunning as exc:
        return _second_instance(exc, open_browser)
    except (PortInUse, StoreError) as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        engine.close()
    return 0


def page_builder(services: Services) -> PageBuilder:
    """What builds the page when the server has begun to answer: it imports gradio, which takes seconds."""

    def build() -> ASGIApp:
        from app.page.page import build_page

        return build_page(services)

    return build


def _run(app: FastAPI, listener: socket.socket) -> None:
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none")
    logging.getLogger("uvicorn.error").addFilter(_no_alarm_over_open_pages)
    with _terminated_as_interrupted():
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has shut down and raises the signal again
            log.info("ended by a signal")


def _no_alarm_over_open_pages(record: logging.LogRecord) -> bool:
    """Whether uvicorn's record is worth keeping: at the end it cuts the streams of open pages, which is no error."""
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


def _second_instance(running: AlreadyRunning, open_browser: bool) -> int:
    print(running, file=sys.stderr)
    if running.other is not None and open_browser:
        webbrowser.open(running.other.url)
    return 1


def _open_when_healthy(url: str) -> None:
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"{url}healthz", timeout=1) as answer:
                if answer.status == HTTPStatus.OK:
                    webbrowser.open(url)
                    return
        except OSError:
            threading.Event().wait(0.1)
    log.warning("the page did not answer within ten seconds: the browser was not opened")
