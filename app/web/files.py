"""Downloads and the upload of conversations: export to Markdown and JSON, import of that JSON."""

from collections.abc import Callable, Sequence
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from app.store.errors import NotFound, StoreError
from app.store.store import Store
from app.store.transfer import ImportRefused, export_json, export_markdown, import_json
from app.view.figures import size

IMPORT_LIMIT = 200_000_000  # bytes


def file_routes(store: Store, imported: Callable[[Sequence[int]], None]) -> APIRouter:
    """`/export/...`, and `/import`, which reports what was added to `imported`. A client sends ids, never paths."""
    router = APIRouter()

    @router.get("/export/all.json")
    def export_all() -> Response:
        return _download(export_json(store), "application/json", "slipstream.json")

    @router.get("/export/{conversation_id}.json")
    def export_one(conversation_id: int) -> Response:
        try:
            return _download(export_json(store, [conversation_id]), "application/json", f"chat-{conversation_id}.json")
        except NotFound as exc:
            return _sentence(str(exc), HTTPStatus.NOT_FOUND)

    @router.get("/export/{conversation_id}.md")
    def export_text(conversation_id: int) -> Response:
        try:
            return _download(export_markdown(store, conversation_id), "text/markdown", f"chat-{conversation_id}.md")
        except NotFound as exc:
            return _sentence(str(exc), HTTPStatus.NOT_FOUND)

    @router.post("/import")
    async def import_file(request: Request) -> Response:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > IMPORT_LIMIT:
                what = f"The file is larger than {size(IMPORT_LIMIT)}: export fewer conversations at a time."
                return _sentence(what, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            ids = await run_in_threadpool(import_json, store, data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return _sentence("The file is not text: choose a JSON file that Slipstream exported.")
        except (ImportRefused, StoreError) as exc:
            return _sentence(str(exc))
        imported(ids)
        count = "1 conversation was" if len(ids) == 1 else f"{len(ids):,} conversations were"
        return JSONResponse({"ok": True, "message": f"{count} imported."})

    return router


def _download(text: str, kind: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text.encode(), media_type=f"{kind}; charset=utf-8", headers=headers)


def _sentence(text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> Response:
    return JSONResponse({"ok": False, "message": text}, status)
