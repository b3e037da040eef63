"""The page: parts laid out, handlers wired, styles and scripts joined; an ASGI application comes out."""

import json
import os
from dataclasses import asdict

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.variables import FOR_GRADIO

os.environ.update(FOR_GRADIO)  # before gradio is imported

import gradio as gr

from app.assets import asset_text
from app.chat.services import Services
from app.page.conversation import ConversationHandlers
from app.page.conversations import ListHandlers
from app.page.guard import Page
from app.page.models import ModelHandlers, choices
from app.page.pace import Pacer
from app.page.parts import build_parts
from app.page.presenter import Presenter
from app.page.settings import SettingsHandlers
from app.page.theme import theme
from app.page.welcome import SUGGESTIONS

EVENT_LATENCY_S = 0.05  # how long an event may wait in Gradio's queue before anybody looks


def build_blocks(services: Services, pacer: Pacer, warning: str | None = None) -> gr.Blocks:
    """Lay out and wire the page."""
    with Page(title="Slipstream", fill_height=True, fill_width=True, analytics_enabled=False) as page:
        parts = build_parts(choices(services), compares=services.engine.compares is not None)
        presenter = Presenter(services, parts, pacer, warning)
        ConversationHandlers(services, parts, presenter).wire()
        ListHandlers(services, parts, presenter).wire(page)
        ModelHandlers(services, parts, presenter).wire()
        SettingsHandlers(services, parts, presenter).wire()
    page.queue(default_concurrency_limit=None, api_open=False)
    page._queue.sleep_when_free = EVENT_LATENCY_S  # it polls every millisecond otherwise: 3 % of a core, at rest too
    page._queue.progress_update_sleep_when_free = 1.0  # of `gr.Progress`, which this page does not use
    return page


def build_page(services: Services, pacer: Pacer, warning: str | None = None) -> ASGIApp:
    """The page as an application that answers at `/`; `warning` is a sentence of the launcher's that it shows."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(WithHead, head=head())
    page: ASGIApp = gr.mount_gradio_app(
        app,
        build_blocks(services, pacer, warning),
        path="/",
        theme=theme(),
        css=asset_text("css/page.css"),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        show_error=True,
        max_file_size="1mb",
        allowed_paths=[],
    )
    return page


class WithHead:
    """Put `head` into the document that it is to stand in, at the end of what stands there.

    Gradio would put it into a page that runs already: colours would change before people's eyes, and a script could
    not come before Gradio's own.
    """

    def __init__(self, app: ASGIApp, head: str) -> None:
        self._app = app
        self._head = head.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None
        document = b""

        async def put(message: Message) -> None:
            nonlocal start, document
            if message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body" and start is not None:
                document += message.get("body", b"")
                if not message.get("more_body", False):
                    document = document.replace(b"</head>", self._head + b"</head>", 1)
                    MutableHeaders(scope=start)["Content-Length"] = str(len(document))
                    await send(start)
                    await send({"type": "http.response.body", "body": document})
            else:
                await send(message)

        is_page = scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET"
        await self._app(scope, receive, put if is_page else send)


def head() -> str:
    """What goes into the document's head: icon, colours, the prompts of the empty chat, the script of the page."""
    prompts = json.dumps([asdict(suggestion) for suggestion in SUGGESTIONS]).replace("<", "\\u003c")
    return (
        '<link rel="icon" type="image/svg+xml" href="/favicon.svg">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>{asset_text('css/frame.css')}</style>\n"
        '<script src="/theme.js"></script>\n'
        f"<script>{asset_text('js/frames.js')}</script>\n"
        f"<script>window.slipstreamPrompts = {prompts};</script>\n"
        f"<script>{asset_text('js/stream.js')}</script>\n"
        f"<script>{asset_text('js/page.js')}</script>"
    )
