"""What a page tells the server outside Gradio's queue: the theme, the update it has drawn, a half-written message."""

import json
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Protocol

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from app.store.errors import StoreError
from app.store.settings import AppSettings
from app.texts import tr

BODY_LIMIT = 64  # bytes
DRAFT_LIMIT = 1_000_000  # bytes, of a message that may be longer than what can be sent


def theme_routes(settings: AppSettings) -> APIRouter:
    """`/theme.js`, which the page's head loads, and `/theme`, to which its buttons post what was chosen."""
    router = APIRouter()

    @router.get("/theme.js")
    def script() -> Response:
        text = f"window.slipstreamTheme = {json.dumps(settings.theme)};\n"
        return Response(text, media_type="text/javascript", headers={"Cache-Control": "no-store"})

    @router.post("/theme")
    async def choose(request: Request) -> Response:
        try:
            await run_in_threadpool(settings.set_theme, await _small_body(request))
        except (ValueError, StoreError) as exc:
            return JSONResponse({"ok": False, "message": str(exc)}, HTTPStatus.BAD_REQUEST)
        return JSONResponse({"ok": True, "message": ""})

    return router


def drawn_route(note: Callable[[int, int], None]) -> APIRouter:
    """`/drawn`, to which a page posts the update it has drawn: an event's ticket and a number, for `note`."""
    router = APIRouter()

    @router.post("/drawn")
    async def drawn(request: Request) -> Response:
        numbers = (await _small_body(request)).split()
        if len(numbers) != 2 or not all(n.isascii() and n.isdecimal() and len(n) < 16 for n in numbers):
            return Response(tr("page.drawn"), HTTPStatus.BAD_REQUEST)
        note(int(numbers[0]), int(numbers[1]))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return router


class SaveDraft(Protocol):
    def __call__(self, conversation_id: int | None, text: str, *, sent: bool) -> None: ...


def draft_route(save: SaveDraft) -> APIRouter:
    """`/draft/NUMBER`, to which a page posts what stands in its message box; number 0: of the next chat. With `?sent=1`
    it is being sent."""
    router = APIRouter()

    @router.post("/draft/{number}")
    async def draft(request: Request, number: int, sent: bool = False) -> Response:
        if not 0 <= number < 2**53:
            return Response(tr("page.no_conversation"), HTTPStatus.BAD_REQUEST)
        text = await _body(request, DRAFT_LIMIT)
        try:
            await run_in_threadpool(partial(save, number or None, text, sent=sent))
        except (ValueError, StoreError) as exc:
            return Response(str(exc), HTTPStatus.BAD_REQUEST)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return router


async def _small_body(request: Request) -> str:
    return await _body(request, BODY_LIMIT)


async def _body(request: Request, limit: int) -> str:
    """The body as text. It is read only a little beyond the limit, and is then nothing that we know."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk[: limit + 1]
        if len(data) > limit:
            break
    return data.decode(errors="replace")
