"""The server put together: one home, one store, one engine, one page, one API."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from http import HTTPStatus
from typing import TextIO

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp

from app.api.answers import Answers
from app.api.routes import api_routes, is_api
from app.chat.downloads import Downloads
from app.chat.imports import Imports
from app.chat.llama_cpp import LlamaCpp
from app.chat.services import Services
from app.chat.trainer import Trainer
from app.commands.server_flags import PAGE_ALONE, Exposure
from app.home import AlreadyRunning, Home, HomeError, Instance, InstanceLock
from app.page.pace import Pacer
from app.servers import Servers
from app.setup.environment import Environment
from app.setup.llama_cpp.binding import Binding
from app.store.access import ApiAccess
from app.store.errors import StoreError
from app.store.store import Store
from app.variables import clean_environment
from app.web.attachments import attachment_routes
from app.web.entry import TICKETS
from app.web.files import export_routes, import_routes
from app.web.origins import origin_routes
from app.web.page_token import PageToken
from app.web.private import private_route
from app.web.remembered import memory_routes
from app.web.report import report_route
from app.web.server import (
    HOST,
    PageBuilder,
    PortInUse,
    UnknownHost,
    create_app,
    is_every_address,
    listen,
    own_address,
    run,
)
from app.web.signals import draft_route, drawn_route, theme_routes
from engine.api import EngineAPI
from engine.config import ModelSpec

log = logging.getLogger(__name__)


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
    setup: Environment | None = None,
    exposure: Exposure = PAGE_ALONE,
    servers: Servers | None = None,
) -> int:
    """Serve the page and the API until Ctrl-C or SIGTERM, then close engine and store; returns the exit status.

    `open_store` is called once this is the only instance on `home`: opening the store tidies what a killed one left.
    `port` None takes 7860 or the next free one. A model is loaded while the page is being built: that of `flags`
    where it was `named` on the command line, else the one of the last time. `warning` stands on the page. What a
    person adds goes into `setup`; without it nothing is offered to be added. This process
    loses the variables that are not for the page; `engine` starts its children with those that it saw when it was made.
    """
    environment = clean_environment()
    try:
        with InstanceLock(home) as lock:
            listeners = listen(port, exposure.host)
            number = listeners[0].getsockname()[1]
            url = f"http://{HOST}:{number}/"
            token = _token(home, exposure)
            with closing(open_store()) as store:
                store.backups.start()
                downloads = Downloads(environment, home.findings, home.logs / "download.log")
                llama_cpp = _llama_cpp(setup, environment, offline=flags is not None and flags.offline)
                trainer = Trainer(home.packs, environment, home.logs / "training.log")
                services = Services(
                    engine, store, flags, environment, downloads, llama_cpp, trainer, api=exposure.api, servers=servers
                )
                imports = Imports(store, home.cache / "import", services.imported, services.delete)
                pacer = Pacer()
                try:
                    here = Instance(os.getpid(), number, url, page=exposure.page, token=token is not None)
                    lock.announce(here)
                    services.load_first(named=named)
                    services.titles.start()
                    if open_browser and exposure.page:
                        browse = threading.Thread(
                            target=_open_when_healthy, args=(url, token, environment), daemon=True
                        )
                        browse.start()
                    if exposure.page:
                        print(f"Slipstream is at {here.address(home)} (Ctrl-C ends it)", flush=True)
                    if services.access.switched_on:
                        announce_api(services.access, exposure, number)
                    run(_application(services, imports, pacer, warning, exposure, token), listeners)
                finally:
                    imports.close()
                    services.close()
    except AlreadyRunning as exc:
        return _second_instance(home, exc, environment if open_browser and exposure.page else None)
    except (PortInUse, UnknownHost, HomeError, StoreError) as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        engine.close()
    return 0


def _token(home: Home, exposure: Exposure) -> PageToken | None:
    """What the page asks for. Raises `HomeError`."""
    if exposure.to_all_accounts or not exposure.page:
        return None
    try:
        return PageToken.read(home.page_token, new=exposure.new_token)
    except OSError as exc:
        raise HomeError(
            f"The page's token cannot be written to {home.page_token} ({exc.strerror}): make room there, or choose "
            "another folder with --home."
        ) from exc


def _application(
    services: Services,
    imports: Imports,
    pacer: Pacer,
    warning: str | None,
    exposure: Exposure,
    token: PageToken | None,
) -> FastAPI:
    """What answers: the API, and the page with what belongs to it."""
    answers = Answers(
        services.engine,
        services.queue,
        lambda: services.model_names,
        lambda: services.loader.state().running,
    )
    routes = [api_routes(services.access, answers)]
    if exposure.page:
        routes += [
            export_routes(services.stores),
            import_routes(imports),
            theme_routes(services.settings),
            drawn_route(pacer.note),
            draft_route(services.save_draft),
            origin_routes(services),
            report_route(services.stores),
            memory_routes(services.remembered),
            attachment_routes(services.attachments),
            private_route(services.leave),
        ]
    build = page_builder(services, pacer, warning) if exposure.page else no_page
    beyond = exposure.host is not None
    names = (exposure.host or "", socket.gethostname(), f"{socket.gethostname()}.local") if beyond else ()
    return create_app(
        build,
        routes,
        services.page_version,
        token=token,
        is_keyed=is_api,
        is_open=is_api if beyond else None,
        names=names,
        origins=exposure.origins,
    )


def announce_api(access: ApiAccess, exposure: Exposure, port: int) -> None:
    """Say where the API is, and its key where that is a new one: it is shown this once. Raises `StoreError`."""
    host, where = exposure.host or HOST, ""
    if is_every_address(host):
        host, where = HOST, f", from other machines at {_api_url(own_address(), port)}"
    ends = "" if exposure.page else " (Ctrl-C ends it)"
    print(f"Other programs reach the model at {_api_url(host, port)}{where}{ends}", flush=True)
    if exposure.new_key or not access.key_end:
        print(f"Their key, shown this once: {access.new_key()}", flush=True)
    else:
        print(f"Their key ends in {access.key_end}; --new-key makes another one.", flush=True)


def _api_url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def no_page() -> ASGIApp:
    """What stands in the page's place where only the API is served."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/")
    def root() -> PlainTextResponse:
        return PlainTextResponse("Slipstream serves its API here, under /v1, and no page.\n")

    return app


