"""The memory over conversations: looked into, forgotten, exported and imported."""

from collections.abc import Callable
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from app.chat.remembered import Remembered
from app.store.errors import NotFound, StoreError
from app.texts import tr
from app.view.figures import size
from app.view.remembered import remembered
from engine.errors import EngineError

FILE_LIMIT = 50_000_000  # bytes
PHRASE_LIMIT = 500  # characters
_REFUSALS = (EngineError, StoreError, ValueError)


def memory_routes(memory: Remembered) -> APIRouter:
    """`/memory/...`; a client sends keys and texts, never paths. Number 0 stands for all conversations."""
    router = APIRouter()

    def done(act: Callable[[], None]) -> Response:
        try:
            act()
        except _REFUSALS as exc:
            return Response(str(exc), HTTPStatus.BAD_REQUEST)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @router.get("/memory/look/{conversation_id}")
    def look(conversation_id: int, phrase: str = "") -> Response:
        phrase = phrase.strip()
        if len(phrase) > PHRASE_LIMIT:
            return Response(tr("memory.phrase_limit", limit=PHRASE_LIMIT), HTTPStatus.BAD_REQUEST)
        try:
            told = remembered(memory.look(phrase), memory.title, conversation_id or None, phrase)
        except _REFUSALS as exc:
            return Response(str(exc), HTTPStatus.CONFLICT)
        return JSONResponse(told, headers={"Cache-Control": "no-store"})

    @router.post("/memory/forget/{key}")
    def forget(key: str) -> Response:
        return done(lambda: memory.forget(key))

    @router.post("/memory/forget-all")
    def forget_all() -> Response:
        return done(memory.forget_all)

    @router.post("/memory/undo")
    def undo() -> Response:
        return done(memory.undo)

    @router.get("/memory/export/{conversation_id}.json")
    def export(conversation_id: int) -> Response:
        try:
            text = memory.export(conversation_id or None)
        except (NotFound, StoreError) as exc:
            return Response(str(exc), HTTPStatus.NOT_FOUND)
        name = f"memory-{conversation_id}.json" if conversation_id else "memory.json"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(text.encode(), media_type="application/json; charset=utf-8", headers=headers)

    @router.post("/memory/import")
    async def take_in(request: Request) -> Response:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > FILE_LIMIT:
                what = tr("memory.too_large", size=size(FILE_LIMIT))
                return Response(what, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            number = await run_in_threadpool(memory.take_in, data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return Response(tr("memory.not_text"), HTTPStatus.BAD_REQUEST)
        except _REFUSALS as exc:
            return Response(str(exc), HTTPStatus.BAD_REQUEST)
        return JSONResponse({"added": number})

    return router
