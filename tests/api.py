"""What tests of the API share: the API over a scripted engine, and a real port to ask it on."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.api.answers import Answers
from app.api.routes import api_routes
from app.chat.queue import Queue
from app.store.access import ApiAccess
from app.web import server
from tests.scripted import ScriptedEngine
from tests.turns import WAIT_S, wait_until

URL = "http://127.0.0.1:7860"


@dataclass
class Api:
    """The server's parts, for tests to look at."""

    engine: ScriptedEngine
    access: ApiAccess
    queue: Queue = field(default_factory=Queue)
    key: str = ""
    loading: bool = False
    aliases: tuple[str, ...] = ()

    def app(self) -> FastAPI:
        answers = Answers(self.engine, self.queue, lambda: self.aliases, lambda: self.loading)
        return server.create_app(FastAPI, [api_routes(self.access, answers)])

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def on_a_port(app: FastAPI) -> Iterator[str]:
    """Serve on a free port as the application does; yields the address."""
    with serving(app, server.settings(app)) as url:
        yield url


@contextmanager
def serving(app: ASGIApp, settings: uvicorn.Config | None = None) -> Iterator[str]:
    """Serve on a free port; yields the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(settings or uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: running.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(WAIT_S)
        listener.close()


def question(text: str = "a question", **fields: Any) -> dict[str, Any]:
    return {"model": "starter", "messages": [{"role": "user", "content": text}], **fields}