def _llama_cpp(setup: Environment | None, variables: Mapping[str, str], *, offline: bool) -> LlamaCpp | None:
    binding = Binding.read(setup.root) if setup is not None else None
    if setup is None or binding is None:
        return None
    return LlamaCpp(setup, binding, variables, *(["--offline"] if offline else []))


def page_builder(services: Services, pacer: Pacer, warning: str | None = None) -> PageBuilder:
    """What builds the page once the server answers: it imports gradio, which takes seconds."""

    def build() -> ASGIApp:
        from app.page.page import build_page

        return build_page(services, pacer, warning)

    return build


def _second_instance(home: Home, running: AlreadyRunning, environment: Mapping[str, str] | None) -> int:
    """Say so, and show the first one's page in a browser where an `environment` for it is given."""
    print(running, file=sys.stderr)
    if running.other is not None and environment is not None:
        _open_browser(_ticket_address(home, running.other.url), environment)
    return 1


def _ticket_address(home: Home, url: str) -> str:
    """Where a browser opens the page of a Slipstream that runs on this home, as another process."""
    try:
        token = home.page_token.read_text(encoding="ascii").strip()
        request = urllib.request.Request(f"{url.rstrip('/')}{TICKETS}", headers={"Authorization": f"Bearer {token}"})
        with _direct().open(request, timeout=5) as answer:
            return f"{url}?ticket={json.load(answer)['ticket']}"
    except (OSError, ValueError, KeyError, TypeError):
        return url  # it asks for no token, or is on its way out


def print_address(home: Home, out: TextIO) -> int:
    """Print where the page of the Slipstream that runs on this home is, with its token; returns the exit status."""
    running = InstanceLock.running(home)
    if running is None or not _is_healthy(running.url, timeout_s=10):
        print(f"No Slipstream is running on {home.data}: start it with `python launcher.py`.", file=sys.stderr)
        return 1
    if not running.page:
        print(f"The Slipstream on {home.data} serves the API at {running.url}v1, and no page.", file=sys.stderr)
        return 1
    print(running.address(home), file=out)
    return 0


def _open_browser(url: str, environment: Mapping[str, str]) -> None:
    """Open the page in the person's browser, in a process of its own: it may need the proxy."""
    subprocess.run(
        [sys.executable, "-P", "-m", "webbrowser", url], env=environment, stdout=subprocess.DEVNULL, check=False
    )


def _direct() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the system's settings may name a proxy, too


def _is_healthy(url: str, timeout_s: float = 1) -> bool:
    try:
        with _direct().open(f"{url}healthz", timeout=timeout_s) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def _open_when_healthy(url: str, token: PageToken | None, environment: Mapping[str, str]) -> None:
    for _ in range(100):
        if _is_healthy(url):
            _open_browser(f"{url}?ticket={token.ticket()}" if token else url, environment)
            return
        threading.Event().wait(0.1)
    log.warning("the page did not answer within ten seconds: the browser was not opened")
