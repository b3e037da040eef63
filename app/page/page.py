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
from app.page.attachments import AttachmentHandlers
from app.page.chat import ChatHandlers
from app.page.downloads import DownloadHandlers, catalogue
from app.page.events import shown
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.listing import ListHandlers
from app.page.llama_cpp import LlamaCppHandlers
from app.page.messages import MessageHandlers
from app.page.models import ModelHandlers, choices
from app.page.organising import OrganisingHandlers
from app.page.pace import Pacer
from app.page.presenter import Presenter
from app.page.presets import PresetHandlers, preset_names
from app.page.private import PrivateHandlers
from app.page.programs import ProgramHandlers
from app.page.servers import ServerHandlers
from app.page.settings import SettingsHandlers
from app.page.titles import TitleHandlers
from app.page.trainer import TrainerHandlers
from app.page.welcome import suggestions
from app.texts import for_scripts


def build_blocks(services: Services, pacer: Pacer, warning: str | None = None) -> gr.Blocks:
    """Lay out and wire the page."""
    with Page(shown, title="Slipstream", fill_height=True, fill_width=True, analytics_enabled=False) as page:
        parts = build_parts(
            choices(services),
            catalogue(services),
            presets=preset_names(services),
            compares=services.engine.compares is not None or services.servers is not None,
            slow_nf4=services.slow_nf4,
        )
        presenter = Presenter(services, parts, pacer, warning)
        ChatHandlers(services, parts, presenter).wire()
        AttachmentHandlers(parts, presenter).wire()
        listing = ListHandlers(services, parts, presenter)
        listing.wire(page)
        OrganisingHandlers(services, parts, presenter, listing.whole_page).wire()
        PrivateHandlers(services, parts, presenter, listing.whole_page).wire(page)
        MessageHandlers(services, parts, presenter, listing.whole_page).wire()
        ModelHandlers(services, parts, presenter).wire()
        DownloadHandlers(services, parts, presenter).wire()
        LlamaCppHandlers(services, parts, presenter).wire()
        TrainerHandlers(services, parts, presenter).wire()
        SettingsHandlers(services, parts, presenter).wire()
        PresetHandlers(services, parts, presenter).wire()
        TitleHandlers(services, parts, presenter).wire()
        ProgramHandlers(services, parts.programs).wire(page)
        ServerHandlers(services, parts, presenter).wire(page)
    page.start_queue()
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
    """Put `head` into the document that the server sends, at the end of its own head.

    Gradio would add it to a page that is already running: colours would change visibly, and no script could run before
    Gradio's own.
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
    prompts = json.dumps([asdict(suggestion) for suggestion in suggestions()]).replace("<", "\\u003c")
    return (
        '<link rel="icon" type="image/svg+xml" href="/favicon.svg">\n'
        '<link rel="manifest" href="/manifest.json">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>{asset_text('css/frame.css')}{asset_text('css/insight.css')}{asset_text('css/chats.css')}</style>\n"
        '<script src="/theme.js"></script>\n'
        f"<script>window.slipstreamTexts = {for_scripts()};</script>\n"
        f"<script>{asset_text('js/texts.js')}</script>\n"
        f"<script>{asset_text('js/gradio.js')}</script>\n"
        f"<script>window.slipstreamPrompts = {prompts};</script>\n"
        f"<script>{asset_text('js/page.js')}</script>\n"
        f"<script>{asset_text('js/drafts.js')}</script>\n"
        f"<script>{asset_text('js/attached.js')}</script>\n"
        f"<script>{asset_text('js/edited-files.js')}</script>\n"
        f"<script>{asset_text('js/private.js')}</script>\n"
        f"<script>{asset_text('js/choosing.js')}</script>\n"
        f"<script>{asset_text('js/models.js')}</script>\n"
        f"<script>{asset_text('js/import.js')}</script>\n"
        f"<script>{asset_text('js/notify.js')}</script>\n"
        f"<script>{asset_text('js/keys.js')}</script>\n"
        f"<script>{asset_text('js/speak.js')}</script>\n"
        f"<script>{asset_text('js/panels.js')}</script>\n"
        f"<script>{asset_text('js/origin-card.js')}</script>\n"
        f"<script>{asset_text('js/origins.js')}</script>\n"
        f"<script>{asset_text('js/report.js')}</script>\n"
        f"<script>{asset_text('js/memory.js')}</script>"
    )


# Colours and type. Fonts come with Gradio, so nothing is fetched from elsewhere.

# Gradio's names for the colours of assets/css/frame.css, which knows light from dark itself.
COLOURS = {
    "body_background_fill": "var(--paper)",
    "body_text_color": "var(--ink)",
    "body_text_color_subdued": "var(--soft)",
    "background_fill_primary": "var(--paper)",
    "background_fill_secondary": "var(--panel)",
    "block_background_fill": "var(--raised)",
    "block_label_text_color": "var(--soft)",
    "block_title_text_color": "var(--ink)",
    "block_info_text_color": "var(--soft)",
    "block_border_color": "var(--line)",
    "border_color_primary": "var(--line)",
    "border_color_accent": "var(--accent)",
    "input_background_fill": "var(--paper)",
    "input_border_color": "var(--line)",
    "input_placeholder_color": "var(--soft)",
    "slider_color": "var(--accent)",
    "checkbox_background_color_selected": "var(--accent)",
    "button_primary_background_fill": "var(--accent)",
    "button_primary_background_fill_hover": "var(--accent)",
    "button_primary_text_color": "var(--accent-ink)",
    "button_secondary_background_fill": "var(--raised)",
    "button_secondary_background_fill_hover": "var(--panel)",
    "button_secondary_text_color": "var(--ink)",
    "button_secondary_border_color": "var(--line)",
    "code_background_fill": "var(--panel)",
    "link_text_color": "var(--accent)",
}


def theme() -> gr.themes.Base:
    """A quiet theme with one accent; `assets/css/page.css` does the rest from the same colours."""
    fonts = gr.themes.utils.fonts
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        font=[fonts.LocalFont("IBM Plex Sans", (400, 700)), "system-ui", "sans-serif"],
        font_mono=[fonts.LocalFont("IBM Plex Mono", (400, 700)), "ui-monospace", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_sm,
        text_size=gr.themes.sizes.text_md,
    )
    return base.set(**COLOURS, **{f"{name}_dark": colour for name, colour in COLOURS.items()})
