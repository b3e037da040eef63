"""Downloads of conversations, and their import, step by step. A client sends ids and bytes, never paths."""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from app.chat.imports import GONE, Imports, ImportState
from app.exchange.markdown import export_all_markdown, export_markdown, file_name
from app.exchange.own import export_json
from app.store.errors import NotFound, StoreError
from app.store.private import Stores, is_private
from app.texts import tr
from app.view.exported import export_page
from app.view.figures import size
from app.view.imports import import_words

IMPORT_LIMIT = 2_000_000_000  # bytes, of one file
NAME_LIMIT = 300  # characters


def export_routes(stores: Stores) -> APIRouter:
    """`/export/...`: one conversation, or all but the private ones."""
    router, store = APIRouter(), stores.kept

    @router.get("/export/all.json")
    def all_json() -> Response:
        return _download(export_json(store), "application/json", "slipstream.json")

    @router.get("/export/all.html")
    def all_html() -> Response:
        return _download(export_page(store, store.conversation_ids()), "text/html", "slipstream.html")

    @router.get("/export/all.md")
    def all_markdown() -> Response:
        return _download(export_all_markdown(store), "application/zip", "slipstream.zip")

    @router.get("/export/chosen.{kind}")
    def chosen(kind: str, ids: str = "") -> Response:
        """Several, by their ids with commas between them."""
        numbers = [int(number) for number in ids.split(",") if number.isascii() and number.isdecimal()]
        exports: dict[str, tuple[Callable[[], str | bytes], str, str]] = {
            "json": (lambda: export_json(store, numbers), "application/json", "chats.json"),
            "html": (lambda: export_page(store, numbers), "text/html", "chats.html"),
            "md": (lambda: export_all_markdown(store, numbers), "application/zip", "chats.zip"),
        }
        if kind not in exports or not numbers:
            return _sentence(tr("export.choose"), HTTPStatus.NOT_FOUND)
        export, media_type, name = exports[kind]
        return _found(export, media_type, lambda: name)

    @router.get("/export/{conversation_id}.json")
    def one_json(conversation_id: int) -> Response:
        return _found(
            lambda: export_json(stores.of(conversation_id), [conversation_id]),
            "application/json",
            lambda: f"{_name(stores, conversation_id)}.json",
        )

    @router.get("/export/{conversation_id}.md")
    def one_markdown(conversation_id: int) -> Response:
        return _found(
            lambda: export_markdown(stores.of(conversation_id), conversation_id),
            "text/markdown",
            lambda: f"{_name(stores, conversation_id)}.md",
        )

    @router.get("/export/{conversation_id}.html")
    def one_html(conversation_id: int) -> Response:
        return _found(
            lambda: export_page(stores.of(conversation_id), [conversation_id]),
            "text/html",
            lambda: f"{_name(stores, conversation_id)}.html",
        )

    return router


def import_routes(imports: Imports) -> APIRouter:
    """`/import/...`: begin, send files, look at what they hold, add it, give up, undo. Answers in words."""
    router = APIRouter()

    @router.post("/import/begin")
    async def begin() -> Response:
        return await _answer(imports.begin)

    @router.get("/import/{number}")
    async def state(number: int) -> Response:
        return await _answer(lambda: imports.state(number))

    @router.post("/import/{number}/file")
    async def file(request: Request, number: int, name: str = "") -> Response:
        try:
            path = await run_in_threadpool(imports.file, number, name[:NAME_LIMIT] or "The file")
            if not await _write(request, path):
                await run_in_threadpool(imports.cancel, number)
                return _sentence(
                    tr("import.too_large", name=name[:NAME_LIMIT], size=size(IMPORT_LIMIT)),
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                )
        except FileNotFoundError:  # given up meanwhile
            return _sentence(GONE)
        except (ValueError, OSError) as exc:
            return _sentence(str(exc))
        return await _answer(lambda: imports.state(number))

    @router.post("/import/{number}/{step}")
    async def step(number: int, step: str) -> Response:
        steps: dict[str, Callable[[int], ImportState]] = {
            "read": imports.read,
            "add": imports.add,
            "cancel": imports.cancel,
            "undo": imports.undo,
        }
        if step not in steps:
            return _sentence(tr("import.no_step"), HTTPStatus.NOT_FOUND)
        return await _answer(lambda: steps[step](number))

    return router


async def _answer(do: Callable[[], ImportState]) -> Response:
    try:
        state = await run_in_threadpool(do)
    except (ValueError, StoreError, OSError) as exc:
        return _sentence(str(exc))
    return JSONResponse({"ok": True} | import_words(state), headers={"Cache-Control": "no-store"})


async def _write(request: Request, path: Path) -> bool:
    """Write a request's body into a file; False where it is too large. A part of it does not stay."""
    written, whole = 0, False
    try:
        with path.open("wb") as file:
            async for chunk in request.stream():
                written += len(chunk)
                if written > IMPORT_LIMIT:
                    return False
                await run_in_threadpool(file.write, chunk)
        whole = True
    finally:
        if not whole:
            path.unlink(missing_ok=True)
    return True


def _name(stores: Stores, conversation_id: int) -> str:
    """What a file with one conversation is called; a title of a private one would stay in the list of downloads."""
    if is_private(conversation_id):
        return "private-chat"
    return file_name(stores.kept.conversation(conversation_id).title)


def _found(export: Callable[[], str | bytes], kind: str, name: Callable[[], str]) -> Response:
    try:
        return _download(export(), kind, name())
    except NotFound as exc:
        return _sentence(str(exc), HTTPStatus.NOT_FOUND)


def _download(content: str | bytes, kind: str, name: str) -> Response:
    plain = name if name.isascii() else f"chat{PurePath(name).suffix}"  # for who reads no other signs
    named = f'attachment; filename="{plain}"' + ("" if plain == name else f"; filename*=UTF-8''{quote(name)}")
    headers: dict[str, Any] = {"Content-Disposition": named}
    data = content.encode() if isinstance(content, str) else content
    return Response(data, media_type=kind if isinstance(content, bytes) else f"{kind}; charset=utf-8", headers=headers)


def _sentence(text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> Response:
    return JSONResponse({"ok": False, "message": text}, status)
